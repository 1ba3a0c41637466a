"""From the published cases to a scored entry: load them, run a method, write its maps, validate and score them.

    python examples/submit.py data/hub my-entry       or ORG/NAME instead of data/hub
The method here explains nothing: it marks what is lighter than its surroundings. Put yours in its place.
"""

import sys
from pathlib import Path

import numpy as np
from datasets import load_dataset
from PIL import Image

from medground import submission
from medground.scoring import METRICS, score_entry
from medground.scoring.tables import read_attributions


def explain(case: dict, film: Image.Image) -> np.ndarray:
    """A map [h, w] of any resolution, larger where there is more evidence for the answer."""
    fine, coarse = (np.asarray(film.resize((side, side)).resize((56, 56)), float) for side in (56, 7))
    return fine - coarse


def main(dataset: str, out: str) -> None:
    films = {(film["source"], film["film"]): film["image"] for film in load_dataset(dataset, "films", split="dev")}
    cases = [case for mode in ("direct", "reasoning") for case in load_dataset(dataset, mode, split="dev")]
    cases = [case for case in cases if films[case["source"], case["film"]]]  # the others: see `medground films`
    maps = {case["case_id"]: explain(case, films[case["source"], case["film"]]) for case in cases}
    submission.write(
        out, maps=maps, method="Local contrast", version="1", authors=["A. Author"], licence="CC0-1.0",
        hardware="laptop", models=sorted({case["model"] for case in cases}), modes=["direct", "reasoning"],
        used_test_regions=False, trained_on_sources=False)  # fmt: skip
    print(submission.validate(out, cases).text())
    rows = score_entry(out, read_attributions(Path(out) / "attributions.parquet"), cases, ["medground"])
    print(len(rows), "cases", {m: round(sum(r[m] for r in rows) / len(rows), 3) for m in rows[0] if m in METRICS})


if __name__ == "__main__":
    main(*sys.argv[1:])
