"""Parts of a generator's condition taken away: the whole text's vector, the words' states, the words' order."""

import functools
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch

import lamp_hf
from lamp_hf.metrics.geometry import measure
from lamp_hf.models.modeling_lamp_text_to_motion import LampForTextToMotion
from lamp_hf.models.pipeline_text_to_motion import TextToMotionPipeline

from ..augmentation.composition import Composer
from ..data import Clips, batched, load_clips, shortened
from .action_checks import CHECKS
from .composition import draw_pairs, generate, shares_with_both, two_action_prompts
from .evaluator import Judge
from .families import compare, covered_families, draw_captions, recognised_of_real
from .options import add_decoding, add_evaluator, add_licenses, add_seed
from .text_to_motion import frechet_numbers, load_generator


AS_IT_IS, SHUFFLED = "as it is", "words in another order"
REPLACED = {  # what the average takes the place of: the whole text's vector, the states of the words
    AS_IT_IS: (False, False),
    "whole text averaged": (True, False),
    "words averaged": (False, True),
    "both averaged": (True, True),
    SHUFFLED: (False, False),
}


def add_arguments(parser: ArgumentParser) -> None:
    add_evaluator(parser, required=True)
    parser.add_argument("--least", default=28, type=int, help="training clips that a family has at least")
    add_licenses(parser)
    note = "motions generated from a family's captions, for each knock-out"
    parser.add_argument("--per-family", default=24, type=int, help=note)
    parser.add_argument("--seeds", default=4, type=int, help="motions of each prompt of two actions")
    add_seed(parser)
    add_decoding(parser)


def evaluate(arguments: Namespace) -> dict:
    """Return how well motions show their captions, with all of the condition and with parts of it taken away.

    Captions, lengths and seeds are the same each time; see `families` for how they are drawn and judged. Averages are
    over the split's captions; a text whose words are averaged keeps their number.

    Raises:
        ValueError: when the generator does not attend to the states of words.
    """
    pipe = load_generator(arguments)
    if not pipe.model.config.attends_to_words:
        raise ValueError(f"{arguments.model} does not attend to the states of words, which are knocked out here")
    judge = Judge(arguments.evaluator)
    covered, clips = covered_families(arguments), load_clips(arguments)
    composer = Composer(clips.motions, clips.captions, clips.rarity_weights(0.5), int(clips.lengths.max()))
    pairs = draw_pairs(composer, clips.actions, arguments.seed)
    two_actions = two_action_prompts(arguments, composer, clips.actions, pairs) if all(pairs.values()) else {}
    real = recognised_of_real(judge, [load_clips(arguments, split) for split in ("val", "test")])
    averages = Averages(pipe, clips)
    texts, durations, rows = draw_captions(clips, covered, arguments, pipe)
    real_embeddings = judge([lamp_hf.features_to_joints(clips.motions[row]) for row in rows])[2]
    seeds = [arguments.seed + number for number in range(len(texts))]
    numbers = {}
    for name, (whole, words) in REPLACED.items():
        said = functools.partial(shuffled, seed=arguments.seed) if name == SHUFFLED else str
        with condition_changed(pipe.model, averages.replacing(whole, words)):
            outputs = pipe([said(text) for text in texts], duration=durations, seed=seeds, batch_size=32)
            both = two_action_numbers(pipe, two_actions, said, arguments)
        joints = [output["joints"] for output in outputs]
        numbers[name] = judged(judge, joints, rows, clips, real, real_embeddings, covered) | both
    return {
        "least_training_clips": arguments.least,
        "licenses_left_out": arguments.licenses_left_out,
        "motions": len(texts),
        "distinct_clips": len(set(rows)),
        "knockouts": numbers,
    }


