"""Imports published checkpoints of other projects; the only package that opens a pickle."""

from .official import KINDS, import_checkpoint


__all__ = ["KINDS", "import_checkpoint"]
