"""Networks that judge motions and texts."""
