r"""Plain baseline: a small dual encoder on LaMP's frozen latents and sentence embeddings, by the contrastive loss.

lamp-hf train dual-encoder --recipe small/dual_encoder --data mocap.parquet \
        --lamp runs/lamp/model --output runs/dual_encoder

It sees the batches, captions and negatives of `lamp-hf train lamp` with the same entries of the recipe. What LaMP adds
is what it is better by.
"""

import math
from argparse import Namespace
from collections.abc import Iterable

import numpy as np
import torch
from huggingface_hub.dataclasses import strict
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers import initialization as init

from lamp_hf.distributed import this_process
from lamp_hf.metrics.retrieval import retrieval_metrics
from lamp_hf.models.contrastive import caption_targets, contrastive_loss, cosines
from lamp_hf.models.modeling_common import MotionSummary, StrictLoadingMixin, gather_with_gradient, mean_of_words
from lamp_hf.models.modeling_lamp import LampModel
from lamp_hf.models.processing_lamp import LampProcessor

from .augmentation.descriptions import load_descriptions
from .augmentation.paraphrase import load_paraphraser
from .command_line import parse_arguments
from .data import Clips, batched
from .gradient_cache import ComparingObjective
from .loop import to_device, train
from .texts import TextTable
from .train_lamp import PairSource


@strict
class DualEncoderConfig(PreTrainedConfig):
    """Configuration of [`DualEncoderModel`].

    Args:
        latent_size (`int`): size of the frozen motion encoder's latents.
        sentence_size (`int`): size of the frozen sentence encoder's states and embeddings.
        hidden_size (`int`): channels of the convolutions, and size of the perceptron's hidden layer.
        num_layers (`int`): convolutions.
        projection_dim (`int`): size of the space that texts and motions share.
        dropout (`float`): dropout after each hidden layer.
        similar_caption_threshold (`float`): cosine of sentence embeddings above which captions are no negatives of
            each other.
    """

    model_type = "dual_encoder"

    latent_size: int = 512
    sentence_size: int = 768
    hidden_size: int = 256
    num_layers: int = 2
    projection_dim: int = 256
    dropout: float | int = 0.1
    similar_caption_threshold: float | int = 0.8


class DualEncoderPreTrainedModel(StrictLoadingMixin, PreTrainedModel):
    """Base class of models that embed the states of words and the latents of motions in one space.

    It holds the scale of the latents, initialisation and strict loading. Configurations have a `latent_size`, a
    `sentence_size` and a `similar_caption_threshold`. A model defines `embed_texts`, `embed_motions` and `score`.
    """

    main_input_name = "latents"
    supports_gradient_checkpointing = True
    _supports_sdpa = True  # where there is attention, it is always computed by scaled_dot_product_attention

    def __init__(self, config: PreTrainedConfig):
        super().__init__(config)
        self.register_buffer("latent_mean", torch.zeros(config.latent_size))
        self.register_buffer("latent_scale", torch.ones(config.latent_size))

    @torch.no_grad()
    def _init_weights(self, module: nn.Module):
        if isinstance(module, DualEncoderPreTrainedModel):
            init.zeros_(module.latent_mean)
            init.ones_(module.latent_scale)
        elif isinstance(module, nn.MultiheadAttention):
            init.xavier_uniform_(module.in_proj_weight)
            init.zeros_(module.in_proj_bias)
        elif hasattr(module, "reset_parameters"):
            module.reset_parameters()  # PyTorch's first weights suit layers without norms

    @torch.no_grad()
    def fit_scale(self, latents: Iterable[torch.Tensor]) -> None:
        """Take mean and scale of each channel from training latents, a list of `(num_tokens, latent_size)`."""
        values = torch.cat(list(latents)).float()
        self.latent_mean.copy_(values.mean(0))
        self.latent_scale.copy_(1 / values.std(0).clamp(min=1e-6))

    def scaled(self, latents: torch.Tensor) -> torch.FloatTensor:
        """Return latents of any shape whose channels have mean 0 and deviation 1 over the training clips."""
        return (latents.float() - self.latent_mean) * self.latent_scale


class DualEncoderModel(DualEncoderPreTrainedModel):
    """Convolutions over a motion's latents, pooled, against a perceptron on a sentence's embedding.

    Args:
        config ([`DualEncoderConfig`]): configuration of the model.
    """

    config: DualEncoderConfig
    config_class = DualEncoderConfig
    base_model_prefix = "dual_encoder"

    def __init__(self, config: DualEncoderConfig):
        super().__init__(config)
        size = config.hidden_size
        strides = (1,) * config.num_layers
        self.motion = MotionSummary(config.latent_size, size, config.projection_dim, config.dropout, strides)
        self.text = nn.Sequential(
            nn.Linear(config.sentence_size, size),
            nn.GELU(),
            nn.Dropout(config.dropout),
            nn.Linear(size, config.projection_dim),
        )
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module):
        super()._init_weights(module)
        if isinstance(module, DualEncoderModel):
            init.constant_(module.logit_scale, math.log(1 / 0.07))

    def embed_texts(self, states: torch.Tensor, mask: torch.BoolTensor) -> torch.FloatTensor:
        """Return unit-norm embeddings `(num_texts, projection_dim)`.

        Args:
            states (`torch.FloatTensor` of shape `(num_texts, text_length, sentence_size)`): words, by the frozen
                sentence encoder.
            mask (`torch.BoolTensor` of shape `(num_texts, text_length)`): false at padding.
        """
        # Eight: entries of a unit vector are so small that the first layer would hardly learn from them.
        return nn.functional.normalize(self.text(8 * sentence_embeds(states, mask)).float(), dim=-1)

    def embed_motions(self, latents: torch.Tensor, mask: torch.BoolTensor) -> torch.FloatTensor:
        """Return unit-norm embeddings `(num_motions, projection_dim)`.

        Args:
            latents (`torch.FloatTensor` of shape `(num_motions, num_tokens, latent_size)`): of the frozen encoder.
            mask (`torch.BoolTensor` of shape `(num_motions, num_tokens)`): false at padding.
        """
        return nn.functional.normalize(self.motion(self.scaled(latents), mask).float(), dim=-1)

    def score(self, texts: torch.Tensor, motions: torch.Tensor) -> torch.FloatTensor:
        """Return the logits `(num_texts, num_motions)` of embeddings."""
        return self.logit_scale.exp().clamp(max=100) * cosines(texts, motions)


