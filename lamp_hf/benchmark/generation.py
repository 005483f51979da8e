"""Speed of text to motion: latency, throughput, the share of each stage, time to the first frames, memory."""

from functools import partial

import torch
from transformers import pipeline

from .. import bundled
from ..models.configuration_lamp_text_to_motion import LampTextToMotionConfig
from ..models.modeling_lamp_text_to_motion import LampForTextToMotion
from ..models.processing_lamp import LampProcessor
from .plain_generation import generate_plainly
from .timing import median_seconds, peak_memory_mb, rounded


SECONDS, BATCH_SIZES = 6.0, (1, 8, 64)
TEXT = "a person walks forward and waves with the left hand"


def measure_generation() -> dict[str, float]:
    """Time motions of six seconds by the bundled model and by the paper's sizes, in float32 and bfloat16.

    The paper's sizes have random weights, and are compared with [`generate_plainly`].

    Returns:
        `dict[str, float]`: medians of several runs; names end in their unit, shares and factors have none.
    """
    pipe = pipeline("text-to-motion", model=bundled())
    results = {
        **_measure_model("small", pipe.model, pipe.processor),
        "small_first_frames_s": median_seconds(
            lambda: next(iter(pipe.stream(TEXT, duration=SECONDS, seed=0))), repeats=9
        ),
        "small_pipeline_6_seconds_s": median_seconds(lambda: pipe(TEXT, duration=SECONDS, seed=0), repeats=9),
    }
    half = pipeline("text-to-motion", model=bundled(), dtype=torch.bfloat16)
    results |= _measure_model("small_bfloat16", half.model, half.processor)
    results |= _measure_paper_sizes(pipe.processor, pipe.device)
    results |= {"peak_memory_mb": peak_memory_mb(), "threads": torch.get_num_threads()}
    return rounded(results)


def _measure_paper_sizes(processor: LampProcessor, device: torch.device) -> dict[str, float]:
    torch.manual_seed(0)
    paper = LampForTextToMotion(LampTextToMotionConfig()).eval().to(device)
    paper.vqvae.quantizer.codebook.normal_()
    results = _measure_model("paper", paper, processor)
    inputs = processor(text=[TEXT]).to(device)
    plain = median_seconds(lambda: generate_plainly(paper, _num_tokens(paper, processor), **inputs), repeats=3)
    results["paper_plain_batch_1_s"] = plain
    results |= _measure_model("paper_bfloat16", paper.to(torch.bfloat16), processor)
    for name in ("paper", "paper_bfloat16"):
        results[f"{name}_times_faster_than_plain"] = plain / results[f"{name}_batch_1_s"]
    return results


def _measure_model(name: str, model: LampForTextToMotion, processor: LampProcessor) -> dict[str, float]:
    num_tokens = _num_tokens(model, processor)
    results = {}
    for batch_size in BATCH_SIZES:
        inputs = processor(text=[TEXT] * batch_size).to(model.device)
        seeds = list(range(batch_size))
        run = partial(model.generate, **inputs, num_tokens=[num_tokens] * batch_size, seeds=seeds)
        seconds = median_seconds(run, repeats=9 if batch_size == 1 else 2)
        results[f"{name}_batch_{batch_size}_s"] = seconds
        results[f"{name}_batch_{batch_size}_clips_per_s"] = batch_size / seconds
    shares = {
        part: seconds / results[f"{name}_batch_1_s"] for part, seconds in _stage_seconds(model, processor).items()
    }
    shares["tokens"] = 1 - sum(shares.values())
    return results | {f"{name}_share_of_{part}": share for part, share in shares.items()}


@torch.no_grad()
def _stage_seconds(model: LampForTextToMotion, processor: LampProcessor) -> dict[str, float]:
    """Time the stages around the masked decoding of tokens, for one motion."""
    inputs, num_tokens = processor(text=[TEXT]).to(model.device), _num_tokens(model, processor)
    mask = torch.ones(1, num_tokens, dtype=torch.bool, device=model.device)
    codes = mask.new_zeros((*mask.shape, model.config.motion_config.num_quantizers), dtype=torch.long)
    return {
        "text": median_seconds(lambda: model.encode_text(**inputs), repeats=9),
        "decoder": median_seconds(lambda: model.vqvae.decode(codes, mask), repeats=9),
    }


def _num_tokens(model: LampForTextToMotion, processor: LampProcessor) -> int:
    frames_per_token = model.config.motion_config.downsampling_factor
    return round(SECONDS * processor.feature_extractor.sampling_rate / frames_per_token)
