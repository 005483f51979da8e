r"""Stage 2: train LaMP by its four objectives.

lamp-hf train lamp --recipe small/lamp --data mocap.parquet \
        --tokenizer runs/tokenizer/model --output runs/lamp
"""

import numpy as np
import torch
from torch import nn

from lamp_hf.distributed import this_process
from lamp_hf.metrics.queries import query_statistics
from lamp_hf.metrics.retrieval import retrieval_metrics
from lamp_hf.models.configuration_lamp import LampConfig
from lamp_hf.models.feature_extraction_motion import MotionFeatureExtractor
from lamp_hf.models.lamp_outputs import LampMotionFeatures, LampTextFeatures
from lamp_hf.models.modeling_lamp import LampModel
from lamp_hf.models.modeling_lamp_pretraining import LampForPreTraining
from lamp_hf.models.modeling_motion_vqvae import MotionVQVAEModel
from lamp_hf.models.processing_lamp import LampProcessor

from .augmentation.descriptions import load_descriptions
from .augmentation.paraphrase import load_paraphraser
from .command_line import parse_arguments
from .data import Clips, batched, by_length, in_one_block, normalised, pad_motions, shortened
from .gradient_cache import ComparingObjective
from .loop import to_device, train
from .motions import NormalisedMotions
from .progress import progress
from .text_encoder import load_text_encoder
from .texts import TextTable, known_sentences


_STARTS = (0, 2)  # frames; latents of a clip from each, so that a crop need not begin where a token does
_ENCODED = ("text_states", "attention_mask", "latents", "latent_mask")  # of a batch
OBJECTIVES = ("contrastive", "matching", "text_generation", "motion_generation", "reconstruction", "decorrelation")


class PairSource:
    """The latents and codes of a clip, and several of its captions, as the frozen encoders see them.

    Everything is encoded once: all clips, and all texts of a [`TextTable`].
    """

    def __init__(
        self,
        clips: Clips,
        lamp: LampModel,
        tokenizer: MotionVQVAEModel | None,
        processor: LampProcessor,
        data: dict,
        texts: TextTable | None = None,
        num_captions: int = 1,
    ):
        self.processor, self.num_captions = processor, num_captions
        motions = normalised(clips, processor.feature_extractor)
        self.latents, self.codes = encode_motions(lamp, tokenizer, motions, data["max_frames"])
        self.texts = texts or TextTable(clips)
        self.captions = self.texts.captions
        self.input_ids, self.states = encode_captions(lamp, processor, self.texts.texts)
        self.lengths = clips.lengths
        self.weights = clips.rarity_weights(data["rarity_exponent"])
        self.weights[[not codes for codes in self.codes]] = 0  # too short for a single token

    def item(self, index: int, rng: np.random.Generator) -> dict:
        start = rng.integers(len(self.codes[index]))
        captions, texts = self.texts.draw_several(index, self.num_captions, rng)
        return {
            "index": index,
            "captions": captions,
            "texts": texts,
            "latents": self.latents[index][start],
            "codes": self.codes[index][start],
        }

    def collate(self, items: list[dict]) -> dict:
        texts = [text for item in items for text in item["texts"]]
        lengths = torch.tensor([len(self.input_ids[text]) for text in texts])
        tokens = torch.tensor([len(item["codes"]) for item in items])
        pad = {"batch_first": True}
        return {
            "input_ids": nn.utils.rnn.pad_sequence(
                [self.input_ids[text] for text in texts], padding_value=self.processor.tokenizer.pad_token_id, **pad
            ),
            "attention_mask": (torch.arange(int(lengths.max())) < lengths[:, None]).long(),
            "text_states": nn.utils.rnn.pad_sequence([self.states[text] for text in texts], **pad).float(),
            "latents": nn.utils.rnn.pad_sequence([item["latents"] for item in items], **pad).float(),
            "latent_mask": torch.arange(int(tokens.max())) < tokens[:, None],
            "motion_codes": nn.utils.rnn.pad_sequence([item["codes"] for item in items], **pad),
            "clip_ids": torch.tensor([item["index"] for item in items]),
            "caption_ids": torch.from_numpy(np.concatenate([item["captions"] for item in items])),
        }


