r"""Stage 4: the captioner, LaMP's queries before a language model that LoRA adapts.

    python -m training.train_captioner --recipe training/recipes/small/captioner.yaml --data mocap.parquet \
        --lamp runs/lamp/model --language-model runs/language_model/model --output runs/captioner

`--language-model` is a folder or a Hub id. The unadapted whole goes to OUTPUT/base, the adapter to OUTPUT/model.
"""

from pathlib import Path

import numpy as np
import torch
from accelerate import PartialState
from peft import LoraConfig
from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig, PreTrainedTokenizerBase

from lamp_hf.models.modeling_lamp import LampMotionModel
from lamp_hf.models.modeling_lamp_motion_captioning import LampForMotionCaptioning
from lamp_hf.models.pipeline_motion_to_text import start_tokens
from lamp_hf.models.processing_lamp import LampProcessor

from .data import Clips, normalised, pad_motions
from .loop import parse_arguments, save_atomically, train


class CaptionSource:
    """A clip and one of its captions, ended by the tokenizer's end token."""

    def __init__(self, clips: Clips, processor: LampProcessor, data: dict):
        self.motions = normalised(clips, processor.feature_extractor)
        self.captions, self.tokenizer = clips.captions, processor.tokenizer
        self.max_frames, self.max_text_length = data["max_frames"], data["max_text_length"]
        self.num_start_tokens = len(start_tokens(self.tokenizer))
        self.lengths = clips.lengths
        self.weights = clips.rarity_weights(data["rarity_exponent"])
        self.weights[self.lengths < 4] = 0  # too short for a single motion token

    def item(self, index: int, rng: np.random.Generator) -> dict:
        start = rng.integers(min(4, len(self.motions[index]) - 3))
        caption = self.captions[index][rng.integers(len(self.captions[index]))]
        return {"motion": self.motions[index][start : start + self.max_frames], "caption": caption}

    def collate(self, items: list[dict]) -> dict:
        motion, mask = pad_motions([item["motion"] for item in items])
        end = self.tokenizer.eos_token_id
        rows = [self.tokenizer(item["caption"])["input_ids"][: self.max_text_length] for item in items]
        rows = [torch.tensor(row if row[-1] == end else [*row, end]) for row in rows]
        labels = nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=-100)
        labels[:, : self.num_start_tokens] = -100
        return {
            "motion_values": motion,
            "motion_attention_mask": mask,
            "input_ids": nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=end),
            "attention_mask": nn.utils.rnn.pad_sequence([torch.ones_like(row) for row in rows], batch_first=True),
            "labels": labels,
        }


class CaptionObjective(nn.Module):
    def __init__(self, model: LampForMotionCaptioning):
        super().__init__()
        self.model = model

    def forward(self, **batch):
        return self.model(**batch).loss, {}


def build(lamp: Path, language_model: str, recipe: dict) -> tuple[LampForMotionCaptioning, LampProcessor]:
    """The captioner before it is adapted, and its processor."""
    language = AutoModelForCausalLM.from_pretrained(language_model, dtype=recipe["language_model_dtype"])
    torch.manual_seed(recipe["seed"])
    model = LampForMotionCaptioning.from_parts(LampMotionModel.from_pretrained(lamp), language, **recipe["model"])
    extractor = LampProcessor.from_pretrained(lamp).feature_extractor
    return model, LampProcessor(extractor, text_tokenizer(language_model, language.config.vocab_size))


def text_tokenizer(language_model: str, vocab_size: int) -> PreTrainedTokenizerBase:
    tokenizer = AutoTokenizer.from_pretrained(language_model)
    if tokenizer.eos_token_id is None or len(tokenizer) > vocab_size:
        raise ValueError(f"{language_model}: its tokenizer has no end token, or more tokens than the model")
    return tokenizer


@torch.no_grad()
def validation_loss(model: LampForMotionCaptioning, source: CaptionSource) -> float:
    """Mean cross-entropy a token over all captions of all clips."""
    total, count = 0.0, 0
    pairs = [(motion, caption) for motion, captions in zip(source.motions, source.captions) for caption in captions]
    pairs = [pair for pair in pairs if len(pair[0]) >= 4]
    for first in range(0, len(pairs), 64):
        rows = pairs[first : first + 64]
        batch = source.collate([{"motion": motion[: source.max_frames], "caption": text} for motion, text in rows])
        tokens = int((batch["labels"] >= 0).sum())
        batch = {name: value.to(model.device) for name, value in batch.items()}
        total, count = total + float(model(**batch).loss) * tokens, count + tokens
    return total / count


def main() -> None:
    recipe, arguments = parse_arguments(__doc__, "lamp", "language-model")
    data = recipe["data"]
    clips, validation = (Clips(arguments.data, split, data) for split in ("train", "val"))
    model, processor = build(arguments.lamp, str(arguments.language_model), recipe)
    base = (arguments.output / "base").resolve()
    with PartialState().main_process_first():
        if PartialState().is_main_process:
            save_atomically(lambda folder: (model.save_pretrained(folder), processor.save_pretrained(folder)), base)
    if recipe["quantization"]:
        quantization = BitsAndBytesConfig(
            **recipe["quantization"], llm_int8_skip_modules=["lamp", "language_projection"]
        )
        model = LampForMotionCaptioning.from_pretrained(base, quantization_config=quantization)
    if recipe["lora"]:
        model.name_or_path = str(base)  # what the adapter says that it belongs to
        model.add_adapter(LoraConfig(**recipe["lora"], modules_to_save=recipe["trained_modules"]))
    else:
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(any(part in name for part in recipe["trained_modules"]))
    held_out = CaptionSource(validation, processor, data)

    def validate(objective: CaptionObjective) -> dict[str, float]:
        return {"loss": validation_loss(objective.model, held_out)}

    source = CaptionSource(clips, processor, data)
    train(CaptionObjective(model), source, recipe, arguments.output, validate, processor)


if __name__ == "__main__":
    main()
