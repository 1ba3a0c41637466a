"""Every method as the paper's public code computes it, its errors included; docs/corrections.md lists what ours mend.

Xiong et al., "Rethinking Visual Attribution for Chest X-ray Reasoning in LVLMs", 2026; code: gzxiong/medfocus. All see
the film letterboxed to 224 x 224, and explain the answer together with the tokens that end its turn. A grid is the one
that the reference would upsample; it covers the square. Boxes are the reference's, carried to native pixels; like the
square, they may reach beyond the film.
"""

from __future__ import annotations

import ast
import math
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import Field

from ...errors import MedgroundError
from ...geometry import Box, Letterbox, as_box, hull
from ..batches import log_likelihood
from ..candidates import CONCEPTS
from ..method import Attribution, Item
from ..registry import register
from .prompting import Tokens, ask, load_detector, load_segmenter, printed

if TYPE_CHECKING:
    from torch import Tensor

    from ...lvlm import LVLM, Text

SIDE = 224  # the film's, in every method
CELLS = 8  # of occlusion and RISE, along each side
WHOLE = "__image__"  # what MedFocus calls the whole film
COMPOSITES = {
    "bilateral_lungs": ("left lung", "right lung"),
    "bilateral_clavicles": ("left clavicle", "right clavicle"),
    "bilateral_hilar": ("left hilar structures", "right hilar structures"),
    "bilateral_costophrenic": ("left costophrenic angle", "right costophrenic angle"),
}
ASK_BOXES = (
    "Identify the local evidence in the image that supports the answer, and output the bounding box coordinates. "
    "Provide your answer as a list of bounding boxes in the format [[x1, y1, x2, y2], ...], where (x1, y1) is the "
    "top-left corner and (x2, y2) is the bottom-right corner of each bounding box."
)
ASK_REGIONS = (
    "Identify the local evidence in the image that supports the answer, and output descriptions of the target "
    'objects/regions. Provide your answer as a list of words or phrases ["region1", "region2", ...] that concisely '
    "describe the target regions in the image."
)

_register = partial(register, protocol="published")
_ONE = {"forward": 1}
Corners = tuple[int, int, int, int]  # of a box in whole pixels of the square
_GRADIENTS = ("model", "gradients")


def _masks_passes(settings: Mapping[str, Any]) -> dict[str, int]:
    masks = settings["masks"]
    return {"forward": masks if isinstance(masks, int) else len(masks)}


@dataclass(frozen=True)
class Case:
    """An item as the reference shows it to the model."""

    item: Item
    letterbox: Letterbox
    film: np.ndarray  # uint8 [224, 224]
    text: Text

    @classmethod
    def of(cls, lvlm: LVLM, item: Item) -> Case:
        """The case of a model and an item, with its film as the paper's code draws it."""
        height, width = item.film.shape
        letterbox = Letterbox.fit(width, height, SIDE)
        text = lvlm.text(item.prompt, item.answer, SIDE, SIDE, protocol="published")
        return cls(item, letterbox, letterbox.apply(item.film), text)

    def log_probs(self, lvlm: LVLM, films: np.ndarray) -> np.ndarray:
        """Log-probability of each token of the answer on films uint8 ``[M, 224, 224]``: float32 ``[M, T]``."""
        return lvlm.log_probs(lvlm.canvas(list(films), "published"), self.text).cpu().numpy()

    def scores(self, lvlm: LVLM, films: np.ndarray) -> np.ndarray:
        """Mean probability of the answer's tokens on each film: float32 ``[M]``.

        Rounded as the reference rounds: its smallest drops are zero, and its scorer's threshold is a quantile of what
        is above zero.
        """
        return lvlm.log_probs(lvlm.canvas(list(films), "published"), self.text).cpu().exp().mean(-1).numpy()

    def grid(self, values: Tensor | np.ndarray, forwards: int = 1, **more) -> Attribution:
        """An attribution whose grid covers the square of the film."""
        grid = values.cpu().numpy() if not isinstance(values, np.ndarray) else values
        return Attribution(self.item.case_id, grid.astype(np.float64), self.letterbox.extent, forwards=forwards, **more)

    def native(self, boxes: Iterable[Sequence[float]]) -> list[Box]:
        """Boxes of the square in the pixels of the film as it came."""
        return [self.letterbox.to_native(as_box(map(float, box))) for box in boxes]


