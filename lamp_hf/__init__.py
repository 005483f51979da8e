"""LaMP and LAVIMO: motion-language models for the Hugging Face Hub."""

import importlib
from pathlib import Path

from . import _aliases, metrics
from .hub import registration as _registration


__version__ = "0.1.0"

_EXPORTS = {
    "Motion": "motion.clip",
    "View": "motion.view",
    "random_view": "motion.view",
    "joints_to_features": "models.motion_representation",
    "features_to_joints": "models.motion_representation",
    "mirror": "models.motion_representation",
    "load_motion_dataset": "data.dataset",
    "retrieval_metrics": "metrics.retrieval",
    "MotionVQVAEConfig": "models.configuration_motion_vqvae",
    "MotionVQVAEModel": "models.modeling_motion_vqvae",
    "LampConfig": "models.configuration_lamp",
    "LampModel": "models.modeling_lamp",
    "LampMotionModel": "models.modeling_lamp",
    "LampForPreTraining": "models.modeling_lamp_pretraining",
    "LampTextToMotionConfig": "models.configuration_lamp_text_to_motion",
    "LampForTextToMotion": "models.modeling_lamp_text_to_motion",
    "LampMotionCaptioningConfig": "models.configuration_lamp_motion_captioning",
    "LampForMotionCaptioning": "models.modeling_lamp_motion_captioning",
    "LavimoConfig": "models.configuration_lavimo",
    "LavimoModel": "models.modeling_lavimo",
    "MotionFeatureExtractor": "models.feature_extraction_motion",
    "LampProcessor": "models.processing_lamp",
    "LavimoProcessor": "models.processing_lavimo",
    "MaskedMotionScheduler": "models.scheduling_masked_motion",
    "TextToMotionPipeline": "models.pipeline_text_to_motion",
    "LampTextToMotionDiffusionPipeline": "models.diffusion_pipeline_text_to_motion",
    "MotionToTextPipeline": "models.pipeline_motion_to_text",
    "ZeroShotMotionClassificationPipeline": "models.pipeline_zero_shot_motion_classification",
    "MotionIndex": "retrieval.index",
    "Video": "models.video_frames",
}

__all__ = ["bundled", *_EXPORTS]


BUNDLED = {"text-to-motion": "lamp_small", "captioning": "lamp_small_captioning", "video": "lavimo_small"}


def bundled(task: str = "text-to-motion") -> str:
    """Folder of the model that comes with the package.

    Args:
        task (`str`): `"text-to-motion"`, which has LaMP's encoders in it, `"captioning"`, or `"video"`, LAVIMO.
    """
    if task not in BUNDLED:
        raise ValueError(f"no bundled model for {task!r}; there is one for: {', '.join(BUNDLED)}")
    return str(Path(__file__).parent / "checkpoints" / BUNDLED[task])


def __getattr__(name: str):
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_EXPORTS[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)


_aliases.install()
_registration.register()
metrics.register()
