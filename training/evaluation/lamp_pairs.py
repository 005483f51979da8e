"""Texts and motions of a split as LaMP sees them, and their scores by each part of LaMP."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedConfig

from lamp_hf.models.modeling_auto_lamp import load_lamp
from lamp_hf.models.modeling_lamp import LampModel, LampMotionFeatures, LampTextFeatures
from lamp_hf.models.processing_lamp import LampProcessor

from ..data import shortened
from ..pretrained import check_model
from ..train_dual_encoder import DualEncoderModel
from ..train_tmr import TmrModel


BATCH = 64
BASELINES = {"plain baseline": DualEncoderModel, "TMR": TmrModel}


@dataclass
class LampPairs:
    """A split's captions and clips, encoded; caption i belongs to clip i.

    Args:
        inputs (`dict`): the processor's `input_ids`, `attention_mask`, `motion_values` and `motion_attention_mask`.
        states (`torch.FloatTensor` of shape `(num_texts, text_length, text_hidden_size)`): words, by the frozen
            sentence encoder.
        mask (`torch.BoolTensor` of shape `(num_texts, text_length)`): false at padding.
        latents (`torch.FloatTensor` of shape `(num_motions, num_tokens, codebook_dim)`): of the frozen motion encoder.
        latent_mask (`torch.BoolTensor` of shape `(num_motions, num_tokens)`): false at padding.
        text ([`LampTextFeatures`]), motion ([`LampMotionFeatures`]): what LaMP makes of them.
    """

    inputs: dict
    states: torch.Tensor
    mask: torch.Tensor
    latents: torch.Tensor
    latent_mask: torch.Tensor
    text: LampTextFeatures
    motion: LampMotionFeatures

    @property
    def text_inputs(self) -> dict:
        """Inputs of the text encoder."""
        return {name: self.inputs[name] for name in ("input_ids", "attention_mask")}

    @property
    def motion_inputs(self) -> dict:
        """Inputs of the motion encoder."""
        return {name: self.inputs[name] for name in ("motion_values", "motion_attention_mask")}


def load_new_lamp(folder: Path) -> tuple[LampModel, LampProcessor]:
    """Load LaMP, and its processor, from the folder of any model that contains it.

    Raises:
        ValueError: when the folder holds the paper's Q-Former.
    """
    model = load_lamp(folder)
    if not isinstance(model, LampModel):
        raise ValueError(f"{folder} contains the paper's Q-Former; this measures LaMP")
    return model.eval(), LampProcessor.from_pretrained(folder)


@torch.no_grad()
def encode_pairs(
    model: LampModel, processor: LampProcessor, captions: list[str], motions: list[np.ndarray]
) -> LampPairs:
    """Encode captions and clips, of which the first frames count if they are longer than the model reads."""
    motions = [motion[: model.config.max_frames] for motion in motions]
    inputs = processor(text=shortened(captions, processor.tokenizer), motion=motions).to(model.device)
    rows = torch.arange(len(captions), device=model.device).split(BATCH)
    mask = inputs["attention_mask"].bool()
    states = torch.cat([model.encode_text(inputs["input_ids"][part], mask[part]) for part in rows])
    values, frames = inputs["motion_values"], inputs["motion_attention_mask"]
    encoded = [model.encode_latents(values[part], frames[part]) for part in rows]
    latents, latent_mask = (torch.cat(parts) for parts in zip(*encoded))
    return LampPairs(
        dict(inputs),
        states,
        mask,
        latents,
        latent_mask,
        text=joined([model.encode_text_parts(states[part], mask[part]) for part in rows]),
        motion=joined([model.encode_motion_parts(latents[part], latent_mask[part]) for part in rows]),
    )


def joined(parts: list):
    """Concatenate the features of batches."""
    return type(parts[0])(**{name: torch.cat([part[name] for part in parts]) for name in parts[0]})


@torch.no_grad()
def lamp_scores(model: LampModel, pairs: LampPairs) -> dict[str, torch.Tensor]:
    """Score all texts against all motions, `(num_texts, num_motions)`, by each part of LaMP.

    Returns:
        `dict`: `whole`, by the embeddings of whole texts and motions; `words`, by words and queries; `both`, their
        sum, which LaMP's own scores are; and `words, mean query`, as `words` with the mean of a motion's queries in
        place of the set.
    """
    mean = nn.functional.normalize(pairs.motion.query_embeds.mean(1, keepdim=True), dim=-1)
    alone = LampMotionFeatures(embeds=pairs.motion.embeds, query_embeds=mean)
    rows = []
    for part in torch.arange(len(pairs.mask), device=pairs.mask.device).split(BATCH):
        text = LampTextFeatures(**{name: values[part] for name, values in pairs.text.items()})
        whole, words = model.score(text, pairs.motion)
        rows.append((whole, words, whole + words, model.score(text, alone)[1]))
    names = ("whole", "words", "both", "words, mean query")
    return {name: torch.cat(parts).float() for name, parts in zip(names, zip(*rows))}


@torch.no_grad()
def baseline_scores(folders: list[Path], pairs: LampPairs) -> dict[str, torch.Tensor]:
    """Score all texts against all motions, `(num_texts, num_motions)`, by models on the same frozen encoders.

    Returns:
        `dict`: the scores of each model, by its name in [`BASELINES`].

    Raises:
        ValueError: when a model is none of these, two are the same one, or one was trained on encoders of other sizes.
    """
    names = {cls.config_class.model_type: name for name, cls in BASELINES.items()}
    scores = {}
    for folder in folders:
        check_model(folder, "--baseline", tuple(names))
        name = names[PreTrainedConfig.get_config_dict(folder)[0]["model_type"]]
        if name in scores:
            raise ValueError(f"--baseline {folder}: the {name} is compared already, by another folder")
        model = BASELINES[name].from_pretrained(folder).to(pairs.states.device).eval()
        sizes = model.config.latent_size, model.config.sentence_size
        if sizes != (pairs.latents.shape[-1], pairs.states.shape[-1]):
            raise ValueError(f"--baseline {folder} was trained on the frozen encoders of another LaMP")
        texts = in_batches(model.embed_texts, pairs.states, pairs.mask)
        motions = in_batches(model.embed_motions, pairs.latents, pairs.latent_mask)
        scores[name] = model.score(texts, motions)
    return scores


def in_batches(embed: Callable, values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Embed sequences, batch by batch."""
    return torch.cat([embed(*part) for part in zip(values.split(BATCH), mask.split(BATCH))])
