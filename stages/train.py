"""A phantom model, trained from scratch on virtual patients: models/<key>/ and models/<key>.accuracy.json.

A stage of pipelines/phantom/; `make train` runs it. A killed run goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import shutil
from dataclasses import asdict
from pathlib import Path

import torch

from medground import engine, files, params
from medground.lvlm import load_lvlm
from medground.phantom import fetch_ct
from medground.phantom.lvlms import MODELS, Settings
from medground.phantom.lvlms.evaluate import evaluate
from medground.phantom.lvlms.train import load_films, train

CT, CACHE, OUT = Path("data/raw/ct"), Path(".cache/phantom"), Path("models")


@engine.stage
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--threads", type=int, help="threads of this process; all cores if not given")
    arguments = parser.parse_args()
    key, p = params.choose(arguments.model, list(MODELS), "phantom model"), params.load()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    settings = Settings(
        seed=p.seed,
        train_patients=p.phantom.train_patients,
        train_films=p.phantom.train_films,
        validation_patients=p.phantom.validation_patients,
    )
    fetch_ct(CT)
    parts = train(key, settings, CT, CACHE)

    shortcut = MODELS[key].shortcut_findings
    partial = OUT / f".{key}"
    shutil.rmtree(partial, ignore_errors=True)
    parts.save(partial)
    about = {"key": key, "shortcut_findings": list(shortcut), "training": asdict(settings)}
    files.write_json(about, partial / "medground.json")
    shutil.rmtree(OUT / key, ignore_errors=True)
    partial.rename(OUT / key)

    _, unseen = load_films(MODELS[key], settings, CT, CACHE)
    report = evaluate(load_lvlm(str(OUT / key)), unseen, shortcut)
    files.write_json(report, OUT / f"{key}.accuracy.json")
    print(key, json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
