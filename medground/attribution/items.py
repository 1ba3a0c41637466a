"""From the tables to items: a model's kept cases with their films and concepts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

from .. import records
from ..errors import MedgroundError
from ..images import read_film
from .method import Item


def kept_cases(model: str, root: Path | str = ".") -> list[dict]:
    """The rows of ``data/cases/cases.parquet`` that the filter kept for ``model``, in the table's order.

    Raises MedgroundError when the table knows nothing of the model; a model without kept cases gives an empty list.
    """
    path = Path(root) / "data/cases/cases.parquet"
    rows = records.read_rows(path, records.CASES)
    models = sorted({row["model"] for row in rows})
    if model not in models:
        raise MedgroundError(f"{path} has no case of model {model!r}; it has: {', '.join(models) or 'none'}")
    return [row for row in rows if row["model"] == model and row["kept"]]


def loader(cases: Sequence[dict], root: Path | str = ".", concepts: str | None = None) -> Callable[[dict], Item]:
    """A function that turns a row of ``cases`` into its Item, reading the film when it is called.

    ``concepts`` names a table of ``data/concepts`` whose boxes go along. Raises MedgroundError naming the case whose
    sample or concepts are missing.
    """
    root = Path(root)
    samples = {}
    for source in sorted({case["source"] for case in cases}):
        rows = records.read_rows(root / f"data/samples/{source}/samples.parquet", records.SAMPLES)
        samples |= {(source, row["index"]): row for row in rows}
    regions = defaultdict(list)
    if concepts:
        for row in records.read_rows(root / f"data/concepts/{concepts}.parquet", records.CONCEPTS):
            regions[row["source"], row["index"]].append((row["concept"], tuple(row["box"])))

    def load(case: dict) -> Item:
        key = case["source"], case["index"]
        if key not in samples:
            raise MedgroundError(f"case {case['case_id']}: no such row in data/samples/{key[0]}; run `dvc repro`")
        if concepts and key not in regions:
            raise MedgroundError(f"case {case['case_id']} is not in data/concepts/{concepts}.parquet; run `dvc repro`")
        sample = samples[key]
        film = read_film(root / sample["film"])
        return Item(
            case["case_id"], film, case["question"], case["answer"], case["finding"], tuple(regions[key])
        )  # fmt: skip

    return load
