"""VinDr-CXR, test split: lesions that radiologists boxed by consensus.

Nguyen et al., VinDr-CXR: An open dataset of chest X-rays with radiologist's annotations, Scientific Data 2022.
"""

from __future__ import annotations

from pathlib import Path

from .licence import NO_CONTENT, Licence
from .provider import Annotated, table
from .source import Source, register_source

BOXES = Path("vindr-cxr/1.0.0/annotations/annotations_test.csv")
FILMS = Path("vindr-cxr/1.0.0/test")
_CORNERS = ["x_min", "y_min", "x_max", "y_max"]


@register_source
class VindrCxr(Source):
    """Samples of the test split, one for each (film, class) with boxes, in the order of pandas' groupby."""

    name = "vindr_cxr"
    title = "VinDr-CXR (test)"
    licence = Licence(
        text="PhysioNet Credentialed Health Data License 1.5.0",
        url="https://physionet.org/content/vindr-cxr/1.0.0/",
        credit=(
            "Cite Nguyen et al., VinDr-CXR: An open dataset of chest X-rays with radiologist's annotations, Scientific "
            "Data 2022."
        ),
        obtain="credentialed access to https://physionet.org/content/vindr-cxr/1.0.0/",
        may_leave=NO_CONTENT,
    )
    ships = f"{BOXES}, {FILMS}/*.dicom"
    annotations = (BOXES,)

    def annotated(self, root: Path) -> list[Annotated]:
        """The provider names no patients, and each film counts as one."""
        boxes = table(root / BOXES, ["image_id", "class_name", *_CORNERS])
        found = boxes[boxes["class_name"] != "No finding"]
        return [
            Annotated(
                patient_id=str(image),
                film=root / FILMS / f"{image}.dicom",
                finding=str(name),
                boxes=rows[_CORNERS].to_numpy(float).tolist(),
            )
            for (image, name), rows in found.groupby(["image_id", "class_name"])
        ]
