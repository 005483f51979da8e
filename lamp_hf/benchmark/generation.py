"""Speed of text to motion: latency and throughput by batch, shares of the stages, first frames, memory."""

import sys

import numpy as np
import psutil
import torch
from torch import nn

import lamp_hf

from ..models.modeling_common import sinusoidal_positions
from ..models.motion_transformers import MaskedMotionTransformer
from .library import median_seconds


SECONDS, BATCHES = 6.0, (1, 8, 64)
TEXT = "a person walks forward and waves with the left hand"


def measure_generation() -> dict[str, float]:
    """Of the bundled model and of the paper's sizes with random weights, in half precision too, for six seconds."""
    from transformers import pipeline

    pipe = pipeline("text-to-motion", model=lamp_hf.bundled())
    results = _sizes("small", pipe.model, pipe.processor)
    results["small_first_frames_s"] = median_seconds(
        lambda: next(iter(pipe.stream(TEXT, duration=SECONDS, seed=0))), 9
    )
    results["small_pipeline_6_seconds_s"] = median_seconds(lambda: pipe(TEXT, duration=SECONDS, seed=0), 9)
    half = pipeline("text-to-motion", model=lamp_hf.bundled(), dtype=torch.bfloat16)
    results |= _sizes("small_bfloat16", half.model, half.processor)
    torch.manual_seed(0)
    paper = lamp_hf.LampForTextToMotion(lamp_hf.LampTextToMotionConfig()).eval().to(pipe.device)
    paper.vqvae.quantizer.codebook.normal_()
    results |= _sizes("paper", paper, pipe.processor)
    inputs = pipe.processor(text=[TEXT]).to(paper.device)
    results["paper_plain_batch_1_s"] = median_seconds(lambda: plainly_generated(paper, **inputs), 3)
    results |= _sizes("paper_bfloat16", paper.to(torch.bfloat16), pipe.processor)
    for name in ("paper", "paper_bfloat16"):
        results[f"{name}_times_faster_than_plain"] = results["paper_plain_batch_1_s"] / results[f"{name}_batch_1_s"]
    results["peak_memory_mb"] = peak_memory()  # over all of these
    results["threads"] = torch.get_num_threads()
    return {name: float(f"{value:.4g}") for name, value in results.items()}


def peak_memory() -> float:
    """The most megabytes that this process has held."""
    if sys.platform == "win32":
        return psutil.Process().memory_info().peak_wset / 1e6
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)


def _sizes(name: str, model, processor) -> dict[str, float]:
    factor = model.config.motion_config.downsampling_factor
    tokens = round(SECONDS * processor.feature_extractor.sampling_rate / factor)
    results = {}
    for batch in BATCHES:
        inputs = processor(text=[TEXT] * batch).to(model.device)
        options = {"num_tokens": [tokens] * batch, "seeds": list(range(batch))}
        seconds = median_seconds(lambda: model.generate(**inputs, **options), 9 if batch == 1 else 2)  # noqa: B023
        results[f"{name}_batch_{batch}_s"] = seconds
        results[f"{name}_batch_{batch}_clips_per_s"] = batch / seconds
    inputs = processor(text=[TEXT]).to(model.device)
    mask = torch.ones(1, tokens, dtype=torch.bool, device=model.device)
    codes = torch.zeros(1, tokens, model.config.motion_config.num_quantizers, dtype=torch.long, device=model.device)
    with torch.no_grad():
        parts = {
            "text": median_seconds(lambda: model.encode_text(**inputs), 9),
            "decoder": median_seconds(lambda: model.vqvae.decode(codes, mask), 9),
        }
    whole = results[f"{name}_batch_1_s"]
    results |= {f"{name}_share_of_{part}": seconds / whole for part, seconds in parts.items()}
    results[f"{name}_share_of_tokens"] = 1 - sum(parts.values()) / whole
    return results


@torch.no_grad()
def plainly_generated(model, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
    """One motion by the same networks as one writes them down first, for comparison.

    All 49 positions, two passes a step for guidance, attention by its formula.
    """
    config, transformer = model.config, model.transformer
    condition = model.encode_text(input_ids, attention_mask)
    length, tokens = model.max_num_tokens, round(SECONDS * 20) // config.motion_config.downsampling_factor
    codes = torch.full((1, length), transformer.mask_token_id, device=model.device)
    for step in range(config.num_inference_steps):
        conditional, unconditional = (
            _plain_logits(transformer, codes, state) for state in (condition, torch.zeros_like(condition))
        )
        logits = unconditional + config.guidance_scale * (conditional - unconditional)
        drawn = torch.multinomial(logits[0].softmax(-1), 1)[:, 0]
        drawn = torch.where(codes[0] == transformer.mask_token_id, drawn, codes[0])
        certainty = logits[0].softmax(-1).gather(-1, drawn[:, None])[:, 0]
        certainty[codes[0] != transformer.mask_token_id] = torch.inf
        count = int(np.cos((step + 1) / config.num_inference_steps * np.pi / 2) * tokens)
        drawn[certainty[:tokens].argsort()[:count]] = transformer.mask_token_id
        codes = drawn[None]
    return model.vqvae.decode(codes[:, :tokens].clamp(max=config.motion_config.codebook_size - 1))


def _plain_logits(transformer: MaskedMotionTransformer, codes: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
    prefix = transformer.condition_projection(condition)
    size, heads = prefix.shape[-1], transformer.config.num_attention_heads
    tokens = transformer.token_embeddings(codes) * size**0.5
    hidden = torch.cat([prefix, tokens], 1)
    hidden = hidden + sinusoidal_positions(hidden.shape[1], size).to(hidden)
    past = torch.ones(hidden.shape[1], hidden.shape[1], dtype=torch.bool, device=hidden.device).tril()
    past[:, : prefix.shape[1]] = True
    for layer in transformer.layers.layers:
        attention = layer.self_attn
        query, key, value = (hidden @ attention.in_proj_weight.T + attention.in_proj_bias).chunk(3, -1)
        query, key, value = (part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in (query, key, value))
        scores = (query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5).masked_fill(~past, -torch.inf)
        mixed = attention.out_proj((scores.softmax(-1) @ value).transpose(1, 2).flatten(-2))
        hidden = layer.norm1(hidden + mixed)
        hidden = layer.norm2(hidden + layer.linear2(nn.functional.gelu(layer.linear1(hidden))))
    return transformer.head(hidden[:, prefix.shape[1] :])