def sentence_embeds(states: torch.Tensor, mask: torch.Tensor) -> torch.FloatTensor:
    """Return the unit-norm means `(num_texts, size)` of the frozen sentence encoder's states of the words."""
    return nn.functional.normalize(mean_of_words(states.float(), mask), dim=-1)


class DualEncoderObjective(ComparingObjective):
    """LaMP's contrastive loss, with the one score of whole texts and motions."""

    def comparing_weights(self):
        return [self.model.logit_scale]

    def embed(self, text_states, attention_mask, latents, latent_mask, clip_ids, caption_ids, **others):
        words = attention_mask.bool()
        texts, motions, encoded = self.embed_pairs(text_states, words, latents, latent_mask)
        rows = {
            "texts": texts,
            "motions": motions,
            "sentences": sentence_embeds(text_states, words),
            "clip_ids": clip_ids,
            "caption_ids": caption_ids,
        }
        return rows, encoded

    def embed_pairs(self, states, mask, latents, latent_mask) -> tuple[torch.Tensor, torch.Tensor, object]:
        """Return the embeddings to compare, of texts and of motions, and what further losses need."""
        return self.model.embed_texts(states, mask), self.model.embed_motions(latents, latent_mask), None

    def compare(self, rows):
        model, texts, motions = self.model, rows["texts"], rows["motions"]
        right, excluded, back, excluded_back = caption_targets(
            rows["sentences"], rows["clip_ids"], rows["caption_ids"], model.config.similar_caption_threshold
        )
        forth = contrastive_loss(model.score(texts, gather_with_gradient(motions)), right, excluded)
        backwards = contrastive_loss(model.score(gather_with_gradient(texts), motions).T, back, excluded_back)
        return (forth + backwards) / 2, {}


@torch.no_grad()
def validate(model: DualEncoderPreTrainedModel, source: PairSource) -> dict[str, float]:
    """Return recall of first captions over the whole split."""
    rng = np.random.default_rng(0)
    texts, motions = [], []
    for rows in batched([i for i in range(len(source.latents)) if source.latents[i]], 64):
        first = [np.array([source.captions[i][0]]) for i in rows]
        items = [source.item(i, rng) | {"captions": c, "texts": c} for i, c in zip(rows, first)]
        batch = to_device(source.collate(items), model.device)
        texts.append(model.embed_texts(batch["text_states"], batch["attention_mask"].bool()))
        motions.append(model.embed_motions(batch["latents"], batch["latent_mask"]))
    scores = model.score(torch.cat(texts), torch.cat(motions)).float().cpu().numpy()
    metrics = retrieval_metrics(scores, bootstrap=0)["all"]
    ways = ("text_to_motion", "motion_to_text")
    return {f"{way}_{name}": metrics[way][name] for way in ways for name in ("R@1", "R@10")}


def train_on_frozen_encoders(
    recipe: dict,
    arguments: Namespace,
    model_class: type[DualEncoderPreTrainedModel],
    objective_class: type[DualEncoderObjective],
) -> None:
    """Train a model on the latents and states of words of the LaMP in the folder `arguments.lamp`."""
    data, device = recipe["data"], this_process().device
    lamp = LampModel.from_pretrained(arguments.lamp).to(device).eval()
    processor = LampProcessor.from_pretrained(arguments.lamp)
    clips = Clips(arguments.data, "train", data)
    clips.compose(data["composed"], recipe["seed"], data["max_frames"])
    texts = TextTable(clips, load_paraphraser(data), load_descriptions(data))
    source = PairSource(clips, lamp, None, processor, data, texts, data["captions_per_step"])
    validation = PairSource(Clips(arguments.data, "val", data), lamp, None, processor, data)
    torch.manual_seed(recipe["seed"])
    sizes = {"latent_size": lamp.config.motion_config.codebook_dim}
    sizes |= {"sentence_size": lamp.config.text_config.hidden_size}
    model = model_class(model_class.config_class(**sizes, **recipe["model"])).to(device)
    model.fit_scale(some[0] for some in source.latents if some)
    print(f"{sum(parameter.numel() for parameter in model.parameters()):,} trained parameters")
    train(
        objective_class(model),
        source,
        recipe,
        arguments.output,
        evaluate=lambda objective: validate(objective.model, validation),
        processor=processor,
    )


def main(command_line: list[str] | None = None) -> None:
    recipe, arguments = parse_arguments("dual_encoder", __doc__, command_line, "lamp")
    train_on_frozen_encoders(recipe, arguments, DualEncoderModel, DualEncoderObjective)


if __name__ == "__main__":
    main()
