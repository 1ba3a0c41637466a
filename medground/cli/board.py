"""The board on the terminal."""

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
    from .. import records
    from ..ranking.show import show

    rows = records.read_rows(data / "board" / "board.parquet", records.BOARD)
    chosen = [row for row in rows if (row["track"], row["split"]) == (track, split)]
    if not chosen:
        tracks, splits = sorted({row["track"] for row in rows}), sorted({row["split"] for row in rows})
        raise MedgroundError(
            f"no track {track!r} in split {split!r}; tracks: {', '.join(tracks)}; splits: {', '.join(splits)}"
        )
    show(chosen)


@app.command()
def compare(
    entry: Annotated[str, typer.Argument(help="An entry of the board")],
    track: Annotated[str, typer.Option(help="all, or mode=..., model=..., source=..., finding=...")] = "all",
    split: Annotated[str, typer.Option(help="dev, test or all")] = "all",
    data: Annotated[Path, typer.Option(help="The pipeline's tables")] = Path("data"),
) -> None:
    """How far an entry is ahead of each other one: paired differences of mean IoU, with intervals."""
    from .. import ranking, records
    from ..ranking.show import show_lead
    from ..scoring.tables import load_cases

    results = ranking.Results.of(records.read_table(data / "scores/scores.parquet", records.SCORES), load_cases(data))
    drawn = records.made_by(data / "board/board.parquet")["settings"]
    drawn = {name: drawn[name] for name in ("resamples", "level", "seed")}
    show_lead(entry, ranking.lead(results, entry, track, split, **drawn), track, split)
