"""Makes `AutoConfig`, `AutoModel`, ... and `pipeline` know our classes, without importing transformers any sooner.

Importing a model class imports most of transformers, which takes seconds. So each registration waits until the module
that it registers with is imported by whoever needs it.
"""

import importlib.abc
import importlib.machinery
import sys
from collections.abc import Callable


def _register_configs(module) -> None:
    from ..models.configuration_lamp import LampConfig
    from ..models.configuration_lamp_motion_captioning import LampMotionCaptioningConfig
    from ..models.configuration_lamp_text_to_motion import LampTextToMotionConfig
    from ..models.configuration_lavimo import LavimoConfig
    from ..models.configuration_motion_vqvae import MotionVQVAEConfig

    for config in (MotionVQVAEConfig, LampConfig, LampTextToMotionConfig, LampMotionCaptioningConfig, LavimoConfig):
        module.AutoConfig.register(config.model_type, config)
        config.register_for_auto_class()


def _register_models(module) -> None:
    from ..models.configuration_lamp import LampConfig
    from ..models.configuration_lamp_motion_captioning import LampMotionCaptioningConfig
    from ..models.configuration_lamp_text_to_motion import LampTextToMotionConfig
    from ..models.configuration_lavimo import LavimoConfig
    from ..models.configuration_motion_vqvae import MotionVQVAEConfig
    from ..models.modeling_lamp import LampModel
    from ..models.modeling_lamp_motion_captioning import LampForMotionCaptioning
    from ..models.modeling_lamp_text_to_motion import LampForTextToMotion
    from ..models.modeling_lavimo import LavimoModel
    from ..models.modeling_motion_vqvae import MotionVQVAEModel

    models = {
        MotionVQVAEConfig: MotionVQVAEModel,
        LampConfig: LampModel,
        LampTextToMotionConfig: LampForTextToMotion,
        LampMotionCaptioningConfig: LampForMotionCaptioning,
        LavimoConfig: LavimoModel,
    }
    for config, model in models.items():
        module.AutoModel.register(config, model)
        model.register_for_auto_class("AutoModel")


def _register_feature_extractors(module) -> None:
    from ..models.configuration_motion_vqvae import MotionVQVAEConfig
    from ..models.feature_extraction_motion import MotionFeatureExtractor

    module.AutoFeatureExtractor.register(MotionVQVAEConfig, MotionFeatureExtractor)
    MotionFeatureExtractor.register_for_auto_class("AutoFeatureExtractor")


def _register_processors(module) -> None:
    from ..models.configuration_lamp import LampConfig
    from ..models.configuration_lamp_motion_captioning import LampMotionCaptioningConfig
    from ..models.configuration_lamp_text_to_motion import LampTextToMotionConfig
    from ..models.configuration_lavimo import LavimoConfig
    from ..models.processing_lamp import LampProcessor
    from ..models.processing_lavimo import LavimoProcessor

    module.AutoProcessor.register(LavimoConfig, LavimoProcessor)
    LavimoProcessor.register_for_auto_class("AutoProcessor")
    for config in (LampConfig, LampTextToMotionConfig, LampMotionCaptioningConfig):
        module.AutoProcessor.register(config, LampProcessor)
    LampProcessor.register_for_auto_class("AutoProcessor")


def _register_pipelines(module) -> None:
    from transformers import AutoModel

    from ..models.pipeline_motion_to_text import MotionToTextPipeline
    from ..models.pipeline_text_to_motion import TextToMotionPipeline
    from ..models.pipeline_zero_shot_motion_classification import ZeroShotMotionClassificationPipeline

    pipelines = {
        "text-to-motion": TextToMotionPipeline,
        "motion-to-text": MotionToTextPipeline,
        "zero-shot-motion-classification": ZeroShotMotionClassificationPipeline,
    }
    for task, pipeline in pipelines.items():
        module.PIPELINE_REGISTRY.register_pipeline(
            task, pipeline_class=pipeline, pt_model=AutoModel, type="multimodal"
        )


# What a registration waits for, and ours that it needs: importing one of ours first may import the other in its
# course.
_REGISTRATIONS: dict[str, tuple[Callable, tuple[str, ...]]] = {
    "transformers.models.auto.configuration_auto": (
        _register_configs,
        ("configuration_lavimo", "configuration_lamp_motion_captioning"),
    ),
    "transformers.models.auto.modeling_auto": (
        _register_models,
        (
            "modeling_motion_vqvae",
            "modeling_lamp",
            "modeling_lamp_text_to_motion",
            "modeling_lamp_motion_captioning",
            "modeling_lavimo",
        ),
    ),
    "transformers.models.auto.feature_extraction_auto": (_register_feature_extractors, ("feature_extraction_motion",)),
    "transformers.models.auto.processing_auto": (_register_processors, ("processing_lamp", "processing_lavimo")),
    "transformers.pipelines": (
        _register_pipelines,
        (
            "modeling_lamp",
            "pipeline_motion",
            "pipeline_text_to_motion",
            "pipeline_motion_to_text",
            "pipeline_zero_shot_motion_classification",
        ),
    ),
}
_OURS = {f"lamp_hf.models.{name}" for _, names in _REGISTRATIONS.values() for name in names}
_done: set[str] = set()


def _importing(name: str) -> bool:
    module = sys.modules.get(name)
    return module is not None and getattr(module.__spec__, "_initializing", False)


def _register_what_is_ready() -> None:
    for name, (registration, ours) in _REGISTRATIONS.items():
        busy = any(_importing(f"lamp_hf.models.{other}") for other in ours)
        if name in sys.modules and name not in _done and not _importing(name) and not busy:
            _done.add(name)
            registration(sys.modules[name])


class _AfterImport(importlib.abc.MetaPathFinder):
    """Finds modules as usual, and registers what became possible once they are loaded."""

    def find_spec(self, name, path=None, target=None):
        if name not in _REGISTRATIONS and name not in _OURS:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        if spec is not None and spec.loader is not None:
            load = spec.loader.exec_module

            def load_and_register(module):
                load(module)
                module.__spec__._initializing = False
                _register_what_is_ready()

            spec.loader.exec_module = load_and_register
        return spec


def register() -> None:
    """Registers with what is imported already, and arranges for the rest."""
    sys.meta_path.insert(0, _AfterImport())
    _register_what_is_ready()
