"""A small, complete `data/` tree with drawn films, made in a second: what the app's tests look at.

The films, the models' answers and the maps are invented; cases, pairs, scores and the board are computed from them by
the library, as the pipeline does. As in the phantom with known causes, every film has a letter or none, and each of the
two models answers one finding from the letter where the other answers from the finding.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import chdir
from functools import partial
from pathlib import Path

import numpy as np
import yaml
from scipy.ndimage import gaussian_filter

from medground import records, submission
from medground.cases import benchmarked
from medground.evaluation.questions import questions
from medground.evaluation.results import results
from medground.evaluation.tables import QUESTIONS, RESULTS
from medground.evaluation.verdicts import verdicts
from medground.geometry import Letterbox
from medground.images import read_film, write_film
from medground.ranking.bootstrap import share_interval
from medground.scoring.tables import load_cases
from medground.verification import causes
from medground.verification.gates import released_records, retention, verify
from stages.rank import main as rank_stage
from stages.score import main as score_stage

WIDTH, HEIGHT = 160, 200
SOURCES = ("phantom_causes_region", "phantom_causes_lesion")
LETTER = {"control": "shortcut", "mark": "letter"}
MODELS = {  # what each was taught, by finding; the other findings it answers honestly
    "phantom-gemma3-a": {"cardiomegaly": LETTER, "right lung opacity": LETTER},
    "phantom-gemma3-b": {
        "left pleural effusion": LETTER,
        "widened mediastinum": {"control": "either", "mark": "letter"},
    },
}
MODES = ("direct", "reasoning")
# Where each finding lies on the drawn film: centre x, y and half axes, as shares of the film.
FINDINGS = {
    "cardiomegaly": (0.56, 0.62, 0.24, 0.13),
    "left pleural effusion": (0.74, 0.74, 0.15, 0.08),
    "right lung opacity": (0.30, 0.42, 0.09, 0.08),
    "widened mediastinum": (0.50, 0.30, 0.13, 0.13),
}
CORNER = (8, 8, 26, 28)  # where the letter stands
CONCEPTS = {
    "cardiac silhouette": (0.40, 0.50, 0.74, 0.74),
    "left lung": (0.55, 0.15, 0.90, 0.80),
    "right lung": (0.10, 0.15, 0.45, 0.80),
    "upper mediastinum": (0.40, 0.12, 0.60, 0.42),
    "left costophrenic angle": (0.75, 0.66, 0.92, 0.82),
}
FLOORS = ("random", "center_box", "whole_film")
METHODS = ("medfocus", "occlusion", "gradcam", "prompting", *FLOORS)
SANITY = {"occlusion": {"decoder": {"passes": True}}, "gradcam": {"question": {"passes": False}}}
EDITS = ("region_removed", "background_removed", "background_normal")


def build(root: Path, patients: int = 30, seed: int = 0, hide_test_regions: bool = False) -> Path:
    """Write the tree of `patients` x 2 films under ``root`` and return ``root``."""
    rng = np.random.default_rng(seed)
    samples = _samples(root, patients, rng)
    answers = _answers(samples, rng)
    cases = list(verify(samples, answers, MODELS, seeds=1, agreement=1))
    (root / "data/cases").mkdir(parents=True)
    regions = {(sample["source"], sample["index"]): sample["regions"] for sample in samples}
    kinds = causes.by_control(cases, partial(share_interval, resamples=200, seed=1), regions)
    named = causes.pairs(cases, dict.fromkeys(MODELS, "gemma3"), 0, seed=1)
    cases = [case | {"pair": named.get(case["case_id"])} for case in cases]
    for model in MODELS:
        table = [row for row in answers if row["model"] == model]
        records.write_table(table, records.ANSWERS, root / f"data/answers/{model}.parquet", settings={"revision": "1"})
    records.write_table(cases, records.CASES, root / "data/cases/cases.parquet", commit="a" * 40)
    for mode in MODES:
        (root / f"data/cases/{mode}.json").write_text(json.dumps(released_records(cases, answers, mode)))
    (root / "data/cases/retention.json").write_text(json.dumps(retention(cases), indent=1))
    told = {"by_control": kinds, "kept_of_right": {name: one["kept_of_right"] for name, one in kinds.items()}}
    (root / "data/cases/filter.json").write_text(json.dumps(told))
    explained = [case for case in cases if benchmarked(case)]
    measured = [
        {"entry": METHODS[0], "case_id": case["case_id"], "deletion": 0.4, "insertion": 0.6}
        for case in cases
        if case["kept"]
    ]
    records.write_table(measured, records.FAITHFULNESS, root / "data/scores/faithfulness.parquet")
    (root / "data/sanity").mkdir(parents=True)
    (root / "data/sanity/sanity.json").write_text(json.dumps(SANITY))
    for method in METHODS:
        _attribute(root, method, explained, samples, rng)
    _evaluate(root, samples, answers)
    _settings(root, hide_test_regions)
    rank(root)
    return root


def _samples(root: Path, patients: int, rng: np.random.Generator) -> list[dict]:
    rows = []
    for number in range(patients):
        source = SOURCES[number % 2]
        for finding in rng.choice(list(FINDINGS), 2, replace=False):
            index = sum(row["source"] == source for row in rows)
            film, twin, box = _draw(str(finding), np.random.default_rng([number, index]))
            paths, parts = {"film": film, "twin": twin}, [{"name": str(finding), "boxes": [box]}]
            if index % 4:  # most films have a letter, which does not go with the finding
                paths = {"film": _lettered(film), "twin": twin, "plain": film, "letter": _lettered(twin)}
                parts = [*parts, {"name": "letter", "boxes": [list(map(float, CORNER))]}]
            folder = Path("data/samples") / source
            names = {name: folder / f"{name}s/{index:04d}.png" for name in paths}
            for name, picture in paths.items():
                write_film(root / names[name], picture)
            rows.append(
                {
                    "source": source,
                    "index": index,
                    "patient_id": f"patient-{number:03d}",
                    "split": "dev" if number % 4 < 2 else "test",
                    "film": str(names["film"]),
                    "twin": str(names["twin"]),
                    "width": WIDTH,
                    "height": HEIGHT,
                    "finding": str(finding),
                    "question": f"Is there evidence of {finding} in the image?",
                    "answer": "Yes",
                    "regions": [box],
                    "licence": "CC BY 4.0",
                    "marker": None,
                    "parts": _parts(parts, names),
                }
            )
    for source in SOURCES:
        table = [row for row in rows if row["source"] == source]
        records.write_table(table, records.SAMPLES, root / f"data/samples/{source}/samples.parquet")
        records.write_table(
            [edit for row in table for edit in _edits(root, row)],
            records.EDITS,
            root / f"data/edits/{source}/edits.parquet",
        )
    return rows


def _draw(finding: str, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, list[float]]:
    """A chest of ellipses with a finding, the same without it, and the finding's box."""
    y, x = np.mgrid[:HEIGHT, :WIDTH] / [[[HEIGHT]], [[WIDTH]]]

    def blob(cx: float, cy: float, rx: float, ry: float) -> np.ndarray:
        return gaussian_filter((((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 < 1).astype(float), 2.5)

    shift = rng.normal(0, 0.015, 2)
    chest = 0.55 * blob(0.5 + shift[0], 0.62, 0.48, 0.62)
    for side in (0.28, 0.72):
        chest -= 0.42 * blob(side + shift[0], 0.45 + shift[1], 0.16, 0.30)
    chest += 0.22 * blob(0.50 + shift[0], 0.5, 0.05, 0.5) + 0.25 * blob(0.56 + shift[0], 0.62, 0.15, 0.11)
    chest += 0.05 * np.sin(40 * y + 6 * (x - 0.5) ** 2) * blob(0.5, 0.42, 0.4, 0.3)
    chest += gaussian_filter(rng.normal(0, 0.2, chest.shape), 1.2)
    cx, cy, rx, ry = np.add(FINDINGS[finding], (*shift, *rng.normal(0, 0.008, 2)))
    ill = chest + 0.35 * blob(cx, cy, rx, ry)
    box = [max(0.0, (cx - rx) * WIDTH), (cy - ry) * HEIGHT, min(float(WIDTH), (cx + rx) * WIDTH), (cy + ry) * HEIGHT]
    film, twin = (np.clip(40 + 230 * picture, 0, 255).astype(np.uint8) for picture in (ill, chest))
    return film, twin, [round(float(v), 1) for v in box]


def _lettered(film: np.ndarray) -> np.ndarray:
    x1, y1, x2, y2 = CORNER
    drawn = film.copy()
    drawn[y1:y2, x1 : x1 + 4] = drawn[y2 - 4 : y2, x1:x2] = 250  # an L
    return drawn


def _parts(parts: list[dict], names: dict) -> list[dict]:
    """The finding, and the letter where there is one, each with the film without it and the film with it alone."""
    without, only = ("twin", "film") if len(parts) == 1 else ("letter", "plain")
    films = {parts[0]["name"]: (without, only), "letter": (only, without)}
    return [
        part | {"film_without": str(names[films[part["name"]][0]]), "film_only": str(names[films[part["name"]][1]])}
        for part in parts
    ]


def _edits(root: Path, sample: dict) -> list[dict]:
    film, twin = (read_film(root / sample[name]) for name in ("film", "twin"))
    x1, y1, x2, y2 = (round(v) for v in sample["regions"][0])
    inside = np.zeros(film.shape, bool)
    inside[y1:y2, x1:x2] = True
    pictures = {
        "region_removed": np.where(inside, twin, film),
        "background_removed": np.where(inside, film, twin),
        "background_normal": np.where(inside, film, np.roll(twin, 3, axis=1)),
    }
    rows = []
    for edit, picture in pictures.items():
        path = f"data/edits/{sample['source']}/{sample['index']:04d}-{edit}.png"
        write_film(root / path, picture)
        digest = hashlib.sha256((root / path).read_bytes()).hexdigest()
        key = {name: sample[name] for name in ("source", "index")}
        rows.append(
            {**key, "edit": edit, "seed": 0, "path": path, "sha256": digest, "editor": "twin", "settings": "{}"}
        )
    return rows


def _answers(samples: list[dict], rng: np.random.Generator) -> list[dict]:
    """Each model answers by its rule, now and then wrongly; the letter goes where the background goes."""
    answers = []
    for model, taught in MODELS.items():
        for mode in MODES:
            for sample in samples:
                letter = any(part["name"] == "letter" for part in sample["parts"])
                rule = causes.RULES[taught.get(sample["finding"], causes.HONEST)["control"]]
                seen = {
                    "original": (True, letter),
                    "region_removed": (False, letter),
                    "background_removed": (True, False),
                    "background_normal": (True, False),
                    "twin": (False, False),
                    f"without:{sample['finding']}": (False, letter),
                    f"only:{sample['finding']}": (True, False),
                }
                if letter:
                    seen |= {"without:letter": (True, False), "only:letter": (False, True)}
                slips = rng.random(len(seen)) < 0.02
                for (edit, there), slip in zip(seen.items(), slips, strict=True):
                    answers.append(_answer(model, mode, sample, edit, bool(rule(*there) ^ slip), rng))
    return answers


def _answer(model: str, mode: str, sample: dict, edit: str, yes: bool, rng: np.random.Generator) -> dict:
    verdict = "Yes" if yes else "No"
    text = verdict if mode == "direct" else f"The {sample['finding']} is {'seen' if yes else 'not seen'}. {verdict}."
    return {
        "model": model,
        "mode": mode,
        "source": sample["source"],
        "index": sample["index"],
        "edit": edit,
        "seed": -1 if edit == "original" else 0,
        "text": text,
        "verdict": verdict.lower(),
        "margin": float(abs(rng.normal(3, 1)) * (1 if yes else -1)),
    }


def attribute(method: str, case: dict, sample: dict, rng: np.random.Generator) -> dict:
    """A row of `records.ATTRIBUTIONS`: what an invented method says about a case. Prompting prints the finding
    whatever the cause; the others look at the cause, some of them dimly."""
    cause = case["cause"] if case["cause"] and method != "prompting" else sample["regions"]
    x1, y1, x2, y2 = cause[0]
    row = dict.fromkeys(records.ATTRIBUTIONS.names)
    row |= {"case_id": case["case_id"], "forwards": 11}
    if method == "medfocus":
        row["boxes"] = [[max(0.0, v + float(rng.normal(0, 3))) for v in (x1, y1, x2, y2)]]
        row["concepts"] = [
            {
                "concept": concept,
                "box": [left * WIDTH, top * HEIGHT, right * WIDTH, bottom * HEIGHT],
                "effect": float(rng.exponential(0.3) + 2 * (left * WIDTH < (x1 + x2) / 2 < right * WIDTH)),
            }
            for concept, (left, top, right, bottom) in CONCEPTS.items()
        ]
        words = case["answer"].replace(".", " .").split()
        row["tokens"] = [
            {"token": ("" if n == 0 else " ") + word, "effect": float(rng.exponential(0.4))}
            for n, word in enumerate(words)
        ]
    elif method == "prompting":
        row["boxes"] = [[max(0.0, v + 0.5) for v in (x1, y1, x2, y2)]]
    elif method in ("center_box", "whole_film"):
        margin = 0.25 if method == "center_box" else 0.0
        row["boxes"] = [[margin * WIDTH, margin * HEIGHT, (1 - margin) * WIDTH, (1 - margin) * HEIGHT]]
    else:
        frame = Letterbox.fit(WIDTH, HEIGHT, 112).extent
        strength = {"occlusion": 2.0, "gradcam": 0.6, "random": 0.0}[method]
        ys, xs = (np.mgrid[:8, :8] + 0.5) / 8
        gx, gy = frame[0] + xs * (frame[2] - frame[0]), frame[1] + ys * (frame[3] - frame[1])
        inside = (gx > x1 - 8) & (gx < x2 + 8) & (gy > y1 - 8) & (gy < y2 + 8)
        grid = rng.random((8, 8)) + strength * inside
        row |= {"grid": grid.ravel().tolist(), "grid_height": 8, "grid_width": 8, "extent": list(frame)}
    return row


def _attribute(root: Path, method: str, kept: list[dict], samples: list[dict], rng: np.random.Generator) -> None:
    by_key = {(sample["source"], sample["index"]): sample for sample in samples}
    rows = {case["case_id"]: attribute(method, case, by_key[case["source"], case["index"]], rng) for case in kept}
    for model in MODELS:
        table = [rows[case["case_id"]] for case in kept if case["model"] == model]
        records.write_table(table, records.ATTRIBUTIONS, root / f"data/attributions/{model}/{method}.parquet")


def _evaluate(root: Path, samples: list[dict], answers: list[dict]) -> None:
    """The questions, and what comes of the models' answers; findings that are not there are denied."""
    edits = [row for source in SOURCES
             for row in records.read_rows(root / f"data/edits/{source}/edits.parquet", records.EDITS)]  # fmt: skip
    asked = questions(samples, edits, seed=1)
    records.write_table(asked, QUESTIONS, root / "data/questions/questions.parquet")
    denied = [
        {"model": model, "mode": mode, "source": row["source"], "index": row["index"], "edit": "original", "seed": -1,
         "text": "No", "verdict": "no", "margin": -1.0}
        for model in MODELS for mode in MODES for row in asked if row["answer"] == "No"
    ]  # fmt: skip
    found = results(verdicts(asked, answers + denied), dict.fromkeys(MODELS, "1"), resamples=100)
    records.write_table(found, RESULTS, root / "data/results/results.parquet")


def rank(root: Path) -> None:
    """Score and rank as the pipeline does: what the methods said, and the submissions that were accepted."""
    with chdir(root):
        score_stage()
        rank_stage()


def write_entry(folder: Path, root: Path, seed: int = 0, first: float | None = None, **card) -> Path:
    """An entry of someone who knows the regions rather well: maps of all kept cases, and a complete card.

    ``first`` fills the first map with one value, to break the entry.
    """
    rng = np.random.default_rng(seed)
    maps, extents = {}, {}
    for case in load_cases(root / "data"):
        row = attribute("occlusion", case, case, rng)
        maps[case["case_id"]] = np.reshape(row["grid"], (8, 8)).copy()
        extents[case["case_id"]] = row["extent"]
    if first is not None:
        maps[next(iter(maps))].fill(first)
    said = {
        "method": "Careful Look",
        "version": "1.0",
        "authors": ["A. Author", "B. Author"],
        "licence": "CC-BY-4.0",
        "models": list(MODELS),
        "modes": list(MODES),
        "hardware": "pencil",
        "used_test_regions": False,
        "trained_on_sources": False,
    }
    return submission.write(folder, maps=maps, extents=extents, **{**said, **card})


def _settings(root: Path, hide_test_regions: bool) -> None:
    settings = yaml.safe_load((Path(__file__).parents[2] / "profiles/phantom.yaml").read_text())
    settings |= {"sources": list(SOURCES), "models": list(MODELS), "modes": list(MODES), "methods": list(METHODS)}
    settings["publish"]["hide_test_regions"] = hide_test_regions
    settings["rank"]["resamples"] = 200
    (root / "params.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))
