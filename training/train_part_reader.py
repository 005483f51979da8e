r"""Between two runs of stage 3: a reader of the two things that a sentence names, put into a trained generator.

    python -m training.train_part_reader --recipe training/recipes/small/part_reader.yaml --data mocap.parquet \
        --generator runs/text_to_motion/model --output runs/part_reader

What comes out is not yet to be used: the generator has to learn what the reader tells, by
`training.train_text_to_motion` with `start=runs/part_reader/model` and the same `model.part_reader_size`.
"""

from pathlib import Path

import numpy as np
import torch
from torch import nn

from lamp_hf.models.configuration_lamp_text_to_motion import LampTextToMotionConfig
from lamp_hf.models.modeling_lamp_text_to_motion import LampForTextToMotion
from lamp_hf.models.modeling_motion_vqvae import masked_mean
from lamp_hf.models.part_reader import AT_ONCE, IN_TURN, ONE_THING
from lamp_hf.models.processing_lamp import LampProcessor

from .composition import IN_SPACE, IN_TIME, Composer, plain, say
from .data import Clips
from .loop import parse_arguments, train
from .paraphrase import load_paraphraser
from .train_text_to_motion import encode_texts


class SentenceSource:
    """Sentences made of the captions of two clips, and the conditions of these captions; no motion is composed."""

    def __init__(self, clips: Clips, model: LampForTextToMotion, processor: LampProcessor, data: dict):
        self.processor, self.data, self.paraphrase = processor, data, load_paraphraser(data)
        self.weights = clips.rarity_weights(data["rarity_exponent"])
        self.weights[[not any(map(plain, captions)) for captions in clips.captions]] = 0
        if not self.weights.any():
            raise ValueError(
                "no caption starts with its subject and is free of quantities: there is nothing to compose"
            )
        self.composer = Composer(clips.motions, clips.captions, self.weights, data["max_frames"])
        self.captions, self.lengths = clips.captions, clips.lengths
        texts = sorted({text for captions in self.composer.captions for text in captions})
        self.rows = {text: row for row, text in enumerate(texts)}
        self.conditions = encode_texts(model, processor, texts)[:, : model.config.num_condition_vectors]

    def item(self, index: int, rng: np.random.Generator) -> dict:
        if rng.random() < self.data["single_sentences"]:
            return {"text": self.in_other_words(str(rng.choice(self.captions[index])), rng), "kind": ONE_THING}
        first, second = index, int(rng.choice(len(self.captions), p=self.composer.weights))
        kind = IN_TURN
        if rng.random() < self.data["at_once"]:
            pairs = [pair for pair in ((first, second), (second, first)) if self.composer.fits_in_space(*pair)]
            if pairs:
                kind, (first, second) = AT_ONCE, pairs[0]
        captions = [self.composer.caption(row, rng) for row in (first, second)]
        worded = [plain(self.in_other_words(caption, rng)) or caption for caption in captions]
        text = say(IN_SPACE if kind == AT_ONCE else IN_TIME, *worded, rng)
        if len(self.processor.tokenizer(text)["input_ids"]) > self.processor.tokenizer.model_max_length:
            return {"text": captions[0], "kind": ONE_THING}
        return {"text": text, "kind": kind, "parts": [self.rows[caption] for caption in captions]}

    def in_other_words(self, caption: str, rng: np.random.Generator) -> str:
        return self.paraphrase(caption, rng) if self.paraphrase else caption

    def collate(self, items: list[dict]) -> dict:
        parts = torch.tensor([item.get("parts", (0, 0)) for item in items])
        batch = self.processor(text=[item["text"] for item in items])
        return dict(batch) | {
            "kinds": torch.tensor([item["kind"] for item in items]),
            "conditions": self.conditions[parts].float(),
        }


class PartReaderObjective(nn.Module):
    """Cross-entropy of what a sentence tells of, and errors of its parts' conditions as shares of their variance."""

    def __init__(self, model: LampForTextToMotion):
        super().__init__()
        self.model = model

    def train(self, mode: bool = True):
        super().train(mode)
        self.model.part_reader.train(mode)  # which the generator keeps frozen
        return self

    def forward(self, input_ids, attention_mask, kinds, conditions):
        mask = attention_mask.bool()
        with torch.no_grad():
            hidden = self.model.lamp.encode_text(input_ids, mask)
        logits, parts = self.model.part_reader.read(hidden, mask)
        logits, errors = logits.float(), (parts.float() - conditions) / self.model.part_reader.condition_scale
        kind_loss = nn.functional.cross_entropy(logits, kinds)
        part_loss = masked_mean(errors.square().mean((1, 2, 3)), kinds != ONE_THING)
        accuracy = (logits.argmax(-1) == kinds).float().mean()
        return kind_loss + part_loss, {"kind": accuracy, "part": part_loss.detach()}


@torch.no_grad()
def validate(objective: PartReaderObjective, source: SentenceSource) -> dict[str, float]:
    """Share of sentences whose kind is told, and the error of parts, over the split."""
    rng = np.random.default_rng(0)
    rows = [row for row in np.tile(np.arange(len(source.captions)), 5) if source.weights[row]]
    logs = []
    for first in range(0, len(rows), 128):
        batch = source.collate([source.item(row, rng) for row in rows[first : first + 128]])
        _, numbers = objective(**{name: value.to(objective.model.device) for name, value in batch.items()})
        logs.append([numbers["kind"], numbers["part"]])
    kind, part = torch.tensor(logs).mean(0).tolist()
    return {"kind_accuracy": kind, "part_error": part}


def build(generator: Path, size: int) -> LampForTextToMotion:
    """A trained generator with an untrained reader, which alone is trained."""
    trained = LampForTextToMotion.from_pretrained(generator)
    if trained.part_reader is not None:
        raise ValueError(f"{generator} has a reader of parts already")
    model = LampForTextToMotion(LampTextToMotionConfig(**trained.config.to_dict() | {"part_reader_size": size}))
    model.load_state_dict(trained.state_dict(), strict=False)  # all but the reader
    model.requires_grad_(False)
    model.part_reader.requires_grad_(True)
    return model


def main() -> None:
    recipe, arguments = parse_arguments(__doc__, "generator")
    torch.manual_seed(recipe["seed"])
    model = build(arguments.generator, recipe["part_reader_size"])
    processor = LampProcessor.from_pretrained(arguments.generator)
    source, validation = (
        SentenceSource(Clips(arguments.data, split, recipe["data"]), model, processor, recipe["data"])
        for split in ("train", "val")
    )
    model.part_reader.condition_mean.copy_(source.conditions.float().mean(0))
    model.part_reader.condition_scale.copy_(source.conditions.float().std(0).clamp(min=1e-4))
    train(
        PartReaderObjective(model),
        source,
        recipe,
        arguments.output,
        evaluate=lambda objective: validate(objective, validation),
        processor=processor,
    )


if __name__ == "__main__":
    main()
