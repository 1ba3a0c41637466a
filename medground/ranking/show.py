"""The board on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

COLUMNS = "rank", "entry", "kind", "IoU", "interval", "ranks", "ties", "IoU paper", "hit", "energy", "AP", "coverage"
FAITHFUL = "deletion", "insertion"
WIDTH, WIDER = 130, 166  # of a log, without and with deletion and insertion


def show(rows: Sequence[Mapping], marked: str = "") -> None:
    """Print the rows of one track of the board, with one entry marked."""
    title = f"{rows[0]['cases']} cases, track {rows[0]['track']}, split {rows[0]['split']}"
    measured = max(row["measured"] for row in rows)
    said = (
        f"deletion (small is good) and insertion (large is good) on {measured} cases"
        if measured
        else ("deletion and insertion: not measured")
    )
    table = Table(*COLUMNS, *(FAITHFUL if measured else ()), title=title, caption=said)
    for row in rows:
        interval, ranks = f"{row['iou_low']:.3f}-{row['iou_high']:.3f}", f"{row['rank_low']}-{row['rank_high']}"
        entry = Text(row["entry"], "bold" if row["entry"] == marked else "")
        metrics = (f"{row[name]:.3f}" for name in ("iou_published", "hit", "energy", "average_precision", "coverage"))
        faithful = (_faithful(row, name) for name in FAITHFUL) if measured else ()
        first = str(row["rank"]), entry, row["kind"], f"{row['iou']:.3f}", interval, ranks, row["tie"]
        table.add_row(*first, *metrics, *faithful)
    _print(table, WIDER if measured else WIDTH)


def show_lead(entry: str, rows: Sequence[Mapping], track: str, split: str) -> None:
    """Print how far ``entry`` is ahead of each other one: the rows of `lead`."""
    title = f"mean IoU of {entry} less that of each other entry, track {track}, split {split}"
    table = Table("entry", "its IoU", "lead", "interval", "p", title=title)
    for row in rows:
        ends = f"{row['low']:+.3f} to {row['high']:+.3f}"
        sure = "bold" if row["low"] > 0 or row["high"] < 0 else ""
        lead = Text(f"{row['difference']:+.3f}", sure)
        table.add_row(Text(row["entry"]), f"{row['iou']:.3f}", lead, ends, f"{row['p']:.2g}")
    _print(table, WIDTH)


def _faithful(row: Mapping, name: str) -> str:
    if not row["measured"]:
        return "not measured"
    return f"{row[name]:.2f} {row[f'{name}_low']:.2f}-{row[f'{name}_high']:.2f}"


def _print(table: Table, width: int) -> None:
    Console(width=None if sys.stdout.isatty() else width).print(table)  # a log has no width of its own
