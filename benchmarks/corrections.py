"""What the corrections of docs/corrections.md move: each method under both protocols on the same cases.

    python -m benchmarks.corrections --root . --cases 6        # of each model, from data/cases

Every case is explained twice. ``published`` maps are scored by the paper's scorer on its 224 square, ours by our own;
the columns between show the published map under our scorer, so that method and scorer can be told apart. The models,
the segmenter and the references are the small ones of tests/data/published, on which the cases must have been answered.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch

from medground import records
from medground.anatomy import Locator
from medground.anatomy.normal import Normal
from medground.attribution import Item, method
from medground.grounding.segmenter import MedSAM
from medground.images import read_film
from medground.lvlm import load_lvlm
from medground.scoring.score import score_entry

DATA = Path(__file__).parents[1] / "tests" / "data" / "published"
sys.path.insert(0, str(DATA.parents[1] / "attribution"))
METHODS = (
    "medfocus", "attention_head", "rollout", "lrp", "gradient_attention", "gradcam", "gradcampp",
    "integrated_gradients", "occlusion", "rise", "prompting",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path("."), help="a repository whose pipeline has run")
    parser.add_argument("--cases", type=int, default=6, help="of each model")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    table(arguments.root, arguments.cases)


def table(root: Path, count: int) -> None:
    """Print the means as Markdown."""
    from reference import references  # of the tests

    pool = references()
    segmenter = MedSAM.load(str(DATA / "models" / "phantom-sam"))
    locators = {"published": Locator(pool, "published", segmenter=segmenter), "medground": Locator(pool)}
    normal = Normal(locators["medground"])
    scores: dict[tuple, list[float]] = defaultdict(list)
    cases = chosen_cases(root, count)
    for model in sorted({case["model"] for case in cases}):
        lvlm = load_lvlm(str(DATA / "models" / model), device="cpu")
        own = [case for case in cases if case["model"] == model]
        for protocol, locator in locators.items():
            items = [item(root, case, locator, normal) for case in own]
            for name in METHODS:
                found = method(name, protocol).attribute(lvlm, items)
                for row in score_entry(name, [one.row() for one in found], own):
                    scores[name, protocol, row["protocol"]].append(row["iou"])
    print(f"{len(cases)} cases of {len({case['model'] for case in cases})} phantom models, mean IoU\n")
    print("| method | published, its scorer | published, our scorer | medground, our scorer | moved |")
    print("|---|---|---|---|---|")
    for name in METHODS:
        ways = (("published", "published"), ("published", "medground"), ("medground", "medground"))
        means = [float(np.mean(scores[name, *way])) for way in ways]
        print(f"| {name} | " + " | ".join(f"{mean:.3f}" for mean in means) + f" | {means[2] - means[0]:+.3f} |")


def chosen_cases(root: Path, count: int) -> list[dict]:
    """Kept cases of each model of the fixture, spread over sources, modes and findings, with their regions."""
    groups: dict[str, list[dict]] = defaultdict(list)
    names = {folder.name for folder in (DATA / "models").iterdir()}
    rows = records.read_rows(root / "data" / "cases" / "cases.parquet", records.CASES)
    for case in rows:
        if case["kept"] and case["model"] in names:
            groups[case["model"]].append(case)
    spread = [some[k * len(some) // count] for some in groups.values() for k in range(min(count, len(some)))]
    samples = {
        (row["source"], row["index"]): row
        for path in sorted((root / "data" / "samples").glob("*/samples.parquet"))
        for row in records.read_rows(path, records.SAMPLES)
    }
    columns = ("film", "width", "height", "regions")
    return [case | {name: samples[case["source"], case["index"]][name] for name in columns} for case in spread]


def item(root: Path, case: dict, locator: Locator, normal: Normal) -> Item:
    film = read_film(root / case["film"])
    concepts = tuple((concept, box) for concept, box, *_ in locator(film))
    return Item(case["case_id"], film, case["question"], case["answer"], case["finding"], concepts, normal.draw(film))


if __name__ == "__main__":
    main()
