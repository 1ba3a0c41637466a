"""A phantom model, trained from scratch on virtual patients: models/<key>/ and models/<key>.accuracy.json.

A stage of pipelines/phantom/; `make train` runs it. A killed run goes on where it was.
"""

from __future__ import annotations

import json
from dataclasses import asdict

from medground import engine, files
from medground.lvlm import load_lvlm
from medground.phantom import fetch_ct
from medground.phantom.lvlms import MODELS, Settings
from medground.phantom.lvlms.evaluate import evaluate
from medground.phantom.lvlms.train import load_films, train
from medground.phantom.trained import CACHE, CT, OUT, asked, put


@engine.stage
def main() -> None:
    key, p = asked(__doc__, list(MODELS), "phantom model")
    settings = Settings(
        seed=p.seed,
        train_patients=p.phantom.train_patients,
        train_films=p.phantom.train_films,
        validation_patients=p.phantom.validation_patients,
    )
    fetch_ct(CT)
    parts = train(key, settings, CT, CACHE)

    put(key, parts.save, {"key": key, "training": asdict(settings)})

    _, unseen = load_films(MODELS[key], settings, CT, CACHE)
    report = evaluate(load_lvlm(str(OUT / key)), unseen)
    files.write_json(report, OUT / f"{key}.accuracy.json")
    print(key, json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
