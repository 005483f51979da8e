"""LAVIMO: text, video and motion in one embedding space (Yin et al., CVPR 2024)."""

import math
from dataclasses import dataclass

import torch
from torch import nn
from transformers import AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.utils import ModelOutput

from .configuration_lavimo import LavimoConfig
from .contrastive import contrastive_loss, contrastive_targets, cosines, global_row_indices
from .modeling_common import (
    FrozenPartsMixin,
    MotionSummary,
    StrictLoadingMixin,
    full_mask,
    gather_with_gradient,
    masked_mean,
)
from .modeling_lavimo_towers import Encoded, LavimoDecoder, LavimoFusion, LavimoTower


MODALITIES = {"t": "text", "v": "video", "m": "motion"}
TARGETS = {"identity": "none", "filter": "filter", "soft": "soft"}  # to `false_negatives` of `contrastive_targets`


@dataclass
class LavimoOutput(ModelOutput):
    """Embeddings, and losses if asked for, of [`LavimoModel`].

    Args:
        loss (`torch.FloatTensor` of shape `()`, *optional*): Alignment losses plus the weighted reconstruction loss.
        alignment_losses (`dict[str, torch.FloatTensor]`, *optional*): Loss of each pair, `"tm"`, `"vm"`, `"tv"`.
        reconstruction_loss (`torch.FloatTensor` of shape `()`, *optional*): Mean squared error of normalised features.
        text_embeds, video_embeds, motion_embeds (`torch.FloatTensor` of shape `(batch_size, projection_dim)`,
            *optional*): Unit-norm embeddings of the modalities that were given.
    """

    loss: torch.FloatTensor | None = None
    alignment_losses: dict | None = None
    reconstruction_loss: torch.FloatTensor | None = None
    text_embeds: torch.FloatTensor | None = None
    video_embeds: torch.FloatTensor | None = None
    motion_embeds: torch.FloatTensor | None = None


