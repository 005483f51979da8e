"""Text-to-motion generator: LaMP's condition, a masked transformer over motion tokens, a decoder (LaMP section 4)."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.utils import ModelOutput

from .configuration_lamp_text_to_motion import LampTextToMotionConfig
from .modeling_auto_lamp import lamp_class
from .modeling_common import (
    FrozenPartsMixin,
    StrictLoadingMixin,
    full_mask,
    masked_mean,
    mean_of_words,
    pad_conditions,
    sinusoidal_positions,
)
from .modeling_motion_vqvae import MotionVQVAEModel
from .motion_requests import check_sampling
from .motion_transformers import MaskedMotionTransformer, ResidualMotionTransformer, WordAttention
from .scheduling_masked_motion import MaskedMotionScheduler


@dataclass
class LampTextToMotionOutput(ModelOutput):
    """Losses and predictions for corrupted tokens.

    Args:
        loss (`torch.FloatTensor` of shape `()`): cross-entropy of masked tokens, of the length and of residual codes.
        token_loss, length_loss, residual_loss (`torch.FloatTensor` of shape `()`): parts of the loss.
        logits (`torch.FloatTensor` of shape `(batch_size, num_tokens, codebook_size)`): codes of every position.
        length_logits (`torch.FloatTensor` of shape `(batch_size, max_num_tokens)`): lengths of 1, 2, ... tokens.
    """

    loss: torch.FloatTensor | None = None
    token_loss: torch.FloatTensor | None = None
    length_loss: torch.FloatTensor | None = None
    residual_loss: torch.FloatTensor | None = None
    logits: torch.FloatTensor | None = None
    length_logits: torch.FloatTensor | None = None


@dataclass
class GeneratedMotionOutput(ModelOutput):
    """Generated motions.

    Args:
        motion_values (`torch.FloatTensor` of shape `(batch_size, num_frames, feature_size)`): normalised features.
        codes (`torch.LongTensor` of shape `(batch_size, num_tokens, num_quantizers)`): indices.
        token_mask (`torch.BoolTensor` of shape `(batch_size, num_tokens)`): false at padding.
    """

    motion_values: torch.FloatTensor | None = None
    codes: torch.LongTensor | None = None
    token_mask: torch.BoolTensor | None = None


class LampTextToMotionPreTrainedModel(FrozenPartsMixin, StrictLoadingMixin, PreTrainedModel):
    """Base class that holds initialisation, strict loading and freezing."""

    config: LampTextToMotionConfig
    base_model_prefix = "text_to_motion"
    main_input_name = "input_ids"
    input_modalities = ("text",)
    supports_gradient_checkpointing = True
    _supports_sdpa = True  # attention is always computed by scaled_dot_product_attention

    @torch.no_grad()
    def _init_weights(self, module: nn.Module):
        super()._init_weights(module)
        if isinstance(module, MaskedMotionTransformer):
            init.normal_(module.token_embeddings.weight, std=self.config.hidden_size**-0.5)
        elif isinstance(module, ResidualMotionTransformer):
            for embeddings in (*module.code_embeddings, module.level_embeddings):
                init.normal_(embeddings.weight, std=self.config.hidden_size**-0.5)
        elif isinstance(module, WordAttention):
            init.zeros_(module.gate)
        elif isinstance(module, nn.MultiheadAttention):
            for name in ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight"):
                if getattr(module, name) is not None:
                    init.xavier_uniform_(getattr(module, name))
            init.zeros_(module.in_proj_bias)


class LampForTextToMotion(LampTextToMotionPreTrainedModel):
    """Generates a motion from a text. LaMP and the tokenizer are frozen."""

    _auto_class = "AutoModel"
    _frozen_parts = ("lamp", "vqvae")  # the released code leaves LaMP's dropout on
    _tied_weights_keys = {r"lamp.motion_encoder.*": r"vqvae.encoder.*"}

    def __init__(self, config: LampTextToMotionConfig):
        super().__init__(config)
        lamp = config.lamp_config
        if config.tokenizer_config is not None:
            self._tied_weights_keys = {}
        self.lamp = lamp_class(lamp.model_type)(lamp)
        self.vqvae = MotionVQVAEModel(config.motion_config)
        self.transformer = MaskedMotionTransformer(config)
        self.residual_transformer = None
        if config.motion_config.num_quantizers > 1:
            self.residual_transformer = ResidualMotionTransformer(config)
        self.length_predictor = nn.Sequential(
            nn.LayerNorm(config.condition_size),
            nn.Linear(config.condition_size, config.hidden_size),
            nn.GELU(),
            nn.Linear(config.hidden_size, lamp.num_query_tokens),
        )
        self.text_projection = None
        if config.released_quirks.new_text_projection:
            self.text_projection = nn.Linear(lamp.hidden_size, lamp.cross_attention_width)
        self.post_init()

    @property
    def max_num_tokens(self) -> int:
        """Greatest number of motion tokens in one motion."""
        return self.config.lamp_config.num_query_tokens

    def get_input_embeddings(self) -> nn.Embedding:
        """Return the word embeddings of LaMP."""
        return self.lamp.get_input_embeddings()

    def encode_text(self, input_ids: torch.LongTensor, attention_mask: torch.Tensor | None = None) -> torch.Tensor:
        """Encode texts into the condition of the transformers.

        Args:
            input_ids, attention_mask (`torch.Tensor` of shape `(batch_size, text_length)`): the texts.

        Returns:
            `torch.FloatTensor` of shape `(batch_size, num_vectors, condition_size)`: vectors of the whole text, and
            with LaMP then the states of its words, see [`LampTextToMotionConfig`]; 0 at padding.
        """
        if self.config.attends_to_words:
            return self._encode_words(input_ids, full_mask(input_ids, attention_mask))
        mask, padded = full_mask(input_ids, attention_mask), self.config.released_quirks.padded_text_length
        if missing := max(padded - input_ids.shape[1], 0):
            padding = self.config.lamp_config.pad_token_id
            input_ids = nn.functional.pad(input_ids, (0, missing), value=padding)
            mask = nn.functional.pad(mask, (0, missing), value=False)
        read = mask | (torch.arange(mask.shape[1], device=mask.device) < padded)
        mode, parts, hidden = self.config.condition_mode, [], self.lamp.encode_text(input_ids, mask)
        if mode in ("query_mean", "queries", "query_and_text_mean"):
            if self.text_projection is not None:
                queries, _ = self.lamp.attend(self.text_projection(hidden), read)
            else:
                queries = self.lamp.get_text_condition(input_ids, mask, hidden)
            parts.append(queries if mode == "queries" else queries.mean(1, keepdim=True))
        if mode in ("text_mean", "query_and_text_mean"):
            parts.append(mean_of_words(hidden, mask)[:, None])
        return torch.cat(parts, 1)

    def _encode_words(self, input_ids: torch.LongTensor, mask: torch.BoolTensor) -> torch.Tensor:
        """Return the embedding of each text, scaled to entries of about 1, and the states of its words behind it.

        The states hardly tell where in the text a word stands, so a code of its position is added.
        """
        words = self.lamp.encode_text(input_ids, mask)
        if self.config.condition_mode == "words":
            text = self.lamp.encode_text_parts(words, mask)
            words, whole = text.word_states, text.embeds
        else:
            whole = nn.functional.normalize(mean_of_words(words, mask).float(), dim=-1)
        whole = nn.functional.pad(whole * whole.shape[-1] ** 0.5, (0, words.shape[-1] - whole.shape[-1]))
        words = (words + sinusoidal_positions(*words.shape[1:]).to(words)) * mask[..., None].to(words.dtype)
        return torch.cat([whole[:, None].to(words.dtype), words], 1)

    def forward(
        self,
        codes: torch.LongTensor,
        token_mask: torch.BoolTensor,
        labels: torch.LongTensor | None = None,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        condition: torch.FloatTensor | None = None,
        drop_condition: torch.BoolTensor | None = None,
        all_codes: torch.LongTensor | None = None,
        levels: torch.LongTensor | None = None,
        length_mask: torch.BoolTensor | None = None,
    ) -> LampTextToMotionOutput:
        """Predict masked tokens and the length of motions.

        Args:
            codes (`torch.LongTensor` of shape `(batch_size, num_tokens)`): indices, the mask's where masked.
            token_mask (`torch.BoolTensor` of shape `(batch_size, num_tokens)`): false at padding.
            labels (`torch.LongTensor` of shape `(batch_size, num_tokens)`, *optional*): indices to predict, -100 where
                none is.
            input_ids, attention_mask (`torch.Tensor` of shape `(batch_size, text_length)`, *optional*): the text.
            condition (`torch.FloatTensor` of shape `(batch_size, num_vectors, condition_size)`, *optional*): result
                of `encode_text`, in place of the text.
            drop_condition (`torch.BoolTensor` of shape `(batch_size,)`, *optional*): clips whose tokens are predicted
                without text.
            all_codes (`torch.LongTensor` of shape `(batch_size, num_tokens, num_quantizers)`, *optional*): indices of
                all codebooks, to train the transformer over residual codes.
            levels (`torch.LongTensor` of shape `(batch_size,)`, *optional*): codebook that each sample trains, from 1.
            length_mask (`torch.BoolTensor` of shape `(batch_size,)`, *optional*): clips whose length the length
                predictor learns; all if not given. False for clips that augmentation made longer or shorter.
        """
        if condition is None:
            condition = self.encode_text(input_ids, attention_mask)
        length_logits = self.length_logits(condition)
        if drop_condition is not None:
            condition = condition.masked_fill(drop_condition[:, None, None], 0)
        logits = self.transformer(codes, token_mask, condition).float()
        if labels is None:
            return LampTextToMotionOutput(logits=logits, length_logits=length_logits)
        token_loss = nn.functional.cross_entropy(logits.transpose(1, 2), labels, reduction="none")
        token_loss = masked_mean(token_loss, labels != -100)
        length_loss = nn.functional.cross_entropy(length_logits, token_mask.sum(1) - 1, reduction="none")
        natural = torch.ones_like(length_loss, dtype=torch.bool) if length_mask is None else length_mask
        length_loss = masked_mean(length_loss, natural)
        loss, residual_loss = token_loss + self.config.length_loss_weight * length_loss, None
        if all_codes is not None:
            refined = self.residual_transformer(all_codes, token_mask, condition, levels).float()
            wanted = all_codes[torch.arange(len(levels), device=levels.device), :, levels]
            residual_loss = nn.functional.cross_entropy(refined.transpose(1, 2), wanted, reduction="none")
            residual_loss = masked_mean(residual_loss, token_mask)
            loss = loss + residual_loss
        return LampTextToMotionOutput(
            loss=loss,
            token_loss=token_loss,
            length_loss=length_loss,
            residual_loss=residual_loss,
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
        **sampling,
    ) -> GeneratedMotionOutput:
        """Generate motions of texts.

        Args:
            input_ids, attention_mask (`torch.Tensor` of shape `(batch_size, text_length)`): the texts.
            num_tokens (`list[int]`, *optional*): length of each motion in tokens; None is predicted.
            seeds (`list[int]`, *optional*): one for each sample, which depends on no other. Random if not given.
            sampling: `num_inference_steps`, `guidance_scale`, `temperature`, `top_k`, see `generate_codes`.

        Raises:
            ValueError: when a length or an option of sampling cannot be met.
        """
        seeds = torch.randint(2**31, (len(input_ids),)).tolist() if seeds is None else seeds
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        condition = self.encode_text(input_ids, attention_mask)
        asked = num_tokens or [None] * len(input_ids)
        if not all(count is None or 1 <= count <= self.max_num_tokens for count in asked):
            raise ValueError(f"num_tokens must be from 1 to {self.max_num_tokens}; the pipeline makes longer motions")
        lengths = self.choose_lengths(condition, asked, generators)
        token_mask = torch.arange(int(lengths.max()), device=condition.device) < lengths[:, None]
        codes = self.generate_codes(condition, token_mask, generators, **sampling)
        return GeneratedMotionOutput(
            motion_values=self.vqvae.decode(codes, token_mask), codes=codes, token_mask=token_mask
        )

    @torch.no_grad()
    def generate_codes(
        self,
        condition: torch.FloatTensor,
        token_mask: torch.BoolTensor,
        generators: list[torch.Generator],
        known_codes: torch.LongTensor | None = None,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        temperature: float | None = None,
        top_k: int | None = None,
        scheduler: MaskedMotionScheduler | None = None,
        negative_condition: torch.FloatTensor | None = None,
        on_step_end: Callable[[int, torch.LongTensor], torch.LongTensor] | None = None,
    ) -> torch.LongTensor:
        """Generate motion tokens by masked decoding, then residual codes level by level.

        Args:
            condition (`torch.FloatTensor` of shape `(batch_size, num_vectors, condition_size)`): result of
                `encode_text`.
            token_mask (`torch.BoolTensor` of shape `(batch_size, num_tokens)`): false at padding.
            generators (`list[torch.Generator]`): source of randomness of each sample.
            known_codes (`torch.LongTensor` of shape `(batch_size, num_tokens, num_quantizers)`, *optional*): tokens
                that stay, negative where one is to be generated.
            num_inference_steps, guidance_scale, temperature, top_k (*optional*): the configuration's if not given.
            scheduler ([`MaskedMotionScheduler`], *optional*): decides which tokens are settled at each step.
            negative_condition (`torch.FloatTensor` of shape `(batch_size, num_vectors, condition_size)`, *optional*):
                what guidance leads away from; zeros, which stand for no text, if not given.
            on_step_end (`Callable`, *optional*): called after each step of masked decoding with its index and the
                tokens `(batch_size, num_tokens)`, returns the tokens to continue with. Those that it masks are
                settled by later steps.

        Returns:
            `torch.LongTensor` of shape `(batch_size, num_tokens, num_quantizers)`: indices.

        Raises:
            ValueError: when an option of sampling cannot be met, or `on_step_end` masks tokens after the last step.
        """
        config, mask_token_id = self.config, self.transformer.mask_token_id
        steps = config.num_inference_steps if num_inference_steps is None else num_inference_steps
        scale = config.guidance_scale if guidance_scale is None else guidance_scale
        temperature = config.temperature if temperature is None else temperature
        top_k = config.top_k if top_k is None else top_k
        check_sampling(steps, scale, temperature, top_k)

        codes = torch.full(token_mask.shape, mask_token_id, device=condition.device)
        if known_codes is not None:
            codes = torch.where(known_codes[..., 0] < 0, mask_token_id, known_codes[..., 0])
        scheduler = scheduler or MaskedMotionScheduler(mask_token_id=mask_token_id)
        scheduler.set_timesteps(steps)
        negative = torch.zeros_like(condition) if negative_condition is None else negative_condition
        num_masked = ((codes == mask_token_id) & token_mask).sum(1)
        seeds = [int(torch.randint(2**62, (), generator=generator)) for generator in generators]
        streams = [torch.Generator().manual_seed(seed) for seed in seeds]
        for timestep in scheduler.timesteps.tolist():
            masked = ((codes == mask_token_id) & token_mask).sum(1)
            rows = scheduler.settles(timestep, masked, num_masked).nonzero()[:, 0]
            if len(rows):
                guidance = scheduler.guidance(timestep, scale, config.guidance_interval)
                inputs = codes[rows], token_mask[rows]
                logits = self._guided(self.transformer, guidance, *inputs, condition[rows], negative[rows])
                own = [streams[row] for row in rows.tolist()]
                codes[rows] = scheduler.step(
                    logits, timestep, *inputs, own, temperature, top_k, config.choice_temperature, num_masked[rows]
                ).prev_sample
            if on_step_end is not None:
                codes = on_step_end(timestep, codes)
        unsettled = codes == mask_token_id
        if (unsettled & token_mask).any():
            raise ValueError("on_step_end masks tokens after the last step, which nothing settles any more")
        codes = codes.masked_fill(unsettled, 0)[..., None]  # on_step_end may have masked padding
        for level in range(1, config.motion_config.num_quantizers):
            levels = torch.full((len(codes),), level, device=codes.device)
            logits = self._guided(self.residual_transformer, scale, codes, token_mask, condition, negative, levels)
            refined = logits.argmax(-1)
            if known_codes is not None:
                refined = torch.where(known_codes[..., level] < 0, refined, known_codes[..., level])
            codes = torch.cat([codes, refined[..., None]], -1)
        return codes

    @staticmethod
    def _guided(transformer: nn.Module, scale: float, codes, token_mask, condition, negative, *levels) -> torch.Tensor:
        """Compute logits and move them away from those of the negative condition (classifier-free guidance)."""
        if scale == 1:
            return transformer(codes, token_mask, condition, *levels).float()
        both = torch.cat(pad_conditions([condition, negative]))
        codes, token_mask, *levels = (torch.cat([values, values]) for values in (codes, token_mask, *levels))
        wanted, unwanted = transformer(codes, token_mask, both, *levels).float().chunk(2)
        return unwanted + scale * (wanted - unwanted)

    def length_logits(self, condition: torch.FloatTensor) -> torch.FloatTensor:
        """Predict lengths from a condition: logits `(batch_size, max_num_tokens)` of 1, 2, ... tokens."""
        mean = condition.sum(1) / (condition != 0).any(-1).sum(1, keepdim=True).clamp(min=1)
        return self.length_predictor(mean.to(self.length_predictor[1].weight.dtype)).float()

    def length_probabilities(self, condition: torch.FloatTensor) -> torch.FloatTensor:
        """Return how likely 1, 2, ... tokens are where no length is given, `(batch_size, max_num_tokens)` on the CPU.

        Lengths are those of the middle half of the predicted distribution: its tails are lengths of few clips, such as
        a wave of ten seconds, that nobody expects without asking. Without `sample_length` it is the most likely one.
        """
        predicted = self.length_logits(condition).softmax(-1).cpu()
        if not self.config.sample_length:
            return nn.functional.one_hot(predicted.argmax(-1), predicted.shape[-1]).float()
        quantiles = nn.functional.pad(predicted.cumsum(-1), (1, 0)).clamp(0.25, 0.75)
        return 2 * quantiles.diff()

    def choose_lengths(self, condition, num_tokens, generators) -> torch.LongTensor:
        """Return `num_tokens`, with None replaced by a length from `length_probabilities`.

        Args:
            condition (`torch.FloatTensor` of shape `(batch_size, num_vectors, condition_size)`): result of
                `encode_text`.
            num_tokens (`list[int]`): length of each motion in tokens, or None.
            generators (`list[torch.Generator]`): source of randomness of each sample.

        Returns:
            `torch.LongTensor` of shape `(batch_size,)`.
        """
        lengths = []
        for asked, row, generator in zip(num_tokens, self.length_probabilities(condition), generators, strict=True):
            predicted = row.argmax()
            if self.config.sample_length:  # drawn in any case: a length that is asked for changes nothing else
                predicted = torch.multinomial(row, 1, generator=generator)
            lengths.append(1 + int(predicted) if asked is None else asked)
        return torch.tensor(lengths, device=condition.device)


__all__ = [
    "GeneratedMotionOutput",
    "LampForTextToMotion",
    "LampTextToMotionOutput",
    "LampTextToMotionPreTrainedModel",
]
