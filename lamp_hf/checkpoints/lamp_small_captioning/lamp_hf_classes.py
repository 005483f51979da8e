"""Classes of this model, for `trust_remote_code=True`."""

from lamp_hf import LampForMotionCaptioning, LampMotionCaptioningConfig, LampProcessor


__all__ = ["LampForMotionCaptioning", "LampMotionCaptioningConfig", "LampProcessor"]
