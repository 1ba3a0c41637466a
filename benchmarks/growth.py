"""What 100,000 films cost the stages that run no model: ``python -m benchmarks.growth``.

The tables of a study of that size are made up: one source, one model, two modes, three edits a film, six of ten answers
right, one case in five verified, the maps of two entries. Then the stages themselves run on them, a process each as
``dvc repro`` runs them, and their CPU time and peak memory are told. ``--films`` says how many; with several numbers,
how both grow. ``--folder`` keeps the tables, for further runs of some ``--stages``. ``--against`` runs the stages of
another checkout on the same tables.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import yaml

from medground import files, images, records
from medground.evaluation.tables import VERDICTS
from medground.evaluation.verdicts import verdicts
from medground.lvlm import prompts

ROOT = Path(__file__).parents[1]
STAGES = ("questions", "verify", "results", "score", "rank", "export")
SOURCE, MODEL, METHODS = "phantom_causes_region", "gemma3_4b", ("random", "center_box")
FINDINGS = ("cardiomegaly", "pleural effusion", "pneumothorax", "lung mass")
EDITS = {"region_removed": "no", "background_removed": "yes", "background_normal": "yes"}
SIDE, CELLS = 1024, 14  # of films in pixels, of maps
RIGHT, PASSES = 0.6, 0.7  # share of right answers; of edits that are answered as they should
FILM, EDITED = "data/samples/film.png", "data/edits/film.png"  # all look the same: no stage here but export reads films
LAST = "data/sanity/sanity.json"  # of what is made: where it is, all of it is


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--films", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--stages", nargs="+", default=list(STAGES), choices=STAGES)
    parser.add_argument("--folder", type=Path, help="where the tables are made and kept; by default they go again")
    parser.add_argument("--against", type=Path, default=ROOT, help="the checkout whose stages run; by default this one")
    arguments = parser.parse_args(argv)
    print("| stage | " + " | ".join(f"{films:,} films" for films in arguments.films) + " |")
    print("|---" * (1 + len(arguments.films)) + "|", flush=True)
    with tempfile.TemporaryDirectory() as passing:
        studies = [(arguments.folder or Path(passing)).resolve() / str(films) for films in arguments.films]
        for films, study in zip(arguments.films, studies, strict=True):
            if (study / LAST).exists():
                continue
            maker = multiprocessing.get_context("spawn").Process(target=make, args=(study, films))
            maker.start()  # by itself: a process counts what the one that started it held
            maker.join()
        for stage in arguments.stages:
            cells = [run(stage, study, arguments.against) for study in studies]
            print(f"| {stage} | {' | '.join(cells)} |", flush=True)


def run(stage: str, study: Path, checkout: Path) -> str:
    """CPU seconds and peak memory of a stage, and whether it failed."""
    environment = {**os.environ, "PYTHONPATH": str(checkout.resolve())}
    process = subprocess.Popen(
        [sys.executable, "-m", f"stages.{stage}"], cwd=study, env=environment, stdout=subprocess.DEVNULL
    )
    _, status, used = os.wait4(process.pid, 0)
    took = f"{used.ru_utime + used.ru_stime:.0f} s, {peak(used):.1f} GB"
    return took if status == 0 else f"failed after {took}"


def peak(used: resource.struct_rusage) -> float:
    """Peak memory of a process that ended, in GB; Linux tells KiB, macOS bytes."""
    return used.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e9


def make(study: Path, films: int) -> None:
    """Write what the stages read: parameters and tables of so many films."""
    p = yaml.safe_load((ROOT / "profiles/phantom.yaml").read_text())
    p |= {"sources": [SOURCE], "models": [MODEL], "methods": list(METHODS), "attribute": {}}
    p["verify"] |= {"max_per_group": 0, "pairs": 0}
    files.write(yaml.safe_dump(p), study / "params.yaml")
    gray = np.linspace(0, 255, SIDE * SIDE).reshape(SIDE, SIDE).astype(np.uint8)
    for path in (FILM, EDITED):
        images.write_film(study / path, gray)
    write(samples(films), records.SAMPLES, study / f"data/samples/{SOURCE}/samples.parquet")
    write(edits(films), records.EDITS, study / f"data/edits/{SOURCE}/edits.parquet")
    about = {"settings": {"revision": "none"}}
    write(answers(films), records.ANSWERS, study / f"data/answers/{MODEL}.parquet", settings=about)
    judged = verdicts(samples(films), answers(films))
    write(iter(judged), VERDICTS, study / f"data/evaluations/{MODEL}.parquet")
    for number, method in enumerate(METHODS):
        records.write_table(
            attributions(films, number), records.ATTRIBUTIONS, study / f"data/attributions/{MODEL}/{method}.parquet"
        )
    write(iter([]), records.REFERENCES, study / "data/references/references.parquet")
    files.write_json({}, study / LAST)


def write(rows: Iterator[dict], schema: pa.Schema, path: Path, **settings) -> None:
    """Write a table of however many rows, few of which are held as dicts."""
    tables = [records.as_table([], schema)]
    while some := list(islice(rows, 4096)):
        tables.append(records.as_table(some, schema))
    records.write_table(pa.concat_tables(tables), schema, path, **settings)


def samples(films: int) -> Iterator[dict]:
    rng = np.random.default_rng(0)
    for index in range(films):
        left, top = rng.uniform(0.1, 0.5, 2) * SIDE
        finding, split = FINDINGS[index % len(FINDINGS)], ("dev", "test")[index % 5 > 0]
        yield {
            "source": SOURCE, "index": index, "patient_id": f"p{index * 2 // 3}", "split": split,
            "film": FILM, "width": SIDE, "height": SIDE, "finding": finding, "question": prompts.question(finding),
            "answer": "Yes", "regions": [(left, top, left + 0.3 * SIDE, top + 0.2 * SIDE)], "labels": "finding",
            "licence": "made up",
        }  # fmt: skip


def edits(films: int) -> Iterator[dict]:
    about = {"seed": 0, "path": EDITED, "sha256": "0" * 64, "editor": "none", "settings": json.dumps({"steps": 100})}
    for index in range(films):
        for edit in EDITS:
            yield {"source": SOURCE, "index": index, "edit": edit, **about}


def answers(films: int) -> Iterator[dict]:
    rng = np.random.default_rng(1)
    words = "The lungs are clear but for an opacity in the lower zone, whose border is blurred. " * 4
    for mode in prompts.MODES:
        for index in range(films):
            key = {"model": MODEL, "mode": mode, "source": SOURCE, "index": index, "margin": 0.5}
            asked = {"original": "yes" if rng.random() < RIGHT else "no"}
            if asked["original"] == "yes":
                other = {"yes": "no", "no": "yes"}
                asked |= {e: said if rng.random() < PASSES else other[said] for e, said in EDITS.items()}
            for edit, verdict in asked.items():
                text = f"{words if mode == 'reasoning' else ''}{verdict.capitalize()}."
                yield {**key, "edit": edit, "seed": -1 if edit == "original" else 0, "text": text, "verdict": verdict}


def attributions(films: int, number: int) -> pa.Table:
    """Maps of all cases that the filter could keep, as columns: each its own, of one bright spot."""
    ids = [records.case_id(MODEL, mode, SOURCE, index) for mode in prompts.MODES for index in range(films)]
    rng, cells = np.random.default_rng(number), CELLS * CELLS
    grids = rng.random((len(ids), cells), np.float32)
    grids[np.arange(len(ids)), rng.integers(0, cells, len(ids))] += 2
    offsets = pa.array(np.arange(len(ids) + 1, dtype=np.int32) * cells)
    extent = pa.FixedSizeListArray.from_arrays(pa.array(np.tile([0.0, 0.0, SIDE, SIDE], len(ids))), 4)
    columns = {
        "case_id": pa.array(ids),
        "grid": pa.ListArray.from_arrays(offsets, pa.array(grids.ravel())),
        "grid_height": pa.array(np.full(len(ids), CELLS, np.int32)),
        "grid_width": pa.array(np.full(len(ids), CELLS, np.int32)),
        "extent": extent,
        "forwards": pa.array(np.ones(len(ids), np.int64)),
    }
    kinds = records.ATTRIBUTIONS
    return pa.table([columns.get(f.name, pa.nulls(len(ids), f.type)) for f in kinds], names=kinds.names)


if __name__ == "__main__":
    main()
