"""What a program needs to know of the dataset besides its rows: `ABOUT`, and what the Hub's board of models reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from .. import records
from ..evaluation.tables import ASKED
from ..params import Params
from ..scoring.boxes import MAX_BOXES, MIN_AREA, QUANTILE
from ..scoring.score import SIDE
from ..sources import SOURCES
from ..verification.causes import KEPT_BACK
from .licences import Kind, may_leave
from .links import links

COMMAND = "medground export"
ABOUT = "benchmark.json"
EVAL = "eval.yaml"
NORMAL = "phantom_region"  # gives the normal films where no source of the profile has any (`medground.sources`)


def about(
    data: Path,
    made_by: Mapping,
    modes: Sequence[str],
    asked: Mapping | None = None,
    links: Mapping[str, str] | None = None,
) -> dict:
    """The content of `ABOUT`, from the tables below ``data`` and the code's own constants."""
    resampling = records.made_by(data / "board" / "board.parquet").get("settings", {})
    return {
        "modes": list(modes),
        "causes_kept_back": KEPT_BACK,
        "asked": {**ASKED, **(asked or {})},
        "filter": made_by.get("settings", {}).get("verify", {}),
        "resampling": {name: resampling[name] for name in ("resamples", "level", "seed") if name in resampling},
        **({"links": dict(links)} if links else {}),
        "scoring": {"side": SIDE, "quantile": QUANTILE, "least_area": MIN_AREA, "most_boxes": MAX_BOXES},
    }


def asked(p: Params) -> dict:
    """What `folder.build` wants to know of params.yaml: how the models were asked, where the normal films are from,
    if they may leave, and where code and board are."""
    first = next((name for name in p.sources if SOURCES.get(name).has_references), NORMAL)
    how = {
        "max_new_tokens": p.answer.max_new_tokens,
        "most_pixels": p.canvas.most_pixels,
        "protocol": p.answer.protocol,
    }
    return {"asked": how, "normal": first if may_leave(first, Kind.PIXELS) else None, "links": links(p)}


def tasks(modes: Sequence[str]) -> str:
    """The content of `EVAL`: a task for each mode, in which models rank by their grounded accuracy."""
    described = {
        "name": "MedGround",
        "description": (
            "Percentage of questions about findings on chest radiographs that a model answers rightly and whose answer "
            "is shown, by editing the film, to come from the expert's region: it flips without the finding and stays "
            "without all the rest. 0 to 100, higher is better. `medground evaluate` computes it."
        ),
        "tasks": [{"id": f"grounded_{mode}", "config": "questions", "split": "test"} for mode in modes],
    }
    return yaml.safe_dump(described, sort_keys=False, width=110)
