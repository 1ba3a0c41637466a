"""A small, complete `data/` tree: three sources that may leave and three that may not, two models, both modes."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from clients import Clients
from hub_facts import FINDINGS, HEIGHT, MODELS, MODES, OPEN, RESTRICTED, SAMPLES, SECRET_BOX, WIDTH
from PIL import Image
from server import HubServer

from medground import records
from medground.evaluation.questions import questions
from medground.evaluation.results import results
from medground.evaluation.tables import EDITS, QUESTIONS, RESULTS
from medground.evaluation.verdicts import verdicts
from medground.images import write_film
from medground.scoring import score_entry
from medground.verification.gates import released_records, retention


@pytest.fixture(scope="module")
def server():
    """A Hub on loopback."""
    with HubServer() as server:
        yield server


@pytest.fixture(scope="module")
def clients(server, tmp_path_factory):
    """The real clients, in a process that knows no Hub but `server`."""
    with Clients(tmp_path_factory.mktemp("clients"), server.url) as clients:
        yield clients


@pytest.fixture(scope="session")
def tree(tmp_path_factory) -> Path:
    """The tree with all sources; read only."""
    return make_tree(tmp_path_factory.mktemp("tree"), OPEN + RESTRICTED)


@pytest.fixture(scope="session")
def phantom_tree(tmp_path_factory) -> Path:
    """The tree of the default profile; read only."""
    return make_tree(tmp_path_factory.mktemp("phantom"), ("phantom_lesion", "phantom_region"))


def make_tree(root: Path, sources: tuple[str, ...], seed: int = 0) -> Path:
    """Write ``root/data``; cases and counts come from the library's own filter, films are noise."""
    rng = np.random.default_rng(seed)
    data = root / "data"
    samples = {source: _samples(root, source, rng) for source in sources}
    for source, rows in samples.items():
        records.write_table(rows, records.SAMPLES, data / f"samples/{source}/samples.parquet")
    everything = [sample for rows in samples.values() for sample in rows]
    answers, cases = [], []
    for model in MODELS:
        rows = [row for mode in MODES for sample in everything for row in _answers(model, mode, sample)]
        records.write_table(
            rows, records.ANSWERS, data / f"answers/{model}.parquet", settings={"revision": f"revision of {model}"}
        )
        answers += rows
        cases += [_case(model, mode, sample) for mode in MODES for sample in everything]
    provenance = {"medground": "0.1.0", "commit": "a" * 40, "profile": "fixture", "seed": 1}
    provenance["settings"] = {"verify": {"seeds": 1, "agreement": 1}}
    records.write_table(cases, records.CASES, data / "cases/cases.parquet", **provenance)
    (data / "cases/retention.json").write_text(json.dumps(retention(cases)))
    for mode in MODES:
        (data / f"cases/{mode}.json").write_text(json.dumps(released_records(cases, answers, mode)))
    how = {"resamples": 200, "level": 0.9, "seed": 3}
    records.write_table(_board(everything), records.BOARD, data / "board/board.parquet", settings=how)
    _evaluated(data, everything, answers, how)
    _explained(data, cases, everything, rng)
    _references(data, rng)
    return root


def _samples(root: Path, source: str, rng) -> list[dict]:
    rows = []
    for index in range(SAMPLES):
        film = _film(root, source, index, rng)
        rows.append(
            {
                "source": source,
                "index": index,
                "patient_id": f"{source}-patient-{index}",
                "split": ("dev", "test")[index % 2],
                "film": film.relative_to(root).as_posix(),
                "twin": None,
                "width": WIDTH,
                "height": HEIGHT,
                "finding": FINDINGS[source],
                "question": f"Is there evidence of {FINDINGS[source]} in the image?",
                "answer": "Yes",
                "regions": [SECRET_BOX, [1.0, 2.0, 3.0 + index, 4.0]],
                "licence": "as declared",
            }
        )
    return rows


def _evaluated(data: Path, samples: list[dict], answers: list[dict], how: dict) -> None:
    """Edited films, questions, and what the models make of them."""
    edits = []
    for sample in samples:
        for edit in EDITS:
            path = data / f"edits/{sample['source']}/{edit}/{sample['index']:06d}_0.png"
            write_film(path, np.full((HEIGHT, WIDTH), 40 + sample["index"] + 30 * EDITS.index(edit), np.uint8))
            edits.append({"source": sample["source"], "index": sample["index"], "edit": edit, "seed": 0,
                          "path": path.relative_to(data.parent).as_posix(), "editor": "twin",
                          "settings": json.dumps({"band": 12})})  # fmt: skip
    asked = questions(samples, edits, seed=1)
    records.write_table(asked, QUESTIONS, data / "questions/questions.parquet")
    found = verdicts(asked, answers)
    revisions = {model: f"revision of {model}" for model in MODELS}
    records.write_table(results(found, revisions, **how), RESULTS, data / "results/results.parquet", settings=how)


