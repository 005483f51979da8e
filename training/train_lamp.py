r"""Stage 2: LaMP's Q-Former with its four objectives.

    python -m training.train_lamp --recipe training/recipes/small/lamp.yaml --data mocap.parquet \
        --tokenizer runs/tokenizer/model --output runs/lamp
"""

import numpy as np
import torch
from torch import nn

from lamp_hf.data.captions import load_captions
from lamp_hf.evaluators.motion_evaluator import sentence_embeddings
from lamp_hf.metrics.retrieval import retrieval_metrics
from lamp_hf.models.configuration_lamp import LampConfig
from lamp_hf.models.feature_extraction_motion import MotionFeatureExtractor
from lamp_hf.models.modeling_lamp import similarity
from lamp_hf.models.modeling_lamp_pretraining import LampForPreTraining
from lamp_hf.models.modeling_motion_vqvae import MotionVQVAEModel
from lamp_hf.models.processing_lamp import LampProcessor

from .augmentation.paraphrase import load_paraphraser
from .data import Clips, normalised, pad_motions, tokenise
from .loop import parse_arguments, train
from .text_encoder import load_text_encoder, resolve_text_encoder


class PairSource:
    """A clip, one of its captions, in other words if there is a paraphraser, and its codes."""

    def __init__(self, clips: Clips, extractor, motion_tokenizer, text_tokenizer, data: dict, paraphrase=None):
        self.motions = normalised(clips, extractor)
        self.codes = tokenise(self.motions, motion_tokenizer, data["max_frames"])
        self.max_frames, self.max_text_length = data["max_frames"], data["max_text_length"]
        self.captions = clips.captions
        self.text_tokenizer, self.paraphrase = text_tokenizer, paraphrase
        self.lengths = clips.lengths
        self.weights = clips.rarity_weights(data["rarity_exponent"])
        # Too short for a single token: nothing to learn from.
        self.weights[[not codes for codes in self.codes]] = 0
        self._captions = Captions(self.captions, data["sentence_encoder"])

    def item(self, index: int, rng: np.random.Generator) -> dict:
        start = rng.integers(len(self.codes[index]))
        caption = self.captions[index][rng.integers(len(self.captions[index]))]
        codes = self.codes[index][start][:, 0]  # of the first book
        motion = self.motions[index][start : start + self.max_frames]
        words = caption if self.paraphrase is None else self.paraphrase(caption, rng)
        return {"index": index, "caption": caption, "words": words, "codes": codes, "motion": motion}

    def collate(self, items: list[dict]) -> dict:
        motion, mask = pad_motions([item["motion"] for item in items])
        codes = nn.utils.rnn.pad_sequence([item["codes"] for item in items], batch_first=True)
        codes = nn.functional.pad(codes, (0, motion.shape[1] // 4 - codes.shape[1]))
        words = [item["words"] for item in items]
        text = self.text_tokenizer(
            words, padding=True, truncation=True, max_length=self.max_text_length, return_tensors="pt"
        )
        return {
            "input_ids": text["input_ids"],
            "attention_mask": text["attention_mask"],
            "motion_values": motion,
            "motion_attention_mask": mask,
            "motion_codes": codes,
            "clip_ids": torch.tensor([item["index"] for item in items]),
            **self._captions([item["caption"] for item in items]),
        }


class Captions:
    """Which captions are the same, and how alike they are to a frozen sentence encoder, if one is named."""

    def __init__(self, captions: list[list[str]], sentence_encoder: str | None):
        self._ids = {text: i for i, text in enumerate(dict.fromkeys(text for texts in captions for text in texts))}
        self._embeddings = None
        if sentence_encoder:
            self._embeddings = sentence_embeddings(list(self._ids), resolve_text_encoder(sentence_encoder))

    def __call__(self, captions: list[str]) -> dict[str, torch.Tensor]:
        """`caption_ids` and `sentence_embeds` of a batch."""
        rows = torch.tensor([self._ids[caption] for caption in captions])
        alike = {} if self._embeddings is None else {"sentence_embeds": self._embeddings[rows]}
        return {"caption_ids": rows} | alike


class LampObjective(nn.Module):
    def __init__(self, model: LampForPreTraining):
        super().__init__()
        self.model = model

    def forward(self, **batch):
        output = self.model(**batch)
        names = ("contrastive", "matching", "text_generation", "motion_generation")
        return output.loss, {name: output[f"{name}_loss"].detach() for name in names}


@torch.no_grad()
def validate(model: LampForPreTraining, source: PairSource) -> dict[str, float]:
    """Text-to-motion recall over the whole split, first captions, best query; and the mean of each loss."""
    rng = np.random.default_rng(0)
    order = [i for i in np.argsort(source.lengths, kind="stable") if source.codes[i]]
    text, motion, losses = [], [], []
    for first in range(0, len(order), 64):
        items = [source.item(index, rng) for index in order[first : first + 64]]
        first_captions = [source.captions[item["index"]][0] for item in items]
        items = [item | {"caption": text, "words": text} for item, text in zip(items, first_captions)]
        batch = {name: value.to(model.device) for name, value in source.collate(items).items()}
        output = model(**batch)
        text.append(output.text_embeds)
        motion.append(output.motion_embeds)
        losses.append(
            torch.stack([output.contrastive_loss, output.text_generation_loss, output.motion_generation_loss])
        )
    names = ("contrastive_loss", "text_generation_loss", "motion_generation_loss")
    return recalls(torch.cat(text), torch.cat(motion)) | dict(zip(names, torch.stack(losses).mean(0).tolist()))


def recalls(text: torch.Tensor, motion: torch.Tensor) -> dict[str, float]:
    """Text-to-motion recall of a split's pairs, by the best query."""
    metrics = retrieval_metrics(similarity(text, motion).float().cpu().numpy(), bootstrap=0)["all"]["text_to_motion"]
    return {f"text_to_motion_{name}": metrics[name] for name in ("R@1", "R@10")}


def build(recipe: dict, captions: list[str], motion_tokenizer: MotionVQVAEModel) -> tuple[LampForPreTraining, object]:
    """A model that starts from the recipe's text encoder and the tokenizer's motion encoder; its text tokenizer."""
    data = recipe["data"]
    bert, text_tokenizer, kept = load_text_encoder(
        recipe["text_encoder"], data["vocabulary_size"], captions, data["max_text_length"]
    )
    size = bert.config
    torch.manual_seed(recipe["seed"])
    config = LampConfig(
        motion_config=motion_tokenizer.config.to_dict(),
        vocab_size=len(text_tokenizer),
        hidden_size=size.hidden_size,
        num_hidden_layers=size.num_hidden_layers,
        num_attention_heads=size.num_attention_heads,
        intermediate_size=size.intermediate_size,
        max_position_embeddings=data["max_text_length"],
        layer_norm_eps=size.layer_norm_eps,
        num_query_tokens=data["max_frames"] // motion_tokenizer.config.downsampling_factor,
        pad_token_id=text_tokenizer.pad_token_id,
        decoder_start_token_id=text_tokenizer.bos_token_id,
        **recipe["model"],
    )
    model = LampForPreTraining(config)
    model.lamp.load_text_encoder(bert, kept)
    model.lamp.motion_encoder.load_state_dict(motion_tokenizer.encoder.state_dict())
    return model, text_tokenizer


def main() -> None:
    recipe, arguments = parse_arguments(__doc__, "tokenizer")
    data = recipe["data"]
    motion_tokenizer = MotionVQVAEModel.from_pretrained(arguments.tokenizer)
    extractor = MotionFeatureExtractor.from_pretrained(arguments.tokenizer)
    clips = Clips(arguments.data, "train", data)
    captions = [caption for captions in clips.captions for caption in captions]
    paraphrase = load_paraphraser(data)
    if paraphrase:
        captions += [text for texts in paraphrase.synonyms.values() for text in texts]
    if data["vocabulary_captions"]:
        captions += load_captions(data["vocabulary_captions"])
    model, text_tokenizer = build(recipe, captions, motion_tokenizer)
    source = PairSource(clips, extractor, motion_tokenizer, text_tokenizer, data, paraphrase)
    validation = PairSource(Clips(arguments.data, "val", data), extractor, motion_tokenizer, text_tokenizer, data)

    train(
        LampObjective(model),
        source,
        recipe,
        arguments.output,
        evaluate=lambda objective: validate(objective.model, validation),
        processor=LampProcessor(extractor, text_tokenizer),
    )


if __name__ == "__main__":
    main()
