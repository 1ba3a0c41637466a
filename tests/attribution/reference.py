"""What the paper's code computed on two checkpoints: ``tests/data/published``, whose README says what is there."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np

from medground.anatomy import References
from medground.attribution import Item
from medground.images import read_film

FOLDER = Path(__file__).parents[1] / "data" / "published"
CASES = json.loads((FOLDER / "cases.json").read_text())["cases"]
NAMES = {  # ours, and the reference's where it is another
    "attention_head": "attention_head",
    "rollout": "attention_rollout",
    "lrp": "lrp",
    "gradient_attention": "grad_weighted_attention",
    "gradcam": "gradcam",
    "gradcampp": "gradcampp",
    "integrated_gradients": "integrated_gradients",
    "occlusion": "occlusion",
    "rise": "rise",
}


@cache
def arrays(family: str) -> dict[str, np.ndarray]:
    with np.load(FOLDER / f"maps_{family}.npz") as stored:
        return dict(stored)


def array(case: dict, name: str) -> np.ndarray:
    return arrays(case["model"].removeprefix("phantom-"))[f"{case['slug']}/{name}"]


def decoded(coded: np.ndarray) -> np.ndarray:
    """A stored map uint8 ``[4, 224, 224]`` as float32 ``[224, 224]``: running sums of 32-bit words."""
    words = np.ascontiguousarray(coded.transpose(1, 2, 0)).view("<u4")[..., 0]
    return np.cumsum(np.cumsum(words, 1, dtype=np.uint32), 1, dtype=np.uint32).view(np.float32)


def item(case: dict) -> Item:
    return Item(case["case_id"], array(case, "film"), case["prompt"], case["answer"], case["finding"])


def references() -> References:
    """The 16 normal films with their masks, in the order of the reference's pool."""
    films = sorted((FOLDER / "references" / "films").glob("*.png"))
    masks = [dict(np.load(FOLDER / "references" / "masks" / f"{film.stem}.npz")) for film in films]
    concepts = tuple(masks[0])
    return References(
        tuple(f"normal{film.stem}" for film in films),
        concepts,
        np.stack([_square(read_film(film)) for film in films]),
        np.array([[_square(mask[c].astype(np.uint8) * 255) > 127 for c in concepts] for mask in masks]),
    )


def _square(film: np.ndarray) -> np.ndarray:
    from medground.geometry import Letterbox

    return Letterbox.fit(film.shape[1], film.shape[0], 224).apply(film)
