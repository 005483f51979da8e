r"""Train the captioner, LaMP's queries in front of a language model, which learns as a whole or by LoRA.

    lamp-hf train captioner --recipe small/captioner --data mocap.parquet \
        --lamp runs/lamp/model --language-model runs/language_model/model --output runs/captioner

`--lamp` may also be the paper's Q-Former. `--language-model` is a folder or a Hub id. The model before
training goes to OUTPUT/base, the trained one, or with LoRA its adapter, to OUTPUT/model.
"""

from pathlib import Path

import numpy as np
import torch
from peft import LoraConfig
from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig, PreTrainedTokenizerBase

from lamp_hf.distributed import this_process
from lamp_hf.models.modeling_auto_lamp import load_lamp
from lamp_hf.models.modeling_lamp_motion_captioning import LampForMotionCaptioning
from lamp_hf.models.pipeline_motion_to_text import start_tokens
from lamp_hf.models.processing_lamp import LampProcessor

from .command_line import parse_arguments
from .data import Clips, batched, draw, normalised
from .loop import Objective, save_atomically, to_device, train
from .train_lamp import encode_motions


class CaptionSource:
    """The latents of a clip and one of its captions, followed by the tokenizer's end token.

    The frozen motion encoder sees each clip once, from each frame that a crop may start at.
    """

    def __init__(self, clips: Clips, lamp: nn.Module, processor: LampProcessor, data: dict):
        motions = normalised(clips, processor.feature_extractor)
        self.latents, _ = encode_motions(lamp, None, motions, data["max_frames"])
        self.captions, self.tokenizer = clips.captions, processor.tokenizer
        self.max_text_length = data["max_text_length"]
        self.num_start_tokens = len(start_tokens(self.tokenizer))
        self.lengths = clips.lengths
        self.weights = clips.rarity_weights(data["rarity_exponent"])
        self.weights[[not latents for latents in self.latents]] = 0  # too short for a single motion token

    def item(self, index: int, rng: np.random.Generator) -> dict:
        return {"latents": draw(self.latents[index], rng), "caption": draw(self.captions[index], rng)}

    def collate(self, items: list[dict]) -> dict:
        tokens = torch.tensor([len(item["latents"]) for item in items])
        end = self.tokenizer.eos_token_id
        rows = [self.tokenizer(item["caption"])["input_ids"][: self.max_text_length] for item in items]
        rows = [torch.tensor(row if row[-1] == end else [*row, end]) for row in rows]
        labels = nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=-100)
        labels[:, : self.num_start_tokens] = -100
        return {
            "latents": nn.utils.rnn.pad_sequence([item["latents"] for item in items], batch_first=True),
            "latent_mask": torch.arange(int(tokens.max())) < tokens[:, None],
            "input_ids": nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=end),
            "attention_mask": nn.utils.rnn.pad_sequence([torch.ones_like(row) for row in rows], batch_first=True),
            "labels": labels,
        }


def build(lamp: Path, language_model: str, recipe: dict) -> tuple[LampForMotionCaptioning, LampProcessor]:
    """Build the captioner before adaptation, and its processor."""
    language = AutoModelForCausalLM.from_pretrained(language_model, dtype=recipe["language_model_dtype"])
    torch.manual_seed(recipe["seed"])
    model = LampForMotionCaptioning.from_parts(load_lamp(lamp, motion_only=True), language, **recipe["model"])
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
    items = [
        {"latents": latents[0], "caption": caption}
        for latents, captions in zip(source.latents, source.captions)
        for caption in captions
        if latents
    ]
    for rows in batched(items, 64):
        batch = source.collate(rows)
        tokens = int((batch["labels"] >= 0).sum())
        loss = model(**to_device(batch, model.device)).loss
        total, count = total + float(loss) * tokens, count + tokens
    return total / count


def main(command_line: list[str] | None = None) -> None:
    recipe, arguments = parse_arguments("captioner", __doc__, command_line, "lamp", "language-model")
    data = recipe["data"]
    clips, validation = (Clips(arguments.data, split, data) for split in ("train", "val"))
    model, processor = build(arguments.lamp, str(arguments.language_model), recipe)
    base = (arguments.output / "base").resolve()
    with this_process().main_process_first():
        if this_process().is_main_process:
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
    model.lamp.to(this_process().device)
    held_out = CaptionSource(validation, model.lamp, processor, data)

    def validate(objective: Objective) -> dict[str, float]:
        return {"loss": validation_loss(objective.model, held_out)}

    source = CaptionSource(clips, model.lamp, processor, data)
    train(Objective(model), source, recipe, arguments.output, validate, processor)


if __name__ == "__main__":
    main()
