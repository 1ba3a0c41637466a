"""The pictures of numbers. Every chart has the numbers in its tooltips, and a table beside it on the page."""

from __future__ import annotations

import altair as alt
import pandas as pd

from medground.scoring import METRICS

KINDS = {"method": "#1f6f8b", "submission": "#c2602c", "floor": "#8793a0"}
INK, QUIET, RULE = "#1d2b36", "#5d6b76", "#d8e1e6"
LABEL = 165  # pixels that an axis label may take, so that a phone keeps room for the dots
LETTER = 8.2  # pixels a character of a monospaced token
ROW = 26  # pixels for a row of dots


def whiskers(board: pd.DataFrame) -> alt.LayerChart:
    """What the track is ordered by with its interval, tie letters beside it, the best floor as a dashed line: ranked
    entries first, best first."""
    metric, label = board.order.iloc[0], METRICS[board.order.iloc[0]].label
    board = board.assign(tie=board.tie.fillna(""), worth=board[metric])
    order = board.sort_values(["rank", "worth", "entry"], ascending=[True, False, True]).entry.tolist()
    y = alt.Y("entry:N", sort=order, title=None, axis=_names(grid=True))
    shown = [kind for kind in KINDS if kind in set(board.kind)]
    colour = alt.Color("kind:N", scale=alt.Scale(domain=shown, range=[KINDS[kind] for kind in shown]), legend=_legend())
    tips = [
        alt.Tooltip("entry:N", title="Entry"),
        alt.Tooltip("rank:Q", title="Rank"),
        alt.Tooltip(f"{metric}:Q", title=label, format=".3f"),
        alt.Tooltip(f"{metric}_low:Q", title="from", format=".3f"),
        alt.Tooltip(f"{metric}_high:Q", title="to", format=".3f"),
        alt.Tooltip("tie:N", title="Ties"),
    ]
    base = alt.Chart(board).encode(y=y, tooltip=tips)
    title = f"{label} (dot: mean, line: 95 % interval)"
    most = max(board[f"{metric}_high"].max(), 0.05)
    scale = alt.Scale(domain=[0, min(1.0, 1.1 * most)], nice=False)  # room for the letters
    layers = [
        base.mark_rule(strokeWidth=2.5, strokeCap="round").encode(
            x=alt.X(f"{metric}_low:Q", title=title, scale=scale), x2=f"{metric}_high:Q", color=colour
        ),
        base.mark_point(size=80, filled=True, opacity=1).encode(x=alt.X(f"{metric}:Q", title=title), color=colour),
        base.mark_text(align="left", dx=8, color=QUIET, fontSize=12).encode(
            x=alt.X(f"{metric}_high:Q", title=title), text="tie:N"
        ),
    ]
    floors = board[board.kind == "floor"]
    if len(floors):
        best = alt.Chart(pd.DataFrame({"x": [floors[metric].max()]}))
        layers.insert(0, best.mark_rule(strokeDash=[4, 4], color=KINDS["floor"]).encode(x=alt.X("x:Q", title=title)))
    return _calm(alt.layer(*layers), ROW * len(board) + 110)


def differences(table: pd.DataFrame, first: str, second: str, metric: str) -> alt.LayerChart:
    """Paired differences (columns name, difference, low, high, cases, patients); right of zero the first leads."""
    table = table.assign(
        clear=[
            first if low > 0 else second if high < 0 else "tie" for low, high in zip(table.low, table.high, strict=True)
        ]
    )
    colour = alt.Color(
        "clear:N",
        scale=alt.Scale(domain=[first, second, "tie"], range=[KINDS["method"], KINDS["submission"], KINDS["floor"]]),
        legend=_legend("Better", columns=1),  # names of entries are long, and phones narrow
    )
    tips = [
        alt.Tooltip("name:N", title="Finding"),
        alt.Tooltip("difference:Q", format="+.3f"),
        alt.Tooltip("low:Q", title="from", format="+.3f"),
        alt.Tooltip("high:Q", title="to", format="+.3f"),
        alt.Tooltip("cases:Q"),
    ]
    base = alt.Chart(table).encode(y=alt.Y("name:N", sort=table.name.tolist(), title=None, axis=_names(grid=True)))
    base = base.encode(tooltip=tips, color=colour)
    zero = alt.Chart(pd.DataFrame({"x": [0]})).mark_rule(color=INK, strokeWidth=1).encode(x="x:Q")
    several = table[table.patients > 1][["low", "high"]]  # one patient says nothing: from -1 to 1, drawn as far as seen
    reach = float(several.abs().max().max()) if len(several) else 1.0
    title, scale = f"Difference in {metric} (95 % interval)", alt.Scale(domain=[-reach, reach])
    line = base.mark_rule(strokeWidth=2.5, strokeCap="round", clip=True).encode(
        x=alt.X("low:Q", title=title, scale=scale), x2="high:Q"
    )
    dot = base.mark_point(size=80, filled=True, opacity=1).encode(x=alt.X("difference:Q", title=title))
    return _calm(alt.layer(zero, line, dot), ROW * len(table) + 190)


