"""Galleries of motions, searched by text, motion or video."""