@_register("attention_head", group="attention", paper="Jain and Wallace, NAACL 2019", passes=_ONE)
def attention_head(lvlm: LVLM, items: Sequence[Item]) -> list[Attribution]:
    """The last layer's attention from the answer's own rows, mean over rows and heads."""
    return _each(lvlm, items, lambda case, weights: weights[-1][0, :, case.text.answer].float().mean((0, 1)))


@_register("rollout", group="attention", paper="Abnar and Zuidema, ACL 2020", passes=_ONE)
def rollout(lvlm: LVLM, items: Sequence[Item]) -> list[Attribution]:
    """Attention rollout multiplied from the first layer to the last, A_0 A_1 ..., the reverse of its authors' order."""
    import torch

    def read(case: Case, weights: Sequence[Tensor]) -> Tensor:
        joint = torch.eye(weights[0].shape[-1], device=weights[0].device)
        for mixed in _mixed(weights):
            joint = joint @ mixed
        return joint[case.text.answer].mean(0)

    return _each(lvlm, items, read)


@_register("lrp", group="attention", paper="Ali et al., ICML 2022", passes=_ONE)
def lrp(lvlm: LVLM, items: Sequence[Item]) -> list[Attribution]:
    """What the paper calls LRP: mass on the predicting rows, walked back through (attention + identity)."""
    import torch

    def read(case: Case, weights: Sequence[Tensor]) -> Tensor:
        relevance = torch.zeros(weights[0].shape[-1], device=weights[0].device)
        relevance[case.text.rows] = 1 / len(case.text.rows)
        for mixed in reversed(_mixed(weights)):
            relevance = mixed.T @ relevance
            relevance = relevance / relevance.sum()
        return relevance

    return _each(lvlm, items, read)


@_register(
    "gradient_attention",
    group="attention",
    paper="Chefer, Gur and Wolf, ICCV 2021",
    needs=_GRADIENTS,
    passes={"attention": 1},
)
def gradient_attention(lvlm: LVLM, items: Sequence[Item]) -> list[Attribution]:
    """The last layer's attention times its positive gradient, on the answer's own rows, of which the last has none."""
    import torch

    from ..autograd import states

    results = []
    for case in (Case.of(lvlm, item) for item in items):
        with torch.enable_grad(), states(lvlm, len(lvlm.layers) - 1):
            forward = lvlm.forward(lvlm.canvas([case.film], "published"), case.text, attentions=True)
            weights = forward.attentions[-1]
            (slope,) = torch.autograd.grad(log_likelihood(forward.logits, case.text).sum(), weights)
        evidence = (slope.clamp(min=0) * weights.detach())[0, :, case.text.answer].float().mean((0, 1))
        results.append(case.grid(_on_tokens(lvlm, case, evidence)))
    return results


@_register("gradcam", group="gradient", paper="Selvaraju et al., ICCV 2017", needs=_GRADIENTS, passes={"head": 1})
def gradcam(lvlm: LVLM, items: Sequence[Item]) -> list[Attribution]:
    """Grad-CAM on the last states at the image tokens, which the answer does not depend on: the map is zero."""
    return _cam(lvlm, items, lambda state, slope: slope.mean(0))


@_register("gradcampp", group="gradient", paper="Chattopadhay et al., WACV 2018", needs=_GRADIENTS, passes={"head": 1})
def gradcampp(lvlm: LVLM, items: Sequence[Item]) -> list[Attribution]:
    """Grad-CAM++ on the same states, so zero as well."""

    def weights(state: Tensor, slope: Tensor) -> Tensor:
        alpha = slope**2 / (2 * slope**2 + state.sum(0, keepdim=True) * slope**3 + 1e-8)
        return (alpha * slope.clamp(min=0)).sum(0)

    return _cam(lvlm, items, weights)


