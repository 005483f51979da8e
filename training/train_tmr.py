r"""TMR (Petrovich et al., ICCV 2023) on LaMP's frozen latents and states of words: a published baseline.

lamp-hf train tmr --recipe small/tmr --data mocap.parquet --lamp runs/lamp/model --output runs/tmr

Encoders, decoder, losses and their weights are TMR's. What differs: encoders and decoder see a motion as LaMP does, by
the tokenizer's latents; padding does not count as motion; and a clip may have several captions in a batch. It is
trained on the batches of `lamp-hf train lamp` with the same entries of the recipe.
"""

import torch
from huggingface_hub.dataclasses import strict
from torch import nn
from torch.distributions import Normal, kl_divergence
from transformers import PreTrainedConfig

from lamp_hf.models.contrastive import cosines
from lamp_hf.models.modeling_common import (
    CheckpointedDecoderLayer,
    CheckpointedEncoderLayer,
    masked_mean,
    sinusoidal_positions,
)

from .command_line import parse_arguments
from .train_dual_encoder import DualEncoderObjective, DualEncoderPreTrainedModel, train_on_frozen_encoders


@strict
class TmrConfig(PreTrainedConfig):
    """Configuration of [`TmrModel`]; the defaults are TMR's.

    Args:
        latent_size (`int`): size of the frozen motion encoder's latents.
        sentence_size (`int`): size of the frozen sentence encoder's states and embeddings.
        hidden_size (`int`): size of the transformers, and of the space that texts and motions share.
        num_layers (`int`): layers of each of the two encoders, and of the decoder.
        num_attention_heads (`int`): heads of their attention.
        intermediate_size (`int`): size of their feed-forward networks.
        dropout (`float`): dropout everywhere.
        temperature (`float`): cosines are divided by it in the contrastive loss.
        similar_caption_threshold (`float`): cosine of sentence embeddings above which captions are no negatives of
            each other. TMR's 0.8 is on (cosine + 1) / 2.
        reconstruction_weight (`float`): weight of the latents decoded from the text and from the motion.
        divergence_weight (`float`): weight of the divergences of both distributions from each other and from the
            standard normal one.
        embedding_weight (`float`): weight of the distance between the samples of text and motion.
        contrastive_weight (`float`): weight of the contrastive loss.
    """

    model_type = "tmr"

    latent_size: int = 512
    sentence_size: int = 768
    hidden_size: int = 256
    num_layers: int = 6
    num_attention_heads: int = 4
    intermediate_size: int = 1024
    dropout: float | int = 0.1
    temperature: float | int = 0.1
    similar_caption_threshold: float | int = 0.6
    reconstruction_weight: float | int = 1.0
    divergence_weight: float | int = 1e-5
    embedding_weight: float | int = 1e-5
    contrastive_weight: float | int = 0.1


def layer_options(config: TmrConfig) -> dict:
    """Return the arguments of every transformer layer."""
    return {
        "d_model": config.hidden_size,
        "nhead": config.num_attention_heads,
        "dim_feedforward": config.intermediate_size,
        "dropout": config.dropout,
        "activation": "gelu",
        "batch_first": True,
    }


class TmrEncoder(nn.Module):
    """Transformer over a sequence behind two learned tokens, which become the distribution of its embedding."""

    def __init__(self, config: TmrConfig, input_size: int):
        super().__init__()
        self.projection = nn.Linear(input_size, config.hidden_size)
        self.distribution_tokens = nn.Embedding(2, config.hidden_size)
        self.dropout = nn.Dropout(config.dropout)
        layer = CheckpointedEncoderLayer(**layer_options(config))
        self.layers = nn.TransformerEncoder(layer, config.num_layers, enable_nested_tensor=False)

    def forward(self, values: torch.Tensor, mask: torch.BoolTensor) -> Normal:
        """Encode `(batch_size, length, input_size)` values as distributions of `(batch_size, hidden_size)`."""
        hidden = self.projection(values.to(self.projection.weight.dtype))
        first = self.distribution_tokens.weight.to(hidden).expand(len(hidden), -1, -1)
        hidden = torch.cat([first, hidden], 1)
        hidden = self.dropout(hidden + sinusoidal_positions(*hidden.shape[1:]).to(hidden))
        padding = nn.functional.pad(~mask, (2, 0), value=False)
        mean, log_variance = self.layers(hidden, src_key_padding_mask=padding)[:, :2].float().unbind(1)
        return Normal(mean, (log_variance / 2).exp())


class TmrDecoder(nn.Module):
    """Decoder of a motion's latents from one vector, by queries that know only their time."""

    def __init__(self, config: TmrConfig):
        super().__init__()
        self.dropout = nn.Dropout(config.dropout)
        layer = CheckpointedDecoderLayer(**layer_options(config))
        self.layers = nn.TransformerDecoder(layer, config.num_layers)
        self.head = nn.Linear(config.hidden_size, config.latent_size)

    def forward(self, embeddings: torch.Tensor, mask: torch.BoolTensor) -> torch.FloatTensor:
        """Decode `(batch_size, hidden_size)` vectors to scaled latents `(batch_size, num_tokens, latent_size)`."""
        times = sinusoidal_positions(mask.shape[1], embeddings.shape[1]).to(embeddings)
        queries = self.dropout(times.expand(len(embeddings), -1, -1))
        return self.head(self.layers(queries, embeddings[:, None], tgt_key_padding_mask=~mask)).float()


