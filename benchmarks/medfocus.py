"""Which rule and which fill make the best MedFocus? Mean IoU on verified dev cases: ``python -m benchmarks.medfocus``.

Only dev cases of findings that the models read honestly are judged; the test split is not touched. Some rows ask for
more than the concepts: zones of the lungs among them, and the winner cut into a grid of cells, all rectangles of which
are tried by the same rule.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from medground import params
from medground.attribution.builtin.medfocus import RULES, Case, Effects, Region, candidates, measure
from medground.attribution.items import Items, kept_cases
from medground.errors import friendly
from medground.lvlm import load_lvlm
from medground.lvlm.interventions import FILLS
from medground.records import SAMPLES, read_rows
from medground.scoring import box_metrics


@friendly
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--splits", type=int, nargs="*", default=[2, 3], help="cells a side of the winner's parts")
    arguments = parser.parse_args()
    p = params.load()
    truth = {
        (source, row["index"]): [tuple(box) for box in row["regions"]]
        for source in p.sources
        for row in read_rows(f"data/samples/{source}/samples.parquet", SAMPLES)
    }
    scores: dict[tuple[str, str], list[tuple[str, float]]] = {}
    for model in p.models:
        rows = [row for row in kept_cases(model) if row["split"] == "dev" and row["control"] == "honest"]
        if not rows:
            continue
        lvlm, items = load_lvlm(model), Items(Path("."), "concepts", normal=True)
        cases = [Case.of(lvlm, items(row)) for row in rows]
        experts = [truth[row["source"], row["index"]] for row in rows]
        regions = [candidates(case.item) for case in cases]

        def record(key, chosen: list[list[Region]], picks: list[int], rows=rows, experts=experts) -> None:
            for row, some, pick, boxes in zip(rows, chosen, picks, experts, strict=True):
                iou = box_metrics(list(some[pick].boxes), boxes)["iou"]
                scores.setdefault(key, []).append((row["source"], iou))

        for fill in (*FILLS, "normal"):
            effects = measure(lvlm, cases, regions, fill, alone=True)
            for rule in RULES:
                record((rule, fill), regions, _winners(rule, effects))
        ideal = [_best(some, boxes) for some, boxes in zip(regions, experts, strict=True)]
        record(("the best of all concepts", ""), regions, ideal)
        nested = [some + zones(some) for some in regions]
        found = measure(lvlm, cases, nested, "normal", alone=True)
        record(("contrast, lung zones too", "normal"), nested, _winners("contrast", found))
        ideal = [_best(some, boxes) for some, boxes in zip(nested, experts, strict=True)]
        record(("the best of all concepts and lung zones", ""), nested, ideal)
        winners = [some[pick] for some, pick in zip(regions, _winners("contrast", effects), strict=True)]
        for splits in arguments.splits:
            finer = [[winner, *parts(winner, splits)] for winner in winners]
            found = measure(lvlm, cases, finer, "normal", alone=True)
            record((f"contrast, then parts of {splits} x {splits}", "normal"), finer, _winners("contrast", found))
    print(table(scores, p.sources))


def table(scores: dict, sources: list[str]) -> str:
    """Markdown, best first: rule, fill, mean IoU over all cases and by source."""
    lines = [f"| rule | fill | IoU | {' | '.join(sources)} |", "|---|---|" + "---|" * (1 + len(sources))]
    for (rule, fill), values in sorted(scores.items(), key=lambda entry: -np.mean([iou for _, iou in entry[1]])):
        means = [np.mean([iou for name, iou in values if name == source]) for source in sources]
        numbers = [np.mean([iou for _, iou in values]), *means]
        lines.append(f"| {rule} | {fill} | " + " | ".join(f"{number:.3f}" for number in numbers) + " |")
    return "\n".join(lines)


def parts(region: Region, splits: int) -> list[Region]:
    """All rectangles of a ``splits`` x ``splits`` grid laid over each box of the region, the whole boxes left out."""
    found = []
    for x1, y1, x2, y2 in region.boxes:
        xs, ys = np.linspace(x1, x2, splits + 1).tolist(), np.linspace(y1, y2, splits + 1).tolist()
        spans = [(i, j) for i in range(splits) for j in range(i + 1, splits + 1)]
        boxes = [(xs[a], ys[c], xs[b], ys[d]) for c, d in spans for a, b in spans if (a, b, c, d) != (0, splits) * 2]
        found += [Region(region.name, (box,)) for box in boxes]
    return found


def zones(regions: list[Region]) -> list[Region]:
    """The upper, mid and lower third of each lung, and the upper and the lower two of them."""
    found = []
    for lung in (region for region in regions if region.name in ("left lung", "right lung")):
        ((x1, y1, x2, y2),) = lung.boxes
        edges = np.linspace(y1, y2, 4).tolist()
        spans = ((0, 1), (1, 2), (2, 3), (0, 2), (1, 3))
        found += [Region(f"{lung.name}, thirds {a} to {b}", ((x1, edges[a], x2, edges[b]),)) for a, b in spans]
    return found


def _winners(rule: str, effects: list[Effects]) -> list[int]:
    return [int(RULES[rule](effect).argmax()) for effect in effects]


def _best(regions: list[Region], experts: list) -> int:
    return int(np.argmax([box_metrics(list(region.boxes), experts)["iou"] for region in regions]))


if __name__ == "__main__":
    main()
