"""Splits a prompt that says an order into its parts."""

import itertools
import re


_NO_ABBREVIATION = r"(?<!\b(?:mr|ms|dr|st))(?<!\b(?:mrs|e\.g|i\.e))(?<!\bapprox)"  # before a full stop
_BETWEEN = re.compile(
    r"(?<!\bnow)(?<!\bnow )\s*[,;]?\s*\b(?:and|but)\s+"
    r"(?:then|next(?! to\b)|afterwards?|after that|later(?: on)?|finally|at last)\b,?\s+"
    r"|\s*[,;]\s*(?:then|next(?! to\b)|afterwards?|after that|later(?: on)?|finally|at last)\b,?\s+"
    rf"|{_NO_ABBREVIATION}\s*\.\s+(?:(?:then|next|afterwards?|after that|later(?: on)?|finally)\b,?\s+)?(?=\w)"
    r"|(?<!\bnow and)\s+then\s+"
    r"|(?<!\bis)(?<!\bare)\s*,?\s+(?:and )?followed by\s+"  # but somebody is followed by a dog
    r"|\s*,?\s+before\s+(?=\w+ing\b)",
    re.IGNORECASE,
)
_REFERS_BACK = re.compile(r"\b(?:it|them)\b", re.IGNORECASE)  # "lifts an arm and then lowers it"
_FIRST = re.compile(r"^(?:at )?first(?:ly)?\b(?! step)(?: of all)?,?\s+", re.IGNORECASE)
_SPAN = (  # a span of time
    r"(?:(?:an?|some|several|few|short|little|brief|long|couple|of|one|two|three|five|ten|\d+) ){0,4}"
    r"(?:while|moments?|seconds?|minutes?|time|bit),"
)
_AFTER = re.compile(rf"^after\s+(?!that\b|{_SPAN})(.+?),\s+(.+)$", re.IGNORECASE | re.DOTALL)
_BEHIND = re.compile(r"^(.+?),?\s+and\s+(.+?)\s+(?:after that|afterwards?|next|later)$", re.IGNORECASE | re.DOTALL)


def parts_in_order(text: str) -> list[str]:
    """Split a text at "then", "before ...ing", "after ..., " and the like into parts, in the order of the actions.

    "a man bows, then walks away" gives "a man bows" and "walks away". A text that says no order stays whole, and a
    part that speaks of "it" or "them" stays with the one before. The words of a part are left as they are, so it may
    lack its subject.
    """
    parts = _split(text)
    return parts if len(parts) > 1 else [text]


def timed_parts(text: str, num_frames: int | None, frames_per_token: int, fps: float) -> list[tuple[str, int | None]]:
    """Return the parts of a text in their order, each with its frames, a share in whole tokens.

    Args:
        text (`str`): see [`parts_in_order`].
        num_frames (`int`, *optional*): of the whole text; None leaves the length of each part open.
        frames_per_token (`int`): frames that a motion token stands for.
        fps (`float`): frames per second.

    Raises:
        ValueError: when there is not a token for each part.
    """
    parts = parts_in_order(text)
    if num_frames is None:
        return [(part, None) for part in parts]
    tokens = num_frames // frames_per_token
    if tokens < len(parts):
        raise ValueError(f"{num_frames / fps:g} seconds are too short for {len(parts)} parts of {text!r}")
    ends = [i * tokens // len(parts) * frames_per_token for i in range(len(parts))] + [num_frames]
    return [(part, end - start) for part, (start, end) in zip(parts, itertools.pairwise(ends))]


def _split(text: str) -> list[str]:
    text = _FIRST.sub("", text.strip().rstrip("., "))
    if found := _match(_AFTER, text):
        return [part for half in found.groups() for part in _split(half)]
    parts, start = [], 0
    cuts = list(_BETWEEN.finditer(text))
    for cut, following in zip(cuts, [*cuts[1:], None]):
        if not _REFERS_BACK.search(text[cut.end() : following and following.start()]):
            parts.append(text[start : cut.start()])
            start = cut.end()
    parts = [part for part in (part.strip(" ,;") for part in [*parts, text[start:]]) if part]
    if len(parts) < 2 and (found := _match(_BEHIND, text)):
        return [part for half in found.groups() for part in _split(half)]
    return parts or [text]


def _match(pattern: re.Pattern, text: str) -> re.Match | None:
    """Match a pattern of two halves, the second of which must not speak of "it" or "them"."""
    found = pattern.match(text)
    return None if found and _REFERS_BACK.search(found.group(2)) else found


__all__ = ["parts_in_order", "timed_parts"]
