"""Motion captioning: LaMP's queries as soft tokens of a causal language model (LaMP-M2T)."""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from torch import nn
from transformers import AutoModelForCausalLM, GenerationConfig, PreTrainedConfig, PreTrainedModel
from transformers.utils import ModelOutput, cached_file

from .checkpoint_checks import check_adapter, damaged_file
from .configuration_common import one_line
from .configuration_lamp_motion_captioning import LampMotionCaptioningConfig
from .modeling_auto_lamp import lamp_motion_class
from .modeling_common import FrozenPartsMixin, StrictLoadingMixin
from .modeling_lamp_motion import LampMotionModel
from .modeling_lamp_qformer import LampQFormerMotionModel
from .motion_requests import check_count


_ADAPTER_CONFIG = "captioner_config.json"  # not config.json, which would make an adapter's folder a whole model
_PEFT_PREFIX = "base_model.model."
_OPTIONAL_FILE = {"_raise_exceptions_for_missing_entries": False, "_raise_exceptions_for_gated_repo": False}


@dataclass
class LampMotionCaptioningOutput(ModelOutput):
    """Loss and logits of [`LampForMotionCaptioning`].

    Args:
        loss (`torch.FloatTensor` of shape `()`, *optional*): Mean cross-entropy of the labels.
        logits (`torch.FloatTensor` of shape `(batch_size, text_length, vocab_size)`): Prediction of the token after
            each.
    """

    loss: torch.FloatTensor | None = None
    logits: torch.FloatTensor | None = None


class LampMotionCaptioningPreTrainedModel(FrozenPartsMixin, StrictLoadingMixin, PreTrainedModel):
    """Base class that holds strict loading and freezing."""

    config: LampMotionCaptioningConfig
    base_model_prefix = "captioner"
    main_input_name = "motion_values"
    input_modalities = ("time", "text")
    supports_gradient_checkpointing = True
    _supports_sdpa = True  # attention is always computed by scaled_dot_product_attention


