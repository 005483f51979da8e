r"""Train LAVIMO: text, video and motion in one space.

    lamp-hf train lavimo --recipe small/lavimo --data mocap.parquet \
        --vision runs/vision/model --cache runs/videos --output runs/lavimo

`--vision` is a folder or a Hub id, of CLIP for instance. The vision encoder is frozen, and so is the text encoder
unless `model.freeze_text` is off, so their outputs are computed once. Videos are rendered from the clips, see
`video/rendered_videos.py`, and their features stay in `--cache`.
"""

from datetime import timedelta

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoConfig, AutoModel, CLIPVisionModel, PreTrainedModel
from transformers.image_processing_base import ImageProcessingMixin

from lamp_hf.distributed import this_process
from lamp_hf.metrics.retrieval import retrieval_metrics
from lamp_hf.models.configuration_lavimo import LavimoConfig
from lamp_hf.models.contrastive import cosines
from lamp_hf.models.feature_extraction_motion import MotionFeatureExtractor
from lamp_hf.models.modeling_lavimo import MODALITIES, LavimoModel
from lamp_hf.models.processing_lavimo import LavimoProcessor

from .augmentation.paraphrase import load_paraphraser, wordings
from .command_line import parse_arguments
from .data import CaptionSimilarity, Clips, batched, draw, normalised, pad_motions
from .gradient_cache import ComparingObjective
from .loop import to_device, train
from .progress import progress
from .text_encoder import load_text_encoder
from .texts import known_sentences
from .video.rendered_videos import FIXED, UNSEEN, video_features


class TripleSource:
    """A crop of a clip, one of its captions as the text encoder or the text tower reads it, and one of its videos.

    Args:
        clips ([`Clips`]): a split.
        model ([`LavimoModel`]): with its pretrained encoders.
        processor ([`LavimoProcessor`]): of the model.
        data (`dict`): the recipe's section.
        seeds (`list[int]`): of the views that each clip is rendered from.
        paraphrase ([`Paraphraser`], *optional*): adds wordings of captions.
        cache (`Path`): folder that keeps the features of videos.
    """

    def __init__(
        self, clips: Clips, model: LavimoModel, processor: LavimoProcessor, data: dict, seeds, paraphrase, cache
    ):
        self.motions = normalised(clips, processor.feature_extractor)
        self.max_frames, self.lengths = model.config.max_frames, clips.lengths
        self.weights, self.frame_dropout = clips.rarity_weights(data["rarity_exponent"]), data["frame_dropout"]
        self.wordings = wordings(clips.captions, paraphrase, data["paraphrases"])
        texts = {text for captions in self.wordings for _, words in captions for text in words}
        self.words = encode_words(model, processor, sorted(texts, key=len))
        self.videos = None
        if model.config.use_video:
            with this_process().main_process_first():  # the others read what it wrote
                self.videos = video_features(model, processor, clips, seeds, cache)
        self._similarity = CaptionSimilarity(clips.captions, data["sentence_encoder"])

    def item(self, index: int, rng: np.random.Generator) -> dict:
        motion = self.motions[index]
        start = rng.integers(max(len(motion) - self.max_frames, 0) + 1)
        caption, options = draw(self.wordings[index], rng)
        view = int(rng.integers(self.videos[1].shape[1])) if self.videos else 0
        item = self._item(index, caption, draw(options, rng), start, view)
        if self.videos:
            kept = item["video_mask"] & (rng.random(len(item["video_mask"])) >= self.frame_dropout)
            item["video_mask"] = kept if kept.any() else item["video_mask"]
        return item

    def first(self, index: int, view: int = 0) -> dict:
        """Return the start of a clip with its first caption, unchanged, and the video of one view."""
        caption = self.wordings[index][0][0]
        return self._item(index, caption, caption, 0, view)

    def _item(self, index: int, caption: str, words: str, start: int, view: int) -> dict:
        motion = self.motions[index][start : start + self.max_frames]
        item = {"index": index, "caption": caption, "words": self.words[words], "motion": motion}
        if self.videos:
            features, counts = self.videos
            frames = torch.from_numpy(features[index, view].astype(np.float32))
            item |= {"frame_features": frames, "video_mask": np.arange(features.shape[2]) < counts[index, view]}
        return item

    def collate(self, items: list[dict]) -> dict:
        motion, motion_mask = pad_motions([item["motion"] for item in items], multiple=1)
        words = pad_sequence([item["words"] for item in items], batch_first=True)
        counts = torch.tensor([len(item["words"]) for item in items])
        batch = {
            **({"word_features": words.float()} if words.is_floating_point() else {"input_ids": words}),
            "attention_mask": torch.arange(words.shape[1]) < counts[:, None],
            "motion_values": motion,
            "motion_attention_mask": motion_mask,
            "clip_ids": torch.tensor([item["index"] for item in items]),
            **self._similarity([item["caption"] for item in items]),
        }
        if self.videos:
            batch["frame_features"] = torch.stack([item["frame_features"] for item in items])
            batch["video_mask"] = torch.from_numpy(np.stack([item["video_mask"] for item in items]))
        return batch


