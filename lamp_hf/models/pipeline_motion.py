"""What pipelines of motion models share."""

from transformers import Pipeline

from .motion_representation import get_skeleton


class MotionPipeline(Pipeline):
    """A pipeline whose processor knows texts and motions; subclasses name their `model_type`."""

    model_type: str
    _load_processor = True
    _load_tokenizer = False
    _load_feature_extractor = False
    _load_image_processor = False
    _load_video_processor = False

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        if self.model.config.model_type != self.model_type:
            raise ValueError(
                f"a model of type {self.model.config.model_type!r}; this pipeline needs {self.model_type!r}"
            )
        self.tokenizer = self.processor.tokenizer  # lets the base class pad batches
        extractor = self.processor.feature_extractor
        self.skeleton, self.fps = get_skeleton(extractor.skeleton), float(extractor.sampling_rate)
        self.frames_per_token = self.model.config.lamp_config.motion_config.downsampling_factor


__all__ = ["MotionPipeline"]
