"""Models with their configurations, processors and pipelines: one flat folder that ships with every Hub repository."""
