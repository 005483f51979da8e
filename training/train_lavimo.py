r"""LAVIMO: text, video and motion into one space.

    python -m training.train_lavimo --recipe training/recipes/small/lavimo.yaml --data mocap.parquet \
        --vision runs/vision/model --cache runs/films --output runs/lavimo

`--vision` is a folder or a Hub id, of CLIP for instance. The encoder of frames is frozen, and that of words unless
`model.freeze_text` is off, so what they make of every film and caption is computed once; films are rendered from the
clips, see `films.py`, and what was seen in them stays in `--cache`.
"""

from datetime import timedelta

import numpy as np
import torch
from accelerate import PartialState
from torch import nn
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoConfig, AutoModel, CLIPVisionModel, PreTrainedModel
from transformers.image_processing_base import ImageProcessingMixin

from lamp_hf.metrics.retrieval import retrieval_metrics
from lamp_hf.models.configuration_lavimo import LavimoConfig
from lamp_hf.models.contrastive import cosines
from lamp_hf.models.feature_extraction_motion import MotionFeatureExtractor
from lamp_hf.models.modeling_lavimo import LavimoModel
from lamp_hf.models.processing_lavimo import LavimoProcessor

from .augmentation.paraphrase import load_paraphraser
from .data import Clips, normalised, pad_motions
from .loop import parse_arguments, train
from .text_encoder import load_text_encoder
from .train_lamp import Captions
from .video.rendered_videos import FIXED, UNSEEN, film_features


class TripleSource:
    """A clip, one of its captions as the text encoder or the text tower reads it, and what is seen in one film."""

    def __init__(
        self, clips: Clips, model: LavimoModel, processor: LavimoProcessor, data: dict, seeds, paraphrase, cache
    ):
        rng = np.random.default_rng(0)
        self.motions = normalised(clips, processor.feature_extractor)
        self.max_frames, self.lengths = model.config.max_frames, clips.lengths
        self.weights, self.frame_dropout = clips.rarity_weights(data["rarity_exponent"]), data["frame_dropout"]
        rewritten = data["paraphrases"] if paraphrase else 0
        self.wordings = [
            [(caption, [caption] + [paraphrase(caption, rng) for _ in range(rewritten)]) for caption in captions]
            for captions in clips.captions
        ]
        texts = {text for captions in self.wordings for _, words in captions for text in words}
        self.words = encode_words(model, processor, sorted(texts, key=len))
        self.films = None
        if model.config.use_video:
            # The others find what it has written, which may take longer than processes usually wait for each other.
            with PartialState(timeout=timedelta(days=1)).main_process_first():
                self.films = film_features(model, processor, clips, seeds, cache)
        self._captions = Captions(clips.captions, data["sentence_encoder"])

    def item(self, index: int, rng: np.random.Generator) -> dict:
        motion = self.motions[index]
        start = rng.integers(max(len(motion) - self.max_frames, 0) + 1)
        caption, wordings = self.wordings[index][rng.integers(len(self.wordings[index]))]
        view = int(rng.integers(self.films[1].shape[1])) if self.films else 0
        item = self._item(index, caption, wordings[rng.integers(len(wordings))], start, view)
        if self.films:
            missed = rng.random(len(item["seen"])) < self.frame_dropout
            item["seen"] = item["seen"] & ~missed if (item["seen"] & ~missed).any() else item["seen"]
        return item

    def first(self, index: int, view: int = 0) -> dict:
        """The start of a clip with its first caption as it is, and one film."""
        caption = self.wordings[index][0][0]
        return self._item(index, caption, caption, 0, view)

    def _item(self, index: int, caption: str, words: str, start: int, view: int) -> dict:
        motion = self.motions[index][start : start + self.max_frames]
        item = {"index": index, "caption": caption, "words": self.words[words], "motion": motion}
        if self.films:
            features, counts = self.films
            seen = np.arange(features.shape[2]) < counts[index, view]
            item |= {"film": torch.from_numpy(features[index, view].astype(np.float32)), "seen": seen}
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
            **self._captions([item["caption"] for item in items]),
        }
        if self.films:
            batch["frame_features"] = torch.stack([item["film"] for item in items])
            batch["video_mask"] = torch.from_numpy(np.stack([item["seen"] for item in items]))
        return batch


@torch.no_grad()
def encode_words(model: LavimoModel, processor: LavimoProcessor, texts: list[str]) -> dict[str, torch.Tensor]:
    """Of each text what the frozen encoder makes of its words, `(text_length, text_hidden_size)` in float16; if the
    encoder learns, the tokens, `(text_length,)`."""
    result: dict[str, torch.Tensor] = {}
    for first in range(0, len(texts), 256):
        batch = processor.tokenizer(texts[first : first + 256], padding=True, truncation=True, return_tensors="pt")
        ids, mask = (batch[name].to(model.device) for name in ("input_ids", "attention_mask"))
        words = model.encode_words(ids, mask).half() if model.config.freeze_text else ids
        for text, row, count in zip(texts[first:], words.cpu(), mask.sum(1).tolist()):
            result[text] = row[:count].clone()
    return result


