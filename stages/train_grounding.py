"""The phantom's segmenter or detector, trained from scratch: models/<key>/ and models/<key>.accuracy.json.

A stage of pipelines/phantom/; `make train` runs it. A killed run goes on where it was.
"""

from __future__ import annotations

import json
from dataclasses import asdict, replace

from medground import engine, files
from medground.grounding.detector import Detector
from medground.grounding.segmenter import MedSAM
from medground.phantom import fetch_ct
from medground.phantom.grounding import MODELS
from medground.phantom.grounding.evaluate import detector_report, segmenter_report
from medground.phantom.grounding.films import take
from medground.phantom.grounding.settings import SEGMENTER
from medground.phantom.grounding.train import cohorts, eye, train
from medground.phantom.trained import CACHE, CT, OUT, asked, put


@engine.stage
def main() -> None:
    key, p = asked(__doc__, list(MODELS), "model")
    settings = replace(MODELS[key], seed=p.seed)
    fetch_ct(CT)
    model = train(key, settings, CT, CACHE)

    about = {"key": key, "training": asdict(settings)}
    put(key, lambda folder: eye(key).save(model, folder), about)

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
