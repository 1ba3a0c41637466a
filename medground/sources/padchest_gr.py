"""PadChest-GR: sentences of a report, grounded by up to two radiologists.

de Castro et al., PadChest-GR: A Bilingual Chest X-ray Dataset for Grounded Radiology Report Generation, 2024.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import MedgroundError
from .licence import NO_CONTENT, Licence
from .provider import Annotated, table
from .source import Source, register_source

if TYPE_CHECKING:
    from ..params import Params

REPORTS = Path("padchest-gr/grounded_reports_20240819.json")
PATIENTS = Path("padchest-gr/master_table.csv")
FILMS = Path("padchest-gr/PadChest_GR")
STUDIES = 2000  # as many, from the first, as the paper used


@register_source
class PadchestGr(Source):
    """Samples of the first 2,000 studies: the abnormal findings with boxes of either reader."""

    name = "padchest_gr"
    title = "PadChest-GR"
    licence = Licence(
        text="BIMCV PadChest-GR research use agreement",
        url="https://bimcv.cipf.es/bimcv-projects/padchest-gr/",
        credit=(
            "Cite de Castro et al., PadChest-GR: A Bilingual Chest X-ray Dataset for Grounded Radiology Report "
            "Generation, arXiv:2411.05085."
        ),
        obtain="request access at https://bimcv.cipf.es/bimcv-projects/padchest-gr/",
        may_leave=NO_CONTENT,
    )
    ships = f"{REPORTS}, {PATIENTS}, {FILMS}/*.png"
    annotations = (REPORTS, PATIENTS)

    def samples(self, root: Path, params: Params | None = None) -> tuple[list[dict], dict[str, int]]:
        """As of any provider, and how many studies stand for a patient that the master table does not name."""
        rows, dropped = super().samples(root, params)
        strangers = {row["patient_id"] for row in rows} - set(_patients(root).values())
        if strangers:
            dropped[f"patients: not in {PATIENTS.name}, their study stands for them"] = len(strangers)
        return rows, dropped

    def annotated(self, root: Path) -> list[Annotated]:
        """Several labels of one finding are joined by " or ", as in the reference; boxes are shares of the film's width
        and height. Raises MedgroundError when the reports are not the provider's JSON list."""
        patients = _patients(root)
        items = []
        for study in _reports(root / REPORTS)[:STUDIES]:
            for finding in study["findings"]:
                boxes = [*(finding.get("boxes") or []), *(finding.get("extra_boxes") or [])]
                if not finding.get("abnormal") or not boxes:
                    continue  # the reference asks about neither, and gives them no index
                labels = finding.get("labels") or []
                items.append(
                    Annotated(
                        patient_id=patients.get(study["StudyID"], study["StudyID"]),
                        film=root / FILMS / study["ImageID"],
                        finding=" or ".join(labels),
                        boxes=boxes,
                        frame=(1.0, 1.0),
                        problem=None if labels else "the finding has no label",
                    )
                )
        return items


def _patients(data_root: Path) -> dict[str, str]:
    """The patient of each study."""
    rows = table(data_root / PATIENTS, ["StudyID", "PatientID"], dtype=str).dropna(subset=["PatientID"])
    return dict(zip(rows["StudyID"], rows["PatientID"], strict=True))


def _reports(path: Path) -> list[dict]:
    try:
        studies = json.loads(path.read_bytes())
    except OSError as error:
        raise MedgroundError(f"{path} cannot be read ({error.strerror}); download it as the README says") from None
    except ValueError as error:
        raise MedgroundError(f"{path} is not JSON ({error}); download it again") from None
    if not isinstance(studies, list) or not all({"StudyID", "ImageID", "findings"} <= set(study) for study in studies):
        raise MedgroundError(f"{path} is not a list of studies with StudyID, ImageID and findings; download it again")
    return studies
