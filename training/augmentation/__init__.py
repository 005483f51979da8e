"""Training clips and captions made of real ones."""
