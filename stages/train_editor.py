"""The phantom's RadEdit, trained from scratch on virtual patients: models/phantom-radedit/ and its accuracy file.

A stage of pipelines/phantom/; `make train` runs it. A killed run goes on where it was.
"""

from __future__ import annotations

import json
from dataclasses import asdict

from medground import engine, files
from medground.editing.radedit import RadEdit
from medground.errors import MedgroundError
from medground.phantom import fetch_ct
from medground.phantom.editor import Settings, evaluate, train
from medground.phantom.trained import CACHE, CT, OUT, asked, put

EDITOR = "phantom-radedit"


@engine.stage
def main() -> None:
    key, p = asked(__doc__, [EDITOR], "editor")
    settings = Settings(
        seed=p.seed, train_patients=p.phantom.train_patients, validation_patients=p.phantom.validation_patients
    )
    if p.edit.radedit is None or p.edit.radedit.unet != str(OUT / key):
        raise MedgroundError(
            f"params.yaml: edit.radedit.unet is not {OUT / key}; this stage trains and measures that; "
            "activate the phantom's profile first: `medground profile phantom`"
        )
    fetch_ct(CT)
    parts = train(settings, CT, CACHE)

    put(key, parts.save, {"training": asdict(settings)})

    report = evaluate(RadEdit.of(p.edit.radedit.model_dump()), settings, p.edit.band, CT, CACHE)
    files.write_json(report, OUT / f"{key}.accuracy.json")
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
