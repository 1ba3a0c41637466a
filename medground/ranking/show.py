"""The board on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

COLUMNS = "rank", "entry", "kind", "IoU", "interval", "ranks", "ties", "IoU paper", "hit", "energy", "AP", "coverage"


def show(rows: Sequence[Mapping], marked: str = "") -> None:
    """Print the rows of one track of the board, with one entry marked."""
    title = f"{rows[0]['cases']} cases, track {rows[0]['track']}, split {rows[0]['split']}"
    table = Table(*COLUMNS, title=title)
    for row in rows:
        interval, ranks = f"{row['iou_low']:.3f}-{row['iou_high']:.3f}", f"{row['rank_low']}-{row['rank_high']}"
        entry = Text(row["entry"], "bold" if row["entry"] == marked else "")
        metrics = (f"{row[name]:.3f}" for name in ("iou_paper", "hit", "energy", "average_precision", "coverage"))
        table.add_row(str(row["rank"]), entry, row["kind"], f"{row['iou']:.3f}", interval, ranks, row["tie"], *metrics)
    Console(width=None if sys.stdout.isatty() else 130).print(table)  # a log has no width of its own
