"""Entries: checked, scored, submitted, accepted."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .app import Data, app, found


@app.command()
def validate(
    folder: Annotated[Path, typer.Argument(help="An entry: entry.yaml and attributions.parquet")],
    data: Data = "data",
) -> None:
    """List everything that is wrong with an entry, with row, value and remedy."""
    from .. import submission
    from ..scoring.tables import load_cases

    report = submission.validate(folder, load_cases(found(data)))
    print(report.text())
    if not report.valid:
        raise typer.Exit(1)


@app.command()
def score(
    folder: Annotated[Path, typer.Argument(help="An entry: entry.yaml and attributions.parquet")],
    split: Annotated[
        str, typer.Option(help="dev | test | all; by default all, or dev where the causes of test cases are kept back")
    ] = "",
    data: Data = "data",
    faithfulness: Annotated[
        bool, typer.Option("--faithfulness", help="Also measure deletion and insertion; runs the models")
    ] = False,
    most: Annotated[
        int | None, typer.Option(min=1, help="On so many cases of each model and mode; by default as the board")
    ] = None,
    out: Annotated[Path, typer.Option(help="Where deletion and insertion of each case go")] = Path(
        "faithfulness.parquet"
    ),
) -> None:
    """Score an entry as the board does, and say where it would stand. Invalid cases score the worst value."""
    import numpy as np

    from ..ranking.show import show
    from ..submission import preview

    tables = found(data)
    report, rows = preview.against_board(folder, tables, split or None)
    if not report.valid:
        print(report.text())
    show(rows, marked=preview.NAME)
    if not split and rows[0]["split"] != "all":
        print(f"on {rows[0]['split']}: what the answers to the other split depend on is kept back; the board has it")
    if faithfulness:
        table = preview.measured(folder, found(data, films=True), split or "all", most, out)
        means = ", ".join(f"{name} {np.mean(table[name]):.3f}" for name in ("deletion", "insertion"))
        print(f"{out}: deletion and insertion of {len(table)} cases; {means}")


@app.command()
def submit(
    folder: Annotated[Path, typer.Argument(help="An entry: entry.yaml and attributions.parquet")],
    out: Annotated[Path, typer.Option(help="Where entries are; commit the new folder and open a pull request")] = Path(
        "submissions"
    ),
    hub: Annotated[str, typer.Option(help="ORG/NAME of a dataset on the Hub to open the pull request on")] = "",
    data: Data = "data",
) -> None:
    """Write a valid entry as it is stored, under its permanent id; with --hub, open the pull request as well."""
    from .. import submission
    from ..scoring.tables import load_cases

    prepared = submission.prepare(folder, load_cases(found(data)), out)
    print(f"{prepared} is ready: commit it and open a pull request")
    if hub:
        from ..hub.pull_request import propose

        print(propose(prepared, hub))


@app.command()
def entries(root: Annotated[Path, typer.Option(help="Where entries are")] = Path("submissions")) -> None:
    """List the entries that were received, the latest first, and what became of them."""
    from .. import submission

    for receipt in submission.receipts(root):
        print(f"{receipt.received}  {receipt.status:<11}  {receipt.id}  {receipt.reason}".rstrip())


@app.command()
def accept(
    entry: Annotated[str, typer.Argument(help="The id of an entry in quarantine")],
    root: Annotated[Path, typer.Option(help="Where entries are")] = Path("submissions"),
) -> None:
    """Take an entry out of quarantine onto the board."""
    from .. import submission

    print(f"{submission.accept(entry, root).id} is accepted; `dvc repro` puts it on the board")


@app.command()
def reject(
    entry: Annotated[str, typer.Argument(help="The id of an entry in quarantine")],
    reason: Annotated[str, typer.Option(help="What its author can do about it; kept with the entry")],
    root: Annotated[Path, typer.Option(help="Where entries are")] = Path("submissions"),
) -> None:
    """Keep an entry off the board, for a reason."""
    from .. import submission

    print(f"{submission.reject(entry, root, reason).id} is rejected")
