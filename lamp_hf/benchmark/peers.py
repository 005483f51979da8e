"""Our networks and tools beside plain restatements of the usual ones, in one run on one machine."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import pipeline

from .. import bundled
from ..models.configuration_lamp_text_to_motion import LampTextToMotionConfig
from ..models.modeling_lamp_text_to_motion import LampForTextToMotion
from ..models.motion_representation import features_to_joints, joints_to_features
from ..motion.clip import Motion
from .plain_networks import DiffusionSizes, MaskedSizes, PlainDiffusion, PlainMasked
from .plain_tools import export_plainly, featurise_plainly
from .timing import median_seconds, rounded


TEXT = "a person walks forward and waves with the left hand"
SECONDS, REPEATS, CLIPS = 6.0, 5, 64
_MATRIX = 2048  # rows and columns of the product that measures what the machine can do


def measure_peers() -> dict[str, float]:
    """Time a motion of six seconds by each generator, and features and BVH files by each way of making them.

    Generators have the sizes of their papers and random weights, in float32, so that sizes alone decide; the bundled
    model, which is smaller, is timed as it is. `share_of_peak` is the rate of floating-point operations over that of a
    large matrix product in the same run.

    Returns:
        `dict[str, float]`: medians over calls; names end in their unit, factors and shares have none.
    """
    pipe = pipeline("text-to-motion", model=bundled())
    num_frames = round(SECONDS * pipe.fps)
    torch.manual_seed(0)
    peak = peak_rate(pipe.device)
    results = {"peak_gflop_per_s": peak / 1e9, "threads": float(torch.get_num_threads())}
    results |= measure_call("lamp_small", _generate(pipe.model, pipe.processor, num_frames), peak)
    paper = LampForTextToMotion(LampTextToMotionConfig()).eval().to(pipe.device)
    paper.vqvae.quantizer.codebook.normal_()
    results |= measure_call("lamp_at_paper_size", _generate(paper, pipe.processor, num_frames), peak)
    masked = PlainMasked(MaskedSizes()).eval().to(pipe.device)
    results |= measure_call("masked_and_residual", lambda: masked(num_frames // 4), peak)
    diffusion = PlainDiffusion(DiffusionSizes()).eval().to(pipe.device)
    results |= measure_call("latent_diffusion", lambda: diffusion(num_frames), peak)
    for ours in ("lamp_small", "lamp_at_paper_size"):
        for peer in ("masked_and_residual", "latent_diffusion"):
            results[f"{ours}_times_faster_than_{peer}"] = results[f"{peer}_s"] / results[f"{ours}_s"]
    return rounded(results | measure_tools(pipe(TEXT, duration=SECONDS, seed=0)["features"]))


def _generate(model: LampForTextToMotion, processor, num_frames: int) -> Callable[[], object]:
    inputs = processor(text=[TEXT]).to(model.device)
    num_tokens = num_frames // model.config.motion_config.downsampling_factor
    return lambda: model.generate(**inputs, num_tokens=[num_tokens], seeds=[0])


def peak_rate(device: torch.device, size: int = _MATRIX) -> float:
    """Return the floating-point operations a second of the product of two square float32 matrices."""
    matrix = torch.randn(size, size, device=device)
    return 2 * size**3 / median_seconds(lambda: matrix @ matrix, REPEATS)


def measure_call(name: str, run: Callable[[], object], peak: float, repeats: int = REPEATS) -> dict[str, float]:
    """Return the seconds, the operations and the share of the peak of a call."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        run()
    operations = counter.get_total_flops()
    seconds = median_seconds(run, repeats)
    return {
        f"{name}_s": seconds,
        f"{name}_gflop": operations / 1e9,
        f"{name}_share_of_peak": operations / seconds / peak,
    }


def measure_tools(features: np.ndarray, clips: int = CLIPS, repeats: int = 3) -> dict[str, float]:
    """Time features of clips and a BVH file of one, ours and plainly.

    Args:
        features (`np.ndarray` of shape `(num_frames, 263)`): a clip.
        clips (`int`): clips whose features are computed, ours in one batch.
        repeats (`int`): calls.
    """
    joints = features_to_joints(features)
    batch = torch.from_numpy(np.stack([joints] * clips)).float()
    ours = median_seconds(lambda: joints_to_features(batch), repeats) / clips
    plain = median_seconds(lambda: featurise_plainly(joints), repeats)
    results = {"features_clip_s": ours, "plain_features_clip_s": plain, "features_times_faster": plain / ours}
    motion = Motion(joints)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.bvh"
        ours = median_seconds(lambda: motion.save(path), repeats)
        plain = median_seconds(lambda: export_plainly(joints, path), 1)
    return results | {"bvh_s": ours, "plain_bvh_s": plain, "bvh_times_faster": plain / ours}
