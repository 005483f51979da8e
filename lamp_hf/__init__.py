"""LaMP and LAVIMO: motion-language models for the Hugging Face Hub.

Importing the package is cheap and writes nothing: classes are imported when they are first used, and registered with
transformers and `evaluate` when those are imported.
"""

import importlib
from pathlib import Path

from . import _aliases, metrics  # noqa: F401 - `lamp_hf.metrics.path`
from .hub import registration as _registration


_EXPORTS = {
    "Motion": "motion.clip",
    "check": "motion.check",
    "retarget": "motion.onto_character",
    "View": "motion.view",
    "random_view": "motion.view",
    "joints_to_features": "models.motion_representation",
    "features_to_joints": "models.motion_representation",
    "mirror": "models.motion_representation",
    "load_motion_dataset": "data.dataset",
    "retrieval_metrics": "metrics.retrieval",
    "Constraint": "models.constraints",
    "MotionVQVAEConfig": "models.configuration_motion_vqvae",
    "MotionVQVAEModel": "models.modeling_motion_vqvae",
    "LampConfig": "models.configuration_lamp",
    "LampModel": "models.modeling_lamp",
    "LampMotionModel": "models.modeling_lamp_motion",
    "LampForPreTraining": "models.modeling_lamp_pretraining",
    "LampQFormerConfig": "models.configuration_lamp_qformer",
    "LampQFormerModel": "models.modeling_lamp_qformer",
    "LampQFormerMotionModel": "models.modeling_lamp_qformer",
    "LampQFormerForPreTraining": "models.modeling_lamp_qformer_pretraining",
    "LampTextToMotionConfig": "models.configuration_lamp_text_to_motion",
    "LampForTextToMotion": "models.modeling_lamp_text_to_motion",
    "LampMotionCaptioningConfig": "models.configuration_lamp_motion_captioning",
    "LampForMotionCaptioning": "models.modeling_lamp_motion_captioning",
    "LavimoConfig": "models.configuration_lavimo",
    "LavimoModel": "models.modeling_lavimo",
    "MotionFeatureExtractor": "models.feature_extraction_motion",
    "LampProcessor": "models.processing_lamp",
    "LavimoProcessor": "models.processing_lavimo",
    "Familiarity": "models.familiarity",
    "UnfamiliarPromptWarning": "models.familiarity",
    "MaskedMotionScheduler": "models.scheduling_masked_motion",
    "TextToMotionPipeline": "models.pipeline_text_to_motion",
    "LampTextToMotionDiffusionPipeline": "models.diffusion_pipeline_text_to_motion",
    "MotionToTextPipeline": "models.pipeline_motion_to_text",
    "ZeroShotMotionClassificationPipeline": "models.pipeline_zero_shot_motion_classification",
    "MotionIndex": "retrieval.index",
    "Video": "models.video_frames",
}

__all__ = ["__version__", "bundled", *_EXPORTS]


BUNDLED = {"text-to-motion": "lamp_small", "captioning": "lamp_small_captioning", "video": "lavimo_small"}


def bundled(task: str = "text-to-motion") -> str:
    """Return the folder of a model that comes with the package.

    Args:
        task (`str`, defaults to `"text-to-motion"`): `"text-to-motion"` (with LaMP's encoders for retrieval),
            `"captioning"` or `"video"` (LAVIMO).

    Raises:
        ValueError: when no model for the task comes with the package.
    """
    if task not in BUNDLED:
        raise ValueError(f"no bundled model for {task!r}; there is one for: {', '.join(BUNDLED)}")
    return str(Path(__file__).parent / "checkpoints" / BUNDLED[task])


def _version() -> str:
    """Return the installed version, which setup.py states, or `"0+unknown"` for a bare copy of the code."""
    from importlib import metadata  # a tenth of a second, which `import lamp_hf` should not take

    try:
        return metadata.version("lamp-hf")
    except metadata.PackageNotFoundError:
        return "0+unknown"


def __getattr__(name: str):
    if name == "__version__":
        return _version()
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_EXPORTS[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)


_aliases.install()
_registration.register()
