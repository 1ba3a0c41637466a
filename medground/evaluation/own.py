"""Your own films as questions: a table of films and boxes becomes a folder that `audit.evaluate` reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from .. import editing, engine, folders, params, records
from ..errors import MedgroundError
from ..sources import SOURCES
from ..sources.table import read
from .questions import TABLE, questions
from .tables import QUESTIONS

COMMAND = "medground questions"
#: The published editor (Perez-Garcia et al. 2024) with its settings; of the phantom's, which knows rendered films only,
#: the size of the canvas and the band differ.
RADEDIT: dict[str, Any] = {
    "unet": "microsoft/radedit", "vae": "stabilityai/sdxl-vae", "text_encoder": "microsoft/BiomedVLP-BioViL-T",
    "size": 512, "steps": 200, "skip_ratio": 0.3, "guidance": 7.5, "redraw": True, "batch_size": 4,
}  # fmt: skip
SMALL = {"size": 96, "steps": 25, "skip_ratio": 0.1, "guidance": 5.0}
BAND, SMALL_BAND = 64, 12  # native pixels


def prepare(
    table: Path,
    out: Path,
    *,
    images: Path | None = None,
    coordinates: Literal["pixels", "relative"] = "pixels",
    editor: str = "",
    steps: int | None = None,
    seed: int = 0,
) -> list[dict]:
    """Write the questions of a table (`medground.sources.table`) with their edited films into the folder ``out``.

    ``editor`` is a folder with the parts of a RadEdit, else the published one is fetched. Returns rows of
    `tables.QUESTIONS`. Raises MedgroundError with everything that is wrong with the table, for an ``out``
    that is in use, and where the editor cannot be loaded.
    """
    folders.check(out, COMMAND)
    found = read(table, images, coordinates)
    if found.problems:
        raise MedgroundError(found.report())
    p = _params(table, images, coordinates, editor, steps, seed)
    rows, dropped = SOURCES.get("table").samples(SOURCES.get("table").root(p), p)
    rows = [row | {"film": str(Path(row["film"]).resolve())} for row in rows]  # they stay where they are
    for reason, count in dropped.items():
        print(f"{count} left out: {reason}")
    with folders.rebuilt(out, COMMAND) as partial:
        data = partial / "data"
        records.write_table(rows, records.SAMPLES, data / "samples/table/samples.parquet")
        made = _edited(p, rows, data / "edits/table", Path("data/edits/table"))
        asked = questions(rows, made, seed)
        records.write_table(asked, QUESTIONS, data / TABLE)
    return asked


def _edited(p: params.Params, samples: list[dict], where: Path, told: Path) -> list[dict]:
    """Rows of `records.EDITS` of all samples, whose films lie in ``where``; their paths begin with ``told``."""
    engine.map(
        editing.editor(p, samples, where),
        samples,
        key=lambda sample: f"table/{sample['index']}, film {sample['film']}",
        out=where / "edits.parquet",
        schema=records.EDITS,
        name="local",
        workers=1,
        batch_size=RADEDIT["batch_size"],
    )
    rows = records.read_rows(where / "edits.parquet", records.EDITS)
    return [row | {"path": str(told / Path(row["path"]).relative_to(where))} for row in rows]


def _params(
    table: Path,
    images: Path | None,
    coordinates: Literal["pixels", "relative"],
    editor: str,
    steps: int | None,
    seed: int,
) -> params.Params:
    """What the source `table` and the editor read of params.yaml."""
    settings, band = dict(RADEDIT), BAND
    if editor:
        folder = Path(editor)
        if not (folder / "vae").is_dir() or not (folder / "text_encoder").is_dir():
            raise MedgroundError(f"{editor} has no vae/ and text_encoder/; name the folder of a RadEdit with both")
        settings |= {"unet": editor, "vae": str(folder / "vae"), "text_encoder": str(folder / "text_encoder")}
        if (folder / "medground.json").is_file():  # the phantom's
            settings, band = settings | SMALL, SMALL_BAND
    if steps:
        settings["steps"] = steps
    return params.Params.model_construct(  # what nobody reads here is not there
        seed=seed,
        table=params.Table(
            path=str(table), images=str(images or ""), coordinates=coordinates, dev_share=0.0, licence=""
        ),
        edit=params.Edit(editor="radedit", band=band, radedit=params.RadEdit(**settings)),
        verify=params.Verify(seeds=1, agreement=1, max_per_group=0, pairs=0),
    )
