"""Films of a clinic: one line of JSON for each film, with the boxes of its findings as shares of the film."""

from __future__ import annotations

import json
from pathlib import Path

from medground.errors import MedgroundError
from medground.sources import EVERYTHING, Annotated, Licence, Source, register_source

FILMS = Path("clinic/films.jsonl")


@register_source
class Clinic(Source):
    """One sample for each film and finding, in the order of the lines."""

    name = "clinic"
    title = "Films of the clinic"
    licence = Licence(
        text="CC0-1.0",
        url="https://clinic.example/films",
        credit="None is asked for.",
        obtain="in this dataset",
        may_leave=EVERYTHING,
    )
    ships = "clinic/films.jsonl, clinic/*.png"
    annotations = (FILMS,)

    def annotated(self, root: Path) -> list[Annotated]:
        try:
            lines = (root / FILMS).read_text().splitlines()
        except OSError as error:
            raise MedgroundError(f"{root / FILMS} cannot be read ({error.strerror}); ask the clinic for it") from None
        return [
            Annotated(
                patient_id=film["patient"],
                film=root / "clinic" / film["file"],
                finding=finding,
                boxes=boxes,
                frame=(1.0, 1.0),
            )
            for film in map(json.loads, lines)
            for finding, boxes in film["findings"].items()
        ]
