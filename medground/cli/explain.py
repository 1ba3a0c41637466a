"""One film, one question: what caused the answer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .app import app


@app.command()
def attribute(
    film: Annotated[Path, typer.Argument(help="A frontal chest film: PNG, JPEG or DICOM")],
    question: Annotated[str, typer.Option(help="What to ask about it")],
    model: Annotated[str, typer.Option(help="A key, the path of a checkpoint, or a Hub id")],
    out: Annotated[Path, typer.Option(help="The folder to write")],
    method: Annotated[str, typer.Option(help="How to explain the answer")] = "medfocus",
    mode: Annotated[str, typer.Option(help="direct | reasoning")] = "direct",
    references: Annotated[Path, typer.Option(help="Normal films with concept masks, for MedFocus")] = Path(
        "data/references/references.parquet"
    ),
) -> None:
    """Ask a model about one film and show what in it caused the answer: overlay, page, JSON.

    Seed, canvas, detector and segmenter are those of params.yaml; outside a repository, those of the model and the
    method, and concept boxes stay as they were carried over.
    """
    from .. import attribution, folders, params
    from ..images import read_film

    folders.check(out, "medground attribute")  # before the model is asked
    chosen, pixels = attribution.by_entry(method), read_film(film)
    p = params.load() if Path("params.yaml").exists() else None
    chosen = chosen.configured(p) if p else chosen
    from ..attribution import film as single
    from ..attribution import report
    from ..lvlm import load_lvlm

    segmenter = p.grounding.segmenter if p else None
    anatomy = single.Anatomy.read(references, chosen, segmenter) if chosen.concepts else None
    lvlm = load_lvlm(model, most_pixels=p.canvas.most_pixels if p else 0)
    explained = single.explain(lvlm, pixels, question, chosen, mode, anatomy, film.name)
    print(f"{explained.item.answer!r} ({explained.verdict})")
    for name, _, effect in (explained.attribution.concepts or [])[:5]:
        print(f"  {name}: {effect:.3f}")
    for what, path in report.write(explained, out).items():
        print(f"{what}: {path}")
