"""Chest ImaGenome (gold) on MIMIC-CXR-JPG: the regions that a report names for a finding.

Wu et al., Chest ImaGenome Dataset for Clinical Reasoning, 2021. Boxes are anatomical regions, one for each place that a
sentence mentions.
"""

from __future__ import annotations

import ast
import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .. import records
from ..errors import MedgroundError
from ..geometry import Box, fill
from ..images import read_film, write_film
from .licence import NO_CONTENT, Licence
from .provider import Annotated, on_film, table
from .source import Source, register_source

_GOLD = Path("chest-imagenome/1.0.0/gold_dataset")
ATTRIBUTES = _GOLD / "gold_object_attribute_with_coordinates.txt"
BOXES = _GOLD / "gold_bbox_coordinate_annotations_1000images.csv"
FILMS = Path("mimic-cxr-jpg/2.1.0/files")
_NORMAL = 16  # reference films
_KEYS = ["patient_id", "study_id", "image_id", "label_name", "categoryID"]
CONCEPTS = (
    "cardiac silhouette", "right lung", "left lung", "mediastinum", "upper mediastinum", "right clavicle",
    "left clavicle", "right hilar structures", "left hilar structures", "right costophrenic angle",
    "left costophrenic angle",
)  # fmt: skip

if TYPE_CHECKING:
    from ..params import Params


@register_source
class Imagenome(Source):
    """Samples of the gold set, one for each (film, finding) that the report mentions.

    As in the reference: rows with ``relation`` 1 of the categories anatomicalfinding and disease, in the order of
    pandas' groupby. Unlike it, what the report negates (``context`` no) is not asked about.
    """

    name = "imagenome"
    labels = "region"
    title = "Chest ImaGenome (gold) on MIMIC-CXR-JPG"
    licence = Licence(
        text="PhysioNet Credentialed Health Data License 1.5.0",
        url="https://physionet.org/content/chest-imagenome/1.0.0/",
        credit=(
            "Cite Wu et al., Chest ImaGenome Dataset for Clinical Reasoning, NeurIPS Datasets and Benchmarks 2021, and "
            "Johnson et al., MIMIC-CXR, Scientific Data 2019."
        ),
        obtain="credentialed access to https://physionet.org/content/mimic-cxr-jpg/2.1.0/",
        may_leave=NO_CONTENT,
    )
    ships = f"{_GOLD}/, {FILMS}/"
    annotations = (ATTRIBUTES, BOXES)
    has_references = True

    def samples(self, root: Path, params: Params | None = None) -> tuple[list[dict], dict[str, int]]:
        """As of any provider, and what was dropped before there were samples."""
        rows, dropped = super().samples(root, params)
        found = _found(root)
        keyless = found[_KEYS].isna().any(axis=1)
        lost = {"rows: no key": keyless.sum(), "boxes: negated": (~_affirmed(found[~keyless])).sum()}
        return rows, dropped | {reason: int(count) for reason, count in lost.items() if count}

    def annotated(self, root: Path) -> list[Annotated]:
        """What the provider annotated, affirmed or not."""
        sizes = _drawn_on(root)
        regions = {str(image): rows for image, rows in _regions(root).groupby("image_id")}
        items = []
        for key, rows in _found(root).groupby(_KEYS):
            patient, study, image, label, _category = map(str, key)
            affirmed = rows[_affirmed(rows)]
            items.append(
                Annotated(
                    patient_id=patient,
                    film=film_path(root, patient, study, image),
                    finding=label,
                    boxes=[_box(text) for text in affirmed["coord_original"]],
                    frame=sizes.get(image),
                    anatomy=_concepts(regions[image]) if image in regions else {},
                    problem=None if len(affirmed) else "the report negates the finding",
                )
            )
        return items

    def references(self, params: Params, raw: Path, out: Path) -> None:
        """Write ``out/references.parquet``: 16 normal films of the gold set on which all 11 concepts are annotated.

        Normal: the report affirms no finding or disease. The film is stored with one mask per concept, its annotated
        box; films of patients who are in the benchmark are not taken. Raises MedgroundError when none is left.
        """
        root = self.root(params)
        sizes, regions = _drawn_on(root), dict(list(_regions(root).groupby("image_id")))
        rows: list[dict] = []
        for image, path in _normal(root):
            named = regions.get(image)
            if named is None or len(named) < len(CONCEPTS) or not path.is_file():
                continue
            film = read_film(path)
            height, width = film.shape
            name = Path(image).stem
            row: dict = {"reference": name, "film": str(out / "films" / f"{name}.png"), "masks": []}
            write_film(row["film"], film)
            for concept, box in _concepts(named).items():
                path = out / "masks" / name / f"{concept.replace(' ', '_')}.png"
                write_film(
                    path, 255 * fill([on_film(box, sizes[image], (width, height))], height, width).view(np.uint8)
                )
                row["masks"].append({"concept": concept, "path": str(path)})
            rows.append(row)
            if len(rows) == _NORMAL:
                break
        if not rows:
            raise MedgroundError(f"{root / BOXES} has no normal film with all concepts; are its films there?")
        records.write_table(rows, records.REFERENCES, out / "references.parquet")

    def films(self, root: Path) -> list[Path]:
        """The films that the samples and the references are made of."""
        return sorted({*super().films(root), *(path for _, path in _normal(root))})


