"""LaMP: text and motion in one space, by queries that read motion and words that read queries (Li et al., ICLR 2025).

A frozen sentence encoder gives word states, a frozen motion encoder gives latents. Everything in between is LaMP's.
"""

import math

import torch
from torch import nn
from transformers import AutoModel, PreTrainedModel
from transformers import initialization as init

from .configuration_lamp import LampConfig
from .lamp_matching import LampMatcher
from .lamp_outputs import LampMotionFeatures, LampOutput, LampTextFeatures
from .lamp_queries import LampMotionTrunk, LampQueries
from .modeling_common import StrictLoadingMixin, full_mask
from .modeling_motion_vqvae import MotionEncoder


class LampPreTrainedModel(StrictLoadingMixin, PreTrainedModel):
    """Base class that holds initialisation and strict loading."""

    config: LampConfig
    base_model_prefix = "lamp"
    main_input_name = "motion_values"
    input_modalities = ("text", "time")
    supports_gradient_checkpointing = True
    _supports_sdpa = True  # attention is always computed by scaled_dot_product_attention

    @torch.no_grad()
    def _init_weights(self, module: nn.Module):
        super()._init_weights(module)
        if isinstance(module, LampQueries):
            module.init_weights()
        elif isinstance(module, LampMotionTrunk):
            init.zeros_(module.latent_mean)
            init.copy_(module.latent_whitening, torch.eye(len(module.latent_mean)))
        elif isinstance(module, nn.MultiheadAttention):
            init.xavier_uniform_(module.in_proj_weight)
            init.zeros_(module.in_proj_bias)
        elif isinstance(module, LampModel):
            init.constant_(module.logit_scale, math.log(1 / 0.07))
            init.constant_(module.word_logit_scale, math.log(1 / 0.07))


