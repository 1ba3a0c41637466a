"""The three-step filter: is the expert's region what made the model answer as it did?

Xiong et al., 2026: the answer is right; it flips when the finding is edited out of the region; it stays when everything
outside the region is edited, once with the finding's own prompt and once towards a normal film. With ``n`` edits of
each kind a case is kept when at least ``agreement`` of them pass every gate; the counts are kept too.
"""

from __future__ import annotations

import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from operator import itemgetter

import numpy as np

from ..errors import MedgroundError
from ..lvlm.prompts import prompt
from ..lvlm.verdict import says
from ..records import case_id
from . import causes

_OPPOSITE = {"yes": "no", "no": "yes"}
#: What the paper's released files call a mode in the names of their prediction fields.
RELEASED_NAMES = {"direct": "direct", "reasoning": "cot"}


def is_right(verdict: str, answer: str) -> bool:
    """Does the model's verdict (yes | no | unparsable; as published also both) say the right answer ("Yes" or "No")?"""
    return says(verdict, answer.lower())


def verify(
    samples: Iterable[Mapping],
    answers: Iterable[Mapping],
    taught: Mapping[str, Mapping[str, Mapping]],
    *,
    seeds: int,
    agreement: int,
) -> Iterator[dict]:
    """One row of ``records.CASES`` for every (model, mode, sample) that was asked, kept or not, in their order.

    ``taught`` gives, for a model, what `causes.controls` says of it. Raises MedgroundError when an edit of a
    right answer was not asked about, the answers about a sample do not stand together, or ``agreement`` is not within
    1..``seeds``.
    ``samples`` are rows of ``records.SAMPLES``, ``answers`` of ``records.ANSWERS``, with those to all edits of seeds 0
    to ``seeds`` - 1. Only those about one sample are held at once.
    """
    if not 1 <= agreement <= seeds:
        raise MedgroundError(f"verify.agreement is {agreement}; it must be within 1 and verify.seeds ({seeds})")
    by_key = {(s["source"], s["index"]): s for s in samples}
    seen: set[tuple] = set()
    for (model, mode, source, index), some in groupby(answers, itemgetter("model", "mode", "source", "index")):
        name = case_id(model, mode, source, index)
        if (model, mode, source, index) in seen:
            raise MedgroundError(f"the answers of case {name} do not stand together; run `dvc repro answer`")
        seen.add((model, mode, source, index))
        said = {(answer["edit"], answer["seed"]): answer for answer in some}
        sample = by_key[source, index]
        original = said["original", -1]
        right = is_right(original["verdict"], sample["answer"])
        gates = _gates(said, sample["answer"], seeds, name) if right else []
        passed = sum(all(gate) for gate in gates)
        flipped, removed, normal = (sum(gate[k] for gate in gates) for k in range(3))
        kept = right and passed >= agreement
        yield {
            "case_id": name,
            "model": model,
            "mode": mode,
            "source": source,
            "index": index,
            "patient_id": sample["patient_id"],
            "split": sample["split"],
            "finding": sample["finding"],
            **_cause(sample, taught.get(model, {}).get(sample["finding"], causes.HONEST), said, right),
            "pair": None,
            "question": prompt(sample["question"], mode),
            "answer": original["text"],
            "right": right,
            "seeds": seeds if right else 0,
            "flipped": flipped,
            "stayed_removed": removed,
            "stayed_normal": normal,
            "passed": passed,
            "kept": kept,
            "reason": _reason(original["verdict"], right, kept, flipped, agreement),
        }


def surplus(cases: Iterable[Mapping], most: int, seed: int) -> set[str]:
    """The ids of kept cases beyond ``most`` of each (model, mode, source, finding), drawn by ``seed``; 0: none.

    Those of pairs, which are explained anyway, are the last to go. These cases are verified like the others; the
    benchmark does without them.
    """
    groups: dict[tuple, list[str]] = defaultdict(list)
    in_pairs: set[str] = set()
    for case in cases:
        if case["kept"]:
            groups[case["model"], case["mode"], case["source"], case["finding"]].append(case["case_id"])
            in_pairs.update([case["case_id"]] if case.get("pair") is not None else [])
    beyond: set[str] = set()
    for key, ids in groups.items() if most else ():
        rng = np.random.default_rng([seed, zlib.crc32("/".join(key).encode())])  # a group does not move another
        beyond.update(sorted(rng.permutation(sorted(ids)).tolist(), key=lambda i: i not in in_pairs)[most:])
    return beyond


