"""Serving the bundled models: the demo page."""