class LavimoModel(FrozenPartsMixin, StrictLoadingMixin, PreTrainedModel):
    """Encoders of text, video and motion into one space; of text and motion only with `use_video=False`.

    `get_text_features`, `get_video_features` and `get_motion_features` each see their own modality alone. Fusion and
    decoder serve training.

    Args:
        config ([`LavimoConfig`]): Configuration of the model.
    """

    config: LavimoConfig
    _auto_class = "AutoModel"
    base_model_prefix = "lavimo"
    main_input_name = "motion_values"
    input_modalities = ("text", "video", "time")
    supports_gradient_checkpointing = True
    _supports_sdpa = True  # attention is always computed by scaled_dot_product_attention

    def __init__(self, config: LavimoConfig):
        super().__init__(config)
        self.text_encoder = _new_encoder(config.text_config)
        self.text_tower = LavimoTower(config, config.text_config.hidden_size, config.text_layers)
        self.motion_tower = LavimoTower(config, config.motion_patch * config.feature_size, config.motion_layers)
        self.motion_summary = None
        if config.summary_size:
            sizes = config.feature_size, config.summary_size, config.projection_dim
            self.motion_summary = MotionSummary(*sizes, config.dropout, strides=(2, 2, 1))
        names = ["text", "motion"]
        if config.use_video:
            self.vision_encoder = _new_encoder(config.vision_config)
            self.frame_norm = nn.LayerNorm(config.vision_size)  # encoders differ in scale, position codes do not
            self.video_tower = LavimoTower(config, config.vision_size, config.video_layers)
            names.append("video")
        self.heads = nn.ModuleDict({name: nn.Linear(config.hidden_size, config.projection_dim) for name in names})
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))  # logarithm of `temperature`
        # Parts that only training uses, and the video tower, may be left out when a model is loaded.
        self._keys_to_ignore_on_load_unexpected = []
        if config.fusion == "none":
            self._keys_to_ignore_on_load_unexpected += [r"^fusion", r"^decoder"]
        else:
            self.fusion, self.decoder = LavimoFusion(config), LavimoDecoder(config)
        if not config.use_video:
            video = [r"^vision_encoder", r"^frame_norm", r"^video_tower", r"^heads\.video", r"^fusion\..*video"]
            self._keys_to_ignore_on_load_unexpected += video
        self.post_init()

    @property
    def _frozen_parts(self) -> tuple[str, ...]:
        parts = ["text_encoder.pooler"]  # BERT's, which is not used
        parts += ["text_encoder"] * self.config.freeze_text + ["vision_encoder"] * self.config.freeze_vision
        return tuple(parts)

    @property
    def temperature(self) -> torch.Tensor:
        """Factor from cosines to logits, at most 100."""
        return self.logit_scale.exp().clamp(max=100)

    def encode_words(
        self, input_ids: torch.LongTensor, attention_mask: torch.Tensor | None = None
    ) -> torch.FloatTensor:
        """Return the hidden states of the text encoder, `(batch_size, text_length, text_hidden_size)`."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.config.freeze_text):
            mask = full_mask(input_ids, attention_mask).long()
            return self.text_encoder(input_ids=input_ids, attention_mask=mask).last_hidden_state

    def encode_frames(self, pixel_values: torch.FloatTensor) -> torch.FloatTensor:
        """Encode frames `(batch_size, num_video_frames, 3, size, size)` to `(..., num_video_frames, vision_size)`."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.config.freeze_vision):
            pixels = pixel_values.flatten(0, 1).to(self.vision_encoder.dtype)
            pooled = self.vision_encoder(pixel_values=pixels).pooler_output
        return pooled.flatten(1).unflatten(0, pixel_values.shape[:2])

    def encode_text(self, input_ids=None, attention_mask=None, word_features=None) -> Encoded:
        """Run the text tower on tokens, or on `word_features` from `encode_words`."""
        hidden = self.encode_words(input_ids, attention_mask) if word_features is None else word_features
        return self.text_tower(hidden, full_mask(hidden, attention_mask))

    def encode_motion(
        self, motion_values: torch.FloatTensor, motion_attention_mask: torch.Tensor | None = None
    ) -> Encoded:
        """Run the motion tower on normalised features `(batch_size, num_frames, feature_size)`.

        Raises:
            ValueError: If the motion has more frames than the model reads.
        """
        mask, patch = full_mask(motion_values, motion_attention_mask), self.config.motion_patch
        if motion_values.shape[1] > self.config.max_frames:
            raise ValueError(
                f"the motion has {motion_values.shape[1]} frames, the model reads at most {self.config.max_frames}"
            )
        missing = -mask.shape[1] % patch
        values = nn.functional.pad(motion_values * mask[..., None], (0, 0, 0, missing)).unflatten(1, (-1, patch))
        mask = nn.functional.pad(mask.bool(), (0, missing), value=False).unflatten(1, (-1, patch)).any(-1)
        return self.motion_tower(values.flatten(2), mask)

    def encode_video(self, pixel_values=None, video_mask=None, frame_features=None) -> Encoded:
        """Run the video tower on frames, or on `frame_features` from `encode_frames`.

        Raises:
            ValueError: If the model has no video tower, or neither frames nor features are given.
        """
        if not self.config.use_video:
            raise ValueError("this model has no video tower (use_video=False)")
        if pixel_values is None and frame_features is None:
            raise ValueError("no video: give pixel_values or frame_features")
        features = self.encode_frames(pixel_values) if frame_features is None else frame_features
        features = features.to(self.frame_norm.weight.dtype)
        return self.video_tower(self.frame_norm(features), full_mask(features, video_mask))

    def get_text_features(self, input_ids, attention_mask=None, **kwargs) -> torch.FloatTensor:
        """Embed texts.

        Args:
            input_ids (`torch.LongTensor` of shape `(batch_size, text_length)`): Tokens.
            attention_mask (`torch.Tensor` of shape `(batch_size, text_length)`, *optional*): 0 at padding.

        Returns:
            `torch.FloatTensor` of shape `(batch_size, projection_dim)`, unit norm.
        """
        return self._project("text", self.encode_text(input_ids, attention_mask))

    def get_motion_features(self, motion_values, motion_attention_mask=None, **kwargs) -> torch.FloatTensor:
        """Embed motions.

        Args:
            motion_values (`torch.FloatTensor` of shape `(batch_size, num_frames, feature_size)`): Normalised features.
            motion_attention_mask (`torch.Tensor` of shape `(batch_size, num_frames)`, *optional*): 0 at padding.

        Returns:
            `torch.FloatTensor` of shape `(batch_size, projection_dim)`, unit norm.
        """
        encoded = self.encode_motion(motion_values, motion_attention_mask)
        return self._project_motion(encoded, motion_values, full_mask(motion_values, motion_attention_mask))

    def get_video_features(
        self, pixel_values=None, video_mask=None, frame_features=None, **kwargs
    ) -> torch.FloatTensor:
        """Embed videos.

        Args:
            pixel_values (`torch.FloatTensor` of shape `(batch_size, num_video_frames, 3, size, size)`): Frames.
            video_mask (`torch.Tensor` of shape `(batch_size, num_video_frames)`, *optional*): 0 at padding.
            frame_features (`torch.FloatTensor` of shape `(batch_size, num_video_frames, vision_size)`, *optional*):
                Frames that `encode_frames` has encoded, in place of `pixel_values`.

        Returns:
            `torch.FloatTensor` of shape `(batch_size, projection_dim)`, unit norm.
        """
        return self._project("video", self.encode_video(pixel_values, video_mask, frame_features))

    def _project(self, name: str, encoded: Encoded) -> torch.Tensor:
        """Project an encoded modality into the shared space, with unit norm."""
        return nn.functional.normalize(self.heads[name](encoded.pooled).float(), dim=-1)

    def _project_motion(self, encoded: Encoded, motion_values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Project an encoded motion and its summary into the shared space, with unit norm."""
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
        """Embed any of the three modalities; with `return_loss` also align them and reconstruct the motion.

        Args:
            input_ids, attention_mask, motion_values, motion_attention_mask, pixel_values, video_mask, frame_features
                (*optional*): As in the `get_*_features` methods.
            word_features (`torch.FloatTensor` of shape `(batch_size, text_length, text_hidden_size)`, *optional*):
                Words that `encode_words` has encoded, in place of `input_ids`.
            present (`dict[str, torch.BoolTensor]` of shape `(batch_size,)`, *optional*): For `"text"`, `"video"` and
                `"motion"`, false for samples whose row is a filler. All samples are present by default.
            clip_ids, caption_ids (`torch.LongTensor` of shape `(batch_size,)`, *optional*): Equal numbers for the same
                clip and for the same caption; such pairs are no negatives. Captions do not count between video and
                motion if `video_target` is `"identity"`.
            sentence_embeds (`torch.FloatTensor` of shape `(batch_size, size)`, *optional*): Unit vectors of the
                captions by a frozen sentence encoder. Required unless `target` is `"identity"`.
            return_loss (`bool`): Compute the losses.

        Raises:
            ValueError: If no modality is given.
        """
        encoded, embeds = self.encode_modalities(
            input_ids, attention_mask, motion_values, motion_attention_mask,
            pixel_values, video_mask, frame_features, word_features,
        )  # fmt: skip
        output = LavimoOutput(**{f"{name}_embeds": values for name, values in embeds.items()})
        if not return_loss:
            return output
        output.alignment_losses = self.alignment_losses(embeds, clip_ids, caption_ids, sentence_embeds, present)
        losses = list(output.alignment_losses.values())
        output.reconstruction_loss = self.reconstruction_loss(encoded, motion_values, motion_attention_mask, present)
        if output.reconstruction_loss is not None:
            losses.append(self.config.reconstruction_weight * output.reconstruction_loss)
        output.loss = sum(losses) if losses else None
        return output

    def encode_modalities(
        self,
        input_ids=None,
        attention_mask=None,
        motion_values=None,
        motion_attention_mask=None,
        pixel_values=None,
        video_mask=None,
        frame_features=None,
        word_features=None,
    ) -> tuple[dict[str, Encoded], dict[str, torch.Tensor]]:
        """Encode the modalities that are given, and embed them; for the arguments see `forward`.

        Returns:
            By name, the encoded modalities and their embeddings `(batch_size, projection_dim)`.
        """
        encoded: dict[str, Encoded] = {}
        motion_mask = None if motion_values is None else full_mask(motion_values, motion_attention_mask)
        if motion_values is not None:
            encoded["motion"] = self.encode_motion(motion_values, motion_mask)
        if input_ids is not None or word_features is not None:
            encoded["text"] = self.encode_text(input_ids, attention_mask, word_features)
        if pixel_values is not None or frame_features is not None:
            encoded["video"] = self.encode_video(pixel_values, video_mask, frame_features)
        if not encoded:
            raise ValueError("nothing to embed: give text, video or motion")
        embeds = {name: self._project(name, values) for name, values in encoded.items() if name != "motion"}
        if motion_values is not None:
            embeds["motion"] = self._project_motion(encoded["motion"], motion_values, motion_mask)
        return encoded, embeds

    def _presence(self, embeds: dict[str, torch.Tensor], present: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return a mask `(batch_size,)` of the samples that are present for every modality that is given."""
        everyone = torch.ones(len(next(iter(embeds.values()))), dtype=torch.bool, device=self.device)
        return {name: present.get(name, everyone).bool() for name in embeds}

    def alignment_losses(
        self, embeds, clip_ids=None, caption_ids=None, sentence_embeds=None, present=None
    ) -> dict[str, torch.Tensor]:
        """Compare the rows of a batch and return the loss of each pair of modalities that are given.

        Args:
            embeds (`dict[str, torch.FloatTensor]` of shape `(batch_size, projection_dim)`): By modality.
            clip_ids, caption_ids, sentence_embeds, present (*optional*): See `forward`.
        """
        caption_ids, sentence_embeds = _hide_fillers((present or {}).get("text"), caption_ids, sentence_embeds)
        present = self._presence(embeds, present or {})
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
        """Return the sum of both directions' cross-entropies, as in the paper."""
        config = self.config
        targets = contrastive_targets(
            first, ids, sentence_embeds, TARGETS[target], config.target_threshold, config.soft_weight, present
        )
        forward = self.temperature * cosines(first, gather_with_gradient(second))
        backward = self.temperature * cosines(second, gather_with_gradient(first))
        return sum(contrastive_loss(logits, *targets, present=present) for logits in (forward, backward))

    def reconstruction_loss(
        self, encoded, motion_values=None, motion_attention_mask=None, present=None
    ) -> torch.Tensor | None:
        """Return the mean squared error of the motion that is decoded from the fused embedding; None without fusion.

        Args:
            encoded (`dict[str, Encoded]`): From `encode_modalities`.
            motion_values, motion_attention_mask, present (*optional*): See `forward`.
        """
        if self.config.fusion == "none" or "motion" not in encoded:
            return None
        present = self._presence({name: values.pooled for name, values in encoded.items()}, present or {})
        motion_mask = full_mask(motion_values, motion_attention_mask)
        fused = self.fusion(encoded["motion"].pooled, encoded, present)
        decoded = self.decoder(fused, encoded["motion"].mask)[:, : motion_mask.shape[1]]
        error = (decoded.float() - motion_values.float()).square().mean(-1)
        return masked_mean(error, motion_mask & present["motion"][:, None])


def _new_encoder(config: PreTrainedConfig) -> PreTrainedModel:
    """Create a text or vision encoder, with the attention that the model is asked for if the encoder has any."""
    if not AutoModel._model_mapping[type(config)]._supports_sdpa:
        config._attn_implementation = None
    return AutoModel.from_config(config)


def _hide_fillers(present: torch.Tensor | None, caption_ids, sentence_embeds) -> tuple:
    """Give the captions of samples without text ids and sentence embeddings that match no other caption."""
    if present is not None and caption_ids is not None:
        caption_ids = torch.where(present.bool(), caption_ids, -1 - global_row_indices(caption_ids))
    if present is not None and sentence_embeds is not None:
        sentence_embeds = sentence_embeds * present.bool()[:, None]
    return caption_ids, sentence_embeds


__all__ = ["LavimoModel", "LavimoOutput"]
