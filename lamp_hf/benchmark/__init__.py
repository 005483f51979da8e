"""Timings of the bundled models and of the library on this machine: `lamp-hf benchmark`."""
