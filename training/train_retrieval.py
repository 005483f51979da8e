r"""Stage 2b: train the parts of LaMP that only retrieval uses, with everything else frozen.

    lamp-hf train retrieval --recipe small/retrieval --data mocap.parquet \
        --lamp runs/lamp/model --output runs/retrieval

The heads of the shared space, the motion summary, the temperature and the matching head are trained. The text
transformer, the queries and the motion encoder are frozen, so their outputs are computed once. A generator or a
captioner built on LaMP reads none of the trained parts: `--lamp` may be its folder, and its outputs do not change.
"""

from pathlib import Path

import numpy as np
import torch
from torch import nn
from transformers import AutoConfig, PreTrainedModel

import lamp_hf
from lamp_hf.evaluators.sentence_embeddings import sentence_embeddings
from lamp_hf.models.modeling_lamp_qformer import LampQFormerModel, new_summary
from lamp_hf.models.modeling_lamp_qformer_pretraining import qformer_contrastive_loss, qformer_matching_loss
from lamp_hf.models.processing_lamp import LampProcessor

from .augmentation.paraphrase import load_paraphraser, wordings
from .command_line import parse_arguments
from .data import CaptionSimilarity, Clips, batched, by_length, draw, normalised, pad_motions
from .loop import Objective, train
from .progress import progress
from .text_encoder import resolve_text_encoder
from .train_lamp import recalls


TRAINED = ("text_head", "motion_head", "motion_summary", "matching_head", "logit_scale")


class FrozenSource:
    """Outputs of the frozen parts of LaMP for clips and for their captions and paraphrases."""

    def __init__(self, clips: Clips, lamp: LampQFormerModel, processor: LampProcessor, data: dict, paraphrase=None):
        self.lengths, self.captions = clips.lengths, clips.captions
        self.weights = clips.rarity_weights(data["rarity_exponent"])
        self.wordings = wordings(clips.captions, paraphrase, data["paraphrases"])
        texts = {text for captions in self.wordings for _, words in captions for text in words}
        if data["plain_text_encoder"]:
            self.texts = plain_texts(sorted(texts), data["plain_text_encoder"])
        else:
            self.texts = encode_texts(lamp, processor, sorted(texts, key=len))
        frames = lamp.config.num_query_tokens * lamp.config.motion_config.downsampling_factor
        motions = [motion[:frames] for motion in normalised(clips, processor.feature_extractor)]
        self.motions = encode_motions(lamp, motions)
        self._similarity = CaptionSimilarity(clips.captions, data["sentence_encoder"])
        self._tokenizer = processor.tokenizer

    def item(self, index: int, rng: np.random.Generator) -> dict:
        caption, options = draw(self.wordings[index], rng)
        return {"index": index, "caption": caption, "words": draw(options, rng)}

    def first(self, index: int) -> dict:
        """Return the item of a clip with its first caption, unchanged."""
        caption = self.captions[index][0]
        return {"index": index, "caption": caption, "words": caption}

    def collate(self, items: list[dict]) -> dict:
        queries, latents = zip(*(self.motions[item["index"]] for item in items))
        latents, mask = pad_motions(list(latents), multiple=1)
        words = [item["words"] for item in items]
        text = self._tokenizer(words, padding=True, truncation=True, return_tensors="pt")
        return {
            "input_ids": text["input_ids"],
            "attention_mask": text["attention_mask"],
            "pooled_text": torch.stack([self.texts[text] for text in words]),
            "queries": torch.stack(queries).float(),
            "latents": latents,
            "motion_mask": mask,
            "clip_ids": torch.tensor([item["index"] for item in items]),
            **self._similarity([item["caption"] for item in items]),
        }


@torch.no_grad()
def encode_texts(lamp: LampQFormerModel, processor: LampProcessor, texts: list[str]) -> dict[str, torch.Tensor]:
    """Return the pooled hidden states `(hidden_size,)` of each text."""
    pooled: dict[str, torch.Tensor] = {}
    for rows in progress(list(batched(texts, 256)), "encoding texts"):
        batch = processor.tokenizer(rows, padding=True, truncation=True, return_tensors="pt")
        ids, mask = (batch[name].to(lamp.device) for name in ("input_ids", "attention_mask"))
        pooled |= dict(zip(rows, lamp.pool_text(lamp.encode_text(ids, mask), mask.bool()).cpu()))
    return pooled


def plain_texts(texts: list[str], encoder: str) -> dict[str, torch.Tensor]:
    """Return the embedding of each text by a sentence encoder that was never trained on motion."""
    return dict(zip(texts, sentence_embeddings(texts, resolve_text_encoder(encoder))))


