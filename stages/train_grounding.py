"""The phantom's segmenter or detector, trained from scratch: models/<key>/ and models/<key>.accuracy.json.

A stage of pipelines/phantom/; `make train` runs it. A killed run goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import torch

from medground import engine, files, params
from medground.grounding.detector import Detector
from medground.grounding.segmenter import MedSAM
from medground.phantom import fetch_ct
from medground.phantom.grounding import MODELS
from medground.phantom.grounding.evaluate import detector_report, segmenter_report
from medground.phantom.grounding.films import take
from medground.phantom.grounding.settings import SEGMENTER
from medground.phantom.grounding.train import cohorts, eye, train

CT, CACHE, OUT = Path("data/raw/ct"), Path(".cache/phantom"), Path("models")


@engine.stage
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--threads", type=int, help="threads of this process; all cores if not given")
    arguments = parser.parse_args()
    key, p = params.choose(arguments.model, list(MODELS), "model"), params.load()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    settings = replace(MODELS[key], seed=p.seed)
    fetch_ct(CT)
    model = train(key, settings, CT, CACHE)

    partial = OUT / f".{key}"
    shutil.rmtree(partial, ignore_errors=True)
    eye(key).save(model, partial)
    about = {"key": key, "training": asdict(settings)}
    files.write_json(about, partial / "medground.json")
    shutil.rmtree(OUT / key, ignore_errors=True)
    partial.rename(OUT / key)

    _, unseen = cohorts(settings)
    films = list(take(unseen, CT))
    if key == SEGMENTER:
        report = segmenter_report(MedSAM.load(str(OUT / key)), films, settings.seed)
    else:
        report = detector_report(Detector.load(str(OUT / key)), films)
    report = {"model": key, "films": len(films), **report}
    files.write_json(report, OUT / f"{key}.accuracy.json")
    print(key, json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
