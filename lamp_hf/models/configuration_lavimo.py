"""Configuration of LAVIMO."""

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, PreTrainedConfig

from .configuration_common import CheckedConfigMixin, ShippedPipelinesMixin


@strict
class LavimoConfig(CheckedConfigMixin, ShippedPipelinesMixin, PreTrainedConfig):
    """Configuration of [`LavimoModel`]; the defaults are the paper's sizes (DistilBERT, CLIP ViT-B/32, 512).

    The paper comes without code and leaves some choices open; where this is our interpretation, it says so.

    Args:
        text_config (`PreTrainedConfig`): Any encoder like BERT.
        vision_config (`PreTrainedConfig`): Encoder of single frames: CLIP's vision model, or another one whose
            `pooler_output` is one vector of `vision_size` numbers, such as a ResNet.
        use_video (`bool`): Have a video tower. Without it the model is a text-motion model and costs as much.
        feature_size (`int`): Features per motion frame.
        hidden_size, num_attention_heads, intermediate_size, dropout (`int` or `float`): Sizes of the towers'
            transformers.
        motion_layers (`int`): Layers of the motion tower, 6 in the paper.
        motion_patch (`int`): Frames in a token of the motion tower, 1 in the paper.
        text_layers (`int`): Trained layers on top of the text encoder (interpretation; 2 in the authors' next paper).
        video_layers (`int`): Layers over the frames, 6 in the paper.
        projection_dim (`int`): Size of the shared embedding space (interpretation: 512).
        summary_size (`int`): Channels of convolutions over the motion whose sums over time join its embedding, because
            a transformer averages and hardly counts. 0 for none, as in the paper.
        max_frames (`int`): Frames of the longest motion.
        freeze_text, freeze_vision (`bool`): Keep the pretrained encoders as they are (interpretation).
        fusion (`str`): Input of the motion's reconstruction: with `"tokens"` the motion's embedding attends to words
            and frames; with `"pooled"` to one embedding of each, as the paper's formula reads, where attention has
            a single choice and is a linear map; `"none"` for no reconstruction.
        decoder_layers (`int`): Layers of the motion decoder (interpretation: 4).
        reconstruction_weight (`float`): Weight of the reconstruction loss, 0.1 in the authors' next paper.
        alignment_pairs (`list[str]`, *optional*): Pairs to align, by the initials of text, video and motion; all pairs
            that the model has by default.
        target (`str`): Treatment of pairs of a text and another modality with similar captions: `"identity"`,
            negatives; `"filter"`, excluded (TMR); `"soft"`, targets in proportion to their cosine, as in the paper.
            Pairs with equal captions are never negatives.
        video_target (`str`): The same for pairs of video and motion. A video shows one motion, whatever its caption,
            so captions do not count with `"identity"`; the paper treats these pairs as `target` (interpretation).
        target_threshold (`float`): Cosine from which captions are similar (interpretation: 0.6).
        soft_weight (`float`): Share of the target that `"soft"` spreads over similar captions, 1 in the paper.

    Raises:
        ValueError: If `fusion`, `target`, `video_target` or a pair is unknown.
    """

    model_type = "lavimo"
    _auto_class = "AutoConfig"
    default_task = "zero-shot-motion-classification"
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
        if self.fusion not in ("none", "pooled", "tokens"):
            raise ValueError(f"unknown fusion {self.fusion!r}; known: none, pooled, tokens")
        for target in (self.target, self.video_target):
            if target not in ("identity", "filter", "soft"):
                raise ValueError(f"unknown target {target!r}; known: identity, filter, soft")
        for pair in self.alignment_pairs:
            if len(set(pair)) != 2 or not set(pair) <= set("tvm"):
                raise ValueError(f"unknown pair {pair!r} to align; a pair is two of t, v and m")
        super().__post_init__(**kwargs)

    @property
    def vision_size(self) -> int:
        """Size of the vision encoder's embedding of a frame."""
        sizes = getattr(self.vision_config, "hidden_sizes", None)
        return sizes[-1] if sizes else self.vision_config.hidden_size


__all__ = ["LavimoConfig"]