@torch.no_grad()
def encode_motions(lamp: LampQFormerModel, motions: list[torch.Tensor]) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Return each clip's queries `(num_query_tokens, hidden_size)`, in half precision, and its latents."""
    result: dict[int, tuple] = {}
    for rows in progress(list(batched(by_length(motions), 64)), "encoding motions"):
        values, mask = (values.to(lamp.device) for values in pad_motions([motions[i] for i in rows]))
        latents, mask = lamp.encode_latents(values, mask)
        queries, _ = lamp.attend(lamp.project_latents(latents), mask)
        for row, clip_queries, clip_latents, count in zip(rows, queries.half().cpu(), latents.cpu(), mask.sum(1)):
            result[row] = clip_queries, clip_latents[:count].clone()
    return [result[i] for i in range(len(motions))]


class RetrievalObjective(Objective):
    """The contrastive and the matching loss of a model that contains LaMP.

    Args:
        model ([`PreTrainedModel`]): LaMP, or a model with LaMP as its `lamp`.
        use_queries (`bool`): off for the baseline, which embeds motions by the summary alone.
    """

    def __init__(self, model: PreTrainedModel, use_queries: bool = True):
        super().__init__(model)
        self.use_queries = use_queries
        self.lamp = model if isinstance(model, LampQFormerModel) else model.lamp

    def embed(self, pooled_text, queries, latents, motion_mask) -> tuple[torch.Tensor, torch.Tensor]:
        """Return unit-norm embeddings of texts, `(B, P)`, and of motions, `(B, num_queries or 1, P)`."""
        text = self.lamp.embed_pooled_text(pooled_text)
        if self.use_queries:
            return text, self.lamp.embed_queries(queries, latents, motion_mask)
        return text, nn.functional.normalize(self.lamp.motion_summary(latents, motion_mask), dim=-1)[:, None]

    def forward(
        self, input_ids, attention_mask, pooled_text, queries, latents, motion_mask, clip_ids, caption_ids,
        sentence_embeds=None,
    ):  # fmt: skip
        lamp, ids = self.lamp, [clip_ids, caption_ids]
        text, motion = self.embed(pooled_text, queries, latents, motion_mask)
        losses = {"contrastive": qformer_contrastive_loss(lamp, text, motion, ids, sentence_embeds)}
        if lamp.config.matching_weight:
            projected = lamp.project_latents(latents)
            loss = qformer_matching_loss(
                lamp, input_ids, attention_mask.bool(), projected, motion_mask, text, motion, ids, sentence_embeds
            )
            losses["matching"] = lamp.config.matching_weight * loss
        return sum(losses.values()), {name: loss.detach() for name, loss in losses.items()}

    def train(self, mode: bool = True):
        """Set the mode of the trained parts; frozen parts stay in evaluation mode, as when they were computed."""
        super().train(False)
        for part in trained_parts(self.lamp):
            if isinstance(part, nn.Module):
                part.train(mode)
        return self


@torch.no_grad()
def validate(objective: RetrievalObjective, source: FrozenSource) -> dict[str, float]:
    """Return text-to-motion recall of first captions over the whole split."""
    device = objective.model.device
    parts = []
    for rows in batched(range(len(source.lengths)), 64):
        batch = source.collate([source.first(row) for row in rows])
        inputs = (batch[name].to(device) for name in ("pooled_text", "queries", "latents", "motion_mask"))
        parts.append(objective.embed(*inputs))
    text, motion = (torch.cat(part) for part in zip(*parts))
    return recalls(text, motion)


def load(folder: Path, changes: dict, seed: int) -> PreTrainedModel:
    """Load a model that contains LaMP, change LaMP's configuration, add a new motion summary and freeze the rest."""
    architecture = AutoConfig.from_pretrained(folder).architectures[0]
    model = getattr(lamp_hf, architecture).from_pretrained(folder)
    lamp = model if isinstance(model, LampQFormerModel) else model.lamp
    config = getattr(model.config, "lamp_config", model.config)
    for name, value in changes.items():
        setattr(config, name, value)
        setattr(lamp.config, name, value)
    torch.manual_seed(seed)
    lamp.motion_summary = new_summary(lamp.config)
    model.requires_grad_(False)
    for part in trained_parts(lamp):
        part.requires_grad_(True)
    return model


def trained_parts(lamp: LampQFormerModel) -> list[nn.Module | nn.Parameter]:
    """Return the parts of LaMP that this stage trains."""
    return [part for name in TRAINED if (part := getattr(lamp, name)) is not None]


def main(command_line: list[str] | None = None) -> None:
    recipe, arguments = parse_arguments("retrieval", __doc__, command_line, "lamp")
    data = recipe["data"]
    model = load(arguments.lamp, recipe["model"], recipe["seed"])
    objective = RetrievalObjective(model, use_queries=not data["plain_text_encoder"]).eval()
    processor = LampProcessor.from_pretrained(arguments.lamp)
    source, validation = (
        FrozenSource(Clips(arguments.data, split, data), objective.lamp, processor, data, paraphrase)
        for split, paraphrase in (("train", load_paraphraser(data)), ("val", None))
    )

    train(
        objective,
        source,
        recipe,
        arguments.output,
        evaluate=lambda objective: validate(objective, validation),
        processor=LampProcessor.from_pretrained(arguments.lamp),  # the one above was set to truncate
    )


if __name__ == "__main__":
    main()
