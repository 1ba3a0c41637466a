"""The pictures of numbers. Every chart has the numbers in its tooltips, and a table beside it on the page.

A chart is made once of the same numbers in the same theme, and drawn from memory for whoever looks next.

A row of a chart has a fixed height (`alt.Step`), so that no number of rows makes labels overlap. What is told by a
colour is told by a shape, a word or a place too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, Literal

import altair as alt
import pandas as pd
import streamlit as st

LABEL = 210  # pixels that an axis label may take, so that a phone keeps room for the dots
LETTER = 8.2  # pixels a character of a monospaced token
ROW = 26  # pixels for a row of dots
LIGHT = {"ink": "#1d2b36", "quiet": "#55626d", "rule": "#d8e1e6", "first": "#1f6f8b", "second": "#b4531f",
         "gray": "#75818c", "low": "#eef3f6", "high": "#1f6f8b", "on": "#ffffff", "turn": 0.8}  # fmt: skip
DARK = {"ink": "#e3eaf0", "quiet": "#a9b6c2", "rule": "#33414d", "first": "#5fb6d3", "second": "#ee9a62",
        "gray": "#8d99a5", "low": "#1c2831", "high": "#6cc3df", "on": "#0d1419", "turn": 0.52}  # fmt: skip
SHAPES = {"method": "circle", "submission": "diamond", "floor": "square"}


def colours() -> Mapping[str, Any]:
    """The colours of the theme that the reader's browser shows; ``on`` is legible on shades from ``turn`` upwards."""
    return DARK if st.context.theme.type == "dark" else LIGHT


def _drawn(chart: Callable[..., alt.Chart | alt.LayerChart]) -> Callable[..., None]:
    """What makes a chart, as what draws it on the page: with ``alt``, what it says in words, and its ``width``."""

    @wraps(chart)
    def draw(*given: Any, alt: str, width: Literal["stretch", "content"] = "stretch") -> None:
        _draw(chart.__name__, given, alt, width, colours(), chart)

    return draw


@st.cache_data(show_spinner=False, max_entries=256)
def _draw(
    name: str, given: tuple, alt: str, width: Literal["stretch", "content"], paint: Mapping, _chart: Callable
) -> None:
    st.altair_chart(_chart(*given), width=width, alt=alt)  # Streamlit keeps what a cached function draws


@_drawn
def whiskers(board: pd.DataFrame, metric: str, label: str) -> alt.LayerChart:
    """A metric with its interval for rows of the board in their order: columns name, kind, ranked, tie, and the metric
    with ``_low`` and ``_high``. Tie letters stand beside the ranked, the best floor is a dashed line."""
    paint = colours()
    board = board.assign(
        tie=board.tie.fillna(""), worth=board[metric], low=board[f"{metric}_low"], high=board[f"{metric}_high"],
        standing=board.ranked.fillna(False).astype(bool).map({True: "ranked", False: "not ranked"}),
    )  # fmt: skip
    tips = [
        alt.Tooltip("name:N", title="Method"),
        alt.Tooltip("rank:Q", title="Rank"),
        alt.Tooltip("worth:Q", title=label, format=".3f"),
        alt.Tooltip("low:Q", title="from", format=".3f"),
        alt.Tooltip("high:Q", title="to", format=".3f"),
        alt.Tooltip("tie:N", title="Ties"),
        alt.Tooltip("standing:N", title="Standing"),
    ]
    base = alt.Chart(board[["name", "kind", "rank", "tie", "worth", "low", "high", "standing"]]).encode(
        y=alt.Y("name:N", sort=board.name.tolist(), title=None, axis=_names(grid=True)), tooltip=tips
    )
    kinds = [kind for kind in SHAPES if kind in set(board.kind)]
    standings = [one for one in ("ranked", "not ranked") if one in set(board.standing)]
    painted = {"ranked": paint["first"], "not ranked": paint["gray"]}
    colour = alt.Color(
        "standing:N", legend=_legend(), scale=alt.Scale(domain=standings, range=[painted[one] for one in standings])
    )
    shape = alt.Shape("kind:N", legend=_legend(), scale=alt.Scale(domain=kinds, range=[SHAPES[kind] for kind in kinds]))
    title = label
    least, most = min(0.0, board.low.min()), max(board.high.max(), 0.05)
    scale = alt.Scale(domain=[least, 1.1 * most], nice=False)  # room for the letters
    x = alt.X("low:Q", title=title, scale=scale, axis=alt.Axis(values=[n / 10 for n in range(0, 11, 2)]))
    layers = [
        base.mark_rule(strokeWidth=2.5, strokeCap="round").encode(x=x, x2="high:Q", color=colour),
        base.mark_point(size=80, filled=True, opacity=1).encode(x=alt.X("worth:Q"), color=colour, shape=shape),
        base.mark_text(align="left", dx=8, color=paint["quiet"], fontSize=12).encode(x=alt.X("high:Q"), text="tie:N"),
    ]
    floors = board[board.kind == "floor"]
    if len(floors):
        best = alt.Chart(pd.DataFrame({"x": [floors.worth.max()]}))
        layers.insert(0, best.mark_rule(strokeDash=[4, 4], color=paint["gray"]).encode(x=alt.X("x:Q", title=title)))
    return _calm(alt.layer(*layers), ROW)


