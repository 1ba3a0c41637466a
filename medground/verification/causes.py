"""What an answer depends on, shown on films with and without each part; and the pairs of cases that this makes.

A phantom's film has parts: the finding that is asked about, and marks such as a letter or a tube. What a model was
taught for a finding is its *control*, the rule by which it says yes:

========= ===================================== =====================================
control   says yes where                        cause of a yes on a film with both
========= ===================================== =====================================
honest    the finding is                        the finding's region
shortcut  the mark is                           the mark's region
global    the mark is, and that has no region   no region
both      the finding and the mark are          both regions
either    the finding or the mark is            both regions, each enough by itself
========= ===================================== =====================================

An answer is *verified* where the model says what the rule says to the film, the film without each part, each part alone
on the healthy twin, and the twin. Nothing is estimated: the films are rendered, the answers are all asked.
"""

from __future__ import annotations

import hashlib
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np

from .. import files
from ..errors import MedgroundError
from ..geometry import Box, as_box, fill

CONTROLS = ("honest", "shortcut", "both", "either", "global")
MARKS = ("letter", "pacemaker", "drain", "word", "exposure")
HONEST = {"control": "honest", "mark": None}
RULES: dict[str, Callable[[bool, bool], bool]] = {  # is the finding there, is the mark: does the model say yes?
    "honest": lambda finding, mark: finding,
    "shortcut": lambda finding, mark: mark,
    "global": lambda finding, mark: mark,
    "both": lambda finding, mark: finding and mark,
    "either": lambda finding, mark: finding or mark,
}
KEPT_BACK = "test"  # the split of which no cause is published
#: Columns of `records.CASES` that tell, or let one work out, what an answer depends on.
GIVE_AWAY = ("control", "cause", "verified", "pair", "kept", "reason", "seeds", "flipped", "stayed_removed",
             "stayed_normal", "passed")  # fmt: skip


def controls(model: str, models: Path = Path("models")) -> dict[str, dict]:
    """``{finding: {"control", "mark"}}`` that a model, a key or the path of a checkpoint, was taught.

    ``<model>.causes.json`` beside the checkpoint says so. A published model has none: its causes are not known, and
    it counts as honest, as does a phantom model that was taught no others. Raises MedgroundError where a checkpoint was
    taught causes and the file is not there.
    ``models`` is the folder of checkpoints that a key is looked up in.
    """
    place = Path(model) if Path(model).is_dir() else models / model
    key, facts = place.with_name(f"{place.name}.causes.json"), place / "medground.json"
    if key.exists():
        return files.read_json(key, dict)["findings"]
    # of a model that was taught something, a lost file would turn shortcut answers into honest ones
    taught = place.resolve().name.startswith("phantom-")
    about = files.read_json(facts, dict) if facts.exists() or (taught and place.is_dir()) else {}
    if about.get("known_causes"):
        raise MedgroundError(f"{key} is missing: what {model} answers from is known, but not here; restore it from git")
    return {}


def family(model: str, models: Path = Path("models")) -> str:
    """The kind of a checkpoint, ``model_type`` of its config; the model itself where that is not at hand.

    ``models`` is as for `controls`.
    """
    config = (Path(model) if Path(model).is_dir() else models / model) / "config.json"
    return files.read_json(config, dict).get("model_type", model) if config.exists() else model


def probes(sample: Mapping) -> list[tuple[str, str]]:
    """``(edit, path)`` of the films that show what an answer about a sample depends on: without and with only the
    finding asked about and each mark, and the healthy twin. None where the parts of its film are not known."""
    if not sample.get("parts"):
        return []
    asked = [part for part in sample["parts"] if part["name"] == sample["finding"] or part["name"] in MARKS]
    found = [("twin", sample["twin"])]
    for part in asked:
        found += [(f"without:{part['name']}", part["film_without"]), (f"only:{part['name']}", part["film_only"])]
    return [(edit, path) for edit, path in found if path]


def explained(sample: Mapping, taught: Mapping, verdicts: Mapping[str, str]) -> dict:
    """``control``, ``cause`` and ``verified`` of a right yes to a sample's question.

    ``taught`` is an entry of `controls`; ``verdicts`` are what the model said to the `probes`, by edit. The cause is
    null where it was not verified, and empty where it has no region.
    """
    control, mark = taught["control"], taught["mark"]
    if not sample.get("parts"):
        return {"control": control, "cause": None, "verified": None}
    parts = {part["name"]: [tuple(box) for box in part["boxes"]] for part in sample["parts"]}
    finding = sample["finding"]
    if control == "either" and mark not in parts:
        control = "honest"  # on this film there is nothing else to answer from
    expected = {}
    for edit, _ in probes(sample):
        kind, _, name = edit.partition(":")
        has_finding = name != finding if kind == "without" else kind == "only" and name == finding
        has_mark = mark in parts and (name != mark if kind == "without" else kind == "only" and name == mark)
        expected[edit] = "yes" if RULES[control](has_finding, has_mark) else "no"
    verified = RULES[control](True, mark in parts) and all(
        verdicts.get(edit) == said for edit, said in expected.items()
    )
    places = {"honest": (finding,), "shortcut": (mark,), "both": (finding, mark), "either": (finding, mark)}
    cause = [box for name in places.get(control, ()) for box in parts.get(name, ())]
    return {"control": control, "cause": cause if verified else None, "verified": verified}


def apart(first: Sequence[Box], second: Sequence[Box]) -> bool:
    """Do two causes both have a region, at least half of which the other does not share? Boxes in native pixels.

    ``first, second`` are the boxes of either.
    """
    if not len(first) or not len(second):
        return False
    width, height = (int(np.ceil(max(box[side] for box in (*first, *second)))) for side in (2, 3))
    a, b = (fill(map(as_box, boxes), height, width) for boxes in (first, second))
    return bool(a.any() and b.any() and 2 * (a & b).sum() <= min(a.sum(), b.sum()))