def film_path(data_root: Path, patient, study, image: str) -> Path:
    """Where MIMIC-CXR-JPG keeps a film; ``image`` ends in ``.dcm``, as Chest ImaGenome writes it."""
    return data_root / FILMS / f"p{str(patient)[:2]}" / f"p{patient}" / f"s{study}" / f"{Path(image).stem}.jpg"


def _found(data_root: Path) -> pd.DataFrame:
    """The rows of the reference: an object has the attribute, and that is a finding or a disease."""
    found = table(data_root / ATTRIBUTES, [*_KEYS, "relation", "context", "coord_original"], sep="\t")
    return found[(found["relation"] == 1) & found["categoryID"].isin(["anatomicalfinding", "disease"])]


def _normal(data_root: Path) -> list[tuple[str, Path]]:
    """Image and film of the patients of whom no report affirms a finding, by patient and study."""
    found = _found(data_root)
    ill = set(found.loc[_affirmed(found), "patient_id"])
    everyone = table(data_root / ATTRIBUTES, _KEYS, sep="\t")[_KEYS[:3]].drop_duplicates().sort_values(_KEYS[:3])
    healthy = everyone[~everyone["patient_id"].isin(ill)]
    return [(str(row.image_id), film_path(data_root, *row)) for row in healthy.itertuples(index=False)]


def _affirmed(rows: pd.DataFrame) -> pd.Series:
    return rows["context"].astype(str).str.strip().str.lower() != "no"


def _regions(data_root: Path) -> pd.DataFrame:
    """One row for each concept on each film of the gold set; where two were drawn, the first."""
    columns = ["image_id", "bbox_name", *(f"original_{edge}" for edge in ("x1", "y1", "x2", "y2", "width", "height"))]
    regions = table(data_root / BOXES, columns)
    regions = regions[regions["bbox_name"].isin(CONCEPTS)].drop_duplicates(["image_id", "bbox_name"])
    width, height = regions["original_x2"] - regions["original_x1"], regions["original_y2"] - regions["original_y1"]
    return regions[(width > 0) & (height > 0)]


def _drawn_on(data_root: Path) -> dict[str, tuple[float, float]]:
    """Width and height of the film on which the boxes of an image were drawn: MIMIC-CXR is also shared downsized."""
    sizes = table(data_root / BOXES, ["image_id", "original_width", "original_height"]).drop_duplicates("image_id")
    return {i: (w, h) for i, w, h in sizes[["image_id", "original_width", "original_height"]].itertuples(index=False)}


def _concepts(regions: pd.DataFrame) -> dict[str, Box]:
    corners = regions[["original_x1", "original_y1", "original_x2", "original_y2"]].itertuples(index=False, name=None)
    return dict(zip(regions["bbox_name"], corners, strict=True))


def _box(text: str) -> list[float]:
    """``"[x1, y1, x2, y2]"`` as numbers; NaN where it is no box, which then counts as a box without area."""
    try:
        box = [float(number) for number in ast.literal_eval(text)]
    except (ValueError, TypeError, SyntaxError):
        box = []
    return box if len(box) == 4 else [math.nan] * 4
