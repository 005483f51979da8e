"""Prompts of two actions at the same time or one after the other, judged by geometry and by the evaluator.

Geometry also decides which composed clips a generator is trained on (`training/augmentation/composition.py`), so it is
no independent judge of them. The evaluator has seen real clips alone; it judges prompts of one action after another.
"""

from argparse import ArgumentParser, Namespace
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import yaml

from lamp_hf.metrics.geometry import hand_up, measure, raised, smoothed
from lamp_hf.models.motion_representation import joints_to_features
from lamp_hf.models.pipeline_text_to_motion import TextToMotionPipeline

from ..augmentation.composition import IN_SPACE, IN_TIME, Composer, follow, graft, say, seam
from ..data import Clips, load_clips
from .action_checks import CHECKS
from .evaluator import Judge
from .options import add_decoding, add_evaluator, add_seed
from .text_to_motion import load_generator


SEEDS = 10
SECONDS = {"space": 5.0, "time": 8.0}
PAIRS = 40  # of real clips of each kind, to make prompts from and to test the judge on
WALK_AND_RUN = {"walk", "run"}  # both travel forward, so speed tells them apart


def add_arguments(parser: ArgumentParser) -> None:
    add_evaluator(parser)
    add_seed(parser)
    add_decoding(parser)


def evaluate(arguments: Namespace) -> dict:
    """Return the percentage of motions that show both actions, generated from one prompt and by `mode="sequence"`.

    `real` is the same for real clips composed in the same ways. The prompts of the test split are written by hand;
    those of the validation split are made from its captions. `by_evaluator` is the percentage of motions in whose
    halves the evaluator recognises the families of the two actions, in order.
    """
    clips = load_clips(arguments)
    composer = Composer(clips.motions, clips.captions, clips.rarity_weights(0.5), int(clips.lengths.max()))
    pairs = draw_pairs(composer, clips.actions, arguments.seed)
    prompts = two_action_prompts(arguments, composer, clips.actions, pairs)
    pipe = load_generator(arguments)
    halves = Halves(Judge(arguments.evaluator), clips) if arguments.evaluator else None
    numbers: dict = {"prompts": len(prompts["space"] + prompts["time"]), "seeds": SEEDS, "wrong": []}
    by_evaluator: dict[str, float] = {}
    for name, kind in (("space", "space"), ("time", "time"), ("sequence", "time")):
        motions = generate(pipe, prompts[kind], kind, arguments.seed, SEEDS, split=name == "sequence")
        answers = shares_with_both(motions, prompts[kind], kind)
        numbers[name] = float(np.mean(answers))
        if halves and kind == "time":
            shown = [prompt["shows"] for prompt in prompts[kind] for _ in range(SEEDS)]
            by_evaluator[name] = halves([joints for row in motions for joints in row], shown)
        numbers["wrong"] += [f"{name}: {p['text']}" for p, share in zip(prompts[kind], answers) if not share]
    real = {}
    for kind, drawn in pairs.items():
        composed = [put_together(composer, kind, pair) for pair in drawn]
        shown = [[clips.actions[row] for row in pair] for pair in drawn]
        if composed:
            real[kind] = 100 * float(np.mean([JUDGES[kind](*pair) for pair in zip(composed, shown)]))
        if composed and halves and kind == "time":
            by_evaluator["real"] = halves(composed, shown)
    return numbers | {"real": real} | ({"by_evaluator": by_evaluator} if by_evaluator else {})


def two_action_prompts(arguments: Namespace, composer: Composer, actions: list[str], pairs: dict) -> dict:
    """Return prompts `{"text", "shows"}` of each kind: of the test split by hand, of others made from their captions.

    Raises:
        ValueError: when no captions of the split can be combined.
    """
    if arguments.split == "test":
        return yaml.safe_load(Path(__file__).with_name("composed_prompts.yaml").read_text())
    if not all(pairs.values()):
        raise ValueError(
            "this split has no pairs of clips whose actions are known and fit together, to make prompts from"
        )
    return prompts_of_captions(composer, actions, pairs, arguments.seed)


def generate(
    pipe: TextToMotionPipeline, prompts: list[dict], kind: str, seed: int, seeds: int, split: bool = False
) -> list[list[np.ndarray]]:
    """Generate joints of `seeds` motions of each prompt of a kind; `split` sentences by `mode="sequence"`."""
    texts = [prompt["text"] for prompt in prompts]
    options = {"duration": SECONDS[kind], "seed": seed, "num_return_sequences": seeds}
    if split:
        outputs = [pipe(text, mode="sequence", **options) for text in texts]
    else:
        outputs = pipe(texts, batch_size=32, **options)
    return [[motion["joints"] for motion in motions] for motions in outputs]


def shares_with_both(motions: list[list[np.ndarray]], prompts: list[dict], kind: str) -> list[float]:
    """Return, for each prompt of a kind, the percentage of its motions that show both actions."""
    return [
        100 * float(np.mean([JUDGES[kind](joints, prompt["shows"]) for joints in row]))
        for row, prompt in zip(motions, prompts, strict=True)
    ]


