"""Text to motion: LaMP's condition, a masked transformer over tokens, the tokenizer's decoder (LaMP section 4)."""

from dataclasses import dataclass

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.utils import ModelOutput

from .configuration_lamp_text_to_motion import LampTextToMotionConfig
from .modeling_lamp import LampModel
from .modeling_motion_vqvae import MotionVQVAEModel, full_mask, masked_mean
from .scheduling_masked_motion import MaskedMotionScheduler
from .sinusoidal_positions import sinusoidal_positions
from .strict_loading import StrictLoadingMixin


@dataclass
class LampTextToMotionOutput(ModelOutput):
    """
    Args:
        loss (`torch.FloatTensor` of shape `()`): cross-entropy of masked tokens, and of the length.
        token_loss, length_loss (`torch.FloatTensor` of shape `()`): parts of the loss.
        logits (`torch.FloatTensor` of shape `(batch_size, num_tokens, codebook_size)`): of every position.
        length_logits (`torch.FloatTensor` of shape `(batch_size, max_num_tokens)`): of 1, 2, ... tokens.
    """

    loss: torch.FloatTensor | None = None
    token_loss: torch.FloatTensor | None = None
    length_loss: torch.FloatTensor | None = None
    logits: torch.FloatTensor | None = None
    length_logits: torch.FloatTensor | None = None


@dataclass
class GeneratedMotionOutput(ModelOutput):
    """
    Args:
        motion_values (`torch.FloatTensor` of shape `(batch_size, num_frames, feature_size)`): normalised features.
        codes (`torch.LongTensor` of shape `(batch_size, num_tokens)`): indices.
        token_mask (`torch.BoolTensor` of shape `(batch_size, num_tokens)`): false at padding.
    """

    motion_values: torch.FloatTensor | None = None
    codes: torch.LongTensor | None = None
    token_mask: torch.BoolTensor | None = None


def attention_bias(mode: str, num_prefix: int, length: int, device=None) -> torch.Tensor | None:
    """What is added to attention logits, `(num_prefix + length, num_prefix + length)`; the prefix is seen by all."""
    total = num_prefix + length
    past = torch.ones(total, total, dtype=torch.bool, device=device).tril()
    past[:, :num_prefix] = True
    if mode == "causal":
        return torch.zeros(total, total, device=device).masked_fill(~past, -torch.inf)
    if mode == "soft_tril":
        return past.float()
    if mode == "bidirectional":
        return None
    raise ValueError(f"unknown attention_mask_mode {mode!r}; known: causal, soft_tril, bidirectional")


class MaskedMotionTransformer(nn.Module):
    """Predicts each motion token from the condition and the tokens that are not masked."""

    def __init__(self, config: LampTextToMotionConfig):
        super().__init__()
        size, motion = config.hidden_size, config.lamp_config.motion_config
        self.config = config
        self.mask_token_id = motion.codebook_size
        self.token_embeddings = nn.Embedding(motion.codebook_size + 1, size)
        self.condition_projection = nn.Linear(config.lamp_config.hidden_size, size)
        self.token_convolution = None
        if config.token_convolution:
            self.token_convolution = nn.Conv1d(size, size, config.token_convolution)
        layer = nn.TransformerEncoderLayer(
            size,
            config.num_attention_heads,
            config.intermediate_size,
            config.dropout,
            "gelu",
            batch_first=True,
            norm_first=config.pre_norm,
        )
        norm = nn.LayerNorm(size) if config.pre_norm else None
        self.layers = nn.TransformerEncoder(layer, config.num_hidden_layers, norm, enable_nested_tensor=False)
        if config.attention_mask_mode == "soft_tril":
            for layer in self.layers.layers:
                layer.activation_relu_or_gelu = 0  # PyTorch's fast path, not taken then, reads every mask as boolean
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Sequential(
            nn.Linear(size, size), nn.GELU(), nn.LayerNorm(size), nn.Linear(size, motion.codebook_size)
        )

    def forward(self, codes: torch.Tensor, token_mask: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        """
        Args:
            codes (`torch.LongTensor` of shape `(batch_size, num_tokens)`): with `mask_token_id` where masked.
            token_mask (`torch.BoolTensor` of shape `(batch_size, num_tokens)`): false at padding.
            condition (`torch.FloatTensor` of shape `(batch_size, num_prefix, lamp_hidden_size)`): zero for none.
        """
        prefix = self.condition_projection(condition.to(self.condition_projection.weight.dtype))
        length, num_prefix = codes.shape[1], prefix.shape[1]
        positions = sinusoidal_positions(num_prefix + length, prefix.shape[-1]).to(prefix)
        # Scaled as by Vaswani et al.: else the position code drowns the tokens, and context is learned late.
        tokens = self.token_embeddings(codes) * prefix.shape[-1] ** 0.5
        if self.token_convolution is not None:
            tokens = tokens + self._convolve(tokens * token_mask[..., None].to(tokens.dtype))
        hidden = torch.cat([prefix, tokens], 1) + positions
        bias = attention_bias(self.config.attention_mask_mode, num_prefix, length, codes.device)
        padding = None
        if self.config.mask_padding:
            padding = nn.functional.pad(~token_mask, (num_prefix, 0), value=False)
            padding = torch.zeros(padding.shape, device=codes.device).masked_fill(padding, -torch.inf)
        hidden = self.layers(self.dropout(hidden), mask=bias, src_key_padding_mask=padding)
        return self.head(hidden[:, num_prefix:])

    def _convolve(self, tokens: torch.Tensor) -> torch.Tensor:
        """Mixes `(B, L, H)` tokens with their neighbours, with earlier ones alone where attention is causal."""
        width = self.config.token_convolution - 1
        right = 0 if self.config.attention_mask_mode == "causal" else width // 2
        tokens = nn.functional.pad(tokens.transpose(1, 2), (width - right, right))
        return self.token_convolution(tokens).transpose(1, 2)


class LampTextToMotionPreTrainedModel(StrictLoadingMixin, PreTrainedModel):
    config: LampTextToMotionConfig
    base_model_prefix = "text_to_motion"
    main_input_name = "input_ids"
    input_modalities = ("text",)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module):
        super()._init_weights(module)
        if isinstance(module, MaskedMotionTransformer):
            init.normal_(module.token_embeddings.weight, std=self.config.hidden_size**-0.5)
        elif isinstance(module, nn.MultiheadAttention):
            init.xavier_uniform_(module.in_proj_weight)
            init.zeros_(module.in_proj_bias)