class LampModel(LampPreTrainedModel):
    """Text and motion encoders of LaMP.

    `get_text_features` and `get_motion_features` return embeddings in one space, `get_word_states` what a generator
    attends to, and `encode_text_parts` and `encode_motion_parts` all of it at once. Loads from the folder of any model
    that contains LaMP.

    Args:
        config ([`LampConfig`]): Configuration of the model.
    """

    _auto_class = "AutoModel"
    # The decoders of pretraining, or a generator, where the folder has them.
    _keys_to_ignore_on_load_unexpected = [
        r"^caption_decoder", r"^motion_decoder", r"^code_head",
        r"^vqvae", r"^transformer", r"^residual_transformer", r"^length_predictor",
    ]  # fmt: skip

    def __init__(self, config: LampConfig):
        super().__init__(config)
        latents, words = config.motion_config.codebook_dim, config.text_config.hidden_size
        size, states = config.hidden_size, config.word_state_size
        self.motion_encoder = MotionEncoder(config.motion_config)
        self.text_encoder = AutoModel.from_config(config.text_config, add_pooling_layer=False)
        self.trunk = LampMotionTrunk(config)
        self.queries = LampQueries(config)
        self.motion_head = nn.Linear(latents + 3 * config.trunk_size, config.projection_dim)
        self.query_head = nn.Linear(size, config.token_projection_dim)
        self.word_states = nn.Sequential(nn.Linear(words, states), nn.GELU())
        self.text_context = nn.Linear(states, config.context_size)
        self.sentence_head = nn.Sequential(
            nn.Linear(words, states), nn.GELU(), nn.Dropout(config.dropout), nn.Linear(states, config.projection_dim)
        )
        self.words_head = nn.Linear(2 * states, config.projection_dim)
        self.word_head = nn.Linear(states, config.token_projection_dim)
        self.word_weight = nn.Linear(words, 1)
        self.matcher = LampMatcher(config)
        self.logit_scale = nn.Parameter(torch.empty(()))
        self.word_logit_scale = nn.Parameter(torch.empty(()))
        self._freeze()
        self.post_init()

    @classmethod
    def from_pretrained(cls, *args, **kwargs):
        """Load from the folder or Hub id of LaMP or of a generator; the frozen encoders stay frozen.

        Raises:
            ValueError: If a weight is missing or of another shape, or if a file is damaged.
        """
        # A generator that shares LaMP's tokenizer stores the motion encoder only once, as part of the tokenizer.
        options = {name: kwargs[name] for name in _HUB_OPTIONS if name in kwargs}
        saved, _ = cls.config_class.get_config_dict(args[0], **options)
        if saved.get("lamp_config") and not saved.get("tokenizer_config"):
            kwargs["key_mapping"] = {r"^vqvae\.encoder\.": "motion_encoder."}
        loaded = super().from_pretrained(*args, **kwargs)
        (loaded[0] if isinstance(loaded, tuple) else loaded)._freeze()
        return loaded

    def _freeze(self) -> None:
        for part in (self.motion_encoder, self.text_encoder):
            part.requires_grad_(False).eval()  # a new model is in training mode, where encoders drop out

    def train(self, mode: bool = True):
        """Set training mode, except for the frozen encoders."""
        super().train(mode)
        self.motion_encoder.eval()
        self.text_encoder.eval()
        return self

    def get_input_embeddings(self) -> nn.Embedding:
        """Return the word embeddings."""
        return self.text_encoder.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Embedding):
        """Replace the word embeddings."""
        self.text_encoder.set_input_embeddings(value)

    @torch.no_grad()
    def encode_text(self, input_ids: torch.LongTensor, attention_mask: torch.Tensor | None = None) -> torch.Tensor:
        """Return the frozen sentence encoder's states of the words, `(num_texts, text_length, text_hidden_size)`."""
        mask = full_mask(input_ids, attention_mask)
        return self.text_encoder(input_ids=input_ids, attention_mask=mask.long()).last_hidden_state

    @torch.no_grad()
    def encode_latents(
        self, motion_values: torch.FloatTensor, motion_attention_mask: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the frozen motion encoder's latents `(num_motions, num_tokens, codebook_dim)` and their mask."""
        return self.motion_encoder(motion_values, full_mask(motion_values, motion_attention_mask))

    def get_sentence_features(
        self, input_ids: torch.LongTensor, attention_mask: torch.Tensor | None = None
    ) -> torch.FloatTensor:
        """Return the frozen sentence encoder's unit-norm embeddings of texts, `(num_texts, text_hidden_size)`."""
        mask = full_mask(input_ids, attention_mask)
        return nn.functional.normalize(mean_of_words(self.encode_text(input_ids, mask), mask).float(), dim=-1)

    def get_word_states(
        self, input_ids: torch.LongTensor, attention_mask: torch.Tensor | None = None
    ) -> torch.FloatTensor:
        """Return LaMP's states of the words, `(num_texts, text_length, word_state_size)`."""
        return self.word_states(self.encode_text(input_ids, attention_mask))

    def get_text_features(
        self, input_ids: torch.LongTensor, attention_mask: torch.Tensor | None = None, pool: bool = True, **kwargs
    ) -> torch.FloatTensor:
        """Embed texts.

        Args:
            input_ids (`torch.LongTensor` of shape `(num_texts, text_length)`): Word pieces.
            attention_mask (`torch.Tensor` of shape `(num_texts, text_length)`, *optional*): 0 at padding.
            pool (`bool`): Embed whole texts; otherwise every word.

        Returns:
            Unit-norm `torch.FloatTensor` of shape `(num_texts, projection_dim)`, or, with `pool=False`,
            `(num_texts, text_length, token_projection_dim)`.
        """
        mask = full_mask(input_ids, attention_mask)
        text = self.encode_text_parts(self.encode_text(input_ids, mask), mask)
        return text.embeds if pool else text.word_embeds

    def get_motion_features(
        self,
        motion_values: torch.FloatTensor,
        motion_attention_mask: torch.Tensor | None = None,
        pool: bool = True,
        **kwargs,
    ) -> torch.FloatTensor:
        """Embed motions.

        Args:
            motion_values (`torch.FloatTensor` of shape `(num_motions, num_frames, feature_size)`): Normalised
                features.
            motion_attention_mask (`torch.Tensor` of shape `(num_motions, num_frames)`, *optional*): 0 at padding.
            pool (`bool`): Embed whole motions; otherwise every query.

        Returns:
            Unit-norm `torch.FloatTensor` of shape `(num_motions, projection_dim)`, or, with `pool=False`,
            `(num_motions, num_query_tokens, token_projection_dim)`.
        """
        motion = self.encode_motion_parts(*self.encode_latents(motion_values, motion_attention_mask))
        return motion.embeds if pool else motion.query_embeds

    def get_motion_queries(
        self, motion_values: torch.FloatTensor, motion_attention_mask: torch.Tensor | None = None
    ) -> torch.FloatTensor:
        """Return the queries after they read the motion, `(num_motions, num_query_tokens, hidden_size)`."""
        return self.encode_motion_parts(*self.encode_latents(motion_values, motion_attention_mask)).queries

    def get_text_queries(
        self, input_ids: torch.LongTensor, attention_mask: torch.Tensor | None = None
    ) -> torch.FloatTensor:
        """Return the queries after they read the text, `(num_texts, num_query_tokens, hidden_size)`."""
        mask = full_mask(input_ids, attention_mask)
        return self.read_words(self.word_states(self.encode_text(input_ids, mask)), mask)

    def get_matching_logits(
        self,
        input_ids: torch.LongTensor,
        motion_values: torch.FloatTensor,
        attention_mask: torch.Tensor | None = None,
        motion_attention_mask: torch.Tensor | None = None,
    ) -> torch.FloatTensor:
        """Return the log-odds `(num_pairs,)` that text i and motion i belong together."""
        return self._judge_pairs(input_ids, motion_values, attention_mask, motion_attention_mask)[1]

    def get_pair_scores(
        self,
        input_ids: torch.LongTensor,
        motion_values: torch.FloatTensor,
        attention_mask: torch.Tensor | None = None,
        motion_attention_mask: torch.Tensor | None = None,
    ) -> torch.FloatTensor:
        """Return how well text i and motion i fit, `(num_pairs,)`: their logit plus the log-odds of matching."""
        return sum(self._judge_pairs(input_ids, motion_values, attention_mask, motion_attention_mask))

    def _judge_pairs(self, input_ids, motion_values, attention_mask, motion_attention_mask):
        mask = full_mask(input_ids, attention_mask)
        states = self.encode_text(input_ids, mask)
        text = self.encode_text_parts(states, mask)
        motion = self.encode_motion_parts(*self.encode_latents(motion_values, motion_attention_mask))
        rows = torch.arange(len(states), device=states.device)
        odds = self.match(states, mask, text, motion, rows, rows).diff(dim=1)[:, 0]
        return sum(self.score(text, motion)).diagonal(), odds

    def forward(
        self,
        input_ids: torch.LongTensor,
        motion_values: torch.FloatTensor,
        attention_mask: torch.Tensor | None = None,
        motion_attention_mask: torch.Tensor | None = None,
        **kwargs,
    ) -> LampOutput:
        """Score every text against every motion; their numbers may differ.

        For the arguments see `get_text_features` and `get_motion_features`.
        """
        mask = full_mask(input_ids, attention_mask)
        text = self.encode_text_parts(self.encode_text(input_ids, mask), mask)
        motion = self.encode_motion_parts(*self.encode_latents(motion_values, motion_attention_mask))
        whole, by_words = self.score(text, motion)
        return LampOutput(logits_per_text=whole + by_words, text_embeds=text.embeds, motion_embeds=motion.embeds)

    def encode_text_parts(self, states: torch.Tensor, mask: torch.BoolTensor) -> LampTextFeatures:
        """Embed texts and their words.

        Args:
            states (`torch.FloatTensor` of shape `(num_texts, text_length, text_hidden_size)`): From `encode_text`.
            mask (`torch.BoolTensor` of shape `(num_texts, text_length)`): False at padding.
        """
        states = states.to(self.word_weight.weight.dtype)
        words = self.word_states(states)
        sentence = nn.functional.normalize(mean_of_words(states, mask), dim=-1)
        largest = words.masked_fill(~mask[..., None], -1e4).amax(1)
        pooled = torch.cat([mean_of_words(words, mask), largest], -1)
        # Eight: entries of a unit vector are so small that the first layer would hardly learn from them.
        embeds = self.sentence_head(8 * sentence) + self.words_head(pooled)
        weights = self.word_weight(states)[..., 0].float().masked_fill(~mask, -torch.inf).softmax(-1)
        return LampTextFeatures(
            embeds=nn.functional.normalize(embeds.float(), dim=-1),
            word_embeds=nn.functional.normalize(self.word_head(words).float(), dim=-1),
            word_weights=weights,
            word_states=words,
        )

    def encode_motion_parts(self, latents: torch.Tensor, mask: torch.BoolTensor) -> LampMotionFeatures:
        """Embed motions and their queries.

        Args:
            latents (`torch.FloatTensor` of shape `(num_motions, num_tokens, codebook_dim)`): From `encode_latents`.
            mask (`torch.BoolTensor` of shape `(num_motions, num_tokens)`): False at padding.

        Raises:
            ValueError: If a motion has more latents than there are queries.
        """
        if latents.shape[1] > self.config.num_query_tokens:
            raise ValueError(
                f"the motion has {latents.shape[1]} tokens, the model reads at most {self.config.num_query_tokens}"
            )
        states, white = self.trunk(latents, mask)
        total = states.sum(1)
        mean = total / mask.sum(1, keepdim=True).clamp(min=1)
        largest = states.masked_fill(~mask[..., None], -1e4).amax(1)
        # Sums count steps and add up distances, which means cannot; a clip has about 16 tokens, for scale.
        embeds = self.motion_head(torch.cat([mean_of_words(white, mask), mean, largest, total / 16], -1))
        queries = self.queries(torch.cat([states, white.to(states.dtype)], -1), mask)
        return LampMotionFeatures(
            embeds=nn.functional.normalize(embeds.float(), dim=-1),
            query_embeds=nn.functional.normalize(self.query_head(queries).float(), dim=-1),
            queries=queries,
        )

    def read_words(self, words: torch.Tensor, mask: torch.BoolTensor) -> torch.Tensor:
        """Let the queries read LaMP's word states, `(num_texts, num_query_tokens, hidden_size)`."""
        return self.queries(self.text_context(words), mask)

    def score(self, text: LampTextFeatures, motion: LampMotionFeatures) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the logits `(num_texts, num_motions)` of whole texts and motions, and of words and queries.

        By words, each word counts with the query that is nearest to it (MaxSim, Khattab and Zaharia, 2020).
        """
        with torch.autocast(text.embeds.device.type, enabled=False):
            whole = text.embeds @ motion.embeds.T
            words, queries = text.word_embeds.flatten(0, 1), motion.query_embeds.flatten(0, 1)
            best = (words @ queries.T).unflatten(1, (len(motion.embeds), -1)).amax(-1)
            best = best.unflatten(0, text.word_weights.shape)
            by_words = (best * text.word_weights[..., None]).sum(1)
        return self.temperature * whole, self.word_temperature * by_words

    def match(self, states, mask, text: LampTextFeatures, motion: LampMotionFeatures, texts, motions) -> torch.Tensor:
        """Return logits `(num_pairs, 2)` of no pair and a pair, for the texts and motions of the given rows."""
        products = text.embeds[texts] * motion.embeds[motions]
        best = (text.word_embeds[texts] @ motion.query_embeds[motions].transpose(1, 2)).amax(-1)
        by_words = (best * text.word_weights[texts]).sum(1)
        scores = torch.stack([self.temperature * products.sum(1), self.word_temperature * by_words], 1)
        states = states[texts].to(products.dtype)
        return self.matcher(states, mask[texts], motion.queries[motions], products, scores)

    @torch.no_grad()
    def rerank(self, text: dict, motion: dict, k: int = 16, batch_size: int = 64) -> torch.FloatTensor:
        """Score all texts against all motions, and score the best `k` motions of each text again by matching.

        Args:
            text (`dict`): `input_ids` and `attention_mask` of all texts.
            motion (`dict`): `motion_values` and `motion_attention_mask` of all motions.
            k (`int`): Number of motions of each text, and texts of each motion, to score again; 0 for none.
            batch_size (`int`): Pairs, and texts, per batch.

        Returns:
            `torch.FloatTensor` of shape `(num_texts, num_motions)`: logits, and for pairs scored again the logit plus
            the log-odds of matching; all others have values below these, in their order.
        """
        mask = full_mask(text["input_ids"], text.get("attention_mask"))
        states = self.encode_text(text["input_ids"], mask)
        texts = self.encode_text_parts(states, mask)
        motions = self.encode_motion_parts(*self.encode_latents(**motion))
        some = torch.arange(len(states), device=states.device).split(batch_size)
        logits = torch.cat([sum(self.score(texts.rows(rows), motions)) for rows in some])
        if not k:
            return logits
        again = torch.zeros_like(logits, dtype=torch.bool)
        again.scatter_(1, logits.topk(min(k, logits.shape[1]), 1).indices, True)
        again.scatter_(0, logits.topk(min(k, logits.shape[0]), 0).indices, True)
        pairs = again.nonzero().split(batch_size)
        odds = [self.match(states, mask, texts, motions, rows[:, 0], rows[:, 1]).diff(dim=1)[:, 0] for rows in pairs]
        best = logits[again] + torch.cat(odds)
        result = logits - (logits.max() - best.min() + 1)
        result[again] = best
        return result

    @property
    def temperature(self) -> torch.Tensor:
        """Factor from the cosines of whole texts and motions to logits, at most 100."""
        return self.logit_scale.exp().clamp(max=100)

    @property
    def word_temperature(self) -> torch.Tensor:
        """Factor from the cosines of words and queries to logits, at most 100."""
        return self.word_logit_scale.exp().clamp(max=100)


def mean_of_words(states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Average `(batch_size, length, size)` states over the positions where the mask is true."""
    weights = mask[..., None].to(states.dtype)
    return (states * weights).sum(1) / weights.sum(1).clamp(min=1)


_HUB_OPTIONS = ("cache_dir", "force_download", "local_files_only", "revision", "subfolder", "token")


__all__ = ["LampModel", "LampPreTrainedModel", "mean_of_words"]
