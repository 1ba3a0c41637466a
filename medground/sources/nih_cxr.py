"""NIH ChestX-ray14, the boxes: the one source whose films may be passed on.

Wang et al., ChestX-ray8: Hospital-scale Chest X-ray Database and Benchmarks, CVPR 2017. Films: NIH Clinical Center.
"""

from __future__ import annotations

from pathlib import Path

from .provider import Annotated, samples, table

SOURCE = "nih_cxr"
LICENCE = "free to use and share with acknowledgement of the NIH Clinical Center"
BOXES = Path("nih-cxr/BBox_List_2017.csv")
ANNOTATIONS = (BOXES,)
FILMS = Path("nih-cxr/images")
SIDE = 1024  # boxes are drawn on films of this size, in which the provider ships them


def ingest(data_root: Path) -> tuple[list[dict], dict[str, int]]:
    """Samples of the box list, one for each (film, label), sorted by film and label."""
    return samples(SOURCE, LICENCE, annotated(data_root))


def annotated(data_root: Path) -> list[Annotated]:
    """What the provider annotated.

    The header names one column ``Bbox [x,y,w,h]`` and so splits into four; the file name begins with the patient.
    """
    listed = table(data_root / BOXES, ["Image Index", "Finding Label", "Bbox [x", "y", "w", "h]"])
    items = []
    for (image, label), rows in listed.groupby(["Image Index", "Finding Label"]):
        x, y, w, h = rows[["Bbox [x", "y", "w", "h]"]].to_numpy(float).T
        items.append(
            Annotated(
                patient_id=str(image).split("_")[0],
                film=data_root / FILMS / str(image),
                finding=str(label),
                boxes=list(zip(x, y, x + w, y + h, strict=True)),
                frame=(SIDE, SIDE),
            )
        )
    return items