class TmrModel(DualEncoderPreTrainedModel):
    """Two variational encoders, of texts and of motions, and a decoder of motions that both share.

    Args:
        config ([`TmrConfig`]): configuration of the model.
    """

    config: TmrConfig
    config_class = TmrConfig
    base_model_prefix = "tmr"

    def __init__(self, config: TmrConfig):
        super().__init__(config)
        self.text = TmrEncoder(config, config.sentence_size)
        self.motion = TmrEncoder(config, config.latent_size)
        self.decoder = TmrDecoder(config)
        self.post_init()

    def embed_texts(self, states: torch.Tensor, mask: torch.BoolTensor) -> torch.FloatTensor:
        """Return the unit-norm means `(num_texts, hidden_size)` of what the texts may show.

        Args:
            states (`torch.FloatTensor` of shape `(num_texts, text_length, sentence_size)`): words, by the frozen
                sentence encoder.
            mask (`torch.BoolTensor` of shape `(num_texts, text_length)`): false at padding.
        """
        return nn.functional.normalize(self.text(states, mask).mean, dim=-1)

    def embed_motions(self, latents: torch.Tensor, mask: torch.BoolTensor) -> torch.FloatTensor:
        """Return the unit-norm means `(num_motions, hidden_size)` of the motions' distributions.

        Args:
            latents (`torch.FloatTensor` of shape `(num_motions, num_tokens, latent_size)`): of the frozen encoder.
            mask (`torch.BoolTensor` of shape `(num_motions, num_tokens)`): false at padding.
        """
        return nn.functional.normalize(self.motion(self.scaled(latents), mask).mean, dim=-1)

    def score(self, texts: torch.Tensor, motions: torch.Tensor) -> torch.FloatTensor:
        """Return the logits `(num_texts, num_motions)` of embeddings."""
        return cosines(texts, motions) / self.config.temperature

    def reconstruction_loss(
        self, embeddings: torch.Tensor, latents: torch.Tensor, mask: torch.BoolTensor
    ) -> torch.FloatTensor:
        """Return the smooth L1 distance of the latents decoded from embeddings to scaled latents.

        Args:
            embeddings (`torch.FloatTensor` of shape `(batch_size, hidden_size)`): samples, of texts or of motions.
            latents (`torch.FloatTensor` of shape `(batch_size, num_tokens, latent_size)`): scaled.
            mask (`torch.BoolTensor` of shape `(batch_size, num_tokens)`): false at padding.
        """
        errors = nn.functional.smooth_l1_loss(self.decoder(embeddings, mask), latents, reduction="none")
        return masked_mean(errors, mask)


class TmrObjective(DualEncoderObjective):
    """TMR's weighted sum of losses, all of samples of the distributions; logs each of them.

    Where a clip has several captions, the losses of a pair are means over them.
    """

    def comparing_weights(self):
        return []

    def embed_pairs(self, states, mask, latents, latent_mask):
        text, motion = self.model.text(states, mask), self.model.motion(self.model.scaled(latents), latent_mask)
        samples = text.rsample(), motion.rsample()
        texts, motions = (nn.functional.normalize(sample, dim=-1) for sample in samples)
        return texts, motions, (text, motion, *samples)

    def compare(self, rows):
        loss, _ = super().compare(rows)
        return self.model.config.contrastive_weight * loss, {"contrastive": loss.detach()}

    def judge(self, encoded, latents, latent_mask, **others):
        text, motion, texts, motions = encoded
        model, config, captions = self.model, self.model.config, len(texts) // len(motions)
        latents = model.scaled(latents)
        # One row a caption: the clip's latents, mask, sample and distribution, as often as it has captions.
        targets, masks, samples, means, deviations = (
            values.repeat_interleave(captions, 0)
            for values in (latents, latent_mask, motions, motion.loc, motion.scale)
        )
        own, prior = Normal(means, deviations), Normal(0.0, 1.0)
        losses = {
            "reconstruction": model.reconstruction_loss(texts, targets, masks)
            + model.reconstruction_loss(motions, latents, latent_mask),
            "divergence": sum(
                kl_divergence(left, right).mean()
                for left, right in ((text, own), (own, text), (motion, prior), (text, prior))
            ),
            "embedding": nn.functional.smooth_l1_loss(texts, samples),
        }
        loss = sum(getattr(config, f"{name}_weight") * value for name, value in losses.items())
        return loss, {name: value.detach() for name, value in losses.items()}


def main(command_line: list[str] | None = None) -> None:
    recipe, arguments = parse_arguments("tmr", __doc__, command_line, "lamp")
    train_on_frozen_encoders(recipe, arguments, TmrModel, TmrObjective)


if __name__ == "__main__":
    main()
