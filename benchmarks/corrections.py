"""What the corrections of docs/corrections.md move: each method under both protocols on the same cases.

    python -m benchmarks.corrections --root . --cases 20 --pairs 60

On test cases of a pipeline that has run, spread over its models, and on pairs of cases, whose causes are known. Every
case is explained twice, with the pipeline's own samples, concepts and references. The IoU of ``published`` maps with
the expert's region stands under the paper's scorer and under ours, so that method and scorer can be told apart.
Intervals are over patients.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch

from medground import params, records
from medground.attribution import Item, Method, entries
from medground.attribution import method as method_of
from medground.attribution.items import Items
from medground.cases import localised
from medground.lvlm import LVLM, load_lvlm
from medground.ranking.board import Results
from medground.ranking.bootstrap import paired_difference
from medground.scoring.score import score_entry
from medground.scoring.tables import load_cases

PROTOCOLS = ("published", "medground")
METHODS = sorted(known.name for known in entries().values() if known.protocol == "published")
TOGETHER = 8  # cases that a method is given at once


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path("."), help="a repository whose pipeline has run")
    parser.add_argument("--cases", type=int, default=20, help="of each model, whose answers came from the finding")
    parser.add_argument("--pairs", type=int, default=60, help="of all models")
    parser.add_argument("--methods", nargs="+", default=METHODS, choices=METHODS)
    arguments = parser.parse_args(argv)
    torch.set_num_threads(1)
    cases = chosen_cases(load_cases(arguments.root / "data"), arguments.cases, arguments.pairs)
    rows = scores(arguments.root, cases, arguments.methods)
    print(table(Results.of(records.as_table(list(rows), records.SCORES), cases), arguments.methods))


def chosen_cases(cases: Sequence[dict], count: int, pairs: int) -> list[dict]:
    """Test cases: so many localised ones of each model, spread over modes, sources and findings, and so many pairs."""
    test = [case for case in cases if case["split"] == "test"]
    spread = sorted(filter(localised, test), key=lambda case: [case[c] for c in ("model", "mode", "finding", "source")])
    chosen = set()
    for _, own in groupby(spread, key=lambda case: case["model"]):
        some = list(own)
        chosen |= {some[k * len(some) // count]["case_id"] for k in range(min(count, len(some)))}
    names = sorted({case["pair"] for case in test if case["pair"] is not None})[:pairs]  # digests: in no order
    return [case for case in test if case["case_id"] in chosen or case["pair"] in names]


def scores(root: Path, cases: Sequence[dict], methods: Sequence[str]) -> Iterator[dict]:
    """Rows of `records.SCORES` of every case, method and protocol of method and scorer."""
    p = params.load(root / "params.yaml")
    ways = [method_of(name, protocol).configured(p) for name in methods for protocol in PROTOCOLS]
    readers = {way.entry: Items.of(way, root) for way in ways}
    for model, some in groupby(sorted(cases, key=lambda case: case["model"]), key=lambda case: case["model"]):
        own = list(some)
        lvlm = load_lvlm(model, device="cpu", most_pixels=p.canvas.most_pixels)
        for way in ways:
            items = [readers[way.entry](case) for case in own]
            yield from score_entry(way.entry, [found.row() for found in explained(way, lvlm, items)], own)
        print(f"{model}: {len(own)} cases", file=sys.stderr, flush=True)


def explained(way: Method, lvlm: LVLM, items: Sequence[Item]) -> Iterator:
    for start in range(0, len(items), TOGETHER):
        yield from way.attribute(lvlm, items[start : start + TOGETHER])


def table(results: Results, methods: Sequence[str]) -> str:
    """What was measured, as Markdown."""
    units = {name: one for one in results.units(results.split("all")) for name in one.names}
    places, at = {entry: k for k, entry in enumerate(results.entries)}, results.localised
    patients = [case["patient_id"] for case, here in zip(results.cases, at, strict=True) if here]
    iou, follows = results.values["iou"][:, at], units["follows"].of("follows")
    models = len({case["model"] for case in results.cases})
    lines = [
        f"{len(patients)} cases of {len(set(patients))} patients, {follows.shape[1]} pairs of "
        f"{len(set(units['follows'].patients))} patients, {models} models\n",
        "| method | IoU: published, its scorer | published, our scorer | medground, our scorer | moved "
        "| follows: published | medground | moved |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name in methods:
        theirs, ours = (places[method_of(name, protocol).entry] for protocol in PROTOCOLS)
        scored = results.published[theirs, at], iou[theirs], iou[ours]
        followed = follows[theirs], follows[ours]
        cells = [
            name,
            *(f"{values.mean():.3f}" for values in scored),
            moved(scored[0], scored[2], patients),
            *(f"{values.mean():.2f}" for values in followed),
            moved(*followed, units["follows"].patients),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def moved(before: np.ndarray, after: np.ndarray, patients: Sequence[str]) -> str:
    """The mean of after - before over cases, with its 95 % interval over patients."""
    said = paired_difference(after.tolist(), before.tolist(), patients)
    return f"{said['difference']:+.3f} [{said['low']:+.3f}, {said['high']:+.3f}]"


if __name__ == "__main__":
    main()