@_register(
    "integrated_gradients",
    group="gradient",
    paper="Sundararajan, Taly and Yan, ICML 2017",
    needs=_GRADIENTS,
    passes=lambda settings: {"slope": settings["steps"]},
)
def integrated_gradients(
    lvlm: LVLM, items: Sequence[Item], steps: Annotated[int, Field(ge=2, le=10_000)] = 24
) -> list[Attribution]:
    """Integrated gradients in the processor's pixels, from its mean colour, at both ends of the path; magnitudes.

    Qwen's pixels come in patches in the order in which it merges them, and the reference lays them out row by row.
    """
    import torch

    results = []
    for case in (Case.of(lvlm, item) for item in items):
        inputs = lvlm.pixel_inputs(lvlm.canvas([case.film], "published"))
        pixels = inputs["pixel_values"].float()
        total = torch.zeros_like(pixels)
        for share in torch.linspace(0, 1, steps).tolist():
            with torch.enable_grad():
                at = (share * pixels).detach().requires_grad_()
                logits = lvlm.run({**inputs, "pixel_values": at}, case.text).logits
                total += torch.autograd.grad(log_likelihood(logits, case.text).sum(), at)[0]
        evidence = (pixels * total / steps).abs()
        if evidence.dim() == 4:
            grid = evidence[0].sum(0)
        else:
            rows = math.isqrt(len(evidence))
            grid = evidence.sum(1).reshape(rows, -1)
        results.append(case.grid(grid, steps))
    return results


@_register(
    "occlusion", group="perturbation", paper="Zeiler and Fergus, ECCV 2014", passes={"forward": 1 + CELLS * CELLS}
)
def occlusion(lvlm: LVLM, items: Sequence[Item]) -> list[Attribution]:
    """How much the mean probability of the answer's tokens falls when a tile goes black, and not below zero."""
    tiles = np.eye(CELLS * CELLS, dtype=bool).reshape(-1, CELLS, CELLS)
    results = []
    for case in (Case.of(lvlm, item) for item in items):
        films = np.where(_pixels(tiles), 0, case.film).astype(np.uint8)
        scores = case.scores(lvlm, np.concatenate([case.film[None], films]))
        results.append(case.grid((scores[0] - scores[1:]).clip(min=0).reshape(CELLS, CELLS), len(scores)))
    return results


@_register(
    "rise",
    group="perturbation",
    paper="Petsiuk, Das and Saenko, BMVC 2018",
    needs=("model", "seed"),
    passes=_masks_passes,
)
def rise(lvlm: LVLM, items: Sequence[Item], masks: Any = 64, seed: int = 0) -> list[Attribution]:
    """The mean of the masks that keep half of the cells, weighted by the answer's mean probability; not normalised.

    ``masks`` is how many are drawn by ``seed`` and the case's id (the reference draws unseeded), or the masks
    themselves: bool ``[M, 64]`` or ``[M, 8, 8]``, true where a cell is kept.
    """
    results = []
    for case in (Case.of(lvlm, item) for item in items):
        kept = _rise_masks(masks, seed, case.item.case_id)
        films = np.where(_pixels(kept), case.film, 0).astype(np.uint8)
        scores = case.scores(lvlm, films)
        results.append(case.grid(np.tensordot(scores, kept, 1) / (len(kept) * 0.5), len(kept)))
    return results