class LampForTextToMotion(LampTextToMotionPreTrainedModel):
    """A sentence to a motion. Only transformer and length predictor are trained here; LaMP and the tokenizer rest."""

    _tied_weights_keys = {r"lamp.motion_encoder.*": r"vqvae.encoder.*"}

    def __init__(self, config: LampTextToMotionConfig):
        super().__init__(config)
        lamp = config.lamp_config
        self.lamp = LampModel(lamp)
        self.vqvae = MotionVQVAEModel(lamp.motion_config)
        self.transformer = MaskedMotionTransformer(config)
        self.length_predictor = nn.Sequential(
            nn.LayerNorm(lamp.hidden_size),
            nn.Linear(lamp.hidden_size, config.hidden_size),
            nn.GELU(),
            nn.Linear(config.hidden_size, lamp.num_query_tokens),
        )
        self.text_projection = None
        if config.new_text_projection:
            self.text_projection = nn.Linear(lamp.hidden_size, lamp.cross_attention_width)
        self.lamp.requires_grad_(False)
        self.vqvae.requires_grad_(False)
        self.post_init()

    def train(self, mode: bool = True):
        super().train(mode)
        self.lamp.eval()  # frozen; the released code leaves its dropout on
        self.vqvae.eval()
        return self

    @property
    def max_num_tokens(self) -> int:
        return self.config.lamp_config.num_query_tokens

    def get_input_embeddings(self) -> nn.Embedding:
        return self.lamp.get_input_embeddings()

    def encode_text(self, input_ids: torch.LongTensor, attention_mask: torch.Tensor | None = None) -> torch.Tensor:
        """The condition of a text, `(batch_size, num_prefix, lamp_hidden_size)`."""
        mask = full_mask(input_ids, attention_mask)
        if self.config.condition_mode == "text_mean":
            hidden, weights = self.lamp.encode_text(input_ids, mask), mask[..., None].to(self.lamp.dtype)
            return (hidden * weights).sum(1, keepdim=True) / weights.sum(1, keepdim=True)
        if self.text_projection is not None:
            queries, _ = self.lamp.attend(self.text_projection(self.lamp.encode_text(input_ids, mask)), mask)
        else:
            queries = self.lamp.get_text_condition(input_ids, mask)
        return queries if self.config.condition_mode == "queries" else queries.mean(1, keepdim=True)

    def forward(
        self,
        codes: torch.LongTensor,
        token_mask: torch.BoolTensor,
        labels: torch.LongTensor | None = None,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        condition: torch.FloatTensor | None = None,
        drop_condition: torch.BoolTensor | None = None,
    ) -> LampTextToMotionOutput:
        """
        Args:
            codes (`torch.LongTensor` of shape `(batch_size, num_tokens)`): with the mask's index where masked.
            token_mask (`torch.BoolTensor` of shape `(batch_size, num_tokens)`): false at padding.
            labels (`torch.LongTensor` of shape `(batch_size, num_tokens)`, *optional*): codes, -100 where not asked.
            input_ids, attention_mask (`torch.Tensor` of shape `(batch_size, text_length)`, *optional*): the text.
            condition (`torch.FloatTensor` of shape `(batch_size, num_prefix, lamp_hidden_size)`, *optional*): what
                `encode_text` gave, in place of the text.
            drop_condition (`torch.BoolTensor` of shape `(batch_size,)`, *optional*): clips to train without text.
        """
        if condition is None:
            condition = self.encode_text(input_ids, attention_mask)
        length_logits = self.length_predictor(condition.mean(1).to(self.length_predictor[1].weight.dtype)).float()
        if drop_condition is not None:
            condition = condition.masked_fill(drop_condition[:, None, None], 0)
        logits = self.transformer(codes, token_mask, condition).float()
        if labels is None:
            return LampTextToMotionOutput(logits=logits, length_logits=length_logits)
        token_loss = nn.functional.cross_entropy(logits.transpose(1, 2), labels, reduction="none")
        token_loss = masked_mean(token_loss, labels != -100)
        length_loss = nn.functional.cross_entropy(length_logits, token_mask.sum(1) - 1)
        return LampTextToMotionOutput(
            loss=token_loss + self.config.length_loss_weight * length_loss,
            token_loss=token_loss,
            length_loss=length_loss,
            logits=logits,
            length_logits=length_logits,
        )

    @torch.no_grad()
    def generate(
        self,
        input_ids: torch.LongTensor,
        attention_mask: torch.Tensor | None = None,
        num_tokens: list[int | None] | None = None,
        seeds: list[int] | None = None,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        temperature: float | None = None,
        top_k: int | None = None,
    ) -> GeneratedMotionOutput:
        """
        Args:
            input_ids, attention_mask (`torch.Tensor` of shape `(batch_size, text_length)`): the texts.
            num_tokens (`list[int]`, *optional*): length of each motion in tokens; None is predicted.
            seeds (`list[int]`, *optional*): one a sample; a sample depends on its own alone. Random if not given.
            num_inference_steps, guidance_scale, temperature, top_k (*optional*): the configuration's if not given.
        """
        config = self.config
        steps = config.num_inference_steps if num_inference_steps is None else num_inference_steps
        scale = config.guidance_scale if guidance_scale is None else guidance_scale
        temperature = config.temperature if temperature is None else temperature
        top_k = config.top_k if top_k is None else top_k
        seeds = torch.randint(2**31, (len(input_ids),)).tolist() if seeds is None else seeds
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]

        condition = self.encode_text(input_ids, attention_mask)
        lengths = self._choose_lengths(condition, num_tokens or [None] * len(input_ids), generators)
        token_mask = torch.arange(int(lengths.max()), device=condition.device) < lengths[:, None]
        codes = torch.full(token_mask.shape, self.transformer.mask_token_id, device=condition.device)
        scheduler = MaskedMotionScheduler(mask_token_id=self.transformer.mask_token_id)
        scheduler.set_timesteps(steps)
        for timestep in scheduler.timesteps.tolist():
            logits = self._guided_logits(codes, token_mask, condition, scale)
            codes = scheduler.step(
                logits, timestep, codes, token_mask, generators, temperature, top_k, config.order_noise
            ).prev_sample
        motion = self.vqvae.decode(codes, token_mask)
        return GeneratedMotionOutput(motion_values=motion, codes=codes, token_mask=token_mask)

    def _guided_logits(self, codes, token_mask, condition, scale: float) -> torch.Tensor:
        if scale == 1:
            return self.transformer(codes, token_mask, condition).float()
        both = torch.cat([condition, torch.zeros_like(condition)])
        logits = self.transformer(codes.repeat(2, 1), token_mask.repeat(2, 1), both).float()
        conditional, unconditional = logits.chunk(2)
        return unconditional + scale * (conditional - unconditional)

    def _choose_lengths(self, condition, num_tokens, generators) -> torch.LongTensor:
        """The asked-for lengths; where None, one drawn from the predicted distribution by the sample's own stream."""
        probabilities = self.length_predictor(condition.mean(1)).float().softmax(-1).cpu()
        lengths = []
        for asked, row, generator in zip(num_tokens, probabilities, generators, strict=True):
            if asked is None and self.config.sample_length:
                asked = 1 + int(torch.multinomial(row, 1, generator=generator))
            elif asked is None:
                asked = 1 + int(row.argmax())
            lengths.append(asked)
        return torch.tensor(lengths, device=condition.device)


__all__ = ["GeneratedMotionOutput", "LampForTextToMotion", "LampTextToMotionOutput", "LampTextToMotionPreTrainedModel"]