def effects(concepts: list[dict], title: str = "Drop of the answer's log-probability, nats") -> alt.Chart:
    """What masking each concept cost the answer, greatest first."""
    table = pd.DataFrame({"concept": [c["concept"] for c in concepts], "effect": [c["effect"] for c in concepts]})
    table = table.sort_values("effect", ascending=False)
    chart = (
        alt.Chart(table)
        .mark_bar(color=KINDS["method"], cornerRadiusEnd=3, height=14)
        .encode(
            y=alt.Y("concept:N", sort=table.concept.tolist(), title=None, axis=_names()),
            x=alt.X("effect:Q", title=title),
            tooltip=["concept:N", alt.Tooltip("effect:Q", format=".3f")],
        )
    )
    return _calm(chart, 22 * len(table) + 50)


def tokens(effects: list[dict], columns: int = 42) -> alt.LayerChart:
    """The answer's tokens set as running text of ``columns`` characters a line, shaded by effect."""
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
        scale=alt.Scale(range=["#f3f6f8", "#f2a65a"], domain=[0, max(table.effect.max(), 1e-6)], clamp=True),
        legend=None,
    )
    base = alt.Chart(table).encode(y=y, tooltip=tips)
    boxes = base.mark_rect(cornerRadius=3).encode(x=x, x2="x2:Q", color=shade)
    words = base.mark_text(font="monospace", fontSize=13, color=INK).encode(x="middle:Q", text="text:N")
    return _calm(alt.layer(boxes, words), 24 * (line + 1) + 10).properties(width=LETTER * columns)


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
    return _calm(chart, 30 * len(names) + 145)


def grid(table: pd.DataFrame) -> alt.LayerChart:
    """Shares kept (columns row, column, share, kept, right) as a shaded table, empty where nothing was right."""
    base = alt.Chart(table).encode(
        y=alt.Y("row:N", title=None, axis=_names()),
        x=alt.X(
            "column:N",
            title=None,
            axis=alt.Axis(
                labelAngle=-30, labelAlign="right", labelLimit=220, labelOverlap=False, ticks=False, domain=False
            ),
        ),
        tooltip=["row:N", "column:N", "kept:Q", "right:Q", alt.Tooltip("share:Q", format=".0%")],
    )
    cells = base.mark_rect(cornerRadius=3, stroke="white", strokeWidth=2).encode(
        color=alt.Color("share:Q", scale=alt.Scale(domain=[0, 1], range=["#f3f6f8", "#1f6f8b"]), legend=None)
    )
    words = base.mark_text(fontSize=12).encode(
        text=alt.Text("share:Q", format=".0%"),
        color=alt.condition("datum.share > 0.55", alt.value("white"), alt.value(INK)),
    )
    return _calm(alt.layer(cells, words), 30 * table.row.nunique() + 125)


def _names(grid: bool = False) -> alt.Axis:
    """An axis of names: all of them, without ticks."""
    return alt.Axis(
        labelLimit=LABEL, labelOverlap=False, labelFlush=False, labelColor=INK, labelFontSize=13,
        ticks=False, domain=False, grid=grid, gridColor="#edf2f4",
    )  # fmt: skip


def _legend(title: str | None = None, columns: int = 3) -> alt.Legend:
    return alt.Legend(title=title, orient="top", direction="horizontal", labelLimit=LABEL, columns=columns)


def _calm(chart: alt.Chart | alt.LayerChart, height: int):
    """``height`` in pixels, with axes and legend."""
    chart = chart.properties(height=height).configure_view(stroke=None)
    return chart.configure_axis(gridColor=RULE, titleColor=QUIET, titleFontWeight="normal")
