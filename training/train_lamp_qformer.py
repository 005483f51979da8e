r"""Train the paper's Q-Former by its four objectives; a captioner reads its queries.

lamp-hf train lamp-qformer --recipe small/lamp_qformer --data mocap.parquet \
        --tokenizer runs/tokenizer/model --output runs/lamp_qformer
"""

import numpy as np
import torch
from torch import nn

from lamp_hf.metrics.retrieval import retrieval_metrics
from lamp_hf.models.configuration_lamp_qformer import LampQFormerConfig
from lamp_hf.models.contrastive import similarity
from lamp_hf.models.feature_extraction_motion import MotionFeatureExtractor
from lamp_hf.models.modeling_lamp_qformer_pretraining import LampQFormerForPreTraining
from lamp_hf.models.modeling_motion_vqvae import MotionVQVAEModel
from lamp_hf.models.processing_lamp import LampProcessor

from .augmentation.paraphrase import load_paraphraser
from .command_line import parse_arguments
from .data import CaptionSimilarity, Clips, batched, draw, normalised, pad_motions, tokenise
from .loop import Objective, to_device, train
from .text_encoder import load_text_encoder
from .texts import known_sentences


class PairSource:
    """A crop of a clip, its codes, and one of its captions, paraphrased if there is a paraphraser."""

    def __init__(self, clips: Clips, extractor, motion_tokenizer, text_tokenizer, data: dict, paraphrase=None):
        self.motions = normalised(clips, extractor)
        self.codes = tokenise(self.motions, motion_tokenizer, data["max_frames"])
        self.max_frames, self.max_text_length = data["max_frames"], data["max_text_length"]
        self.captions = clips.captions
        self.text_tokenizer, self.paraphrase = text_tokenizer, paraphrase
        self.lengths = clips.lengths
        self.weights = clips.rarity_weights(data["rarity_exponent"])
        self.weights[[not codes for codes in self.codes]] = 0  # too short for a single token
        self._similarity = CaptionSimilarity(self.captions, data["sentence_encoder"])

    def item(self, index: int, rng: np.random.Generator) -> dict:
        start = rng.integers(len(self.codes[index]))
        caption = draw(self.captions[index], rng)
        codes = self.codes[index][start][:, 0]  # of the first codebook
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
            **self._similarity([item["caption"] for item in items]),
        }


OBJECTIVES = ("contrastive", "matching", "text_generation", "motion_generation")


class LampObjective(Objective):
    """The model's weighted sum of losses; logs each of the four."""

    @property
    def leaves_weights_unused(self) -> bool:
        """True where a loss has weight 0: it is not computed, and its head gets no gradient."""
        return not all(getattr(self.model.config, f"{name}_weight") for name in OBJECTIVES)

    def forward(self, **batch):
        output = self.model(**batch)
        return output.loss, {name: output[f"{name}_loss"].detach() for name in OBJECTIVES}


@torch.no_grad()
def validate(model: LampQFormerForPreTraining, source: PairSource) -> dict[str, float]:
    """Return text-to-motion recall of first captions over the whole split, by the best query, and the mean losses."""
    rng = np.random.default_rng(0)
    order = [i for i in np.argsort(source.lengths, kind="stable") if source.codes[i]]
    text, motion, losses = [], [], []
    for rows in batched(order, 64):
        items = [source.item(index, rng) for index in rows]
        first_captions = [source.captions[index][0] for index in rows]
        items = [item | {"caption": caption, "words": caption} for item, caption in zip(items, first_captions)]
        output = model(**to_device(source.collate(items), model.device))
        text.append(output.text_embeds)
        motion.append(output.motion_embeds)
        losses.append(
            torch.stack([output.contrastive_loss, output.text_generation_loss, output.motion_generation_loss])
        )
    names = ("contrastive_loss", "text_generation_loss", "motion_generation_loss")
    return recalls(torch.cat(text), torch.cat(motion)) | dict(zip(names, torch.stack(losses).mean(0).tolist()))


def recalls(text: torch.Tensor, motion: torch.Tensor) -> dict[str, float]:
    """Return text-to-motion recall of a split's pairs, by the best query."""
    metrics = retrieval_metrics(similarity(text, motion).float().cpu().numpy(), bootstrap=0)["all"]["text_to_motion"]
    return {f"text_to_motion_{name}": metrics[name] for name in ("R@1", "R@10")}


def build(
    recipe: dict, captions: list[str], motion_tokenizer: MotionVQVAEModel
) -> tuple[LampQFormerForPreTraining, object]:
    """Build a model, and its text tokenizer, from the recipe's text encoder and the tokenizer's motion encoder."""
    data = recipe["data"]
    bert, text_tokenizer, kept = load_text_encoder(
        recipe["text_encoder"], data["vocabulary_size"], captions, data["max_text_length"]
    )
    size = bert.config
    torch.manual_seed(recipe["seed"])
    config = LampQFormerConfig(
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
    model = LampQFormerForPreTraining(config)
    model.lamp.load_text_encoder(bert, kept)
    model.lamp.motion_encoder.load_state_dict(motion_tokenizer.encoder.state_dict())
    return model, text_tokenizer


def main(command_line: list[str] | None = None) -> None:
    recipe, arguments = parse_arguments("lamp_qformer", __doc__, command_line, "tokenizer")
    data = recipe["data"]
    motion_tokenizer = MotionVQVAEModel.from_pretrained(arguments.tokenizer)
    extractor = MotionFeatureExtractor.from_pretrained(arguments.tokenizer)
    clips = Clips(arguments.data, "train", data)
    paraphrase = load_paraphraser(data)
    sentences = known_sentences(clips, paraphrase, file=data["vocabulary_captions"])
    model, text_tokenizer = build(recipe, sentences, motion_tokenizer)
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
