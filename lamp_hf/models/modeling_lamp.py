"""LaMP: text and motion in one space, by queries that read motion and words that read queries (Li et al., ICLR 2025).

A frozen sentence encoder gives word states, a frozen motion encoder gives latents. Everything in between is LaMP's.
"""

import math

import torch
from torch import nn
from transformers import AutoModel

from .configuration_lamp import LampConfig
from .lamp_matching import LampMatcher
from .lamp_outputs import LampMotionFeatures, LampOutput, LampTextFeatures
from .modeling_common import full_mask, mean_of_words
from .modeling_lamp_base import rerank_by_matching
from .modeling_lamp_motion import LampMotionModel


class LampModel(LampMotionModel):
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
        words, states = config.text_config.hidden_size, config.word_state_size
        self.text_encoder = AutoModel.from_config(config.text_config, add_pooling_layer=False)
        self.word_states = nn.Sequential(nn.Linear(words, states), nn.GELU())
        self.text_context = nn.Linear(states, config.context_size)
        self.sentence_head = nn.Sequential(
            nn.Linear(words, states), nn.GELU(), nn.Dropout(config.dropout), nn.Linear(states, config.projection_dim)
        )
        self.words_head = nn.Linear(2 * states, config.projection_dim)
        self.word_head = nn.Linear(states, config.token_projection_dim)
        self.word_weight = nn.Linear(words, 1)
        self.matcher = LampMatcher(config)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
        self.word_logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
        self.post_init()

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

        def matching(rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
            return self.match(states, mask, texts, motions, rows, columns).diff(dim=1)[:, 0]

        return rerank_by_matching(logits, matching, k, batch_size)

    @property
    def temperature(self) -> torch.Tensor:
        """Factor from the cosines of whole texts and motions to logits, at most 100."""
        return self.logit_scale.exp().clamp(max=100)

    @property
    def word_temperature(self) -> torch.Tensor:
        """Factor from the cosines of words and queries to logits, at most 100."""
        return self.word_logit_scale.exp().clamp(max=100)


__all__ = ["LampModel"]
