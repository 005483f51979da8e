"""Training clips composed of real ones, and paraphrased captions."""
