"""Other projects' checkpoints into this package's format; the only place that opens a pickle."""