@torch.no_grad()
def encode_words(model: LavimoModel, processor: LavimoProcessor, texts: list[str]) -> dict[str, torch.Tensor]:
    """Return the frozen encoder's states of each text, `(text_length, text_hidden_size)` in float16.

    If the encoder is trained, return the token ids, `(text_length,)`.
    """
    result: dict[str, torch.Tensor] = {}
    for rows in progress(list(batched(texts, 256)), "encoding texts"):
        batch = processor.tokenizer(rows, padding=True, truncation=True, return_tensors="pt")
        ids, mask = (batch[name].to(model.device) for name in ("input_ids", "attention_mask"))
        words = model.encode_words(ids, mask).half() if model.config.freeze_text else ids
        for text, states, count in zip(rows, words.cpu(), mask.sum(1).tolist()):
            result[text] = states[:count].clone()
    return result


class LavimoObjective(ComparingObjective):
    """The model's sum of losses; logs the alignment of each pair of modalities and the reconstruction."""

    @property
    def leaves_weights_unused(self) -> bool:
        """True where no pair of the recipe aligns some modality, whose head then gets no gradient."""
        aligned = {MODALITIES[initial] for pair in self.model.config.alignment_pairs for initial in pair}
        return aligned != set(self.model.heads)

    def comparing_weights(self):
        return [self.model.logit_scale]

    def embed(self, **batch):
        labels = {name: batch.pop(name) for name in ("clip_ids", "caption_ids", "sentence_embeds") if name in batch}
        encoded, embeds = self.model.encode_modalities(**batch)
        return embeds | labels, encoded

    def compare(self, rows):
        embeds = {name: rows[name] for name in self.model.heads if name in rows}
        labels = {name: values for name, values in rows.items() if name not in embeds}
        losses = self.model.alignment_losses(embeds, **labels)
        return sum(losses.values()), {pair: loss.detach() for pair, loss in losses.items()}

    def judge(self, encoded, motion_values, motion_attention_mask, **batch):
        loss = self.model.reconstruction_loss(encoded, motion_values, motion_attention_mask)
        if loss is None:
            return 0.0, {}
        return self.model.config.reconstruction_weight * loss, {"reconstruction": loss.detach()}


@torch.no_grad()
def validate(model: LavimoModel, source: TripleSource) -> dict[str, float]:
    """Return recall of first captions and, for each view, of videos over the whole split."""
    views = source.videos[1].shape[1] if source.videos else 1
    numbers = {}
    for view in range(views):
        embeds = embed_first(model, source, view)
        pairs = [("text", "motion")] * (view == 0) + [("video", "motion")] * ("video" in embeds)
        for left, right in pairs:
            scores = cosines(embeds[left], embeds[right]).numpy()
            metrics = retrieval_metrics(scores, bootstrap=0)["all"]["text_to_motion"]
            name = f"{left}_to_{right}" + (f"_view_{view}" if left == "video" else "")
            numbers |= {f"{name}_{key}": metrics[key] for key in ("R@1", "R@10")}
    return numbers


def embed_first(model: LavimoModel, source: TripleSource, view: int) -> dict[str, torch.Tensor]:
    """Return the embeddings `(num_clips, projection_dim)` of first captions, clips and, if used, videos of a view."""
    parts: dict[str, list] = {"text": [], "motion": [], "video": []}
    for rows in batched(range(len(source.lengths)), 64):
        batch = source.collate([source.first(row, view) for row in rows])
        output = model(**to_device(batch, model.device))
        for name, values in parts.items():
            if (embeds := getattr(output, f"{name}_embeds")) is not None:
                values.append(embeds.cpu())
    return {name: torch.cat(values) for name, values in parts.items() if values}


