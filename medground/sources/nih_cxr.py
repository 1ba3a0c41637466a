"""NIH ChestX-ray14, the boxes: the one source whose films may be passed on.

Wang et al., ChestX-ray8: Hospital-scale Chest X-ray Database and Benchmarks, CVPR 2017. Films: NIH Clinical Center.
"""

from __future__ import annotations

from pathlib import Path

from .licence import EVERYTHING, Licence
from .provider import Annotated, table
from .source import Source, register_source

BOXES = Path("nih-cxr/BBox_List_2017.csv")
FILMS = Path("nih-cxr/images")
SIDE = 1024  # boxes are drawn on films of this size, in which the provider ships them


@register_source
class NihCxr(Source):
    """Samples of the box list, one for each (film, label), sorted by film and label."""

    name = "nih_cxr"
    title = "NIH ChestX-ray14, expert boxes"
    licence = Licence(
        text="free to use and share with acknowledgement of the NIH Clinical Center",
        url="https://nihcc.app.box.com/v/ChestXray-NIHCC",
        credit=(
            "Films and boxes: NIH Clinical Center. Cite Wang et al., ChestX-ray8: Hospital-scale Chest X-ray Database "
            "and Benchmarks, CVPR 2017."
        ),
        obtain="in this dataset",
        may_leave=EVERYTHING,
    )
    ships = f"{BOXES}, {FILMS}/*.png"
    annotations = (BOXES,)

    def annotated(self, root: Path) -> list[Annotated]:
        """The header names one column ``Bbox [x,y,w,h]`` and so splits into four; file names begin with the patient."""
        listed = table(root / BOXES, ["Image Index", "Finding Label", "Bbox [x", "y", "w", "h]"])
        items = []
        for (image, label), rows in listed.groupby(["Image Index", "Finding Label"]):
            x, y, w, h = rows[["Bbox [x", "y", "w", "h]"]].to_numpy(float).T
            items.append(
                Annotated(
                    patient_id=str(image).split("_")[0],
                    film=root / FILMS / str(image),
                    finding=str(label),
                    boxes=list(zip(x, y, x + w, y + h, strict=True)),
                    frame=(SIDE, SIDE),
                )
            )
        return items