@_register(
    "medfocus",
    group="medfocus",
    paper="MedFocus",
    needs=("model", "concepts"),
    passes={"forward": 1 + CONCEPTS + len(COMPOSITES)},
)
def medfocus(lvlm: LVLM, items: Sequence[Item], tau: Annotated[float, Field(ge=0, le=1)] = 0.75) -> list[Attribution]:
    """The concept or composite without which the answer loses most; the whole film where it keeps ``tau`` of it.

    Boxes of ``Item.concepts`` go black on the 224 film. A composite goes black box by box and comes back as their hull.
    """
    results = []
    for case in (Case.of(lvlm, item) for item in items):
        boxes = {name: _whole(case.letterbox.to_canvas(box)) for name, box in case.item.concepts}
        members = {name: [box] for name, box in boxes.items()}
        members |= {name: [boxes[part] for part in parts if part in boxes] for name, parts in COMPOSITES.items()}
        films = np.stack([case.film] + [_blackened(case.film, some) for some in members.values()])
        rows = case.log_probs(lvlm, films)
        lost = (rows[0] - rows[1:]).clip(min=0)
        effects = dict(zip(members, lost.sum(1).tolist(), strict=True))
        best = max(effects, key=lambda name: effects[name])
        fallback = math.exp(-effects[best]) >= tau
        square = (0, 0, SIDE, SIDE)
        hulls: dict[str, Box] = {name: hull(some) if some else square for name, some in members.items()}
        ranked = sorted(effects, key=lambda name: -effects[name])
        token_effects = lost[list(members).index(best)].tolist()
        results.append(
            Attribution(
                case.item.case_id,
                boxes=case.native([square if fallback else hulls[best]]),
                concepts=[(name, case.native([hulls[name]])[0], effects[name]) for name in ranked],
                tokens=list(zip(case.text.tokens, token_effects, strict=True)),
                note={"region": WHOLE if fallback else best},
                forwards=len(films),
            )
        )
    return results


@_register("prompting", group="prompting", paper="the model prints boxes", passes={"generation": 1})
def prompting(lvlm: LVLM, items: Sequence[Item], max_new_tokens: Tokens = 256) -> list[Attribution]:
    """The boxes that the model prints when it is asked for them below its question, in pixels of the 224 film.

    The reference evaluates what the model wrote; here only literals are read, so that no text is ever run.
    """
    results = []
    for case, text in _asked(lvlm, items, ASK_BOXES, max_new_tokens):
        boxes = [box for box in map(_numbers, _list(text)) if box]
        results.append(printed(lvlm, case.item.case_id, text, case.native(boxes)))
    return results


@_register(
    "prompting_medsam",
    group="prompting",
    paper="the model names regions; OWL-ViT (Minderer et al., ECCV 2022) and MedSAM (Ma et al., Nature Communications "
    "2024) find them",
    needs=("model", "detector", "segmenter"),
    passes={"generation": 1},
)
def prompting_medsam(
    lvlm: LVLM,
    items: Sequence[Item],
    max_new_tokens: Tokens = 256,
    detector: str = "google/owlvit-base-patch32",
    segmenter: str = "flaviagiammarino/medsam-vit-base",
    threshold: Annotated[float, Field(ge=0, le=1)] = 0.1,
    top: Annotated[int, Field(ge=1)] = 5,
) -> list[Attribution]:
    """The regions that the model names, each found by itself on the 224 film by OWL-ViT, then tightened by MedSAM."""
    results = []
    for case, text in _asked(lvlm, items, ASK_REGIONS, max_new_tokens):
        boxes = []
        for phrase in _list(text):
            if isinstance(phrase, str) and phrase.strip():
                found = load_detector(detector).find([case.film], [[phrase]], threshold, top)[0]
                boxes += [np.clip(np.trunc(detection.box), 0, SIDE - 1).astype(int).tolist() for detection in found]
        boxes = [box for box in boxes if box[2] > box[0] and box[3] > box[1]]
        refined = load_segmenter(segmenter).refine([case.film], [boxes], "published")[0]
        results.append(printed(lvlm, case.item.case_id, text, case.native(refined)))
    return results


