"""The class of the encoders in a folder: LaMP's, or the paper's Q-Former; whole, or their motion side."""

from transformers import PreTrainedConfig

from .configuration_auto_lamp import LAMP_CONFIGS
from .modeling_lamp import LampModel
from .modeling_lamp_motion import LampMotionModel
from .modeling_lamp_qformer import LampQFormerModel, LampQFormerMotionModel


_MODELS = {model.config_class.model_type: model for model in (LampModel, LampQFormerModel)}
_MOTION_MODELS = {model.config_class.model_type: model for model in (LampMotionModel, LampQFormerMotionModel)}


def lamp_class(model_type: str) -> type[LampModel] | type[LampQFormerModel]:
    """Return the model class for a `model_type`, `"lamp"` or `"lamp_qformer"`."""
    return _MODELS[model_type]


def lamp_motion_class(model_type: str) -> type[LampMotionModel] | type[LampQFormerMotionModel]:
    """Return the class of the motion side alone for a `model_type`, `"lamp"` or `"lamp_qformer"`."""
    return _MOTION_MODELS[model_type]


def load_lamp(
    folder, motion_only: bool = False, **options
) -> LampModel | LampQFormerModel | LampMotionModel | LampQFormerMotionModel:
    """Load the encoders from the folder or Hub id of LaMP, of the paper's Q-Former, or of a model that contains one.

    Args:
        folder (`str` or `Path`): Folder or Hub id.
        motion_only (`bool`): Load the motion side alone, which a captioner reads.
        options: As for `from_pretrained`.

    Raises:
        ValueError: If the model contains neither, or its weights do not fit.
    """
    saved, _ = PreTrainedConfig.get_config_dict(folder, **options)
    kind = (saved.get("lamp_config") or saved).get("model_type")
    if kind not in LAMP_CONFIGS:
        raise ValueError(f"{folder} is a model of type {saved.get('model_type')!r}, which contains no LaMP")
    return (lamp_motion_class if motion_only else lamp_class)(kind).from_pretrained(folder, **options)


__all__ = ["lamp_class", "lamp_motion_class", "load_lamp"]