def load_text(data: dict, captions: list[str]) -> tuple[PreTrainedModel, object]:
    """Load a text encoder, cut to its first layers and the recipe's vocabulary, and its tokenizer."""
    encoder, tokenizer, kept = load_text_encoder(
        data["text_encoder"], data["vocabulary_size"], captions, data["max_text_length"]
    )
    if data["text_encoder_layers"]:
        layers = encoder.encoder if hasattr(encoder, "encoder") else encoder.transformer  # BERT or DistilBERT
        layers.layer = layers.layer[: data["text_encoder_layers"]]
        encoder.config.num_hidden_layers = data["text_encoder_layers"]
    words = encoder.get_input_embeddings().weight.detach()[kept]
    encoder.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    rows = encoder.get_input_embeddings().weight.data
    rows[: len(kept)], rows[len(kept) :] = words, 0  # of [DEC], which no text has
    return encoder, tokenizer


def load_vision(name: str) -> PreTrainedModel:
    """Load a vision encoder; of CLIP the vision tower only."""
    if AutoConfig.from_pretrained(name).model_type.startswith("clip"):
        return CLIPVisionModel.from_pretrained(name)
    return AutoModel.from_pretrained(name)


def image_statistics(name: str) -> tuple[list[float], list[float]] | tuple[None, None]:
    """Return the mean and standard deviation of colours that a vision encoder expects; None if its folder has none."""
    try:
        settings, _ = ImageProcessingMixin.get_image_processor_dict(name)
    except OSError:
        return None, None
    return settings["image_mean"], settings["image_std"]


def build(recipe: dict, captions: list[str], vision: str, extractor: MotionFeatureExtractor):
    """Build a model in evaluation mode with its pretrained text and vision encoders, and its processor."""
    data = recipe["data"]
    text_encoder, tokenizer = load_text(data, captions)
    vision_encoder = load_vision(vision)
    torch.manual_seed(recipe["seed"])
    config = LavimoConfig(
        text_config=text_encoder.config.to_dict(),
        vision_config=vision_encoder.config.to_dict(),
        feature_size=extractor.feature_size,
        max_frames=data["max_frames"],
        **recipe["model"],
    )
    if not config.freeze_vision:
        raise ValueError("freeze_vision must be true: videos are encoded once, before training")
    model = LavimoModel(config)
    model.text_encoder.load_state_dict(text_encoder.state_dict())
    if config.use_video:
        model.vision_encoder.load_state_dict(vision_encoder.state_dict())
    pixels = image_statistics(vision)
    return model.eval(), LavimoProcessor(extractor, tokenizer, data["num_video_frames"], data["image_size"], *pixels)


def main(command_line: list[str] | None = None) -> None:
    recipe, arguments = parse_arguments("lavimo", __doc__, command_line, "vision", "cache")
    data = recipe["data"]
    clips = Clips(arguments.data, "train", data)
    extractor = MotionFeatureExtractor.from_statistics(clips.motions, data["skeleton"])
    paraphrase = load_paraphraser(data)
    model, processor = build(recipe, known_sentences(clips, paraphrase), str(arguments.vision), extractor)
    device = this_process(timeout=timedelta(days=1)).device  # the first renders longer than others usually wait
    model.to(device)
    if device.type == "cpu":
        # With sequences as short as these, its backward pass takes a third of a step on a CPU.
        torch.backends.cuda.enable_flash_sdp(False)
    source, validation = (
        TripleSource(clips, model, processor, data, [FIXED, *seeds], paraphrase, arguments.cache)
        for clips, seeds, paraphrase in (
            (clips, range(data["views"]), paraphrase),
            (Clips(arguments.data, "val", data), [UNSEEN], None),
        )
    )

    train(
        LavimoObjective(model),
        source,
        recipe,
        arguments.output,
        evaluate=lambda objective: validate(objective.model, validation),
        processor=processor,
    )


if __name__ == "__main__":
    main()
