"""Limits of what strangers may ask of a server: of the demo page, and of the HTTP interface by default."""

from collections.abc import Sequence
from dataclasses import dataclass

from ..models.prompt_splitting import parts_in_order


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
        max_texts (`int`): texts that may follow one another in a motion; one that says an order counts as its parts.
        max_upload (`int`): bytes of the largest upload.
        max_waiting (`int`): requests that may wait at the same time.
    """

    max_seconds: float = MAX_SECONDS
    max_texts: int = MAX_TEXTS
    max_upload: int = MAX_UPLOAD
    max_waiting: int = MAX_WAITING

    def check_length(self, texts: Sequence[str], durations: Sequence[float | None], longest: float) -> None:
        """Refuse a motion that is too long, or may become so where the model chooses.

        Args:
            texts (`Sequence[str]`): what happens, one after another.
            durations (`Sequence[float | None]`): seconds of each; None lets the model choose, for each of its parts.
            longest (`float`): seconds that the model may choose.

        Raises:
            ValueError: when there are too many texts, or too many seconds.
        """
        counts = [len(parts_in_order(text)) for text in texts[: self.max_texts + 1]]  # one too many is enough
        if sum(counts) > self.max_texts:
            raise ValueError(f"too many texts, or parts of texts: at most {self.max_texts} make a motion")
        seconds = sum(longest * count if given is None else given for given, count in zip(durations, counts))
        if not seconds <= self.max_seconds:
            problem = f"{seconds:g} seconds are too long: at most {self.max_seconds:g} are generated"
            advice = f", and a part without a duration may take {longest:g}" if None in durations else ""
            raise ValueError(problem + advice)
