r"""Train the captioner, the Q-Former's queries in front of a language model that LoRA adapts.

    lamp-hf train captioner --recipe small/captioner --data mocap.parquet \
        --qformer runs/lamp_qformer/model --language-model runs/language_model/model --output runs/captioner

`--language-model` is a folder or a Hub id. The model before adaptation goes to OUTPUT/base, the adapter to
OUTPUT/model.
"""

from pathlib import Path

import numpy as np
import torch
from accelerate import PartialState
from peft import LoraConfig
from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig, PreTrainedTokenizerBase

from lamp_hf.models.modeling_lamp_motion_captioning import LampForMotionCaptioning
from lamp_hf.models.modeling_lamp_qformer import LampQFormerMotionModel
from lamp_hf.models.pipeline_motion_to_text import start_tokens
from lamp_hf.models.processing_lamp import LampProcessor

from .command_line import parse_arguments
from .data import Clips, batched, draw, normalised, pad_motions
from .loop import Objective, save_atomically, to_device, train


class CaptionSource:
    """A clip and one of its captions, followed by the tokenizer's end token."""

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
        caption = draw(self.captions[index], rng)
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


def build(lamp: Path, language_model: str, recipe: dict) -> tuple[LampForMotionCaptioning, LampProcessor]:
    """Build the captioner before adaptation, and its processor."""
    language = AutoModelForCausalLM.from_pretrained(language_model, dtype=recipe["language_model_dtype"])
    torch.manual_seed(recipe["seed"])
    model = LampForMotionCaptioning.from_parts(
        LampQFormerMotionModel.from_pretrained(lamp), language, **recipe["model"]
    )
    extractor = LampProcessor.from_pretrained(lamp).feature_extractor
    return model, LampProcessor(extractor, text_tokenizer(language_model, language.config.vocab_size))


def text_tokenizer(language_model: str, vocab_size: int) -> PreTrainedTokenizerBase:
    """Load the language model's tokenizer, and refuse one without an end token or with unknown tokens."""
    tokenizer = AutoTokenizer.from_pretrained(language_model)
    if tokenizer.eos_token_id is None or len(tokenizer) > vocab_size:
        raise ValueError(f"the tokenizer of {language_model} has no end token, or more tokens than the model")
    return tokenizer


@torch.no_grad()
def validation_loss(model: LampForMotionCaptioning, source: CaptionSource) -> float:
    """Return the mean cross-entropy per token over all captions of all clips."""
    total, count = 0.0, 0
    pairs = [(motion, caption) for motion, captions in zip(source.motions, source.captions) for caption in captions]
    pairs = [pair for pair in pairs if len(pair[0]) >= 4]
    for rows in batched(pairs, 64):
        batch = source.collate([{"motion": motion[: source.max_frames], "caption": text} for motion, text in rows])
        tokens = int((batch["labels"] >= 0).sum())
        loss = model(**to_device(batch, model.device)).loss
        total, count = total + float(loss) * tokens, count + tokens
    return total / count


def main(command_line: list[str] | None = None) -> None:
    recipe, arguments = parse_arguments("captioner", __doc__, command_line, "qformer", "language-model")
    data = recipe["data"]
    clips, validation = (Clips(arguments.data, split, data) for split in ("train", "val"))
    model, processor = build(arguments.qformer, str(arguments.language_model), recipe)
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
        model.name_or_path = str(base)  # the adapter names it as its base
        model.add_adapter(LoraConfig(**recipe["lora"], modules_to_save=recipe["trained_modules"]))
    else:
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(any(part in name for part in recipe["trained_modules"]))
    held_out = CaptionSource(validation, processor, data)

    def validate(objective: Objective) -> dict[str, float]:
        return {"loss": validation_loss(objective.model, held_out)}

    source = CaptionSource(clips, processor, data)
    train(Objective(model), source, recipe, arguments.output, validate, processor)


if __name__ == "__main__":
    main()