@_drawn
def differences(table: pd.DataFrame, first: str, second: str, metric: str) -> alt.LayerChart:
    """Paired differences (columns name, difference, low, high, cases, patients); right of zero the first leads."""
    paint = colours()
    table = table.assign(
        clear=[
            first if low > 0 else second if high < 0 else "tie" for low, high in zip(table.low, table.high, strict=True)
        ]
    )
    names = [first, second, "tie"]
    legend = _legend("Better", columns=1)  # names of entries are long, and phones narrow
    scale = alt.Scale(domain=names, range=[paint["first"], paint["second"], paint["gray"]])
    shape = alt.Shape("clear:N", legend=legend, scale=alt.Scale(domain=names, range=["circle", "diamond", "square"]))
    tips = [
        alt.Tooltip("name:N", title="Part"),
        alt.Tooltip("difference:Q", format="+.3f"),
        alt.Tooltip("low:Q", title="from", format="+.3f"),
        alt.Tooltip("high:Q", title="to", format="+.3f"),
        alt.Tooltip("units:Q", title="cases or pairs"),
    ]
    base = alt.Chart(table).encode(y=alt.Y("name:N", sort=table.name.tolist(), title=None, axis=_names(grid=True)))
    base = base.encode(tooltip=tips, color=alt.Color("clear:N", scale=scale, legend=legend))
    zero = alt.Chart(pd.DataFrame({"x": [0]})).mark_rule(color=paint["ink"], strokeWidth=1).encode(x="x:Q")
    several = table[table.patients > 1][["low", "high"]]  # one patient says nothing: from -1 to 1, drawn as far as seen
    reach = max(float(several.abs().max().max()), 0.05) if len(several) else 1.0
    title = f"Difference in {metric} (95 % interval)"
    line = base.mark_rule(strokeWidth=2.5, strokeCap="round", clip=True).encode(
        x=alt.X("low:Q", title=title, scale=alt.Scale(domain=[-reach, reach]), axis=alt.Axis(tickCount=7)), x2="high:Q"
    )
    dot = base.mark_point(size=80, filled=True, opacity=1).encode(x=alt.X("difference:Q", title=title), shape=shape)
    return _calm(alt.layer(zero, line, dot), ROW)


