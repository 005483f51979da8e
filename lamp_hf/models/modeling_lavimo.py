"""LAVIMO: text, video and motion in one space (Yin et al., CVPR 2024)."""

import math
from dataclasses import dataclass

import torch
from torch import nn
from transformers import AutoModel, PreTrainedModel
from transformers.utils import ModelOutput

from .configuration_lavimo import LavimoConfig
from .contrastive import contrastive_loss, contrastive_targets, cosines, gather_with_gradient, row_numbers
from .modeling_common import MotionSummary, StrictLoadingMixin, full_mask, masked_mean, sinusoidal_positions
from .onednn_layers import TransformerEncoderLayer


MODALITIES = {"t": "text", "v": "video", "m": "motion"}
TARGETS = {"identity": "none", "filter": "filter", "soft": "soft"}


@dataclass
class LavimoOutput(ModelOutput):
    """
    Args:
        loss (`torch.FloatTensor` of shape `()`, *optional*): alignment of all pairs and weighted reconstruction.
        alignment_losses (`dict[str, torch.FloatTensor]`, *optional*): of each pair, `"tm"`, `"vm"`, `"tv"`.
        reconstruction_loss (`torch.FloatTensor` of shape `()`, *optional*): mean squared error, normalised features.
        text_embeds, video_embeds, motion_embeds (`torch.FloatTensor` of shape `(batch_size, projection_dim)`): unit
            length; None for what was not given.
    """

    loss: torch.FloatTensor | None = None
    alignment_losses: dict | None = None
    reconstruction_loss: torch.FloatTensor | None = None
    text_embeds: torch.FloatTensor | None = None
    video_embeds: torch.FloatTensor | None = None
    motion_embeds: torch.FloatTensor | None = None


@dataclass
class Encoded:
    """A modality: its embedding `(B, H)` before projection, its tokens `(B, L, H)`, and which of them are there."""

    pooled: torch.Tensor
    tokens: torch.Tensor
    mask: torch.Tensor


def layer_options(config: LavimoConfig) -> dict:
    """Of every transformer layer of the towers and the decoder."""
    return {
        "d_model": config.hidden_size,
        "nhead": config.num_attention_heads,
        "dim_feedforward": config.intermediate_size,
        "dropout": config.dropout,
        "activation": "gelu",
        "batch_first": True,
        "norm_first": True,
    }


class LavimoTower(nn.Module):
    """A transformer over a sequence with a learned token before it, whose output is the sequence's embedding."""

    def __init__(self, config: LavimoConfig, input_size: int, num_layers: int):
        super().__init__()
        self.projection = nn.Linear(input_size, config.hidden_size)
        self.cls = nn.Embedding(1, config.hidden_size)
        layer = TransformerEncoderLayer(**layer_options(config))
        norm = nn.LayerNorm(config.hidden_size)
        self.layers = nn.TransformerEncoder(layer, num_layers, norm, enable_nested_tensor=False)

    def forward(self, values: torch.Tensor, mask: torch.Tensor) -> Encoded:
        """`(B, L, input_size)` and its mask, true where there is something."""
        hidden = self.projection(values.to(self.projection.weight.dtype))
        hidden = hidden + sinusoidal_positions(*hidden.shape[1:]).to(hidden)
        hidden = torch.cat([self.cls.weight.to(hidden).expand(len(hidden), 1, -1), hidden], 1)
        padding = nn.functional.pad(~mask.bool(), (1, 0), value=False)
        hidden = self.layers(hidden, src_key_padding_mask=padding)
        return Encoded(hidden[:, 0], hidden[:, 1:], mask.bool())


class LavimoFusion(nn.Module):
    """The motion's embedding attends to itself, to the text and to the video; the three are added (LAVIMO, fusion)."""

    def __init__(self, config: LavimoConfig):
        super().__init__()
        self.pooled = config.fusion == "pooled"
        self.attentions = nn.ModuleDict(
            {
                name: nn.MultiheadAttention(config.hidden_size, config.num_attention_heads, batch_first=True)
                for name in MODALITIES.values()
                if name != "video" or config.use_video
            }
        )

    def forward(self, query: torch.Tensor, encoded: dict[str, Encoded], present: dict[str, torch.Tensor]):
        """`(B, H)` motion embedding, enriched by the modalities that are there, `(B, H)`."""
        total = torch.zeros_like(query)
        for name, values in encoded.items():
            if self.pooled:
                keys, ignored = values.pooled[:, None], None
            else:
                keys = values.tokens
                # A sample without any token would make the softmax NaN; what it gives is multiplied by zero.
                ignored = ~values.mask & values.mask.any(1, keepdim=True)
            attended, _ = self.attentions[name](query[:, None], keys, keys, key_padding_mask=ignored)
            total = total + attended[:, 0] * present[name][:, None].to(attended.dtype)
        return total


