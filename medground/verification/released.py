"""The paper's released benchmark, ``direct.json`` and ``reasoning.json``: read, check, and turn into cases.

The verdicts are the release's own: a record is there because it passed the paper's filter, whatever another parser
reads in its texts; where ours disagrees is counted. A record is the key of a sample, (dataset, index), with what a
model wrote on the original film and on its three edits; films, questions and regions are the provider's, and come from
``data/samples/`` once they were ingested.
"""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from ..errors import MedgroundError
from ..lvlm.verdict import parse_verdict, says
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
_DROPPED_AT_END = 50  # samples that ingest may have dropped behind the last one
_FEWEST = 20  # texts that name a finding, to judge by


def read(path: Path | str) -> tuple[str, list[dict]]:
    """The mode of a released file and its records as rows of answers (``records.ANSWERS`` with an unknown margin).

    Every record gives four rows, with the verdicts by which it passed the paper's filter. Raises MedgroundError when
    the file is no such list, a record is incomplete, doubled, or of an unknown model or dataset, or the counts are not
    those of the release.
    ``path`` is that of the file.
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
    ``samples`` are rows of ``records.SAMPLES``.
    """
    answers, samples = list(answers), list(samples)
    known = {(sample["source"], sample["index"]) for sample in samples}
    found = [answer for answer in answers if (answer["source"], answer["index"]) in known]
    lost = sorted({(answer["source"], answer["index"]) for answer in answers} - known)
    return list(verify(samples, found, {}, seeds=1, agreement=1)), lost


def disagreements(answers: Iterable[Mapping], protocol: str = "medground") -> list[Mapping]:
    """The answers whose text a parser reads otherwise than the release does.

    Which parser, ``protocol`` says.
    """
    return [a for a in answers if not says(parse_verdict(a["text"], protocol), a["verdict"])]


def check_join(answers: Iterable[Mapping], samples: Iterable[Mapping]) -> dict[str, str]:
    """For each source what speaks for its annotations being those that the authors used; a sentence each.

    The release gives indices and texts, no findings. So the samples must reach as far as the indices do, and the texts
    that name a finding must name that of their own index more often than that of another one: a file with other
    studies, or with the same ones in another order, shifts all indices. Raises MedgroundError, with the remedy, where
    either does not hold. Texts of direct mode name nothing, and then only the reach is known.
    ``answers`` are those of `read`, ``samples`` rows of ``records.SAMPLES``.
    """
    findings: dict[str, dict[int, str]] = defaultdict(dict)
    for sample in samples:
        findings[sample["source"]][sample["index"]] = sample["finding"].casefold()
    by_source: dict[str, list[Mapping]] = defaultdict(list)
    for answer in answers:
        if answer["source"] in findings and answer["edit"] == "original":
            by_source[answer["source"]].append(answer)
    return {source: _checked(source, some, findings[source]) for source, some in sorted(by_source.items())}


def _checked(source: str, answers: list[Mapping], findings: Mapping[int, str]) -> str:
    remedy = (
        f"the annotations of {source} are not those that the paper used: see docs/reproduce.md for the file it needs"
    )
    last, reach = max(answer["index"] for answer in answers), max(findings)
    if last > reach + _DROPPED_AT_END:
        raise MedgroundError(f"{source}: the release has a sample {last}, the last one here is {reach}; {remedy}")
    told = [(findings[a["index"]], a["text"].casefold()) for a in answers if a["index"] in findings]
    told = [(own, text) for own, text in told if any(_names(text, finding) for finding in set(findings.values()))]
    if len(told) < _FEWEST:
        few = f"{len(told)} texts name a finding, too few to tell"
        return f"{source}: its samples reach as far as the release ({last}); {few}"
    owns = [own for own, _ in told]
    right = np.mean([_names(text, own) for own, text in told])
    shifts = range(1, min(len(told), 51))  # the findings of other records: what chance would give
    chance = np.mean(
        [np.mean([_names(text, owns[(k + s) % len(owns)]) for k, (_, text) in enumerate(told)]) for s in shifts]
    )
    said = f"{len(told)} texts name a finding, {right:.0%} that of their own index, {chance:.0%} that of another record"
    if right < 0.5 * (1 + chance) and len(set(owns)) > 1:
        raise MedgroundError(f"{source}: {said}; {remedy}")
    return f"{source}: {said}"


def _names(text: str, finding: str) -> bool:
    return any(label in text for label in finding.split(" or "))


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
        verdict = "no" if edit == "region_removed" else "yes"
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