class LampForMotionCaptioning(LampMotionCaptioningPreTrainedModel):
    r"""Captioner that reads a motion with LaMP's queries and describes it with a causal language model.

    The language model is adapted by PEFT's LoRA. The adapter is added to the whole model, so that the queries and the
    projection are saved with it:

        model.add_adapter(LoraConfig(..., target_modules=r"language_model\..*(q|v)_proj", modules_to_save=TRAINED))

    Args:
        config ([`LampMotionCaptioningConfig`]): Configuration of the model.
    """

    _auto_class = "AutoModel"
    TRAINED = ["query_tokens", "language_projection"]  # modules that are trained besides the adapter

    def __init__(self, config: LampMotionCaptioningConfig):
        super().__init__(config)
        self.lamp = lamp_motion_class(config.lamp_config.model_type)(config.lamp_config)
        stored = getattr(torch, config.language_model_dtype)
        precision = torch.get_default_dtype() if stored is torch.float32 else stored
        self.language_model = AutoModelForCausalLM.from_config(config.language_config, dtype=precision)
        width = self.language_model.get_input_embeddings().embedding_dim
        self.language_projection = nn.Linear(config.soft_token_size, width)
        self.post_init()

    @classmethod
    def from_parts(
        cls, lamp: LampMotionModel | LampQFormerMotionModel, language_model: PreTrainedModel, **config
    ) -> "LampForMotionCaptioning":
        """Create a captioner from a pretrained LaMP and a pretrained language model, with a new projection.

        Args:
            lamp ([`LampMotionModel`] or [`LampQFormerMotionModel`]): From `load_lamp(folder, motion_only=True)`.
            language_model ([`PreTrainedModel`]): From `AutoModelForCausalLM.from_pretrained`, quantised or not.
            config (*optional*): Other values of [`LampMotionCaptioningConfig`].
        """
        config["language_model_dtype"] = str(language_model.dtype).removeprefix("torch.")
        config = LampMotionCaptioningConfig(lamp_config=lamp.config, language_config=language_model.config, **config)
        with torch.device("meta"):
            model = cls(config)
        projection = nn.Linear(config.soft_token_size, model.language_projection.out_features)
        nn.init.normal_(projection.weight, std=config.initializer_range)
        nn.init.zeros_(projection.bias)
        # This model's configuration decides how to decode; the language model's would not be saved with it.
        language_model.generation_config = GenerationConfig.from_model_config(language_model.config)
        model.lamp, model.language_model, model.language_projection = lamp, language_model, projection
        return model.eval()

    def get_input_embeddings(self) -> nn.Module:
        """Return the word embeddings of the language model."""
        return self.language_model.get_input_embeddings()

    def get_output_embeddings(self) -> nn.Module:
        """Return the head of the language model."""
        return self.language_model.get_output_embeddings()

    def save_pretrained(self, save_directory, *args, **kwargs):
        """Save the model, or only its adapter with the queries, the projection and the configuration it belongs to."""
        super().save_pretrained(save_directory, *args, **kwargs)
        if getattr(self, "_hf_peft_config_loaded", False):
            self.config.to_json_file(Path(save_directory) / _ADAPTER_CONFIG)

    def load_adapter(self, peft_model_id: str | Path, *args, **kwargs):
        """Load an adapter as transformers does, and refuse one that does not fit.

        Raises:
            ValueError: If the adapter was trained for another language model, a file is damaged, or a weight is
                missing, not finite or stored as whole numbers.
        """
        try:
            files = self._check_adapter(peft_model_id)
            result = super().load_adapter(peft_model_id, *args, **kwargs)
        except (OSError, ImportError):
            raise
        except Exception as error:  # PEFT raises errors of many classes for a damaged configuration
            source = damaged_file(Path(str(peft_model_id))) or peft_model_id
            named = str(peft_model_id) in str(error)
            raise ValueError(one_line(error) if named else f"{source}: damaged: {one_line(error)}") from error
        for file in files:
            with safe_open(file, "pt") as stored:
                keys = {key.removeprefix(_PEFT_PREFIX) for key in stored.keys()}  # noqa: SIM118 - not a dictionary
            wanted = set(self.get_adapter_state_dict())
            if different := sorted(wanted ^ keys):
                problem = "missing" if different[0] in wanted else "unexpected"
                raise ValueError(f"{peft_model_id}: {problem} weight {different[0]}")
        return result

    def _check_adapter(self, adapter: str | Path) -> list[str]:
        """Check the files of an adapter before it is loaded; return that of its weights, if they are safetensors."""
        paths = {
            name: cached_file(adapter, name, **_OPTIONAL_FILE)
            for name in (_ADAPTER_CONFIG, "adapter_config.json", "adapter_model.safetensors")
        }
        about, settings, weights = paths.values()
        if about is not None:
            self._check_language_model(LampMotionCaptioningConfig.from_json_file(about).language_config, adapter)
        files = [] if weights is None else [weights]
        if settings is not None and files:
            check_adapter(adapter, files, json.loads(Path(settings).read_text(encoding="utf-8")))
        return files

    def _check_language_model(self, adapted: PreTrainedConfig, adapter: str | Path) -> None:
        """Refuse an adapter whose language model differs from this one in kind or size."""
        for name in ("model_type", "vocab_size", "hidden_size", "num_hidden_layers"):
            wanted, found = getattr(adapted, name), getattr(self.config.language_config, name)
            if wanted != found:
                raise ValueError(f"{adapter}: the adapter is for a language model of {name} {wanted!r}, not {found!r}")

    def get_soft_tokens(
        self, motion_values: torch.FloatTensor, motion_attention_mask: torch.Tensor | None = None
    ) -> torch.FloatTensor:
        """Embed a motion as tokens of the language model, `(batch_size, num_query_tokens, language_width)`."""
        return self.embed_latents(*self.lamp.encode_latents(motion_values.to(self.lamp.dtype), motion_attention_mask))

    def embed_latents(self, latents: torch.Tensor, mask: torch.BoolTensor) -> torch.FloatTensor:
        """Embed motions as tokens of the language model.

        Args:
            latents (`torch.FloatTensor` of shape `(batch_size, num_latents, codebook_dim)`): From LaMP's
                `encode_latents`, which is frozen, so that a training set is encoded once.
            mask (`torch.BoolTensor` of shape `(batch_size, num_latents)`): False at padding.

        Returns:
            `torch.FloatTensor` of shape `(batch_size, num_query_tokens, language_width)`.
        """
        motion = self.lamp.encode_motion_parts(latents.to(self.lamp.dtype), mask)
        states = motion.queries
        if self.config.whole_motion:
            whole = motion.embeds * motion.embeds.shape[-1] ** 0.5  # entries about as large as those of queries
            states = torch.cat([states, whole[:, None].expand(-1, states.shape[1], -1).to(states.dtype)], -1)
        return self.language_projection(states)

    def forward(
        self,
        motion_values: torch.FloatTensor | None = None,
        input_ids: torch.LongTensor | None = None,
        motion_attention_mask: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        labels: torch.LongTensor | None = None,
        latents: torch.FloatTensor | None = None,
        latent_mask: torch.BoolTensor | None = None,
        **kwargs,
    ) -> LampMotionCaptioningOutput:
        """Predict the tokens of captions.

        Args:
            motion_values (`torch.FloatTensor` of shape `(batch_size, num_frames, feature_size)`, *optional*):
                Normalised features; or else give `latents`.
            input_ids (`torch.LongTensor` of shape `(batch_size, text_length)`): Captions, padded on the right.
            motion_attention_mask (`torch.Tensor` of shape `(batch_size, num_frames)`, *optional*): 0 at padding.
            attention_mask (`torch.Tensor` of shape `(batch_size, text_length)`, *optional*): 0 at padding.
            labels (`torch.LongTensor` of shape `(batch_size, text_length)`, *optional*): `input_ids`, with -100 where
                tokens are not counted. The last soft token predicts the first.
            latents, latent_mask (*optional*): Motions that are already encoded, see `embed_latents`.
        """
        if latents is None:
            soft = self.get_soft_tokens(motion_values, motion_attention_mask)
        else:
            soft = self.embed_latents(latents, latent_mask)
        embeds, mask = self._join(soft, input_ids, attention_mask)
        logits = self.language_model(inputs_embeds=embeds, attention_mask=mask, use_cache=False).logits
        logits, loss = logits[:, soft.shape[1] - 1 :].float(), None
        if labels is not None:
            loss = nn.functional.cross_entropy(logits[:, :-1].transpose(1, 2), labels)
        return LampMotionCaptioningOutput(loss=loss, logits=logits[:, 1:])

    @torch.no_grad()
    def generate(
        self,
        motion_values: torch.FloatTensor,
        motion_attention_mask: torch.Tensor | None = None,
        input_ids: torch.LongTensor | None = None,
        **options,
    ) -> torch.LongTensor:
        """Caption motions.

        Args:
            motion_values (`torch.FloatTensor` of shape `(batch_size, num_frames, feature_size)`): Normalised features.
            motion_attention_mask (`torch.Tensor` of shape `(batch_size, num_frames)`, *optional*): 0 at padding.
            input_ids (`torch.LongTensor` of shape `(batch_size, prompt_length)`, *optional*): Beginning of each
                caption.
            options (*optional*): Options of `generate` in transformers; beam search without sampling by default.

        Returns:
            `torch.LongTensor` of shape `(batch_size, new_length)`: the tokens after the prompt.

        Raises:
            ValueError: If `max_new_tokens` or `num_beams` is no whole number from 1, or motion, prompt and caption are
                more than the language model reads.
        """
        options = {"max_new_tokens": self.config.max_new_tokens, "do_sample": False} | options
        if not options["do_sample"]:
            options = {"num_beams": self.config.num_beams, "length_penalty": self.config.length_penalty} | options
        for name in ("max_new_tokens", "num_beams"):
            check_count(options.get(name, 1), name)
        prompt = 0 if input_ids is None else input_ids.shape[1]
        total = self.config.lamp_config.num_query_tokens + prompt + options["max_new_tokens"]
        longest = getattr(self.config.language_config, "max_position_embeddings", None)
        if longest is not None and total > longest:
            raise ValueError(
                f"the language model reads {longest} tokens; motion, prompt and caption would have {total}"
            )
        embeds, mask = self._join(self.get_soft_tokens(motion_values, motion_attention_mask), input_ids)
        return self.language_model.generate(inputs_embeds=embeds, attention_mask=mask, **options)

    def _join(self, soft: torch.Tensor, input_ids: torch.Tensor | None, attention_mask: torch.Tensor | None = None):
        """Concatenate soft tokens and embedded words; return them with their mask."""
        mask = torch.ones(soft.shape[:2], dtype=torch.long, device=soft.device)
        if input_ids is None:
            return soft.to(self.language_model.dtype), mask
        attention_mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        words = self.get_input_embeddings()(input_ids)
        return torch.cat([soft.to(words.dtype), words], 1), torch.cat([mask, attention_mask.long()], 1)


__all__ = ["LampForMotionCaptioning", "LampMotionCaptioningOutput", "LampMotionCaptioningPreTrainedModel"]
