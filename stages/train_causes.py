"""A phantom model of many known causes: models/<key>/, and beside it <key>.accuracy.json and <key>.causes.json.

The key of causes says what every answer depends on; it is no part of the model, so that a model can be published
without it. A killed run goes on where it was.
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
from medground.phantom.causes import MODELS, TOWERS, Settings
from medground.phantom.causes.evaluate import evaluate
from medground.phantom.causes.train import load_films, train

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
    settings = Settings(seed=p.seed)
    fetch_ct(CT)
    parts = train(key, settings, CT, CACHE)

    partial = OUT / f".{key}"
    shutil.rmtree(partial, ignore_errors=True)
    parts.save(partial)
    recipe = MODELS[key]
    about = {
        "key": key,
        "known_causes": True,
        "tower": {"name": recipe.tower} | asdict(TOWERS[recipe.tower]),
        "training": asdict(settings),
    }
    files.write_json(about, partial / "medground.json")
    shutil.rmtree(OUT / key, ignore_errors=True)
    partial.rename(OUT / key)
    files.write_json(recipe.key(key), OUT / f"{key}.causes.json")

    _, unseen = load_films(recipe, settings, CT, CACHE)
    report = evaluate(load_lvlm(str(OUT / key)), unseen, recipe)
    files.write_json(report, OUT / f"{key}.accuracy.json")
    print(key, json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
