"""The board on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from ..scoring.metrics import METRICS
from .board import MULTIPLICITY

WIDTH, COMPARED = 190, 130  # of a log, for the board and for a comparison


def show(rows: Sequence[Mapping], marked: str = "") -> None:
    """Print the rows of one track of the board, the ranked ones and then the others, with one entry marked."""
    first = rows[0]
    order = METRICS[first["order"]]
    title = f"{first['cases']} cases, {first['pairs']} pairs, track {first['track']}, split {first['split']}"
    caption = f"Ordered by {order.label.lower()}: {order.help}. {MULTIPLICITY}"
    if first["follows_from"] not in ("pairs", None):
        caption += f" There are no pairs here: {METRICS['follows'].label.lower()} is that of {first['follows_from']}."
    others = [metric for metric in METRICS.values() if metric is not order and first.get(metric.name) is not None]
    heads: tuple[str | Column, ...] = (
        "rank",
        Column("entry", no_wrap=True),  # an id is searched for, and copied
        "kind",
        order.arrow,
        "ranks",
        "ties",
        "over the floor",
        *(metric.arrow for metric in others),
    )
    table = Table(*heads, "paper's scorer", "coverage", "sanity", title=title, caption=caption)
    listed = False
    for row in rows:
        if listed and not row["ranked"]:
            table.add_section()
        listed = row["ranked"]
        table.add_row(
            str(row["rank"]) if row["ranked"] else "",
            Text(row["entry"], "bold" if row["entry"] == marked else ""),
            row["kind"],
            f"{row[order.name]:.3f} {row[order.name + '_low']:.3f}-{row[order.name + '_high']:.3f}",
            f"{row['rank_low']}-{row['rank_high']}" if row["ranked"] else "",
            row["tie"] or "",
            _number(row["over_floor"], "+.3f"),
            *(_number(row[metric.name]) for metric in others),
            _number(row["iou_published"]),
            _number(row["coverage"]),
            row["sanity"] or "",
        )
    _print(table, WIDTH)
    apart = [row for row in rows if not row["ranked"]]
    if apart:
        print("Not ranked:")
        for row in apart:
            print(f"  {row['entry']}: {row['reason']}")


def show_separates(told: Mapping, split: str) -> None:
    """Print what differences the benchmark can tell: an entry of ``separates`` of board.json.

    ``told`` is that entry, of the ``split``.
    """
    for name, numbers in told.items():
        print(
            f"{METRICS[name].label}, split {split}: a difference of {numbers['one_pair']:.3f} is significant for one "
            f"pair, {numbers['all_pairs']:.3f} over all pairs; a true one of {numbers['with_power']:.3f} is seen in "
            f"80 % "
            f"({numbers['patients']} patients)"
        )


def show_lead(entry: str, rows: Sequence[Mapping], track: str, split: str) -> None:
    """Print how far ``entry`` is ahead of each other one: the rows of `lead`.

    They were made for ``track`` and ``split``.
    """
    metric = METRICS[rows[0]["metric"]]
    title = f"{metric.label} of {entry} less that of each other entry, track {track}, split {split}"
    table = Table("entry", f"its {metric.label}", "lead", "interval", "p", title=title)
    for row in rows:
        ends = f"{row['low']:+.3f} to {row['high']:+.3f}"
        sure = "bold" if row["low"] > 0 or row["high"] < 0 else ""
        lead = Text(f"{row['difference']:+.3f}", sure)
        table.add_row(Text(row["entry"]), f"{row['value']:.3f}", lead, ends, f"{row['p']:.2g}")
    _print(table, COMPARED)


def _number(value: float | None, form: str = ".3f") -> str:
    return "" if value is None else format(value, form)


def _print(table: Table, width: int) -> None:
    Console(width=None if sys.stdout.isatty() else width).print(table)  # a log has no width of its own