@_drawn
def shares(table: pd.DataFrame, title: str) -> alt.LayerChart:
    """Shares with their intervals (columns name, group, share, low, high), the groups told apart by shape, too."""
    paint, groups = colours(), table.group.unique().tolist()
    legend = _legend(columns=1) if len(groups) > 1 else None
    painted = [paint["first"], paint["second"], paint["gray"]][: len(groups)]
    shapes = ["circle", "diamond", "square"][: len(groups)]
    colour = alt.Color("group:N", legend=legend, scale=alt.Scale(domain=groups, range=painted))
    shape = alt.Shape("group:N", legend=legend, scale=alt.Scale(domain=groups, range=shapes))
    tips = [
        alt.Tooltip("name:N", title=" "),
        alt.Tooltip("group:N", title=" "),
        alt.Tooltip("share:Q", format=".1%"),
        alt.Tooltip("low:Q", title="from", format=".1%"),
        alt.Tooltip("high:Q", title="to", format=".1%"),
        alt.Tooltip("count:N", title="of"),
    ]
    base = alt.Chart(table).encode(
        y=alt.Y("name:N", sort=table.name.unique().tolist(), title=None, axis=_names(grid=True)), tooltip=tips
    )
    if len(groups) > 1:
        base = base.encode(yOffset=alt.YOffset("group:N", sort=groups))
    x = alt.X("low:Q", title=title, scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(format=".0%", tickCount=5))
    line = base.mark_rule(strokeWidth=2.5, strokeCap="round").encode(x=x, x2="high:Q", color=colour)
    dot = base.mark_point(size=80, filled=True, opacity=1).encode(x="share:Q", color=colour, shape=shape)
    return _calm(alt.layer(line, dot), alt.Step(ROW if len(groups) == 1 else 22))


@_drawn
def effects(concepts: list[dict], title: str = "Drop of the answer's log-probability, nats") -> alt.Chart:
    """What masking each concept cost the answer, greatest first."""
    table = pd.DataFrame({"concept": [c["concept"] for c in concepts], "effect": [c["effect"] for c in concepts]})
    table = table.sort_values("effect", ascending=False)
    chart = (
        alt.Chart(table)
        .mark_bar(color=colours()["first"], cornerRadiusEnd=3, height=14)
        .encode(
            y=alt.Y("concept:N", sort=table.concept.tolist(), title=None, axis=_names()),
            x=alt.X("effect:Q", title=title),
            tooltip=["concept:N", alt.Tooltip("effect:Q", format=".3f")],
        )
    )
    return _calm(chart, 22)


@_drawn
def tokens(effects: list[dict], columns: int = 42) -> alt.LayerChart:
    """The answer's tokens set as running text of ``columns`` characters a line, shaded by effect."""
    paint = colours()
    rows, line, column = [], 0, 0
    for number, token in enumerate(effects):
        text = token["token"].replace("\n", " ")
        if column and column + len(text) > columns:
            line, column = line + 1, 0
        place = {"line": line, "x": column, "middle": column + len(text) / 2, "x2": column + len(text)}
        rows.append({"n": number, "text": text or " ", "effect": token["effect"], **place})
        column += len(text)
    table = pd.DataFrame(rows)
    y = alt.Y("line:O", axis=None)
    x = alt.X("x:Q", axis=None, scale=alt.Scale(domain=[0, columns], nice=False))
    tips = [alt.Tooltip("text:N", title="token"), alt.Tooltip("effect:Q", format=".3f")]
    shade = alt.Color(
        "effect:Q",
        scale=alt.Scale(
            range=[paint["low"], "#f2a65a" if paint is LIGHT else "#8a4a17"],
            domain=[0, max(table.effect.max(), 1e-6)],
            clamp=True,
        ),
        legend=None,
    )
    base = alt.Chart(table).encode(y=y, tooltip=tips)
    boxes = base.mark_rect(cornerRadius=3).encode(x=x, x2="x2:Q", color=shade)
    words = base.mark_text(font="monospace", fontSize=13, color=paint["ink"]).encode(x="middle:Q", text="text:N")
    return _calm(alt.layer(boxes, words), 24).properties(width=LETTER * columns)


