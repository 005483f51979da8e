"""Videos rendered from clips, for LAVIMO."""
