"""One film, one question: what caused the answer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .app import Data, app, found


@app.command()
def attribute(
    film: Annotated[Path, typer.Argument(help="A frontal chest film: PNG, JPEG or DICOM")],
    question: Annotated[str, typer.Option(help="What to ask about it")],
    model: Annotated[str, typer.Option(help="A key, the path of a checkpoint, or a Hub id")],
    out: Annotated[Path, typer.Option(help="The folder to write")],
    method: Annotated[str, typer.Option(help="How to explain the answer")] = "medfocus",
    mode: Annotated[str, typer.Option(help="direct | reasoning")] = "direct",
    data: Data = "data",
    references: Annotated[
        Path | None, typer.Option(help="Normal films with concept masks, for MedFocus; by default those of the data")
    ] = None,
    anyway: Annotated[bool, typer.Option("--anyway", help="Explain what is no frontal chest film, too")] = False,
) -> None:
    """Ask a model about one film and show what in it caused the answer: overlay, page, JSON.

    Seed, canvas, detector and segmenter are those of params.yaml; outside a repository, those of the model and the
    method, and concept boxes stay as they were carried over. A film on which nothing can be right (no radiograph, not
    frontal, turned, inverted, blank) is refused. MODEL may be one that the data names.
    """
    from .. import attribution, folders, params
    from ..anatomy import domain
    from ..attribution import film as single
    from ..attribution import report
    from ..errors import MedgroundError
    from ..images import read_film
    from ..lvlm import load_lvlm

    folders.check(out, report.COMMAND)  # before the model is asked
    chosen, pixels = attribution.by_entry(method), read_film(film)
    against = domain.doubts(film)
    if not anyway and any(doubt.refuses for doubt in against):
        raise MedgroundError(
            f"{film} is not what this is made for: {'; '.join(doubt.text for doubt in against)}. Nothing right can be "
            "said about it; --anyway explains it all the same"
        )
    p = params.load() if Path("params.yaml").exists() else None
    chosen = chosen.configured(p) if p else chosen
    commit, root, most_pixels = None, Path("."), p.canvas.most_pixels if p else 0
    if data != "data":
        from ..hub import data as hub_data

        tables = found(data, films=True)
        model, commit = hub_data.model(model, tables)
        root, most_pixels = tables.parent, hub_data.asked(tables)["most_pixels"]
    anatomy = None
    if chosen.concepts:
        table = references or root / single.REFERENCES
        anatomy = single.Anatomy.read(
            table, chosen, p.grounding.segmenter if p else None, Path(".") if references else root
        )
        against += domain.fits(anatomy.locator, pixels)
    lvlm = load_lvlm(model, revision=commit, most_pixels=most_pixels)
    against += domain.trained(model)
    explained = single.explain(lvlm, pixels, question, chosen, mode, anatomy, film.name)
    print(f"{explained.item.answer!r} ({explained.verdict})")
    for doubt in against:
        print(f"note: {doubt.text}")
    for name, _, effect in (explained.attribution.concepts or [])[:5]:
        print(f"  {name}: {effect:.3f}")
    for what, path in report.write(explained, out, [doubt.text for doubt in against]).items():
        print(f"{what}: {path}")