def _each(lvlm: LVLM, items: Sequence[Item], read: Callable[..., Tensor]) -> list[Attribution]:
    """Grids of what ``read(case, weights)`` ``[L]`` says about the image tokens, from all layers' attention."""
    import torch

    results = []
    for case in (Case.of(lvlm, item) for item in items):
        with torch.inference_mode():
            forward = lvlm.forward(lvlm.canvas([case.film], "published"), case.text, attentions=True)
            results.append(case.grid(_on_tokens(lvlm, case, read(case, forward.attentions))))
    return results


def _cam(lvlm: LVLM, items: Sequence[Item], rule: Callable[..., Tensor]) -> list[Attribution]:
    import torch

    from ..autograd import states

    results = []
    for case in (Case.of(lvlm, item) for item in items):
        with torch.enable_grad(), states(lvlm, -1) as seen:
            logits = lvlm.forward(lvlm.canvas([case.film], "published"), case.text).logits
            (slope,) = torch.autograd.grad(log_likelihood(logits, case.text).sum(), seen)
        state, slope = (part[0, case.text.image].float() for part in (seen[0].detach(), slope))
        evidence = (state * rule(state, slope)).sum(-1).clamp(min=0)
        results.append(case.grid(evidence.reshape(lvlm.grid(SIDE, SIDE))))
    return results


def _mixed(weights: Sequence[Tensor]) -> list[Tensor]:
    """Each layer's head mean + identity, rows normalised: ``[L, L]``, float32."""
    import torch

    identity = torch.eye(weights[0].shape[-1], device=weights[0].device)
    mixed = [layer[0].float().mean(0) + identity for layer in weights]
    return [layer / layer.sum(-1, keepdim=True) for layer in mixed]


def _on_tokens(lvlm: LVLM, case: Case, evidence: Tensor) -> Tensor:
    return evidence[case.text.image].reshape(lvlm.grid(SIDE, SIDE))


def _pixels(cells: np.ndarray) -> np.ndarray:
    """Cells ``[M, 8, 8]`` as pixels ``[M, 224, 224]``."""
    return cells.repeat(SIDE // CELLS, 1).repeat(SIDE // CELLS, 2)


def _rise_masks(masks: Any, seed: int, case_id: str) -> np.ndarray:
    if isinstance(masks, int):
        return np.random.default_rng([seed, zlib.crc32(case_id.encode())]).random((masks, CELLS, CELLS)) < 0.5
    kept = np.asarray(masks)
    if kept.dtype != bool or kept.ndim < 2 or kept[0].size != CELLS * CELLS:
        raise MedgroundError(
            f"masks of rise are {kept.dtype} {kept.shape}; expected their number, or bool (M, {CELLS * CELLS}) or "
            f"(M, {CELLS}, {CELLS})"
        )
    return kept.reshape(-1, CELLS, CELLS)


def _whole(box: Box) -> Corners:
    x1, y1, x2, y2 = (round(value) for value in box)
    return x1, y1, x2, y2


def _blackened(film: np.ndarray, boxes: Sequence[Sequence[int]]) -> np.ndarray:
    film = film.copy()
    for x1, y1, x2, y2 in boxes:
        film[y1:y2, x1:x2] = 0
    return film


def _asked(lvlm: LVLM, items: Sequence[Item], request: str, max_new_tokens: int) -> list[tuple[Case, str]]:
    """Each case with what the model writes when ``request`` follows its question."""
    cases = [Case.of(lvlm, item) for item in items]
    asked = [f"{case.item.prompt}\n{request}" for case in cases]
    texts = ask(lvlm, [case.film for case in cases], asked, max_new_tokens, "published")
    return list(zip(cases, texts, strict=True))


def _list(text: str) -> list:
    """The list that a text is as a whole, in Python's notation; empty where it is none."""
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return []
    return value if isinstance(value, list) else []


def _numbers(value: Any) -> Corners | None:
    """The corners of a box with area, rounded; None for anything else."""
    try:
        x1, y1, x2, y2 = (round(float(number)) for number in value)
    except (TypeError, ValueError, OverflowError):
        return None
    return (x1, y1, x2, y2) if x2 > x1 and y2 > y1 else None
