"""Models: asked all questions, and why they were right."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from .app import Data, app


@app.command()
def evaluate(
    model: Annotated[str, typer.Argument(help="A key, the path of a checkpoint, a Hub id, or what to call --answers")],
    data: Data = "data",
    mode: Annotated[list[str] | None, typer.Option(help="direct, reasoning; by default both")] = None,
    split: Annotated[str, typer.Option(help="dev | test | all")] = "test",
    answers: Annotated[
        Path | None, typer.Option(help="Take answers from a file (source, index, mode, edit, text) and load no model")
    ] = None,
    out: Annotated[Path, typer.Option(help="The folder to write")] = Path("evaluation"),
    anyway: Annotated[
        bool, typer.Option("--anyway", help="Ask about films that are no frontal chest films, too")
    ] = False,
    workers: Annotated[int, typer.Option(min=0, help="Copies of the model at work; 0: one a GPU, else one a core")] = 1,
) -> None:
    """Ask a model all questions and their edits: how often is it right, and at least how often for the right reason?"""
    from .. import folders
    from ..evaluation import audit
    from ..evaluation.report import sentence
    from ..hub import data as hub_data
    from ..lvlm.prompts import MODES
    from ..submission.preview import resampling

    folders.check(out, audit.COMMAND)  # before the model is asked
    tables = hub_data.tables(data, films=True)
    place, commit = hub_data.model(model, tables)
    done = audit.evaluate(
        model,
        tables,
        modes=mode or tuple(MODES),
        split=split,
        asked=hub_data.asked(tables),
        where=f"{place}@{commit}" if commit else place,
        answers=answers,
        anyway=anyway,
        workers=workers,
        **resampling(tables / "board/board.parquet"),
    )
    repo, tag = hub_data.repository(data) or ("", None)
    for row in done.results:
        if row["finding"] is None:
            print(sentence(row))
    for note in done.notes:
        print(f"note: {note}")
    for what, path in done.write(out, repo, tag).items():
        print(f"{what}: {path}")


@app.command()
def questions(
    table: Annotated[Path, typer.Argument(help="Your own films: CSV, TSV, Parquet or COCO JSON")],
    out: Annotated[Path, typer.Option(help="The folder to write; --data of `medground evaluate`")] = Path("questions"),
    images: Annotated[Path | None, typer.Option(help="The folder of the images; by default the table's")] = None,
    coordinates: Annotated[
        Literal["pixels", "relative"], typer.Option(help="What boxes are in; relative: shares of the film's size")
    ] = "pixels",
    editor: Annotated[
        str,
        typer.Option(
            help="What edits films: a folder with a RadEdit, vae/ and text_encoder/; by default the published one"
        ),
    ] = "",
    steps: Annotated[int | None, typer.Option(min=2, help="Of the editor's schedule; by default its own")] = None,
) -> None:
    """Turn a table of your own films into questions: each film with the edits that show what an answer comes from."""
    from ..evaluation.own import prepare

    rows = prepare(table, out, images=images, coordinates=coordinates, editor=editor, steps=steps)
    print(
        f"{out}: {len(rows)} questions with their edits; `medground evaluate MODEL --data {out} --split all` asks them"
    )
