"""One HTML page of the faults in motion files, with a plot of what exceeds its limit."""

import html
from typing import TYPE_CHECKING

import numpy as np

from .check import Report, limits_of
from .fault_measures import MEASURES, UNITS


if TYPE_CHECKING:
    from .clip import Motion


_WIDTH, _HEIGHT = 640, 120  # pixels of a plot
_MOST_POINTS = 1280
_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Motion check</title>
<style>
body {{ font: 15px/1.4 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }}
table {{ border-collapse: collapse; width: 100% }}
td, th {{ text-align: left; padding: .2rem .6rem; border-bottom: 1px solid #ddd }}
svg {{ background: #fafafa; margin: .5rem 0 }}
.limit {{ stroke: #c33; stroke-dasharray: 4 }} .value {{ fill: none; stroke: #246 }}
</style>
<h1>Motion check</h1>
<p>{summary}</p>
{files}
</html>
"""


def report_page(checked: "dict[str, tuple[Report, Motion | None]]") -> str:
    """Return an HTML page of reports.

    Args:
        checked (`dict`): for each file's name its [`Report`] and its motion, None if it cannot be read.
    """
    faulty = {name: pair for name, pair in checked.items() if not pair[0].passed}
    summary = f"{len(checked)} files, {len(faulty)} with faults."
    return _PAGE.format(summary=summary, files="\n".join(_section(name, *pair) for name, pair in faulty.items()))


def _section(name: str, report: Report, motion: "Motion | None") -> str:
    rows = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in _cells(finding)) + "</tr>"
        for finding in report.findings
    )
    kinds = dict.fromkeys(finding["kind"] for finding in report.findings)
    plots = "" if motion is None else "".join(_plot(kind, motion) for kind in kinds)
    heads = "".join(f"<th>{head}</th>" for head in ("fault", "seconds", "joint", "value", "limit", "what to do"))
    return f"<h2>{html.escape(name)}</h2><table><tr>{heads}</tr>{rows}</table>{plots}"


def _cells(finding: dict) -> list[str]:
    if finding["value"] is None:
        return [finding["kind"], "", "", finding["reason"], "", finding["advice"]]
    times = f"{finding['start']:.2f} to {finding['end']:.2f}"
    numbers = (f"{finding[name]:.3g} {finding['unit']}" for name in ("value", "limit"))
    return [finding["kind"], times, finding["joint"] or "", *numbers, finding["advice"]]


def _plot(kind: str, motion: "Motion") -> str:
    """Draw a measure over time; of several joints, the one that is worst, as a multiple of its limit."""
    values = MEASURES[kind](np.asarray(motion.joints, np.float64), motion.fps, motion._skeleton)
    limits = limits_of(kind, motion._skeleton)
    curve = (values / limits).max(1) if values.ndim == 2 else values / limits[0]
    step = -(-len(curve) // _MOST_POINTS)
    curve = np.array([curve[first : first + step].max() for first in range(0, len(curve), step)])
    top = max(float(curve.max()), 1.2)
    places = np.linspace(0, _WIDTH, len(curve)), _HEIGHT * (1 - curve / top)
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(*places))
    level = _HEIGHT * (1 - 1 / top)
    return (
        f"<p>{kind}, as a multiple of its limit ({UNITS[kind]}), over {motion.duration:.2f} s</p>"
        f'<svg width="{_WIDTH}" height="{_HEIGHT}" role="img" aria-label="{kind} over time">'
        f'<line class="limit" x1="0" x2="{_WIDTH}" y1="{level:.1f}" y2="{level:.1f}"/>'
        f'<polyline class="value" points="{points}"/></svg>'
    )