def two_action_numbers(
    pipe: TextToMotionPipeline, prompts: dict[str, list[dict]], said: Callable[[str], str], arguments: Namespace
) -> dict[str, float]:
    """Return the percentages of motions that show both actions, at the same time and in turn, by a way to say them."""
    numbers = {}
    for kind, rows in prompts.items():
        changed = [row | {"text": said(row["text"])} for row in rows]
        motions = generate(pipe, changed, kind, arguments.seed, arguments.seeds)
        numbers[f"two_actions_{kind}"] = float(np.mean(shares_with_both(motions, rows, kind)))
    return numbers


class Averages:
    """The condition of a generator averaged over the distinct captions of clips, to take a text's own one's place.

    Args:
        pipe ([`TextToMotionPipeline`]): a pipeline whose generator attends to words.
        clips ([`Clips`]): the clips.
    """

    @torch.no_grad()
    def __init__(self, pipe: TextToMotionPipeline, clips: Clips):
        whole, words = [], []
        for texts in batched(shortened(clips.distinct_captions(), pipe.processor.tokenizer), 128):
            inputs = pipe.processor(text=texts).to(pipe.model.device)
            condition = pipe.model.encode_text(inputs["input_ids"], inputs["attention_mask"])
            whole.append(condition[:, 0])
            words.append(condition[:, 1:][inputs["attention_mask"].bool()])
        self.whole, self.word = torch.cat(whole).mean(0), torch.cat(words).mean(0)

    def replacing(self, whole: bool, words: bool) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
        """Return a function of conditions and the masks of their words, which replaces what is asked for."""

        def replace(condition: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            first = self.whole.expand_as(condition[:, :1]) if whole else condition[:, :1]
            rest = self.word * mask[..., None].to(condition.dtype) if words else condition[:, 1:]
            return torch.cat([first, rest], 1)

        return replace


@contextmanager
def condition_changed(
    model: LampForTextToMotion, change: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
) -> Iterator[None]:
    """Let a generator see its texts through a function of their conditions and the masks of their words."""
    encode = model.encode_text

    def changed(input_ids, attention_mask=None):
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        return change(encode(input_ids, attention_mask), mask.bool())

    model.encode_text = changed
    try:
        yield
    finally:
        del model.encode_text  # the class has its own


def shuffled(text: str, seed: int) -> str:
    """Return the words of a text in an order drawn at random, the same for a seed."""
    return " ".join(np.random.default_rng((seed, *text.encode())).permutation(text.split()))


def judged(
    judge: Judge,
    joints: list[np.ndarray],
    rows: list[int],
    clips: Clips,
    real: dict[str, list[str]],
    real_embeddings: np.ndarray,
    covered: dict[str, int],
) -> dict:
    """Return the recognised share of motions, those right by geometry, and their Fréchet distance to their clips.

    The distance is that of the first motion of each clip, since clips that stand twice would be near to themselves.

    Args:
        judge ([`Judge`]): the trained evaluator.
        joints (`list[np.ndarray]` of shape `(num_frames, 22, 3)`): generated motions, in metres.
        rows (`list[int]`): the clip whose caption each motion shows.
        clips ([`Clips`]): the clips.
        real (`dict[str, list[str]]`): by family, the family recognised in each real clip.
        real_embeddings (`np.ndarray` of shape `(num_motions, embedding_size)`): of the clip of each motion.
        covered (`dict[str, int]`): the families to compare, and how many training clips they have.
    """
    families = [clips.families[row] for row in rows]
    answers, _, embeddings = judge(joints)
    generated = {family: [a for a, truth in zip(answers, families) if truth == family] for family in covered}
    compared = compare(generated, real, covered)
    numbers = {name: compared[name] for name in ("generated", "real", "ratio", "smallest", "smallest_family")}
    numbers["by_family"] = {family: row["generated"] for family, row in compared["by_family"].items()}
    actions = [clips.actions[row] for row in rows]
    right = [CHECKS[action](measure(clip)) for action, clip in zip(actions, joints) if action in CHECKS]
    if right:
        numbers |= {"captions_right": 100 * float(np.mean(right)), "captions_checked": len(right)}
    first = np.unique(rows, return_index=True)[1]
    return numbers | frechet_numbers(real_embeddings[first], embeddings[first])
