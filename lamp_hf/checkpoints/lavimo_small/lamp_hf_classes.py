"""Classes of this model, for `trust_remote_code=True`."""

from lamp_hf import LavimoConfig, LavimoModel, LavimoProcessor


__all__ = ["LavimoConfig", "LavimoModel", "LavimoProcessor"]
