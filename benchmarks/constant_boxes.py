"""How far an entry gets that has seen neither film nor model: one box for each finding, the median of the dev boxes.

python benchmarks/constant_boxes.py [patients]   (needs the CT: `dvc repro fetch`); writes benchmarks/constant_boxes.md
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch

from medground.geometry import area, intersect
from medground.phantom.causes import FINDINGS, VariedPhantom
from medground.phantom.causes.source import CausesWorld
from medground.phantom.cohorts import patient_seed

CT, OUT = Path("data/raw/ct"), Path("benchmarks/constant_boxes.md")
_SEED, _FILMS, _TEST_SHARE, _RESAMPLES = 1, 3, 0.5, 10_000


def main(patients: int = 140) -> None:
    torch.set_num_threads(1)
    phantom = VariedPhantom.open(CT)
    boxes: dict[tuple[str, str, str], list] = {}  # (source, split, finding) -> (patient, box)
    for number in range(patients):
        split = "test" if np.random.default_rng([_SEED, number, 0]).random() < _TEST_SHARE else "dev"
        patient = phantom.patient(patient_seed(_SEED, "benchmark", number))
        for wanted, seed, more in CausesWorld().plan(_SEED, number, _FILMS, marker_share=0.0):
            film = patient.film(wanted, seed=seed, **more)
            for finding in film.extents:
                for source, box in (("region", film.regions[finding]), ("lesion", film.extents[finding])):
                    boxes.setdefault((source, split, finding), []).append((number, box))
    rows = ["| finding | cases | IoU with the extent (lesion) | IoU with the named region |", "|---|---|---|---|"]
    everything: dict[str, list] = {"lesion": [], "region": []}
    for finding in FINDINGS:
        cells = []
        for source in ("lesion", "region"):
            constant = np.median([box for _, box in boxes[source, "dev", finding]], axis=0)
            scored = [(n, _iou(tuple(constant), box)) for n, box in boxes[source, "test", finding]]
            everything[source] += scored
            cells.append(_interval(scored))
        rows.append(f"| {finding} | {len(boxes['lesion', 'test', finding])} | {cells[0]} | {cells[1]} |")
    cells = [_interval(everything[source]) for source in everything]
    rows.append(f"| **all** | {len(everything['lesion'])} | {cells[0]} | {cells[1]} |")
    text = (
        "# One box for each finding\n\nThe median of the boxes of the dev patients, held against those of the test "
        f"patients ({patients} virtual patients in all, 95 % of {_RESAMPLES} resamples of the patients). What this "
        f"scores needs no film and no model. `python benchmarks/constant_boxes.py {patients}` makes this file.\n\n"
    )
    OUT.write_text(text + "\n".join(rows) + "\n")
    print(OUT.read_text())


def _iou(a, b) -> float:
    shared = intersect(a, b)
    return area(shared) / (area(a) + area(b) - area(shared)) if shared else 0.0


def _interval(scored: list[tuple[int, float]]) -> str:
    """Mean with the 95 % interval over patients."""
    who, values = np.array([n for n, _ in scored]), np.array([v for _, v in scored])
    names, index = np.unique(who, return_inverse=True)
    sums, counts = np.bincount(index, values), np.bincount(index)
    draws = np.random.default_rng(0).multinomial(len(names), np.full(len(names), 1 / len(names)), _RESAMPLES)
    low, high = np.percentile(draws @ sums / (draws @ counts), [2.5, 97.5])
    return f"{values.mean():.3f} [{low:.3f}, {high:.3f}]"


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
