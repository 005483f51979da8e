r"""Stage 3: train the text-to-motion generator.

lamp-hf train text-to-motion --recipe small/text_to_motion --data mocap.parquet \
        --tokenizer runs/tokenizer/model --lamp runs/lamp/model --output runs/text_to_motion
"""

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn

from lamp_hf.distributed import this_process
from lamp_hf.models.configuration_lamp_text_to_motion import LampTextToMotionConfig
from lamp_hf.models.feature_extraction_motion import MotionFeatureExtractor
from lamp_hf.models.modeling_auto_lamp import load_lamp
from lamp_hf.models.modeling_lamp_text_to_motion import LampForTextToMotion
from lamp_hf.models.modeling_motion_vqvae import MotionVQVAEModel
from lamp_hf.models.processing_lamp import LampProcessor
from lamp_hf.models.scheduling_masked_motion import MaskedMotionScheduler

from .augmentation.descriptions import load_descriptions
from .augmentation.paraphrase import load_paraphraser
from .command_line import parse_arguments
from .data import Clips, batched, by_length, draw, in_one_block, normalised, shortened, tokenise
from .loop import Objective, to_device, train
from .progress import progress
from .texts import TextTable


_CONTINUED = ("transformer.", "residual_transformer.", "length_predictor.")


class CodeSource:
    """A clip's codes, masked and corrupted at random, and the condition of one of its captions.

    As in generation, some codes that the model reads are wrong: a share of the visible tokens, drawn for each item
    between 0 and `corrupted_tokens` of `data`, and a share of the codes that the residual transformer reads, between 0
    and `corrupted_base_codes`.

    LaMP is frozen, so the conditions of all texts of a [`TextTable`] are computed once. Where a new text projection is
    trained, batches hold the captions' tokens instead.
    """

    def __init__(
        self,
        clips: Clips,
        model: LampForTextToMotion,
        processor: LampProcessor,
        data: dict,
        texts: TextTable | None = None,
    ):
        self.model, self.processor = model, processor
        motions = normalised(clips, processor.feature_extractor)
        self.codes = tokenise(motions, model.vqvae, data["max_frames"])
        self.num_codes = model.transformer.mask_token_id
        self.scheduler = MaskedMotionScheduler(mask_token_id=self.num_codes)
        self.texts = texts or TextTable(clips)
        self.description_probability = data.get("description_probability", 0.0)
        self.conditions = (
            None
            if model.config.released_quirks.new_text_projection
            else encode_texts(model, processor, self.texts.texts)
        )
        self.corrupted_tokens = data.get("corrupted_tokens", 0.0)
        self.corrupted_base_codes = data.get("corrupted_base_codes", 0.0)
        self.natural_length, self.lengths = clips.natural_length, clips.lengths
        self.weights = clips.rarity_weights(data["rarity_exponent"], data.get("composed_share"))
        self.weights[[not codes for codes in self.codes]] = 0

    def item(self, index: int, rng: np.random.Generator) -> dict:
        codes = draw(self.codes[index], rng)
        caption = self.texts.draw(index, rng, self.description_probability)
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        corrupted, labels = self.scheduler.add_noise(codes[:, 0], generator)
        visible = corrupted != self.scheduler.config.mask_token_id
        corrupted = with_other_codes(corrupted, visible, self.corrupted_tokens, self.num_codes, rng)
        drop = rng.random() < self.model.config.condition_dropout
        level = int(rng.integers(1, max(codes.shape[1], 2)))
        below = (torch.arange(codes.shape[1]) < level).expand(codes.shape)
        read = with_other_codes(codes, below, self.corrupted_base_codes, self.num_codes, rng)
        return {
            "caption": caption,
            "all": read,
            "codes": corrupted,
            "labels": labels,
            "drop": drop,
            "level": level,
            "natural": self.natural_length[index],
        }

    def collate(self, items: list[dict]) -> dict:
        codes = nn.utils.rnn.pad_sequence([item["codes"] for item in items], batch_first=True)
        labels = nn.utils.rnn.pad_sequence([item["labels"] for item in items], batch_first=True, padding_value=-100)
        lengths = torch.tensor([len(item["codes"]) for item in items])
        batch = {
            "codes": codes,
            "labels": labels,
            "token_mask": torch.arange(codes.shape[1]) < lengths[:, None],
            "drop_condition": torch.tensor([item["drop"] for item in items]),
            "length_mask": torch.tensor([item["natural"] for item in items]),
        }
        if self.model.residual_transformer is not None:
            batch["all_codes"] = nn.utils.rnn.pad_sequence([item["all"] for item in items], batch_first=True)
            batch["levels"] = torch.tensor([item["level"] for item in items])
        rows = [item["caption"] for item in items]
        if self.conditions is None:
            texts = shortened([self.texts.texts[row] for row in rows], self.processor.tokenizer)
            return batch | dict(self.processor(text=texts))
        conditions = [self.conditions[row] for row in rows]
        return batch | {"condition": nn.utils.rnn.pad_sequence(conditions, batch_first=True).float()}


