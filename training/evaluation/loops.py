"""Loops of cyclic actions: does the last frame lead into the first as smoothly as real frames follow each other?"""

from argparse import ArgumentParser, Namespace
from collections import defaultdict
from collections.abc import Iterable

import numpy as np

import lamp_hf
from lamp_hf.models.motion_cycles import find_cycles
from lamp_hf.models.motion_loops import Cycle, repeated

from ..data import Clips, load_clips, shortened
from .options import add_decoding, add_seed
from .text_to_motion import load_generator


FEWEST = 10  # training clips of a family that is looked at
SHARE = 0.5  # of them that have a cycle, at least, in a cyclic family
AROUND = 8  # frames on each side of a seam that closing it may have changed
ORDERS = {"position": 1, "velocity": 2, "acceleration": 3}  # differences of positions that each one's change is


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--generated", default=60, type=int, help="captions of cyclic families to generate loops of")
    add_seed(parser)
    add_decoding(parser)


def evaluate(arguments: Namespace) -> dict:
    """Return how many clips of cyclic families give a loop, and how many of these have a smooth seam.

    A family is cyclic if at least half of its training clips, of ten or more, have a cycle by [`find_cycles`]. A seam
    is smooth if the change of position, of velocity and of acceleration from one frame to the next, of the joint where
    it is largest, is within the 95th percentile of the family's real clips in the split: for the differences that
    reach over the seam, against as many successive ones of real clips (`at_seam`), and for all within eight frames of
    the seam, against as long spans (`around`).
    """
    families = cyclic_families(load_clips(arguments, "train"))
    clips = load_clips(arguments)
    real: dict[str, list[np.ndarray]] = defaultdict(list)
    for motion, family in zip(clips.motions, clips.families):
        if family in families:
            real[family].append(lamp_hf.features_to_joints(motion))
    limits = {family: real_limits(motions) for family, motions in real.items()}
    loops = [(family, *loop_of(joints)) for family, motions in real.items() for joints in motions]
    return {
        "families": {family: len(real[family]) for family in families if family in real},
        "real": compare(loops, limits),
        "generated": compare(generated_loops(arguments, clips, limits), limits),
    }


def cyclic_families(clips: Clips) -> list[str]:
    """Return the families of which at least half of the clips, of ten or more, have a cycle."""
    found: dict[str, list[bool]] = defaultdict(list)
    for motion, family in zip(clips.motions, clips.families):
        found[family].append(len(find_cycles(motion)) > 0)
    return sorted(name for name, has in found.items() if len(has) >= FEWEST and np.mean(has) >= SHARE)


def loop_of(joints: np.ndarray) -> tuple[np.ndarray, Cycle] | tuple[None, None]:
    """Return the best cycle of a clip at 20 frames per second; None twice where it has none."""
    try:
        motion = lamp_hf.Motion(joints).loop()
    except ValueError:
        return None, None
    return motion.joints, motion.cycle


def generated_loops(arguments: Namespace, clips: Clips, families: Iterable[str]) -> list[tuple]:
    """Generate a loop of a caption of some clips of cyclic families; None twice where no seed gives one."""
    pipe, rng = load_generator(arguments), np.random.default_rng(arguments.seed)
    rows = [row for row, family in enumerate(clips.families) if family in set(families)]
    rows = rng.permutation(rows)[: arguments.generated].tolist()
    made = []
    for number, row in enumerate(rows):
        text = str(rng.choice(shortened(clips.captions[row], pipe.processor.tokenizer)))
        try:
            result = pipe(text, seed=arguments.seed + 100 * number, loop=True)
            made.append((clips.families[row], result["joints"], result["cycle"]))
        except ValueError:
            made.append((clips.families[row], None, None))
    return made


def compare(loops: list[tuple], limits: dict[str, dict]) -> dict:
    """Return the percentage of clips that give a loop, and of loops that are smooth, by family too."""
    rows = [(family, seam_jumps(joints, cycle, limits[family])) for family, joints, cycle in loops if cycle]
    seconds = [len(joints) / 20 for _, joints, cycle in loops if cycle]
    by_family: dict[str, list[bool]] = defaultdict(list)
    for family, jumps in rows:
        by_family[family].append(all(jumps["at_seam"].values()))
    numbers = {
        name: {order: percentage(jumps[name][order] for _, jumps in rows) for order in ORDERS}
        | {"all": percentage(all(jumps[name].values()) for _, jumps in rows)}
        for name in ("at_seam", "around")
    }
    return {
        "clips": len(loops),
        "with_loop": 100 * len(rows) / max(len(loops), 1),
        "median_seconds": float(np.median(seconds)) if seconds else None,
        **numbers,
        "at_seam_by_family": {family: percentage(rights) for family, rights in sorted(by_family.items())},
    }


def seam_jumps(joints: np.ndarray, cycle: Cycle, limits: dict) -> dict[str, dict[str, bool]]:
    """Tell for position, velocity and acceleration if their changes at a seam, and around it, are within limits."""
    seam, count = len(joints) - 1, -(-AROUND // len(joints)) + 1
    frames = repeated(joints, cycle, 2 * count)
    seam += (count - 1) * len(joints)
    result: dict[str, dict[str, bool]] = {"at_seam": {}, "around": {}}
    for name, order in ORDERS.items():
        changes = change(frames, order)
        spans = {"at_seam": slice(seam - order + 1, seam + 1), "around": slice(seam - AROUND, seam + AROUND)}
        for where, span in spans.items():
            result[where][name] = bool(changes[span].max() <= limits[where][name])
    return result


def real_limits(motions: list[np.ndarray]) -> dict[str, dict[str, float]]:
    """Return the 95th percentiles of the largest change in as many successive frames as a seam has, and around one."""
    limits: dict[str, dict[str, float]] = {"at_seam": {}, "around": {}}
    for name, order in ORDERS.items():
        for where, span in (("at_seam", order), ("around", 2 * AROUND)):
            windows = [largest(change(joints, order), span) for joints in motions if len(joints) > order + span]
            limits[where][name] = float(np.quantile(np.concatenate(windows), 0.95)) if windows else np.inf
    return limits


def change(joints: np.ndarray, order: int) -> np.ndarray:
    """Return the difference of an order in each frame, of the joint where it is largest, in metres."""
    return np.linalg.norm(np.diff(joints, order, axis=0), axis=-1).max(-1)


def largest(values: np.ndarray, span: int) -> np.ndarray:
    """Return the largest of each `span` successive values."""
    return np.lib.stride_tricks.sliding_window_view(values, span).max(-1)


def percentage(answers: Iterable[bool]) -> float | None:
    """Return the percentage of answers that are true; None where there is none."""
    rights = list(answers)
    return 100 * float(np.mean(rights)) if rights else None