def _explained(data: Path, cases: list[dict], samples: list[dict], rng) -> None:
    """What three entries say of the kept cases, and their scores; one of them is somebody's."""
    by_key = {(sample["source"], sample["index"]): sample for sample in samples}
    kept = [case | {name: by_key[case["source"], case["index"]][name] for name in ("width", "height", "regions")}
            for case in cases if case["kept"]]  # fmt: skip
    scores, kinds = [], {"medfocus": "method", "center_box": "floor", "somebody": "submission"}
    for entry in kinds:
        rows = [{"case_id": case["case_id"], "grid": None, "grid_height": None, "grid_width": None,
                 "extent": None, "boxes": None, "forwards": 1, "model": case["model"]} for case in kept]  # fmt: skip
        for row in rows:
            if entry == "center_box":
                row["boxes"] = [[15.0, 20.0, 45.0, 55.0]]
            else:
                row |= {"grid": rng.random(16).astype("float32").tolist(), "grid_height": 4, "grid_width": 4}
        for model in MODELS if kinds[entry] != "submission" else ():
            own = [{k: v for k, v in row.items() if k != "model"} for row in rows if row["model"] == model]
            records.write_table(own, records.ATTRIBUTIONS, data / f"attributions/{model}/{entry}.parquet")
        scores += score_entry(entry, rows, kept)
    records.write_table(scores, records.SCORES, data / "scores/scores.parquet")
    facts = [{"entry": e, "kind": k, "seconds": None, "claimed": None} for e, k in kinds.items()]
    (data / "scores/entries.json").write_text(json.dumps(facts))


def _references(data: Path, rng) -> None:
    """Two normal films with two masks each."""
    rows = []
    for number in range(2):
        film, masks = data / f"references/films/{number}.png", []
        write_film(film, rng.integers(0, 256, (HEIGHT, WIDTH), dtype=np.uint8))
        heart = np.zeros((HEIGHT, WIDTH), bool)
        heart[20 + number : 50, 15:40] = True
        for concept, inside in (("heart", heart), ("left lung", ~heart)):
            path = data / f"references/masks/{number}/{concept}.png"
            write_film(path, 255 * inside.astype(np.uint8))
            masks.append({"concept": concept, "path": path.relative_to(data.parent).as_posix()})
        rows.append({"reference": f"normal{number}", "film": film.relative_to(data.parent).as_posix(),
                     "masks": masks})  # fmt: skip
    records.write_table(rows, records.REFERENCES, data / "references/references.parquet")


def _film(root: Path, source: str, index: int, rng) -> Path:
    """A film as the source ships it, under a name as the source gives it."""
    pixels = rng.integers(0, 256, (HEIGHT, WIDTH), dtype=np.uint8)
    name = hashlib.md5(f"{source}{index}".encode()).hexdigest()
    if source == "vindr_cxr":
        path = root / f"raw/vindr-cxr/1.0.0/test/{name}.dicom"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"\x00" * 128 + b"DICM" + pixels.tobytes())
    elif source == "imagenome":
        path = root / f"raw/mimic-cxr-jpg/2.1.0/files/p10/p1000{index}/s5000{index}/{name}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    elif source == "padchest_gr":
        path = root / f"raw/PadChest_GR/{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.astype(np.uint16) * 200).save(path)
    else:
        path = root / f"data/samples/{source}/films/{index:06d}.png"
        write_film(path, pixels)
    return path


def _kept(model: str, sample: dict) -> bool:
    """All but the last sample of a source; and one fewer for the second model."""
    return sample["index"] < SAMPLES - 1 - MODELS.index(model)


def _answers(model: str, mode: str, sample: dict) -> list[dict]:
    flips = _kept(model, sample)
    edits = {"original": "Yes", "region_removed": "No" if flips else "Yes", "background_removed": "Yes",
             "background_normal": "Yes"}  # fmt: skip
    return [
        {
            "model": model,
            "mode": mode,
            "source": sample["source"],
            "index": sample["index"],
            "edit": edit,
            "seed": -1 if edit == "original" else 0,
            "text": _text(mode, sample, verdict),
            "verdict": verdict.lower(),
            "margin": 1.5,
        }
        for edit, verdict in edits.items()
    ]


def _text(mode: str, sample: dict, verdict: str) -> str:
    return f"{verdict}." if mode == "direct" else f"I looked for {sample['finding']}. The answer is {verdict.lower()}."


def _case(model: str, mode: str, sample: dict) -> dict:
    kept = _kept(model, sample)
    return {
        "case_id": records.case_id(model, mode, sample["source"], sample["index"]),
        "model": model,
        "mode": mode,
        **{name: sample[name] for name in ("source", "index", "patient_id", "split", "finding")},
        "control": "honest",
        "question": f"{sample['question']} ({mode})",
        "answer": _text(mode, sample, "Yes"),
        "right": True,
        "seeds": 1,
        "flipped": int(kept),
        "stayed_removed": 1,
        "stayed_normal": 1,
        "passed": int(kept),
        "kept": kept,
        "reason": "kept" if kept else "not flipped",
    }


def _board(samples: list[dict]) -> list[dict]:
    sources = sorted({sample["source"] for sample in samples})
    tracks = ["all", *(f"source={source}" for source in sources)]
    tracks += sorted({f"finding={sample['finding']}" for sample in samples})
    entries = {"medfocus": ("method", 0.5), "center_box": ("floor", 0.2), "somebody": ("submission", 0.4)}
    return [
        {
            "track": track,
            "split": split,
            "entry": entry,
            "kind": kind,
            "cases": 10,
            "coverage": 1.0,
            **dict.fromkeys(("iou", "f1", "precision", "recall", "hit", "energy", "average_precision"), mean),
            "iou_low": mean - 0.1,
            "iou_high": mean + 0.1,
            "rank": rank,
            "rank_low": rank,
            "rank_high": rank,
            "tie": "abc"[rank - 1],
            "seconds": 0.25,
            "iou_published": mean,
            "ranked": True,
            "order": "iou_at_area",
            "pairs": 0,
            "iou_at_area": mean,
            "iou_at_area_low": mean - 0.1,
            "iou_at_area_high": mean + 0.1,
        }
        for track in tracks
        for split in ("dev", "test")
        for rank, (entry, (kind, mean)) in enumerate(sorted(entries.items(), key=lambda item: -item[1][1]), 1)
    ]
