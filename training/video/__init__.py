"""Rendered videos of clips, for LAVIMO."""