def with_other_codes(
    codes: torch.Tensor, places: torch.Tensor, greatest: float, num_codes: int, rng: np.random.Generator
) -> torch.Tensor:
    """Return codes with others in a share of some places that is drawn between 0 and `greatest`.

    Args:
        codes (`torch.LongTensor`): indices of any shape.
        places (`torch.BoolTensor` of the same shape): where codes may be replaced.
        greatest (`float`): greatest share of these places; with 0 nothing is drawn.
        num_codes (`int`): size of a codebook.
        rng (`np.random.Generator`): draws the share, the places and the codes.
    """
    if not greatest:
        return codes
    rows = places.flatten().nonzero()[:, 0].numpy()
    chosen = rng.permutation(rows)[: round(rng.uniform(0, greatest) * len(rows))]
    result = codes.clone().flatten()
    result[chosen] = (result[chosen] + torch.from_numpy(rng.integers(1, num_codes, len(chosen)))) % num_codes
    return result.view(codes.shape)


@torch.no_grad()
def encode_texts(model: LampForTextToMotion, processor: LampProcessor, texts: list[str]) -> list[torch.Tensor]:
    """Return the condition of each text, `(num_vectors, condition_size)` in half precision, without padding."""
    model.eval()
    texts = shortened(texts, processor.tokenizer)
    order = by_length(texts)
    conditions: list[torch.Tensor] = [torch.empty(0)] * len(texts)
    for rows in progress(list(batched(order, 128)), "encoding texts"):
        inputs = processor(text=[texts[i] for i in rows]).to(model.device)
        with torch.autocast(model.device.type, torch.bfloat16):
            encoded = model.encode_text(**inputs).half().cpu()
        for i, condition in zip(rows, encoded):
            conditions[i] = condition[(condition != 0).any(-1)].clone()
    return in_one_block(conditions)


class TextToMotionObjective(Objective):
    """The model's sum of losses; logs those of tokens, length and, where there are any, residual codes."""

    def forward(self, **batch):
        output = self.model(**batch)
        losses = {"tokens": output.token_loss, "length": output.length_loss, "residual": output.residual_loss}
        return output.loss, {name: loss.detach() for name, loss in losses.items() if loss is not None}


@torch.no_grad()
def validate(model: LampForTextToMotion, source: CodeSource) -> dict[str, float]:
    """Return the mean losses over five passes through the split, with the same masks at every call."""
    rng = np.random.default_rng(0)
    order = np.tile([i for i in np.argsort(source.lengths, kind="stable") if source.codes[i]], 5)
    losses = []
    for rows in batched(order, 64):
        batch = source.collate([source.item(i, rng) | {"drop": False} for i in rows])
        output = model(**to_device(batch, model.device))
        losses.append([output.token_loss, output.length_loss, output.residual_loss or 0])
    tokens, length, residual = torch.tensor(losses).mean(0).tolist()
    return {"token_loss": tokens, "length_loss": length} | ({"residual_loss": residual} if residual else {})