@torch.no_grad()
def encode_motions(lamp: LampModel, tokenizer: MotionVQVAEModel | None, motions: NormalisedMotions, max_frames: int):
    """Encode clips from each start frame; without a tokenizer all codes are 0.

    Returns:
        For each clip and each start half-precision latents `(num_tokens, codebook_dim)`, and as many first codes.
    """
    latents: list[list[torch.Tensor]] = [[] for _ in motions]
    codes: list[list[torch.Tensor]] = [[] for _ in motions]
    factor = lamp.config.motion_config.downsampling_factor
    for start in _STARTS:
        for rows in progress(
            list(batched(motions.by_length(factor + start), 64)), f"encoding motions, offset {start}"
        ):
            values, mask = pad_motions([motions[i][start : start + max_frames] for i in rows], factor)
            batch, token_mask = lamp.encode_latents(values.to(lamp.device), mask.to(lamp.device))
            nearest = tokenizer.quantizer.nearest(batch) if tokenizer else torch.zeros_like(token_mask.long())
            for row, i in enumerate(rows):
                count = int(token_mask[row].sum())
                latents[i].append(batch[row, :count].half().cpu())
                codes[i].append(nearest[row, :count].cpu())
    return latents, codes


@torch.no_grad()
def encode_captions(lamp: LampModel, processor: LampProcessor, texts: list[str]):
    """Return the word pieces and the half-precision states of each text."""
    ids: list[torch.Tensor] = [torch.empty(0)] * len(texts)
    states: list[torch.Tensor] = [torch.empty(0)] * len(texts)
    texts = shortened(texts, processor.tokenizer)
    for rows in progress(list(batched(by_length(texts), 128)), "encoding captions"):
        inputs = processor(text=[texts[i] for i in rows]).to(lamp.device)
        with torch.autocast(lamp.device.type, torch.bfloat16):
            hidden = lamp.encode_text(**inputs)
        for i, pieces, row, count in zip(rows, inputs["input_ids"], hidden, inputs["attention_mask"].sum(1).tolist()):
            ids[i], states[i] = pieces[:count].cpu(), row[:count].half().cpu()
    return ids, in_one_block(states)


class LampObjective(ComparingObjective):
    """The model's weighted sum of losses; logs each of them."""

    def comparing_weights(self):
        return [self.model.lamp.logit_scale, self.model.lamp.word_logit_scale]

    def embed(self, **batch):
        pairs = self.model.encode_pairs(*(batch[name] for name in _ENCODED))
        text, motion = pairs.text, pairs.motion
        rows = {
            "text_embeds": text.embeds,
            "word_embeds": text.word_embeds,
            "word_weights": text.word_weights,
            "motion_embeds": motion.embeds,
            "query_embeds": motion.query_embeds,
            "queries": motion.queries,
            "text_queries": pairs.text_queries,
            "sentences": pairs.sentences,
            "clip_ids": batch["clip_ids"],
            "caption_ids": batch["caption_ids"],
        }
        return rows, pairs

    def compare(self, rows):
        text = LampTextFeatures(rows["text_embeds"], rows["word_embeds"], rows["word_weights"])
        motion = LampMotionFeatures(rows["motion_embeds"], rows["query_embeds"], rows["queries"])
        others = (rows[name] for name in ("text_queries", "sentences", "clip_ids", "caption_ids"))
        return self._weighted(self.model.comparing_losses(text, motion, *others))

    def judge(self, encoded, latents, **batch):
        return self._weighted(self.model.separate_losses(encoded, **batch))

    def _weighted(self, losses):
        return self.model.weighted_sum(losses), {name: value.detach() for name, value in losses.items()}


