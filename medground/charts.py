"""A chart of numbers with their intervals, as a picture that DVC shows: the same numbers give the same bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import StringIO

import matplotlib
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

INK, MUTED, GRID = "#1f2328", "#59636e", "#d1d9e0"
_STYLE = matplotlib.RcParams(
    {"font.family": "DejaVu Sans", "font.size": 10, "svg.hashsalt": "medground", "svg.fonttype": "none"}
)


def intervals(rows: Sequence[tuple[str, float, float, float]], title: str, measure: str) -> str:
    """An SVG of a line for each of ``rows``: a label, a number and both ends of its interval, the first on top.

    ``title`` says what is shown, ``measure`` what the numbers are. Text stays text, so that it can be searched.
    """
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(9, 1.3 + 0.32 * max(1, len(rows))), layout="constrained")
        axes = figure.subplots()
        for place, (_, value, low, high) in enumerate(rows):
            axes.plot([low, high], [place, place], color=MUTED, linewidth=2, solid_capstyle="butt")
            axes.plot(value, place, "o", color=INK, markersize=6)
            axes.annotate(f"{value:.3f}", (1.01, place), xycoords=("axes fraction", "data"), va="center", color=INK)
        axes.set_yticks(range(len(rows)), [label for label, *_ in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xlim(left=0)
        axes.set_title(title, loc="left", color=INK)
        axes.set_xlabel(measure, color=MUTED)
        axes.grid(axis="x", color=GRID)
        axes.set_axisbelow(True)
        for side in ("top", "right", "left"):
            axes.spines[side].set_visible(False)
        axes.tick_params(axis="y", length=0)
        return _svg(figure)


def against(points: Mapping[str, tuple[float, Sequence[float]]], measures: Sequence[str], cost: str, title: str) -> str:
    """An SVG of what is got for what it costs: a panel for each of ``measures``, numbered points, a key beside them.

    ``points`` gives the cost of each name and a number for each measure; ``cost`` says what the costs are.
    """
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(9, 2.6 * len(measures)), layout=ConstrainedLayoutEngine(rect=(0, 0, 0.58, 0.94)))
        panels = figure.subplots(len(measures), 1, sharex=True, squeeze=False)[:, 0]
        for place, (axes, measure) in enumerate(zip(panels, measures, strict=True)):
            for number, (spent, values) in enumerate(points.values(), 1):
                axes.plot(spent, values[place], "o", color=INK, markersize=5)
                axes.annotate(str(number), (spent, values[place]), xytext=(5, 4), textcoords="offset points", color=INK)
            axes.set_title(measure, loc="left", color=MUTED, fontsize=10)
            axes.margins(0.08, 0.18)
            axes.set_xlim(left=0)
            axes.grid(color=GRID)
            axes.set_axisbelow(True)
            for side in ("top", "right"):
                axes.spines[side].set_visible(False)
        panels[-1].set_xlabel(cost, color=MUTED)
        key = "\n".join(f"{number}  {name}" for number, name in enumerate(points, 1))
        figure.text(0.01, 0.985, title, va="top", color=INK, fontsize=12)
        figure.text(0.6, 0.5, key, va="center", color=INK, fontsize=9, linespacing=1.6)
        return _svg(figure)


def _svg(figure: Figure) -> str:
    drawn = StringIO()
    figure.savefig(drawn, format="svg", metadata={"Date": None, "Creator": None})
    return drawn.getvalue()