def build(recipe: dict, tokenizer_folder: Path, lamp_folder: Path) -> tuple[LampForTextToMotion, LampProcessor]:
    """Build the generator around a trained tokenizer and a trained LaMP.

    Raises:
        ValueError: if the two normalise motions differently, or the recipe's `start` does not fit them.
    """
    vqvae = MotionVQVAEModel.from_pretrained(tokenizer_folder)
    pretrained = load_lamp(lamp_folder)
    processor = LampProcessor.from_pretrained(lamp_folder)
    expected = MotionFeatureExtractor.from_pretrained(tokenizer_folder).to_dict()
    for name in ("skeleton", "sampling_rate", "mean", "std"):
        if expected[name] != processor.feature_extractor.to_dict()[name]:
            raise ValueError(f"{tokenizer_folder} and {lamp_folder} expect motions of different {name}")
    torch.manual_seed(recipe["seed"])
    same = torch.equal(vqvae.encoder.conv_in.weight, pretrained.motion_encoder.conv_in.weight)
    config = LampTextToMotionConfig(
        lamp_config=pretrained.config.to_dict(),
        tokenizer_config=None if same else vqvae.config.to_dict(),
        **recipe["model"],
    )
    model = LampForTextToMotion(config)
    load_start(model, recipe["start"], vqvae)
    model.lamp.load_state_dict(pretrained.state_dict())
    model.vqvae.load_state_dict(vqvae.state_dict())
    return model, processor


def load_start(model: LampForTextToMotion, start: str | None, vqvae: MotionVQVAEModel) -> None:
    """Take what fits from the generator in `start`: weights of its transformers of the same name and shape.

    The condition may be another one, whose weights then start anew.

    Raises:
        ValueError: if `start` generates the codes of another tokenizer, or nothing fits.
    """
    if not start:
        return
    saved: dict[str, torch.Tensor] = {}
    for file in sorted(Path(start).glob("*.safetensors")):
        saved |= load_file(file)
    if not same_codes(saved["vqvae.quantizer.codebook"].float(), vqvae):
        raise ValueError(f"--tokenizer is neither the one whose codes {start} generates nor continued from it")
    own = {name: tensor for name, tensor in model.state_dict().items() if name.startswith(_CONTINUED)}
    fitting = {
        name: saved[name] for name, tensor in own.items() if name in saved and saved[name].shape == tensor.shape
    }
    if not fitting:
        raise ValueError(f"no weight of the transformers in {start} has the size that the recipe asks for")
    model.load_state_dict(fitting, strict=False)
    print(f"{len(fitting)} of {len(own)} tensors of the transformers continue those of {start}")


def same_codes(codebook: torch.Tensor, vqvae: MotionVQVAEModel) -> bool:
    """Return True if most codes of a tokenizer are nearest to the code of the same index in a codebook."""
    nearest = vqvae.quantizer.nearest(codebook)
    return bool((nearest == torch.arange(len(nearest), device=nearest.device)).float().mean() > 0.5)


def main(command_line: list[str] | None = None) -> None:
    recipe, arguments = parse_arguments("text_to_motion", __doc__, command_line, "tokenizer", "lamp")
    data = recipe["data"]
    model, processor = build(recipe, arguments.tokenizer, arguments.lamp)
    model.to(this_process().device)  # clips and captions are encoded there too
    clips = Clips(arguments.data, "train", data)
    clips.lengthen(data["lengthened"], recipe["seed"], data["max_frames"])
    clips.compose(data["composed"], recipe["seed"], data["max_frames"])
    texts = TextTable(clips, load_paraphraser(data), load_descriptions(data))
    source = CodeSource(clips, model, processor, data, texts)
    uncorrupted = data | {"corrupted_tokens": 0.0, "corrupted_base_codes": 0.0}
    validation = CodeSource(Clips(arguments.data, "val", data), model, processor, uncorrupted)

    train(
        TextToMotionObjective(model),
        source,
        recipe,
        arguments.output,
        evaluate=lambda objective: validate(objective.model, validation),
        processor=processor,
    )


if __name__ == "__main__":
    main()
