"""Limits of what strangers may ask of a server: of the demo page, and of the HTTP interface by default."""

from dataclasses import dataclass


MAX_SECONDS = 60.0  # of a motion or a video
MAX_CHARACTERS, MAX_TEXTS = 500, 6  # six texts of 9.8 seconds stay below a minute
MAX_CANDIDATES = 8  # of which the best is kept
MAX_UPLOAD = 20_000_000  # bytes
MAX_WAITING = 40  # requests in the queue; further ones are refused
MAX_KEPT, KEPT_SECONDS = 200, 3600  # results that are kept at the same time, and for how long


@dataclass(frozen=True)
class Limits:
    """Limits of a server.

    Args:
        max_seconds (`float`): length of the longest motion, generated or uploaded.
        max_texts (`int`): texts that may follow one another in a motion.
        max_upload (`int`): bytes of the largest upload.
        max_waiting (`int`): requests that may wait at the same time.
    """

    max_seconds: float = MAX_SECONDS
    max_texts: int = MAX_TEXTS
    max_upload: int = MAX_UPLOAD
    max_waiting: int = MAX_WAITING
