"""Configuration of LAVIMO."""

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, PreTrainedConfig


@strict
class LavimoConfig(PreTrainedConfig):
    """Configuration of [`LavimoModel`]; the defaults are the paper's sizes (DistilBERT, CLIP ViT-B/32, 512).

    The paper has no code, and its text could be read in parts only: what is an interpretation is marked so.

    Args:
        text_config (`PreTrainedConfig`): of any encoder of the BERT kind.
        vision_config (`PreTrainedConfig`): of what looks at each frame: CLIP's vision model, or another encoder
            whose `pooler_output` is one vector of `vision_size` numbers, a ResNet say.
        use_video (`bool`): have a video tower; without, the model is a text-motion one and costs what such a one does.
        feature_size (`int`): numbers a motion frame has.
        hidden_size, num_attention_heads, intermediate_size, dropout: of the towers' transformers.
        motion_layers (`int`): 6 in the paper.
        motion_patch (`int`): frames that a token of the motion tower is made of; 1 in the paper.
        text_layers (`int`): trained layers over the text encoder (interpretation; 2 in the authors' next paper).
        video_layers (`int`): over the frames; 6 in the paper.
        projection_dim (`int`): size of the shared space (interpretation: 512).
        summary_size (`int`): channels of convolutions over motion whose sums over time join its embedding; 0, as in
            the paper, for none. A transformer averages and hardly counts.
        max_frames (`int`): of a motion.
        freeze_text, freeze_vision (`bool`): keep the pretrained encoders as they are (interpretation).
        fusion (`str`): what reconstructs the motion: `"tokens"`, the motion's embedding attends to words and frames;
            `"pooled"`, to the one embedding of each, as the paper's formula reads, where attention has one thing to
            choose from and is a linear map; `"none"`, no reconstruction.
        decoder_layers (`int`): of the reconstruction (interpretation: 4).
        reconstruction_weight (`float`): 0.1 in the authors' next paper.
        alignment_pairs (`list[str]`): pairs of initials of text, video and motion that are aligned.
        target (`str`): what alignment makes of pairs of a text and another whose captions are alike (equal
            ones are never negatives):
            `"identity"`, negatives; `"filter"`, left out (TMR); `"soft"`, wanted in the proportion of their cosine, as
            in the paper.
        video_target (`str`): the same for video and motion; a video shows one motion, whatever its caption, so
            captions do not count (`"identity"`) unless it is told to be as `target`, as in the paper (interpretation).
        target_threshold (`float`): the cosine from which captions are alike (interpretation: 0.6).
        soft_weight (`float`): share of `"soft"` in the target, 1 in the paper.
    """

    model_type = "lavimo"
    sub_configs = {"text_config": AutoConfig, "vision_config": AutoConfig}

    text_config: dict | PreTrainedConfig | None = None
    vision_config: dict | PreTrainedConfig | None = None
    use_video: bool = True
    feature_size: int = 263
    hidden_size: int = 512
    num_attention_heads: int = 8
    intermediate_size: int = 1024
    dropout: float | int = 0.1
    motion_layers: int = 6
    motion_patch: int = 1
    text_layers: int = 2
    video_layers: int = 6
    projection_dim: int = 512
    summary_size: int = 0
    max_frames: int = 196
    freeze_text: bool = True
    freeze_vision: bool = True
    fusion: str = "tokens"
    decoder_layers: int = 4
    reconstruction_weight: float | int = 0.1
    alignment_pairs: list[str] | None = None
    target: str = "filter"
    video_target: str = "identity"
    target_threshold: float | int = 0.6
    soft_weight: float | int = 1.0

    def __post_init__(self, **kwargs):
        if not isinstance(self.text_config, PreTrainedConfig):
            self.text_config = AutoConfig.for_model(**{"model_type": "distilbert"} | (self.text_config or {}))
        if not isinstance(self.vision_config, PreTrainedConfig):
            self.vision_config = AutoConfig.for_model(
                **{"model_type": "clip_vision_model"} | (self.vision_config or {})
            )
        if self.alignment_pairs is None:
            self.alignment_pairs = ["tm", "vm", "tv"] if self.use_video else ["tm"]
        super().__post_init__(**kwargs)

    @property
    def vision_size(self) -> int:
        """Numbers that the vision encoder makes of a frame."""
        sizes = getattr(self.vision_config, "hidden_sizes", None)
        return sizes[-1] if sizes else self.vision_config.hidden_size


__all__ = ["LavimoConfig"]