def retention(cases: Iterable[Mapping]) -> list[dict]:
    """What the filter did, per model, mode, source and finding.

    ``right``, ``flipped`` (of the right), ``stayed`` (of the flipped) and ``kept`` are counts of cases; flipped and
    stayed ask for at least one seed, so that with one seed ``stayed`` equals ``kept``.
    """
    counts: dict[tuple, Counter] = defaultdict(Counter)
    for case in cases:
        count = counts[case["model"], case["mode"], case["source"], case["finding"], case["control"]]
        flipped = case["flipped"] > 0
        count.update(
            asked=1,
            right=case["right"],
            flipped=flipped,
            stayed=flipped and case["stayed_removed"] > 0 and case["stayed_normal"] > 0,
            kept=case["kept"],
        )
    names = ("model", "mode", "source", "finding", "control")
    fields = ("asked", "right", "flipped", "stayed", "kept")
    return [dict(zip(names, key, strict=True)) | {f: count[f] for f in fields} for key, count in sorted(counts.items())]


def released_records(cases: Iterable[Mapping], answers: Iterable[Mapping], mode: str) -> list[dict]:
    """The kept cases of a mode in the form of the paper's released JSON files, so that its readers load them.

    A record has room for one edit of each kind: it holds those of the first seed that passed every gate, so that it
    passes the filter by itself. Its answer is the right one, which the model of a kept case gave. Raises MedgroundError
    where a kept case has no such seed among ``answers``.
    """
    chosen = [case for case in cases if case["mode"] == mode and case["kept"]]
    said: dict[tuple, dict[tuple, Mapping]] = {(case["model"], case["source"], case["index"]): {} for case in chosen}
    for a in answers:
        if a["mode"] == mode and (a["model"], a["source"], a["index"]) in said:
            said[a["model"], a["source"], a["index"]][a["edit"], a["seed"]] = a
    name = RELEASED_NAMES[mode]
    rows = []
    for case in chosen:
        own = said[case["model"], case["source"], case["index"]]
        right = "No" if own["original", -1]["verdict"] == "no" else "Yes"  # "both" is kept for a right Yes alone
        gates = _gates(own, right, case["seeds"], case["case_id"])
        seed = next((seed for seed, gate in enumerate(gates) if all(gate)), None)
        if seed is None:
            raise MedgroundError(
                f"case {case['case_id']} is kept, but no seed passes every gate; run `dvc repro verify`"
            )
        rows.append(
            {
                "model": case["model"],
                "dataset": case["source"],
                "index": case["index"],
                "answer": right,
                f"prediction_{name}": own["original", -1]["text"],
                f"prediction_edited_{name}": own["region_removed", seed]["text"],
                f"prediction_edited_kept_{name}": own["background_removed", seed]["text"],
                f"prediction_edited_kept_normal_{name}": own["background_normal", seed]["text"],
            }
        )
    return rows


def _cause(sample: Mapping, taught: Mapping, said: Mapping, right: bool) -> dict:
    """``control``, ``cause`` and ``verified`` of a case."""
    verdicts = {edit: row["verdict"] for (edit, _), row in said.items()}
    found = causes.explained(sample, taught, verdicts)
    asked = any(edit in verdicts for edit, _ in causes.probes(sample))
    return found if right and asked else found | {"cause": None, "verified": None}


def _gates(said: Mapping, answer: str, seeds: int, name: str) -> list[tuple[bool, bool, bool]]:
    gates = []
    for seed in range(seeds):
        try:
            removed, background, normal = (
                said[edit, seed]["verdict"] for edit in ("region_removed", "background_removed", "background_normal")
            )
        except KeyError as missing:
            raise MedgroundError(
                f"case {name}: no answer for the edit {missing.args[0][0]}, seed {seed}; "
                "verify.seeds changed since the answers were made: run `dvc repro`"
            ) from None
        right = answer.lower()
        gates.append((says(removed, _OPPOSITE[right]), says(background, right), says(normal, right)))
    return gates


def _reason(verdict: str, right: bool, kept: bool, flipped: int, agreement: int) -> str:
    if not right:
        return "unparsable" if verdict == "unparsable" else "wrong"
    if kept:
        return "kept"
    return "not flipped" if flipped < agreement else "not stayed"