@torch.no_grad()
def validate(model: LampForPreTraining, source: PairSource) -> dict[str, float]:
    """Return recall of first captions over the whole split, what the queries are like, and the mean losses."""
    rng = np.random.default_rng(0)
    order = [i for i in np.argsort(source.lengths, kind="stable") if source.codes[i]]
    texts, motions, queries, losses, width = [], [], [], [], 0
    for rows in batched(order, 64):
        first = np.array([source.captions[i][0] for i in rows])
        items = [source.item(i, rng) | {"captions": c[None], "texts": c[None]} for i, c in zip(rows, first)]
        output = model(**to_device(source.collate(items), model.device))
        texts.append(output.text)
        motions.append(output.motion)
        queries.append(output.motion.queries.float())
        losses.append([output[f"{name}_loss"] for name in OBJECTIVES])
        width = max(width, output.text.word_weights.shape[1])
    logits = torch.cat([torch.cat([sum(model.lamp.score(text, motion)) for motion in motions], 1) for text in texts])
    metrics = retrieval_metrics(logits.float().cpu().numpy(), bootstrap=0)["all"]
    recalls = {f"text_to_motion_{name}": metrics["text_to_motion"][name] for name in ("R@1", "R@10")}
    recalls |= {f"motion_to_text_{name}": metrics["motion_to_text"][name] for name in ("R@1", "R@10")}
    statistics = query_statistics(torch.cat(queries).cpu().numpy())
    seen = {f"query_{name}": statistics[name] for name in ("cosine", "rank", "interaction")}
    means = torch.tensor(losses).mean(0).tolist()
    return recalls | seen | {f"{name}_loss": value for name, value in zip(OBJECTIVES, means)}


def build(recipe: dict, captions: list[str], tokenizer: MotionVQVAEModel) -> tuple[LampForPreTraining, object]:
    """Build a model, and its text tokenizer, from the recipe's text encoder and the tokenizer's motion encoder."""
    data = recipe["data"]
    bert, text_tokenizer, kept = load_text_encoder(
        recipe["text_encoder"], data["vocabulary_size"], captions, data["max_text_length"]
    )
    torch.manual_seed(recipe["seed"])
    sizes = {"vocab_size": len(text_tokenizer), "max_position_embeddings": data["max_text_length"]}
    config = LampConfig(
        motion_config=tokenizer.config.to_dict(),
        text_config=bert.config.to_dict() | sizes | {"pad_token_id": text_tokenizer.pad_token_id},
        num_query_tokens=data["max_frames"] // tokenizer.config.downsampling_factor,
        **recipe["model"],
    )
    model = LampForPreTraining(config)
    model.lamp.motion_encoder.load_state_dict(tokenizer.encoder.state_dict())
    weights = {name: value for name, value in bert.state_dict().items() if not name.startswith("pooler")}
    words, positions = (f"embeddings.{name}_embeddings.weight" for name in ("word", "position"))
    new = torch.zeros(len(text_tokenizer) - len(kept), bert.config.hidden_size)  # [DEC], which no text has
    weights[words] = torch.cat([weights[words][kept], new])
    weights[positions] = weights[positions][: data["max_text_length"]]
    model.lamp.text_encoder.load_state_dict(weights)
    return model, text_tokenizer


def main(command_line: list[str] | None = None) -> None:
    recipe, arguments = parse_arguments("lamp", __doc__, command_line, "tokenizer")
    data = recipe["data"]
    tokenizer = MotionVQVAEModel.from_pretrained(arguments.tokenizer).to(this_process().device)
    extractor = MotionFeatureExtractor.from_pretrained(arguments.tokenizer)
    clips = Clips(arguments.data, "train", data)
    paraphrase, descriptions = load_paraphraser(data), load_descriptions(data)
    sentences = known_sentences(clips, paraphrase, descriptions, data["vocabulary_captions"])
    model, text_tokenizer = build(recipe, sentences, tokenizer)
    model.to(this_process().device)
    processor = LampProcessor(extractor, text_tokenizer)
    clips.compose(data["composed"], recipe["seed"], data["max_frames"])
    texts = TextTable(clips, paraphrase, descriptions)
    source = PairSource(clips, model.lamp, tokenizer, processor, data, texts, data["captions_per_step"])
    model.lamp.trunk.fit_whitening(torch.cat([some[0] for some in source.latents if some]).float())
    validation = PairSource(Clips(arguments.data, "val", data), model.lamp, tokenizer, processor, data)

    train(
        LampObjective(model),
        source,
        recipe,
        arguments.output,
        evaluate=lambda objective: validate(objective.model, validation),
        processor=processor,
    )


if __name__ == "__main__":
    main()
