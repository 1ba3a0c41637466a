"""Methods that follow the gradient of the answer's log-likelihood: Grad-CAM, Grad-CAM++, LRP, integrated gradients."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from ..batches import log_likelihood, map_cases, on_grid
from ..method import Attribution, Item
from ..registry import register

if TYPE_CHECKING:
    from torch import Tensor

    from ...lvlm import LVLM, Text

Layer = Annotated[int, Field(ge=-1)]  # of the decoder; -1 is after the last
_NEEDS = ("model", "gradients")


def _cam_passes(settings: Mapping[str, Any]) -> dict[str, int]:
    return {{0: "relevance", -1: "head"}.get(settings["layer"], "states"): 1}


@register(
    "gradcam",
    group="gradient",
    paper="Selvaraju et al., ICCV 2017",
    needs=_NEEDS,
    passes=_cam_passes,
)
def gradcam(lvlm: LVLM, items: Sequence[Item], layer: Layer = 1, centred: bool = True) -> list[Attribution]:
    """Grad-CAM on the image tokens' states before decoder layer ``layer``.

    0 are the image embeddings; the number of layers, or -1, the last states, which no later attention reads: their
    gradient is exactly zero, and so is the map. The method was made for feature maps where zero means that a feature
    is absent; the states of a decoder share a large offset instead, and ``centred`` takes off each channel's mean over
    the image. Selvaraju et al., "Grad-CAM", ICCV 2017.
    """
    return _cam(lvlm, items, layer, centred, cam)


@register(
    "gradcampp",
    group="gradient",
    paper="Chattopadhay et al., WACV 2018",
    needs=_NEEDS,
    passes=_cam_passes,
)
def gradcampp(lvlm: LVLM, items: Sequence[Item], layer: Layer = 1, centred: bool = True) -> list[Attribution]:
    """Grad-CAM++ on the same states. Chattopadhay et al., "Grad-CAM++", WACV 2018."""
    return _cam(lvlm, items, layer, centred, cam_plus_plus)


@register("lrp", group="attention", paper="Ali et al., ICML 2022", needs=_NEEDS, passes={"relevance": 1})
def lrp(lvlm: LVLM, items: Sequence[Item]) -> list[Attribution]:
    """Relevance of the image embeddings for the logits of the answer's tokens, conserved layer by layer.

    Attention weights, norms' scales and gates are held constant, so that the decoder is linear in what flows through
    it, and gradient times input is layer-wise relevance propagation: without biases, the relevances of all positions
    add up to the logits. Ali et al., "XAI for transformers: better explanations through conservative propagation",
    ICML 2022; gates as in Arras et al., "Explaining recurrent neural network predictions", 2017.
    """

    from ..autograd import relevance

    def work(canvas: Tensor, text: Text) -> Tensor:
        return relevance(lvlm, canvas, text)[0][:, text.image].cpu()

    values = map_cases(lvlm, items, work)
    return [on_grid(lvlm, item, row, forwards=1) for item, row in zip(items, values, strict=True)]


@register(
    "integrated_gradients",
    group="gradient",
    paper="Sundararajan, Taly and Yan, ICML 2017",
    needs=_NEEDS,
    passes=lambda settings: {"slope": settings["steps"], "forward": 2},
)
def integrated_gradients(
    lvlm: LVLM,
    items: Sequence[Item],
    steps: Annotated[int, Field(ge=1, le=10_000)] = 24,
    baseline: Annotated[float, Field(ge=0, le=1)] = 0.0,
    absolute: bool = False,
    tokens: bool = True,
) -> list[Attribution]:
    """Integrated gradients of the answer's log-likelihood from a flat gray film to this one, by the midpoint rule.

    ``baseline`` is the gray in [0, 1] (black is 0; a zero in normalised pixels is about 0.5). ``absolute`` takes
    magnitudes, as the paper does; ``tokens`` adds up the pixels of each image token. The note records ``delta``: the
    sum of all attributions less the change of the log-likelihood, 0 for infinitely many steps.
    Sundararajan, Taly and Yan, "Axiomatic attribution for deep networks", ICML 2017.
    """
    import torch

    from ..autograd import slope

    def work(canvas: Tensor, text: Text) -> list[tuple[Tensor, float]]:
        start = torch.full_like(canvas, baseline)
        shares = (torch.arange(steps, device=canvas.device) + 0.5) / steps
        path = torch.lerp(start, canvas, shares[:, None, None, None]).flatten(0, 1)
        slopes = torch.cat(list(lvlm.chunked(lambda part: slope(lvlm, part, text), path)))
        evidence = slopes.unflatten(0, (steps, -1)).mean(0) * (canvas - start)
        gain = lvlm.log_probs(canvas, text).double().sum(1) - lvlm.log_probs(start, text).double().sum(1)
        delta = evidence.double().sum((1, 2)) - gain
        return list(zip(evidence.cpu(), delta.tolist(), strict=True))

    results = []
    for item, (evidence, delta) in zip(items, map_cases(lvlm, items, work), strict=True):
        height, width = item.film.shape
        evidence = evidence.abs() if absolute else evidence
        if tokens:
            rows, columns = lvlm.grid(width, height)
            evidence = evidence.unflatten(1, (columns, -1)).sum(-1).unflatten(0, (rows, -1)).sum(1)
        extent = lvlm.letterbox(width, height).extent
        note = {"delta": delta}
        results.append(Attribution(item.case_id, evidence.numpy(), extent, note=note, forwards=steps + 2))
    return results


def cam(state: Tensor, slope: Tensor) -> Tensor:
    """Grad-CAM of states ``[B, N, D]`` with their gradient: ``[B, N]``."""
    weights = slope.mean(1, keepdim=True)
    return (weights * state).sum(-1).clamp(min=0)


def cam_plus_plus(state: Tensor, slope: Tensor) -> Tensor:
    """Grad-CAM++ of states ``[B, N, D]`` with their gradient, for a score exp(log-likelihood): ``[B, N]``.

    The published weights are made for maps that are never negative; with signed ones they have poles. A signed channel
    is therefore taken as two, its positive part and its negative part, on which the score depends with opposite sign.
    """
    import torch

    state, slope = torch.cat([state, -state], -1).clamp(min=0), torch.cat([slope, -slope], -1).clamp(min=0)
    alpha = 1 / (2 + state.sum(1, keepdim=True) * slope)  # Eq. 19 divided by slope squared
    weights = (alpha * slope).sum(1, keepdim=True)
    return (weights * state).sum(-1)


def _cam(
    lvlm: LVLM, items: Sequence[Item], layer: int, centred: bool, rule: Callable[[Tensor, Tensor], Tensor]
) -> list[Attribution]:
    import torch

    from ..autograd import states

    def work(canvas: Tensor, text: Text) -> Tensor:
        with torch.enable_grad(), states(lvlm, layer) as seen:
            gain = log_likelihood(lvlm.forward(canvas, text).logits, text).sum()
            (slope,) = torch.autograd.grad(gain, seen)
        state = seen[0].detach()[:, text.image].float()
        if centred:
            state = state - state.mean(1, keepdim=True)
        return rule(state, slope[:, text.image].float()).cpu()

    values = map_cases(lvlm, items, work)
    return [on_grid(lvlm, item, row, forwards=1) for item, row in zip(items, values, strict=True)]
