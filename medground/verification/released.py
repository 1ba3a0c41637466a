"""The paper's released benchmark, ``direct.json`` and ``reasoning.json``: read, check, and turn into cases.

A record is the key of a sample, (dataset, index), with what a model wrote on the original film and on its three edits;
films, questions and regions are the provider's, and come from ``data/samples/`` once they were ingested.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from ..errors import MedgroundError
from ..lvlm.verdict import parse_verdict
from .gates import RELEASED_NAMES, verify

#: Prediction fields up to the mode's name, and the film that each is about.
FILMS = {
    "prediction": "original",
    "prediction_edited": "region_removed",
    "prediction_edited_kept": "background_removed",
    "prediction_edited_kept_normal": "background_normal",
}
#: Direct records by model: (imagenome, vindr_cxr, padchest_gr).
DATASETS = ("imagenome", "vindr_cxr", "padchest_gr")
DIRECT = {
    "qwen2_5_vl_3b": (105, 30, 64),
    "qwen2_5_vl_7b": (55, 44, 43),
    "gemma3_4b": (42, 107, 73),
    "gemma3_12b": (97, 80, 105),
    "medgemma_4b": (279, 93, 190),
    "medgemma1_5_4b": (226, 79, 168),
}
TOTALS = {"direct": 1880, "reasoning": 2060}


def read(path: Path | str) -> tuple[str, list[dict]]:
    """The mode of a released file and its records as rows of answers (``records.ANSWERS`` with an unknown margin).

    Every record gives four rows. Raises MedgroundError when the file is no such list, a record is incomplete, doubled,
    of an unknown model or dataset, or does not pass the filter, or the counts are not those of the release.
    """
    records = _list(Path(path))
    mode = _mode(records, path)
    rows, seen = [], set()
    for number, record in enumerate(records):
        key = _key(record, f"{path}, record {number}")
        if key in seen:
            raise MedgroundError(f"{path}, record {number}: {key} is there twice")
        seen.add(key)
        rows += _answers(record, key, mode, f"{path}, record {number}")
    _count(seen, mode, path)
    return mode, rows


def cases(answers: Iterable[Mapping], samples: Iterable[Mapping]) -> tuple[list[dict], list[tuple[str, int]]]:
    """Rows of ``records.CASES`` for released answers, and the (source, index) keys that no sample has.

    Samples are missing where their source was not ingested, or where ingest dropped them (its summary says why).
    """
    answers, samples = list(answers), list(samples)
    known = {(sample["source"], sample["index"]) for sample in samples}
    found = [answer for answer in answers if (answer["source"], answer["index"]) in known]
    lost = sorted({(answer["source"], answer["index"]) for answer in answers} - known)
    return verify(samples, found, {}, seeds=1, agreement=1), lost


def _list(path: Path) -> list[dict]:
    try:
        records = json.loads(path.read_bytes())
    except OSError as error:
        raise MedgroundError(f"{path} cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:
        raise MedgroundError(f"{path} is not JSON ({error}); download the released file again") from None
    if not isinstance(records, list) or not records or not all(isinstance(record, dict) for record in records):
        raise MedgroundError(f"{path} is not a list of records, as the paper released it")
    return records


def _mode(records: list[dict], path) -> str:
    for mode, name in RELEASED_NAMES.items():
        if f"prediction_{name}" in records[0]:
            return mode
    raise MedgroundError(f"{path}: records have neither prediction_direct nor prediction_cot, but {sorted(records[0])}")


def _key(record: dict, where: str) -> tuple[str, str, int]:
    model, dataset, index = (record.get(name) for name in ("model", "dataset", "index"))
    if model not in DIRECT or dataset not in DATASETS or type(index) is not int or index < 0:
        raise MedgroundError(
            f"{where}: model {model!r}, dataset {dataset!r}, index {index!r}; "
            f"models are {', '.join(DIRECT)}, datasets {', '.join(DATASETS)}"
        )
    return model, dataset, index


def _answers(record: dict, key: tuple[str, str, int], mode: str, where: str) -> list[dict]:
    rows = []
    for prefix, edit in FILMS.items():
        field = f"{prefix}_{RELEASED_NAMES[mode]}"
        text = record.get(field)
        if not isinstance(text, str):
            raise MedgroundError(f"{where}: {field} is {text!r}; it must be what the model wrote")
        verdict = parse_verdict(text)
        if verdict != ("no" if edit == "region_removed" else "yes"):
            raise MedgroundError(f"{where}: {field} is {text!r}, which does not pass the three-step filter")
        model, source, index = key
        rows.append(
            {
                "model": model, "mode": mode, "source": source, "index": index, "edit": edit,
                "seed": -1 if edit == "original" else 0, "text": text, "verdict": verdict, "margin": math.nan,
            }
        )  # fmt: skip
    return rows


def _count(keys: set[tuple[str, str, int]], mode: str, path) -> None:
    if len(keys) != TOTALS[mode]:
        raise MedgroundError(f"{path} has {len(keys)} records, the release has {TOTALS[mode]} in {mode} mode")
    found = Counter((model, dataset) for model, dataset, _ in keys)
    for model, counts in DIRECT.items() if mode == "direct" else ():
        for dataset, count in zip(DATASETS, counts, strict=True):
            if (here := found[model, dataset]) != count:
                raise MedgroundError(f"{path} has {here} records of {model} on {dataset}, the release has {count}")
