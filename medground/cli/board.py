"""The board on the terminal, and what its numbers mean."""

from __future__ import annotations

from typing import Annotated

import typer

from ..errors import MedgroundError
from .app import Data, app, found


@app.command()
def board(
    track: Annotated[str, typer.Option(help="all, or mode=..., model=..., source=..., finding=...")] = "all",
    split: Annotated[str, typer.Option(help="dev, test or all; a published dataset has no all")] = "",
    data: Data = "data",
) -> None:
    """Print the board of one track and split."""
    from .. import files, records
    from ..ranking.show import show, show_separates

    tables = found(data)
    rows = records.read_rows(tables / "board" / "board.parquet", records.BOARD)
    split = split or ("all" if any(row["split"] == "all" for row in rows) else "test")
    chosen = [row for row in rows if (row["track"], row["split"]) == (track, split)]
    if not chosen:
        tracks, splits = sorted({row["track"] for row in rows}), sorted({row["split"] for row in rows})
        raise MedgroundError(
            f"no track {track!r} in split {split!r}; tracks: {', '.join(tracks)}; splits: {', '.join(splits)}"
        )
    show(chosen)
    told = tables / "board" / "board.json"
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
    split: Annotated[
        str, typer.Option(help="dev, test or all; by default all, or dev where the causes of test cases are kept back")
    ] = "",
    metric: Annotated[str, typer.Option(help="What to compare; else what the track is ordered by")] = "",
    data: Data = "data",
) -> None:
    """How far an entry is ahead of each other one: paired differences with intervals, and what can be told."""
    from .. import files, ranking, records
    from ..ranking.show import show_lead, show_separates
    from ..scoring.tables import load_cases
    from ..submission.preview import default_split, resampling

    tables = found(data)
    cases = load_cases(tables)
    results = ranking.Results.of(records.read_table(tables / "scores/scores.parquet", records.SCORES), cases)
    how = resampling(tables / "board/board.parquet")
    split = split or default_split(cases)
    rows = ranking.lead(results, entry, track, split, metric=metric or None, **how)
    show_lead(entry, rows, track, split)
    told = tables / "board" / "board.json"
    if told.exists():
        known = files.read_json(told).get("separates", {}).get(split, {})
        show_separates({name: numbers for name, numbers in known.items() if name == rows[0]["metric"]}, split)
