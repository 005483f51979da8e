"""A bar for preparations that may take minutes."""

import os
from collections.abc import Iterable, Iterator

from tqdm.auto import tqdm


def progress(steps: Iterable, description: str, total: int | None = None) -> Iterator:
    """Yield the steps and draw a bar, in the first of several processes alone.

    Args:
        steps (`Iterable`): what to go through.
        description (`str`): the work, such as `"encoding texts"`.
        total (`int`, *optional*): number of steps, if they do not tell it themselves.
    """
    return tqdm(steps, description, total, mininterval=1, disable=os.environ.get("LOCAL_RANK", "0") != "0")
