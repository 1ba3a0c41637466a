"""The board on the terminal, and what its numbers mean."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import MedgroundError
from .app import app


@app.command()
def board(
    track: Annotated[str, typer.Option(help="all, or mode=..., model=..., source=..., finding=...")] = "all",
    split: Annotated[str, typer.Option(help="dev, test or all")] = "all",
    data: Annotated[Path, typer.Option(help="The pipeline's tables")] = Path("data"),
) -> None:
    """Print the board of one track and split."""
    from .. import files, records
    from ..ranking.show import show, show_separates

    rows = records.read_rows(data / "board" / "board.parquet", records.BOARD)
    chosen = [row for row in rows if (row["track"], row["split"]) == (track, split)]
    if not chosen:
        tracks, splits = sorted({row["track"] for row in rows}), sorted({row["split"] for row in rows})
        raise MedgroundError(
            f"no track {track!r} in split {split!r}; tracks: {', '.join(tracks)}; splits: {', '.join(splits)}"
        )
    show(chosen)
    told = data / "board" / "board.json"
    if told.exists() and track == "all":
        show_separates(files.read_json(told).get("separates", {}).get(split, {}), split)


@app.command()
def metrics() -> None:
    """List the metrics: what each is called and says, whether small is good (↓), and what it needs."""
    from ..scoring.metrics import METRICS, NEEDS

    for name, metric in METRICS.items():
        print(f"{name}: {metric.arrow}, {metric.low:g} to {metric.high:g}: {metric.help}")
        print(f"  needs: {NEEDS[metric.needs]}")


@app.command()
def compare(
    entry: Annotated[str, typer.Argument(help="An entry of the board")],
    track: Annotated[str, typer.Option(help="all, or mode=..., model=..., source=..., finding=...")] = "all",
    split: Annotated[str, typer.Option(help="dev, test or all")] = "all",
    metric: Annotated[str, typer.Option(help="What to compare; else what the track is ordered by")] = "",
    data: Annotated[Path, typer.Option(help="The pipeline's tables")] = Path("data"),
) -> None:
    """How far an entry is ahead of each other one: paired differences with intervals, and what can be told."""
    from .. import files, ranking, records
    from ..ranking.show import show_lead, show_separates
    from ..scoring.tables import load_cases
    from ..submission.preview import resampling

    results = ranking.Results.of(records.read_table(data / "scores/scores.parquet", records.SCORES), load_cases(data))
    how = resampling(data / "board/board.parquet")
    rows = ranking.lead(results, entry, track, split, metric=metric or None, **how)
    show_lead(entry, rows, track, split)
    told = data / "board" / "board.json"
    if told.exists():
        known = files.read_json(told).get("separates", {}).get(split, {})
        show_separates({name: numbers for name, numbers in known.items() if name == rows[0]["metric"]}, split)
