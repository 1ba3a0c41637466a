"""Which model each of params.yaml's names stands for, and where models were published: data/checkpoints/.

One small file a model: the digest of each of its files, or its commit on the Hub. A stage depends on those of the
models that it loads. `PINS` repeats what was noted when models were sent to the Hub, for who links to them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from medground import engine, files, params
from medground.hub.models import PINS, pinned
from medground.lvlm.checkpoints import contents

if TYPE_CHECKING:
    from medground.params import Params

OUT = Path("data/checkpoints")


@engine.stage
def main() -> None:
    made = {name: {part: contents(part) for part in parts} for name, parts in models(params.load()).items()}
    made[PINS] = pinned()
    for stale in set(OUT.rglob("*.json")) - {OUT / name for name in made}:
        stale.unlink()
    for name, found in made.items():
        path, text = OUT / name, json.dumps(found, indent=1, sort_keys=True) + "\n"
        if not path.exists() or path.read_text() != text:
            files.write(text, path)
            print(path)


def models(p: Params) -> dict[str, list[str]]:
    """The files below `OUT`, each with the checkpoints that it is about."""
    parts = ("unet", "vae", "text_encoder") if p.edit.editor == "radedit" else ()
    return {
        **{f"lvlm/{model}.json": [model] for model in p.models},
        "detector.json": [p.grounding.detector],
        "segmenter.json": [p.grounding.segmenter],
        "editor.json": [getattr(p.edit.radedit, part) for part in parts],
    }


if __name__ == "__main__":
    main()
