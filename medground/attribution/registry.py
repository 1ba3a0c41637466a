"""All methods by name. A name ending in ``_paper`` runs the settings of the paper where the default corrects them."""

from __future__ import annotations

from ..errors import MedgroundError
from .method import Method

_PREDICTING = {"rows": "predicting"}
_ANSWER = {"rows": "answer"}
_READ = {"layer": 1, "centred": True}
_LAST = {"layer": -1, "centred": False}
_TILES = {"cells": 8, "fill": "black"}
_MASKS = {"cells": 8, "masks": 64, "keep": 0.5, "normalise": True, "seed": 0, "fill": "black"}
_PATH = {"steps": 24, "baseline": 0.0, "absolute": False, "tokens": True}

_MEDFOCUS = "MedFocus"
_HEAD = "Jain and Wallace, NAACL 2019"
_ROLLOUT = "Abnar and Zuidema, ACL 2020"
_LRP = "Ali et al., ICML 2022"
_GRADIENT = "Chefer, Gur and Wolf, ICCV 2021"
_CAM = "Selvaraju et al., ICCV 2017"
_CAMPP = "Chattopadhay et al., WACV 2018"
_IG = "Sundararajan, Taly and Yan, ICML 2017"
_OCCLUSION = "Zeiler and Fergus, ECCV 2014"
_RISE = "Petsiuk, Das and Saenko, BMVC 2018"

_METHODS = (
    Method("medfocus", "medfocus", _MEDFOCUS, "medfocus:medfocus",
           {"rule": "contrast", "fill": "normal", "tau": None}, "concepts"),
    Method("medfocus_paper", "medfocus", _MEDFOCUS, "medfocus:medfocus",
           {"rule": "drop", "fill": "black", "tau": 0.75}, "published"),
    Method("occlusion", "perturbation", _OCCLUSION, "perturbation:occlusion", _TILES),
    Method("rise", "perturbation", _RISE, "perturbation:rise", _MASKS),
    Method("rise_paper", "perturbation", _RISE, "perturbation:rise", {**_MASKS, "normalise": False}),
    Method("gradcam", "gradient", _CAM, "gradient:gradcam", _READ),
    Method("gradcam_paper", "gradient", _CAM, "gradient:gradcam", _LAST),
    Method("gradcampp", "gradient", _CAMPP, "gradient:gradcampp", _READ),
    Method("gradcampp_paper", "gradient", _CAMPP, "gradient:gradcampp", _LAST),
    Method("integrated_gradients", "gradient", _IG, "gradient:integrated_gradients", _PATH),
    Method("integrated_gradients_paper", "gradient", _IG, "gradient:integrated_gradients",
           {**_PATH, "baseline": 0.5, "absolute": True, "tokens": False}),
    Method("attention_head", "attention", _HEAD, "attention:attention_head", _PREDICTING),
    Method("attention_head_paper", "attention", _HEAD, "attention:attention_head", _ANSWER),
    Method("rollout", "attention", _ROLLOUT, "attention:rollout", _PREDICTING),
    Method("rollout_paper", "attention", _ROLLOUT, "attention:rollout", _ANSWER),
    Method("lrp", "attention", _LRP, "gradient:lrp"),
    Method("lrp_paper", "attention", _LRP, "attention:relevance_walk", _ANSWER),
    Method("gradient_attention", "attention", _GRADIENT, "attention:gradient_attention", _PREDICTING),
    Method("gradient_attention_paper", "attention", _GRADIENT, "attention:gradient_attention", _ANSWER),
    Method("prompting", "prompting", "the model prints boxes", "prompting:prompting", {"max_new_tokens": 256}),
    Method("prompting_medsam", "prompting", "the model names regions; OWL-ViT (Minderer et al., ECCV 2022) and MedSAM "
           "(Ma et al., Nature Communications 2024) find them", "prompting:prompting_medsam",
           {"max_new_tokens": 256, "detector": "google/owlvit-base-patch32",
            "segmenter": "flaviagiammarino/medsam-vit-base", "threshold": 0.1, "top": 5}),
    Method("random", "floor", "a box anywhere", "floors:random", {"seed": 0}),
    Method("center_box", "floor", "the middle half of each side", "floors:center_box", {"side": 0.5}),
    Method("whole_film", "floor", "everything", "floors:whole_film"),
)  # fmt: skip


def methods() -> dict[str, Method]:
    """Every method by its name."""
    return {method.name: method for method in _METHODS}


def method(name: str) -> Method:
    """The method of that name; MedgroundError lists the known ones otherwise."""
    known = methods()
    if name not in known:
        raise MedgroundError(f"unknown method {name!r}; known: {', '.join(known)}")
    return known[name]