class Halves:
    """Tells by the evaluator how many motions show two actions, one in each half.

    Args:
        judge ([`Judge`]): the trained evaluator.
        clips ([`Clips`]): they tell the family of each action.
    """

    def __init__(self, judge: Judge, clips: Clips):
        self.judge = judge
        counts: dict[str, Counter] = defaultdict(Counter)
        for action, family in zip(clips.actions, clips.families):
            counts[action][family] += 1
        self.families = {action: seen.most_common(1)[0][0] for action, seen in counts.items()}

    def __call__(self, joints: list[np.ndarray], shown: list[list[str]]) -> float:
        """Return the percentage, over the motions both of whose actions occur in the clips."""
        rows = [row for row, actions in enumerate(shown) if set(actions) <= set(self.families)]
        if not rows:
            return 0.0
        answers = [self.judge(half[part] for half in (np.array_split(joints[row], 2) for row in rows))[0]
                   for part in (0, 1)]  # fmt: skip
        wanted = [[self.families[shown[row][part]] for row in rows] for part in (0, 1)]
        return 100 * float((np.array(answers) == np.array(wanted)).all(0).mean())


def draw_pairs(composer: Composer, actions: list[str], seed: int) -> dict[str, list[tuple[int, int]]]:
    """Draw pairs of clips that show their labels and can be combined in space (body, arms) or in time, by geometry.

    In time, neither clip may show the other's action: a wave, for example, also raises the hand. Returns no pairs
    where clips have no labels.
    """
    rng = np.random.default_rng(seed)
    facts = composer.facts
    does = [{action for action, check in CHECKS.items() if check(fact)} for fact in facts]
    rows = [row for row in np.flatnonzero(composer.weights) if actions[row] in does[row]]
    pairs = [(first, second) for first in rows for second in rows if actions[first] != actions[second]]
    apart = [
        (first, second)
        for first, second in pairs
        if {actions[first], actions[second]} == WALK_AND_RUN
        or not (actions[first] in does[second] or actions[second] in does[first])
    ]
    arms = [pair for pair in pairs if actions[pair[1]].startswith(("raise-up", "wave"))]
    fitting = [pair for pair in arms if not raised(facts[pair[0]]) and composer.fits_in_space(*pair)]
    drawn = {}
    for kind, some in (("space", fitting), ("time", apart)):
        weights = np.array([composer.weights[list(pair)].prod() for pair in some])
        drawn[kind] = [tuple(pair) for pair in rng.choice(some, PAIRS, p=weights / weights.sum())] if some else []
    return drawn


def prompts_of_captions(composer: Composer, actions: list[str], pairs: dict, seed: int) -> dict[str, list[dict]]:
    """Make prompts from the captions of two clips each."""
    rng = np.random.default_rng(seed)
    prompts: dict[str, list[dict]] = {"space": [], "time": []}
    for kind, composed in (("space", IN_SPACE), ("time", IN_TIME)):
        for pair in pairs[kind]:
            text = say(composed, *(composer.caption(row, rng) for row in pair), rng)
            prompts[kind].append({"text": text, "shows": [actions[row] for row in pair]})
    return prompts


def put_together(composer: Composer, kind: str, pair: tuple[int, int]) -> np.ndarray:
    """Combine two real clips: the arms of one on the body of the other, or one after the other. Returns joints."""
    first, second = (composer.joints[row] for row in pair)
    if kind == "space":
        return graft(first, second, raised(composer.facts[pair[1]]), 0)
    features = joints_to_features(first), joints_to_features(second)
    end, start, _ = seam(*features)
    return follow(*features, end, start)


def shows_simultaneously(joints: np.ndarray, shows: list[str]) -> bool:
    """Return True if a motion shows both actions and the body keeps moving while the hands are up."""
    facts = measure(joints)
    if not all(CHECKS[action](facts) for action in shows):
        return False
    up = np.any([hand_up(joints, side) for side in raised(facts)], axis=0)
    speeds = np.linalg.norm(np.diff(smoothed(joints[:, 0, [0, 2]]), axis=0), axis=-1)
    return bool(speeds[up[1:]].mean() >= speeds.mean() / 2)


def shows_in_order(joints: np.ndarray, shows: list[str]) -> bool:
    """Return True if a split within the middle half separates the first action from the second.

    Neither part may show the other's action. Of a walk and a run, the run must be at least 1.5 times as fast.
    """
    first, second = shows
    count = len(joints)
    for split in range(count // 4, 3 * count // 4 + 1, 4):
        before, after = measure(joints[:split]), measure(joints[split:])
        if CHECKS[first](before) and CHECKS[second](after):
            if {first, second} == WALK_AND_RUN:
                fast, slow = (after, before) if second == "run" else (before, after)
                alone = fast.speed >= 1.5 * slow.speed
            else:
                alone = not CHECKS[second](before) and not CHECKS[first](after)
            if alone:
                return True
    return False


JUDGES = {"space": shows_simultaneously, "time": shows_in_order}