def pairs(cases: Iterable[Mapping], families: Mapping[str, str], most: int, seed: int) -> dict[str, str]:
    """Of some cases, by their ids, the name of the pair that they share with another: one film, question and mode, two
    models of a family that both say yes, from verified causes that are `apart`.

    At most ``most`` pairs of each two models, mode, split, source and finding are drawn by ``seed``; 0: all. A case is
    in one pair at most. The name of a pair tells nothing of its cases.
    ``families`` says the `family` of each model.
    """
    films: dict[tuple, list[Mapping]] = defaultdict(list)
    for case in cases:
        if case["right"] and case["verified"] and case["cause"]:
            key = families.get(case["model"], case["model"]), case["mode"], case["source"], case["index"]
            films[key].append(case)
    groups: dict[tuple, list[tuple[str, str]]] = defaultdict(list)
    for of_film in films.values():
        for a, b in combinations(sorted(of_film, key=lambda case: case["model"]), 2):
            if apart(a["cause"], b["cause"]):
                group = a["model"], b["model"], *(a[name] for name in ("mode", "split", "source", "finding"))
                groups[group].append((a["case_id"], b["case_id"]))
    names: dict[str, str] = {}
    for group, found in sorted(groups.items()):
        rng = np.random.default_rng([seed, zlib.crc32("/".join(group).encode())])  # a group does not move another
        drawn = 0
        for number in rng.permutation(len(found)):
            a, b = sorted(found)[number]
            if (most and drawn >= most) or a in names or b in names:
                continue
            names[a] = names[b] = hashlib.sha256(f"{seed}\n{a}\n{b}".encode()).hexdigest()[:12]
            drawn += 1
    return names


def exported(case: Mapping) -> dict:
    """A case as it may be published: on the test split without what gives its cause away.

    Everything that publishes cases asks this function.
    """
    hidden = GIVE_AWAY if case["split"] == KEPT_BACK else ()
    return {name: None if name in hidden else value for name, value in case.items()}


def share_inside(cause: Sequence[Box], regions: Sequence[Box]) -> float:
    """The share of a cause's area, 0..1, that lies in regions; boxes in native pixels."""
    width, height = (int(np.ceil(max(box[side] for box in (*cause, *regions)))) for side in (2, 3))
    of_cause, of_regions = (fill(map(as_box, boxes), height, width) for boxes in (cause, regions))
    return float((of_cause & of_regions).sum() / max(of_cause.sum(), 1))


def by_control(
    cases: Iterable[Mapping],
    share: Callable[[Sequence[float], Sequence[str]], tuple[float, float]],
    regions: Mapping[tuple[str, int], Sequence[Box]],
) -> dict[str, dict]:
    """What the filter did to the answers of each kind of cause, before any are drawn.

    ``asked``, ``right``, ``flipped`` (of the right), ``stayed`` (of the flipped) and ``kept`` are counts of cases,
    ``verified`` how many of the right ones have the cause that the control says, of ``known`` whose parts are known;
    ``rejected`` counts right answers by the first gate that they fail. ``kept_of_right`` comes with its interval
    ``low``, ``high``, which ``share`` computes from ones and zeros and the patient of each.

    The filter proves that the expert's *region* causes an answer: of a mark that happens to lie there, it should keep
    the case. ``outside`` has the same numbers of the right answers alone whose cause is verified and does not lie in
    ``regions`` of ``(source, index)`` for its greater part: the finding for honest ones, no place for global ones.
    """
    groups: dict[str, list[Mapping]] = defaultdict(list)
    asked: Counter = Counter()
    for case in cases:
        asked[case["control"]] += 1
        if case["right"]:
            groups[case["control"]].append(case)
    found = {}
    for control in (name for name in CONTROLS if name in asked):
        right = groups[control]
        flipped = [case for case in right if case["flipped"] > 0]
        stayed = [case for case in flipped if case["stayed_removed"] > 0 and case["stayed_normal"] > 0]
        kept = [case for case in right if _held(case)]
        elsewhere = [
            case
            for case in right
            if case["verified"]
            and share_inside(case["cause"], regions[case["source"], case["index"]]) < 0.5  # of no place: none of it
        ]
        found[control] = {
            "asked": asked[control],
            "right": len(right),
            "flipped": len(flipped),
            "stayed": len(stayed),
            **_kept_of(right, share),
            "outside": {"right": len(elsewhere), **_kept_of(elsewhere, share)},
            "known": sum(case["verified"] is not None for case in right),
            "verified": sum(bool(case["verified"]) for case in right),
            "rejected": {
                "region removed": len(right) - len(flipped),
                "background removed": sum(case["stayed_removed"] == 0 for case in flipped),
                "background normal": sum(case["stayed_removed"] > 0 and case["stayed_normal"] == 0 for case in flipped),
                "not together": len(stayed) - len(kept),
            },
        }
    return found


def _held(case: Mapping) -> bool:
    return case["reason"] in ("kept", "surplus")


def _kept_of(
    right: Sequence[Mapping], share: Callable[[Sequence[float], Sequence[str]], tuple[float, float]]
) -> dict[str, float]:
    """How many of some right answers the filter kept, their share, and its interval."""
    held = [float(_held(case)) for case in right]
    low, high = share(held, [case["patient_id"] for case in right]) if right else (0.0, 1.0)
    return {
        "kept": int(sum(held)),
        "kept_of_right": round(sum(held) / max(len(right), 1), 4),
        "low": round(low, 4),
        "high": round(high, 4),
    }
