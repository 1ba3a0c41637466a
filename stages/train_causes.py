"""A phantom model of many known causes: models/<key>/, and beside it <key>.accuracy.json and <key>.causes.json.

The key of causes says what every answer depends on; it is no part of the model, so that a model can be published
without it. A killed run goes on where it was.
"""

from __future__ import annotations

import json
from dataclasses import asdict

from medground import engine, files
from medground.lvlm import load_lvlm
from medground.phantom import fetch_ct
from medground.phantom.causes import MODELS, TOWERS, Settings
from medground.phantom.causes.evaluate import evaluate
from medground.phantom.causes.train import load_films, train
from medground.phantom.trained import CACHE, CT, OUT, asked, put


@engine.stage
def main() -> None:
    key, p = asked(__doc__, list(MODELS), "phantom model")
    settings = Settings(seed=p.seed)
    fetch_ct(CT)
    parts = train(key, settings, CT, CACHE)

    recipe = MODELS[key]
    about = {
        "key": key,
        "known_causes": True,
        "tower": {"name": recipe.tower} | asdict(TOWERS[recipe.tower]),
        "training": asdict(settings),
    }
    put(key, parts.save, about)
    files.write_json(recipe.key(key), OUT / f"{key}.causes.json")

    _, unseen = load_films(recipe, settings, CT, CACHE)
    report = evaluate(load_lvlm(str(OUT / key)), unseen, recipe)
    files.write_json(report, OUT / f"{key}.accuracy.json")
    print(key, json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