class LavimoObjective(nn.Module):
    def __init__(self, model: LavimoModel):
        super().__init__()
        self.model = model

    def forward(self, **batch):
        output = self.model(**batch, return_loss=True)
        logs = dict(output.alignment_losses)
        if output.reconstruction_loss is not None:
            logs["reconstruction"] = output.reconstruction_loss
        return output.loss, {name: loss.detach() for name, loss in logs.items()}


@torch.no_grad()
def validate(model: LavimoModel, source: TripleSource) -> dict[str, float]:
    """Recall over the whole split, first captions, each view of the films for itself."""
    views = source.films[1].shape[1] if source.films else 1
    numbers = {}
    for view in range(views):
        parts: dict[str, list] = {"text": [], "motion": [], "video": []}
        for first in range(0, len(source.lengths), 64):
            rows = range(first, min(first + 64, len(source.lengths)))
            batch = source.collate([source.first(row, view) for row in rows])
            output = model(**{name: value.to(model.device) for name, value in batch.items()})
            for name, values in parts.items():
                if (embeds := getattr(output, f"{name}_embeds")) is not None:
                    values.append(embeds.cpu())
        embeds = {name: torch.cat(values) for name, values in parts.items() if values}
        pairs = [("text", "motion")] * (view == 0) + [("video", "motion")] * ("video" in embeds)
        for left, right in pairs:
            scores = cosines(embeds[left], embeds[right]).numpy()
            metrics = retrieval_metrics(scores, bootstrap=0)["all"]["text_to_motion"]
            name = f"{left}_to_{right}" + (f"_view_{view}" if left == "video" else "")
            numbers |= {f"{name}_{key}": metrics[key] for key in ("R@1", "R@10")}
    return numbers


def load_text(data: dict, captions: list[str]) -> tuple[PreTrainedModel, object]:
    """A text encoder, cut to its first layers and to the recipe's vocabulary, and its tokenizer."""
    encoder, tokenizer, kept = load_text_encoder(
        data["text_encoder"], data["vocabulary_size"], captions, data["max_text_length"]
    )
    if data["text_encoder_layers"]:
        layers = encoder.encoder if hasattr(encoder, "encoder") else encoder.transformer  # BERT's, DistilBERT's
        layers.layer = layers.layer[: data["text_encoder_layers"]]
        encoder.config.num_hidden_layers = data["text_encoder_layers"]
    words = encoder.get_input_embeddings().weight.detach()[kept]
    encoder.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    encoder.get_input_embeddings().weight.data[: len(kept)] = words
    return encoder, tokenizer


def load_vision(name: str) -> PreTrainedModel:
    """A vision encoder, of CLIP its eyes alone."""
    if AutoConfig.from_pretrained(name).model_type.startswith("clip"):
        return CLIPVisionModel.from_pretrained(name)
    return AutoModel.from_pretrained(name)


def image_statistics(name: str) -> tuple[list[float], list[float]] | tuple[None, None]:
    """Mean and deviation of colours as a vision encoder learned to see them; none if it does not say."""
    try:
        settings, _ = ImageProcessingMixin.get_image_processor_dict(name)
    except OSError:
        return None, None
    return settings["image_mean"], settings["image_std"]


def build(recipe: dict, captions: list[str], vision: str, extractor: MotionFeatureExtractor):
    """A model with pretrained encoders of words and frames, ready to compute with them, and its processor."""
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
        raise ValueError("films are looked at once, before training: freeze_vision must be on")
    model = LavimoModel(config)
    model.text_encoder.load_state_dict(text_encoder.state_dict())
    if config.use_video:
        model.vision_encoder.load_state_dict(vision_encoder.state_dict())
    pixels = image_statistics(vision)
    return model.eval(), LavimoProcessor(extractor, tokenizer, data["num_video_frames"], data["image_size"], *pixels)


def main() -> None:
    recipe, arguments = parse_arguments(__doc__, "vision", "cache")
    data = recipe["data"]
    clips = Clips(arguments.data, "train", data)
    extractor = MotionFeatureExtractor.from_statistics(clips.motions, data["skeleton"])
    paraphrase = load_paraphraser(data)
    texts = [caption for captions in clips.captions for caption in captions]
    if paraphrase:
        texts += [text for texts in paraphrase.synonyms.values() for text in texts]
    model, processor = build(recipe, texts, str(arguments.vision), extractor)
    if torch.accelerator.is_available():
        model.to(torch.accelerator.current_accelerator())
    else:
        # On a CPU its way back takes a third of a step, of sequences as short as these.
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
