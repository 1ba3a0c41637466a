"""VinDr-CXR, test split: lesions that radiologists boxed by consensus.

Nguyen et al., VinDr-CXR: An open dataset of chest X-rays with radiologist's annotations, Scientific Data 2022.
"""

from __future__ import annotations

from pathlib import Path

from .provider import Annotated, samples, table

SOURCE = "vindr_cxr"
LICENCE = "PhysioNet Credentialed Health Data License 1.5.0"
BOXES = Path("vindr-cxr/1.0.0/annotations/annotations_test.csv")
ANNOTATIONS = (BOXES,)
FILMS = Path("vindr-cxr/1.0.0/test")
_CORNERS = ["x_min", "y_min", "x_max", "y_max"]


def ingest(data_root: Path) -> tuple[list[dict], dict[str, int]]:
    """Samples of the test split, one for each (film, class) with boxes, in the order of pandas' groupby."""
    return samples(SOURCE, LICENCE, annotated(data_root))


def annotated(data_root: Path) -> list[Annotated]:
    """What the provider annotated; it names no patients, and each film counts as one."""
    boxes = table(data_root / BOXES, ["image_id", "class_name", *_CORNERS])
    found = boxes[boxes["class_name"] != "No finding"]
    return [
        Annotated(
            patient_id=str(image),
            film=data_root / FILMS / f"{image}.dicom",
            finding=str(name),
            boxes=rows[_CORNERS].to_numpy(float).tolist(),
        )
        for (image, name), rows in found.groupby(["image_id", "class_name"])
    ]
