"""Registers this package's classes with `AutoModel`, `pipeline` and `evaluate`, each when its library is imported.

Importing a model class imports most of transformers, which takes seconds, and a metric is registered by a file in the
user's cache. So neither happens on `import lamp_hf`: an import hook waits for the module to register with.
"""

import importlib.abc
import importlib.machinery
import sys
from collections.abc import Callable


def _register_configs(module) -> None:
    from ..models.configuration_lamp import LampConfig
    from ..models.configuration_lamp_motion_captioning import LampMotionCaptioningConfig
    from ..models.configuration_lamp_qformer import LampQFormerConfig
    from ..models.configuration_lamp_text_to_motion import LampTextToMotionConfig
    from ..models.configuration_lavimo import LavimoConfig
    from ..models.configuration_motion_vqvae import MotionVQVAEConfig

    ours = (LampConfig, LampQFormerConfig, LampTextToMotionConfig, LampMotionCaptioningConfig)
    for config in (MotionVQVAEConfig, *ours, LavimoConfig):
        module.AutoConfig.register(config.model_type, config)


def _register_models(module) -> None:
    from ..models.modeling_lamp import LampModel
    from ..models.modeling_lamp_motion_captioning import LampForMotionCaptioning
    from ..models.modeling_lamp_qformer import LampQFormerModel
    from ..models.modeling_lamp_text_to_motion import LampForTextToMotion
    from ..models.modeling_lavimo import LavimoModel
    from ..models.modeling_motion_vqvae import MotionVQVAEModel

    ours = (LampModel, LampQFormerModel, LampForTextToMotion, LampForMotionCaptioning)
    for model in (MotionVQVAEModel, *ours, LavimoModel):
        module.AutoModel.register(model.config_class, model)


def _register_feature_extractors(module) -> None:
    from ..models.configuration_motion_vqvae import MotionVQVAEConfig
    from ..models.feature_extraction_motion import MotionFeatureExtractor

    module.AutoFeatureExtractor.register(MotionVQVAEConfig, MotionFeatureExtractor)


def _register_motion_reader(module) -> None:
    def read(path):
        from ..motion.clip import Motion

        return Motion.load(path)

    module.register_motion_reader(read)


def _register_processors(module) -> None:
    from ..models.configuration_lamp import LampConfig
    from ..models.configuration_lamp_motion_captioning import LampMotionCaptioningConfig
    from ..models.configuration_lamp_qformer import LampQFormerConfig
    from ..models.configuration_lamp_text_to_motion import LampTextToMotionConfig
    from ..models.configuration_lavimo import LavimoConfig
    from ..models.processing_lamp import LampProcessor
    from ..models.processing_lavimo import LavimoProcessor

    module.AutoProcessor.register(LavimoConfig, LavimoProcessor)
    for config in (LampConfig, LampQFormerConfig, LampTextToMotionConfig, LampMotionCaptioningConfig):
        module.AutoProcessor.register(config, LampProcessor)


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


def _register_diffusers(module) -> None:
    """Let `DiffusionPipeline.from_pretrained` load our pipeline.

    It looks for the class among the names of diffusers, and for those of components in modules that it knows.
    """
    from diffusers.pipelines.pipeline_loading_utils import LOADABLE_CLASSES

    from ..models import diffusion_pipeline_text_to_motion as ours

    pipeline = ours.LampTextToMotionDiffusionPipeline
    setattr(sys.modules["diffusers"], pipeline.__name__, pipeline)
    for component in (ours.LampForTextToMotion, ours.LampProcessor, ours.MaskedMotionScheduler):
        LOADABLE_CLASSES.setdefault(component.__module__, {})


def _register_metrics(module) -> None:
    from .. import metrics

    metrics.register()


# By module to register with: the attribute that it must have for that, and the function that registers. Our own
# feature extractor is among them, for which the package reads motion files.
_REGISTRATIONS: dict[str, tuple[str, Callable]] = {
    "transformers.models.auto.configuration_auto": ("AutoConfig", _register_configs),
    "transformers.models.auto.modeling_auto": ("AutoModel", _register_models),
    "lamp_hf.models.feature_extraction_motion": ("register_motion_reader", _register_motion_reader),
    "transformers.models.auto.feature_extraction_auto": ("AutoFeatureExtractor", _register_feature_extractors),
    "transformers.models.auto.processing_auto": ("AutoProcessor", _register_processors),
    "transformers.pipelines": ("PIPELINE_REGISTRY", _register_pipelines),
    "diffusers.pipelines.pipeline_utils": ("DiffusionPipeline", _register_diffusers),
    "evaluate": ("load", _register_metrics),
}
_OURS = f"{__name__.partition('.')[0]}.models."
# They import classes to register with half-way, when none of our models can be imported yet.
_BASES = ("transformers.modeling_utils", "transformers.modeling_layers")
_registered: set[str] = set()
_loading: set[str] = set()


def _register_ready() -> None:
    """Register with every module that has been imported, unless the import of another one is under way.

    Importing one of our modules imports those of transformers in its course, and those each other. To register then
    would import a module that is half loaded; so the registration waits until all are complete.
    """
    if _loading:
        return
    for name, (attribute, register_with) in _REGISTRATIONS.items():
        if name not in _registered and hasattr(sys.modules.get(name), attribute):
            _registered.add(name)
            register_with(sys.modules[name])


class _RegisterAfterImport(importlib.abc.MetaPathFinder):
    """Finds modules in the usual way, and registers with whatever is ready once they are loaded."""

    def find_spec(self, name, path=None, target=None):
        if name not in (*_REGISTRATIONS, *_BASES) and not name.startswith(_OURS):
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        if spec is not None and spec.loader is not None:
            load = spec.loader.exec_module

            def load_and_register(module):
                _loading.add(name)
                try:
                    load(module)
                finally:
                    _loading.discard(name)
                _register_ready()

            spec.loader.exec_module = load_and_register
        return spec


def register() -> None:
    """Register with the libraries that are imported already, and with the others when they are imported."""
    sys.meta_path.insert(0, _RegisterAfterImport())
    _register_ready()
