r"""Between two runs of stage 3: train a reader of the two actions that a sentence names, inside a trained generator.

    lamp-hf train part-reader --recipe small/part_reader --data mocap.parquet \
        --generator runs/text_to_motion/model --output runs/part_reader

The result is not ready for use: the generator has to learn to follow the reader, by `training.train_text_to_motion`
with `start=runs/part_reader/model` and the same `model.part_reader_size`. If the generator has learned this already,
only its reader is trained further, and the result is ready.
"""

from pathlib import Path

import numpy as np
import torch
from torch import nn

from lamp_hf.distributed import this_process
from lamp_hf.metrics.geometry import raised
from lamp_hf.models.configuration_lamp_text_to_motion import LampTextToMotionConfig
from lamp_hf.models.modeling_lamp_text_to_motion import LampForTextToMotion
from lamp_hf.models.part_reader import AT_ONCE, IN_TURN, ONE_THING
from lamp_hf.models.processing_lamp import LampProcessor

from .augmentation.composition import IN_SPACE, IN_TIME, Composer, plain, say
from .augmentation.paraphrase import load_paraphraser
from .command_line import parse_arguments
from .data import Clips, batched, shortened
from .loop import Objective, to_device, train
from .train_text_to_motion import encode_texts


class SentenceSource:
    """Sentences made from the captions of two clips, or of one, and the conditions of these captions."""

    def __init__(self, clips: Clips, model: LampForTextToMotion, processor: LampProcessor, data: dict):
        self.processor, self.data, self.paraphrase = processor, data, load_paraphraser(data)
        self.weights = clips.rarity_weights(data["rarity_exponent"])
        self.weights[[not any(map(plain, captions)) for captions in clips.captions]] = 0
        self.composer = Composer(clips.motions, clips.captions, self.weights, data["max_frames"])
        self.captions, self.lengths = clips.captions, clips.lengths
        texts = sorted({text for captions in clips.captions + self.composer.captions for text in captions})
        self.rows = {text: row for row, text in enumerate(texts)}
        self.conditions = encode_texts(model, processor, texts)[:, : model.config.num_condition_vectors]

    def item(self, index: int, rng: np.random.Generator) -> dict:
        text, captions, kind = self.combined(index, rng)
        if rng.random() < self.data["single_sentences"] or self.is_too_long(text):
            caption = str(rng.choice(self.captions[index]))
            text, captions, kind = self.paraphrased(caption, rng), [caption] * 2, ONE_THING
        return {"text": text, "parts": [self.rows[caption] for caption in captions], "kind": kind}

    def combined(self, index: int, rng: np.random.Generator) -> tuple[str, list[str], int]:
        """Return a sentence made from the captions of a clip and another one, both captions in order, and its kind."""
        kind, pair = IN_TURN, (index, int(rng.choice(len(self.captions), p=self.composer.weights)))
        if rng.random() < self.data["simultaneous"]:
            fitting = [rows for rows in (pair, pair[::-1]) if self.composer.fits_in_space(*rows)]
            if fitting:  # where both lift a hand, the left one comes first: the words tell which is which
                kind, pair = AT_ONCE, min(fitting, key=lambda rows: raised(self.composer.facts[rows[0]]))
        captions = [self.composer.caption(row, rng) for row in pair]
        worded = [plain(self.paraphrased(caption, rng)) or caption for caption in captions]
        return say(IN_SPACE if kind == AT_ONCE else IN_TIME, *worded, rng), captions, kind

    def is_too_long(self, text: str) -> bool:
        tokenizer = self.processor.tokenizer
        return len(tokenizer(text)["input_ids"]) > tokenizer.model_max_length

    def paraphrased(self, caption: str, rng: np.random.Generator) -> str:
        return self.paraphrase(caption, rng) if self.paraphrase else caption

    def collate(self, items: list[dict]) -> dict:
        batch = self.processor(text=shortened([item["text"] for item in items], self.processor.tokenizer))
        kinds, parts = (torch.tensor([item[name] for item in items]) for name in ("kind", "parts"))
        return dict(batch) | {"kinds": kinds, "conditions": self.conditions[parts].float()}


class PartReaderObjective(Objective):
    """Cross-entropy of a sentence's kind, and errors of its parts' conditions relative to their variance."""

    def train(self, mode: bool = True):
        super().train(mode)
        self.model.part_reader.train(mode)  # the generator itself keeps it in evaluation mode
        return self

    def forward(self, input_ids, attention_mask, kinds, conditions):
        mask = attention_mask.bool()
        with torch.no_grad():
            hidden = self.model.lamp.encode_text(input_ids, mask)
        logits, parts = self.model.part_reader.read(hidden, mask)
        error = ((parts.float() - conditions) / self.model.part_reader.condition_scale).square().mean()
        accuracy = (logits.argmax(-1) == kinds).float().mean()
        return nn.functional.cross_entropy(logits.float(), kinds) + error, {"kind": accuracy, "error": error.detach()}


@torch.no_grad()
def validate(objective: PartReaderObjective, source: SentenceSource) -> dict[str, float]:
    """Return the share of sentences whose kind is recognised, and the error of parts, over five sentences a clip."""
    rng = np.random.default_rng(0)
    rows = [row for row in np.tile(np.arange(len(source.captions)), 5) if source.weights[row]]
    logs = []
    for part in batched(rows, 128):
        batch = source.collate([source.item(row, rng) for row in part])
        _, numbers = objective(**to_device(batch, objective.model.device))
        logs.append([numbers["kind"], numbers["error"]])
    kind, error = torch.tensor(logs).mean(0).tolist()
    return {"kind_accuracy": kind, "part_error": error}


def build(generator: Path, size: int) -> LampForTextToMotion:
    """Load a trained generator, add a part reader if it has none, and freeze everything else."""
    if not size:
        raise ValueError("part_reader_size is 0: there is no reader to train")
    trained = LampForTextToMotion.from_pretrained(generator)
    if trained.config.part_reader_size not in (0, size):
        raise ValueError(f"{generator} has a reader of size {trained.config.part_reader_size}, not of {size}")
    model = LampForTextToMotion(LampTextToMotionConfig(**trained.config.to_dict() | {"part_reader_size": size}))
    model.load_state_dict(trained.state_dict(), strict=False)  # a new reader has no weights there
    model.requires_grad_(False)
    model.part_reader.requires_grad_(True)
    return model


def main(command_line: list[str] | None = None) -> None:
    recipe, arguments = parse_arguments("part_reader", __doc__, command_line, "generator")
    torch.manual_seed(recipe["seed"])
    model = build(arguments.generator, recipe["part_reader_size"]).to(this_process().device)
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
