"""Motion-text data sets: read as `datasets.Dataset`, and prepared from folders of recordings."""