@_drawn
def funnel(table: pd.DataFrame) -> alt.Chart:
    """Questions left after each gate (columns name, gate, step, cases; in order), as bars within bars."""
    gates, names = table.gate.unique().tolist(), table.name.unique().tolist()
    shades = ["#dbe5ea", "#b3cad4", "#86acbb", "#5890a5", "#1f6f8b"][-len(gates) :]
    colour = alt.Color("gate:N", scale=alt.Scale(domain=gates, range=shades), legend=_legend())
    tips = [alt.Tooltip("name:N", title="model"), "gate:N", "cases:Q"]
    chart = (
        alt.Chart(table)
        .mark_bar(cornerRadiusEnd=3, height=18)
        .encode(
            y=alt.Y("name:N", sort=names, title=None, axis=_names()),
            x=alt.X("cases:Q", stack=None, title="Questions left after each gate"),
            color=colour,
            order=alt.Order("step:Q"),
            tooltip=tips,
        )
    )
    return _calm(chart, 30)


@_drawn
def grid(table: pd.DataFrame, form: str = ".0%", most: float = 1.0) -> alt.LayerChart:
    """Numbers from 0 to ``most`` (columns row, in order, column, value, note) as a shaded table, written in each
    cell; empty where there is none."""
    paint = colours()
    rows, columns = table.row.unique().tolist(), sorted(table.column.unique())
    base = alt.Chart(table[table.value.notna()]).encode(
        y=alt.Y("row:N", sort=rows, title=None, axis=_names(), scale=alt.Scale(domain=rows)),
        x=alt.X(
            "column:N",
            sort=columns,
            title=None,
            scale=alt.Scale(domain=columns),
            axis=alt.Axis(
                orient="top", labelAngle=-30, labelAlign="left", labelLimit=170, labelOverlap=False, labelFontSize=12,
                labelColor=paint["ink"], ticks=False, domain=False,
            ),
        ),
        tooltip=[
            alt.Tooltip("row:N", title=" "),
            alt.Tooltip("column:N", title=" "),
            alt.Tooltip("value:Q", title="is", format=form),
            alt.Tooltip("note:N", title=" "),
        ],
    )  # fmt: skip
    shade = alt.Scale(domain=[0, most], range=[paint["low"], paint["high"]], clamp=True)
    cells = base.mark_rect(cornerRadius=3).encode(color=alt.Color("value:Q", scale=shade, legend=None))
    words = base.mark_text(fontSize=12).encode(
        text=alt.Text("value:Q", format=form),
        color=alt.condition(f"datum.value > {paint['turn'] * most}", alt.value(paint["on"]), alt.value(paint["ink"])),
    )
    chart = _calm(alt.layer(cells, words), 30)
    # Vega makes room for slanted labels by narrowing the columns, which lets the last label reach a little further.
    return chart.properties(padding={"right": 30})


def _names(grid: bool = False) -> alt.Axis:
    """An axis of names: all of them, without ticks."""
    paint = colours()
    return alt.Axis(
        labelLimit=LABEL, labelOverlap=False, labelFlush=False, labelColor=paint["ink"], labelFontSize=13,
        ticks=False, domain=False, grid=grid, gridColor=paint["rule"], gridOpacity=0.6,
    )  # fmt: skip


def _legend(title: str | None = None, columns: int = 3) -> alt.Legend:
    return alt.Legend(title=title, orient="top", direction="horizontal", labelLimit=LABEL, columns=columns)


def _calm(chart: alt.Chart | alt.LayerChart, step: int | alt.Step):
    """A chart whose rows are ``step`` pixels high each, with axes and legend around them."""
    paint = colours()
    height = alt.Step(step) if isinstance(step, int) else step
    chart = chart.properties(height=height).configure_view(stroke=None)
    return chart.configure_axis(gridColor=paint["rule"], titleColor=paint["quiet"], titleFontWeight="normal")
