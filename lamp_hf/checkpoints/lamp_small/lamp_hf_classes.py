"""Classes of this model, for `trust_remote_code=True`."""

from lamp_hf import LampForTextToMotion, LampProcessor, LampTextToMotionConfig


__all__ = ["LampForTextToMotion", "LampProcessor", "LampTextToMotionConfig"]
