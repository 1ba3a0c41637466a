"""What is wrong with an entry, by kind and counted: what to do first, and not the same sentence a hundred times."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from medground.submission import Problem
from medground.submission.validator import MISSING

_MORE = re.compile(r"([\d,]+) more of: (.*)")
WHOLES = (("split",), ("model",), ("mode",), ("split", "model"), ("split", "mode"), ("model", "mode"), ("source",))


@dataclass
class Group:
    """Problems of one kind: how many there are, what to do, and where those are that are listed."""

    message: str
    remedy: str
    count: int = 0
    listed: list[tuple[str, str]] = field(default_factory=list)  # where, and the value that is wrong there
    fatal: bool = False


def grouped(problems: Sequence[Problem], missing: Sequence[str], cases: Sequence[Mapping]) -> list[Group]:
    """The problems of a report by kind, in their order; of cases that are missing, which they are."""
    groups: dict[str, Group] = {}
    for problem in problems:
        more = _MORE.fullmatch(problem.message)
        if more and more[2] in groups:
            groups[more[2]].count += int(more[1].replace(",", ""))
            continue
        key = problem.message
        if key == MISSING and " case " not in problem.where:
            key = "is missing from the card" if ".yaml" in problem.where else "is missing from the files"
        group = groups.setdefault(key, Group(key, problem.remedy, fatal=problem.fatal))
        group.count += 1
        group.listed.append((problem.where, problem.value))
    if MISSING in groups and missing:
        group = groups[MISSING]
        group.count = len(missing)
        what = "case is" if len(missing) == 1 else "cases are"
        group.message = f"{len(missing)} {what} missing: {which(missing, cases)}"
    return list(groups.values())


def which(missing: Sequence[str], cases: Sequence[Mapping]) -> str:
    """Which cases are missing: the whole of something, where it is that; else how many of each split."""
    gone = set(missing)
    if gone >= {case["case_id"] for case in cases}:
        return "all of them"
    for keys in WHOLES:
        parts: dict[tuple, set[str]] = {}
        for case in cases:
            parts.setdefault(tuple(case[key] for key in keys), set()).add(case["case_id"])
        for values, ids in sorted(parts.items()):
            if ids == gone:
                said = ", ".join(f"{key} {value}" for key, value in zip(keys, values, strict=True))
                return f"the whole {values[0]} split" if keys == ("split",) else f"everything of {said}"
    counts: dict[str, list[int]] = {}
    for case in cases:
        count = counts.setdefault(case["split"], [0, 0])
        count[0] += case["case_id"] in gone
        count[1] += 1
    return ", ".join(f"{part} of {whole} in {split}" for split, (part, whole) in sorted(counts.items()) if part)


def heading(group: Group) -> str:
    """A line for a group: what is wrong, and how often."""
    if group.message[0].isdigit():
        return group.message
    if group.count == 1:
        where, value = group.listed[0]
        return f"{where}: {group.message}" + (f" ({value})" if value else "")
    return f"{group.count:,} × {group.message}"