class LavimoDecoder(nn.Module):
    """A motion of a given length from one vector: queries that know only their time (as MotionCLIP and TMR)."""

    def __init__(self, config: LavimoConfig):
        super().__init__()
        layer = nn.TransformerDecoderLayer(**layer_options(config))
        self.layers = nn.TransformerDecoder(layer, config.decoder_layers, nn.LayerNorm(config.hidden_size))
        self.head = nn.Linear(config.hidden_size, config.motion_patch * config.feature_size)
        self.feature_size = config.feature_size

    def forward(self, fused: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """`(B, H)` and the motion tokens' mask `(B, L)` to normalised features `(B, L motion_patch, feature_size)`."""
        times = sinusoidal_positions(mask.shape[1], fused.shape[1]).to(fused)
        hidden = self.layers(times.expand(len(fused), -1, -1), fused[:, None], tgt_key_padding_mask=~mask.bool())
        return self.head(hidden).unflatten(2, (-1, self.feature_size)).flatten(1, 2)


class LavimoModel(StrictLoadingMixin, PreTrainedModel):
    """Encoders of text, video and motion into one space; with `use_video=False` of text and motion.

    `get_text_features`, `get_video_features` and `get_motion_features` each see their own modality alone. Fusion and
    decoder serve training.
    """

    config: LavimoConfig
    base_model_prefix = "lavimo"
    main_input_name = "motion_values"
    input_modalities = ("text", "video", "time")

    def __init__(self, config: LavimoConfig):
        super().__init__(config)
        if config.fusion not in ("none", "pooled", "tokens"):
            raise ValueError(f"unknown fusion {config.fusion!r}; known: none, pooled, tokens")
        for target in (config.target, config.video_target):
            if target not in TARGETS:
                raise ValueError(f"unknown target {target!r}; known: {', '.join(TARGETS)}")
        for pair in config.alignment_pairs:
            if len(set(pair)) != 2 or not set(pair) <= set(MODALITIES):
                raise ValueError(f"unknown pair {pair!r} to align; a pair is two of t, v and m")
        self.text_encoder = AutoModel.from_config(config.text_config)
        self.text_tower = LavimoTower(config, config.text_config.hidden_size, config.text_layers)
        self.motion_tower = LavimoTower(config, config.motion_patch * config.feature_size, config.motion_layers)
        self.motion_summary = None
        if config.summary_size:
            sizes = config.feature_size, config.summary_size, config.projection_dim
            self.motion_summary = MotionSummary(*sizes, config.dropout, strides=(2, 2, 1))
        names = ["text", "motion"]
        if config.use_video:
            self.vision_encoder = AutoModel.from_config(config.vision_config)
            self.frame_norm = nn.LayerNorm(config.vision_size)  # encoders differ in scale; position codes do not
            self.video_tower = LavimoTower(config, config.vision_size, config.video_layers)
            names.append("video")
        self.heads = nn.ModuleDict({name: nn.Linear(config.hidden_size, config.projection_dim) for name in names})
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
        if config.fusion != "none":
            self.fusion, self.decoder = LavimoFusion(config), LavimoDecoder(config)
        # What only training uses, and the eyes, may stay behind in the folder of a model that is loaded without them.
        self._keys_to_ignore_on_load_unexpected = [r"^fusion", r"^decoder"] if config.fusion == "none" else []
        if not config.use_video:
            names = (r"^vision_encoder", r"^frame_norm", r"^video_tower", r"^heads\.video", r"^fusion\..*video")
            self._keys_to_ignore_on_load_unexpected += names
        self.text_encoder.requires_grad_(not config.freeze_text)
        if getattr(self.text_encoder, "pooler", None) is not None:
            self.text_encoder.pooler.requires_grad_(False)  # BERT's, which nothing reads
        if config.use_video:
            self.vision_encoder.requires_grad_(not config.freeze_vision)
        self.post_init()

    @property
    def temperature(self) -> torch.Tensor:
        """What cosines are multiplied by to be logits, at most 100."""
        return self.logit_scale.exp().clamp(max=100)

    def train(self, mode: bool = True):
        super().train(mode)
        if self.config.freeze_text:
            self.text_encoder.eval()
        if self.config.use_video and self.config.freeze_vision:
            self.vision_encoder.eval()
        return self

    def encode_words(self, input_ids: torch.LongTensor, attention_mask: torch.Tensor | None = None):
        """What the text encoder makes of words, `(batch_size, text_length, text_hidden_size)`."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.config.freeze_text):
            mask = full_mask(input_ids, attention_mask).long()
            return self.text_encoder(input_ids=input_ids, attention_mask=mask).last_hidden_state

    def encode_text(self, input_ids=None, attention_mask=None, word_features=None) -> Encoded:
        hidden = self.encode_words(input_ids, attention_mask) if word_features is None else word_features
        return self.text_tower(hidden, full_mask(hidden, attention_mask))

    def encode_motion(self, motion_values: torch.FloatTensor, motion_attention_mask: torch.Tensor | None = None):
        mask, patch = full_mask(motion_values, motion_attention_mask), self.config.motion_patch
        if motion_values.shape[1] > self.config.max_frames:
            raise ValueError(f"a motion of {motion_values.shape[1]} frames; the model reads {self.config.max_frames}")
        missing = -mask.shape[1] % patch
        values = nn.functional.pad(motion_values * mask[..., None], (0, 0, 0, missing)).unflatten(1, (-1, patch))
        mask = nn.functional.pad(mask.bool(), (0, missing), value=False).unflatten(1, (-1, patch)).any(-1)
        return self.motion_tower(values.flatten(2), mask)

    def encode_frames(self, pixel_values: torch.FloatTensor) -> torch.FloatTensor:
        """Pictures `(batch_size, num_video_frames, 3, size, size)` to `(..., num_video_frames, vision_size)`."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.config.freeze_vision):
            pixels = pixel_values.flatten(0, 1).to(self.vision_encoder.dtype)
            pooled = self.vision_encoder(pixel_values=pixels).pooler_output
        return pooled.flatten(1).unflatten(0, pixel_values.shape[:2])

    def encode_video(
        self,
        pixel_values: torch.FloatTensor | None = None,
        video_mask: torch.Tensor | None = None,
        frame_features: torch.FloatTensor | None = None,
    ) -> Encoded:
        if not self.config.use_video:
            raise ValueError("this model has no video tower (use_video=False)")
        if pixel_values is None and frame_features is None:
            raise ValueError("nothing to look at: give pixel_values or frame_features")
        features = self.encode_frames(pixel_values) if frame_features is None else frame_features
        features = features.to(self.frame_norm.weight.dtype)
        return self.video_tower(self.frame_norm(features), full_mask(features, video_mask))

    def get_text_features(self, input_ids, attention_mask=None, **kwargs) -> torch.FloatTensor:
        """
        Args:
            input_ids (`torch.LongTensor` of shape `(batch_size, text_length)`): tokens.
            attention_mask (`torch.Tensor` of shape `(batch_size, text_length)`, *optional*): 0 at padding.

        Returns:
            `torch.FloatTensor` of shape `(batch_size, projection_dim)`, unit length.
        """
        return self._embed("text", self.encode_text(input_ids, attention_mask))

    def get_motion_features(self, motion_values, motion_attention_mask=None, **kwargs) -> torch.FloatTensor:
        """
        Args:
            motion_values (`torch.FloatTensor` of shape `(batch_size, num_frames, feature_size)`): normalised features.
            motion_attention_mask (`torch.Tensor` of shape `(batch_size, num_frames)`, *optional*): 0 at padding.

        Returns:
            `torch.FloatTensor` of shape `(batch_size, projection_dim)`, unit length.
        """
        encoded = self.encode_motion(motion_values, motion_attention_mask)
        return self._embed_motion(encoded, motion_values, full_mask(motion_values, motion_attention_mask))

    def get_video_features(
        self, pixel_values=None, video_mask=None, frame_features=None, **kwargs
    ) -> torch.FloatTensor:
        """
        Args:
            pixel_values (`torch.FloatTensor` of shape `(batch_size, num_video_frames, 3, size, size)`): pictures.
            video_mask (`torch.Tensor` of shape `(batch_size, num_video_frames)`, *optional*): 0 where there is none.
            frame_features (`torch.FloatTensor` of shape `(batch_size, num_video_frames, vision_size)`, *optional*):
                what `encode_frames` made of pictures, instead of them.

        Returns:
            `torch.FloatTensor` of shape `(batch_size, projection_dim)`, unit length.
        """
        return self._embed("video", self.encode_video(pixel_values, video_mask, frame_features))

    def _embed(self, name: str, encoded: Encoded) -> torch.Tensor:
        return nn.functional.normalize(self.heads[name](encoded.pooled).float(), dim=-1)

    def _embed_motion(self, encoded: Encoded, motion_values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        features = self.heads["motion"](encoded.pooled)
        if self.motion_summary is not None:
            features = features + self.motion_summary(motion_values.to(features.dtype), mask)
        return nn.functional.normalize(features.float(), dim=-1)

    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        motion_values: torch.FloatTensor | None = None,
        motion_attention_mask: torch.Tensor | None = None,
        pixel_values: torch.FloatTensor | None = None,
        video_mask: torch.Tensor | None = None,
        frame_features: torch.FloatTensor | None = None,
        word_features: torch.FloatTensor | None = None,
        present: dict[str, torch.Tensor] | None = None,
        clip_ids: torch.LongTensor | None = None,
        caption_ids: torch.LongTensor | None = None,
        sentence_embeds: torch.FloatTensor | None = None,
        return_loss: bool = False,
        **kwargs,
    ) -> LavimoOutput:
        """Embeds what is given, any of the three; with `return_loss` also aligns and reconstructs.

        Args:
            input_ids, attention_mask, motion_values, motion_attention_mask, pixel_values, video_mask, frame_features
                (*optional*): as in the `get_*_features`.
            word_features (`torch.FloatTensor` of shape `(batch_size, text_length, text_hidden_size)`, *optional*):
                what `encode_words` made of words, instead of them.
            present (`dict[str, torch.BoolTensor]` of shape `(batch_size,)`, *optional*): of `"text"`, `"video"` and
                `"motion"`, false for samples whose row is a filler; all are there if not given.
            clip_ids, caption_ids (`torch.LongTensor` of shape `(batch_size,)`, *optional*): equal numbers for the same
                clip and for the same caption; such pairs are no negatives. Of video and motion captions do not
                count if `video_target` is `"identity"`.
            sentence_embeds (`torch.FloatTensor` of shape `(batch_size, size)`, *optional*): unit vectors of the
                captions by a frozen sentence encoder, unless `target` is `"identity"`.
            return_loss (`bool`): compute the losses.
        """
        encoded: dict[str, Encoded] = {}
        if motion_values is not None:
            motion_mask = full_mask(motion_values, motion_attention_mask)
            encoded["motion"] = self.encode_motion(motion_values, motion_mask)
        if input_ids is not None or word_features is not None:
            encoded["text"] = self.encode_text(input_ids, attention_mask, word_features)
        if pixel_values is not None or frame_features is not None:
            encoded["video"] = self.encode_video(pixel_values, video_mask, frame_features)
        embeds = {
            name: self._embed_motion(values, motion_values, motion_mask)
            if name == "motion"
            else self._embed(name, values)
            for name, values in encoded.items()
        }
        if not embeds:
            raise ValueError("nothing to embed: give text, video or motion")
        output = LavimoOutput(**{f"{name}_embeds": values for name, values in embeds.items()})
        if not return_loss:
            return output
        there = {
            name: torch.ones(len(values), dtype=torch.bool, device=values.device)
            if present is None or name not in present
            else present[name].bool()
            for name, values in embeds.items()
        }
        if present is not None and "text" in present:  # a filler's caption is like no other
            told = present["text"].bool()
            if caption_ids is not None:
                caption_ids = torch.where(told, caption_ids, -1 - row_numbers(caption_ids))
            if sentence_embeds is not None:
                sentence_embeds = sentence_embeds * told[:, None]
        output.alignment_losses = self._alignment_losses(embeds, there, clip_ids, caption_ids, sentence_embeds)
        losses = list(output.alignment_losses.values())
        if self.config.fusion != "none" and "motion" in encoded:
            output.reconstruction_loss = self._reconstruct(encoded, there, motion_values, motion_mask)
            losses.append(self.config.reconstruction_weight * output.reconstruction_loss)
        output.loss = sum(losses) if losses else None
        return output

    def _alignment_losses(self, embeds, present, clip_ids, caption_ids, sentence_embeds) -> dict[str, torch.Tensor]:
        """Of each pair of modalities that are given; between video and motion captions count only if told so."""
        config, losses = self.config, {}
        for pair in config.alignment_pairs:
            first, second = (MODALITIES[initial] for initial in pair)
            if first in embeds and second in embeds:
                target = config.target if "t" in pair else config.video_target
                captions_count = "t" in pair or target != "identity"
                ids = [values for values in (clip_ids, caption_ids if captions_count else None) if values is not None]
                both = present[first] & present[second]
                losses[pair] = self._align(embeds[first], embeds[second], both, ids, sentence_embeds, target)
        return losses

    def _align(self, first, second, present, ids, sentence_embeds, target: str) -> torch.Tensor:
        """Both directions' cross-entropies, added as in the paper."""
        config = self.config
        targets = contrastive_targets(
            first, ids, sentence_embeds, TARGETS[target], config.target_threshold, config.soft_weight, present
        )
        forward = self.temperature * cosines(first, gather_with_gradient(second))
        backward = self.temperature * cosines(second, gather_with_gradient(first))
        return sum(contrastive_loss(logits, *targets, present=present) for logits in (forward, backward))

    def _reconstruct(self, encoded, present, motion_values, motion_mask) -> torch.Tensor:
        fused = self.fusion(encoded["motion"].pooled, encoded, present)
        made = self.decoder(fused, encoded["motion"].mask)[:, : motion_mask.shape[1]]
        error = (made.float() - motion_values.float()).square().mean(-1)
        return masked_mean(error, motion_mask & present["motion"][:, None])


__all__ = ["LavimoModel", "LavimoOutput"]
