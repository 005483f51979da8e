"""Other projects' checkpoints into this package's format; the only place that opens a pickle."""

from .official import KINDS, convert_checkpoint


__all__ = ["KINDS", "convert_checkpoint"]
