"""Methods that follow the gradient of the answer's log-likelihood: Grad-CAM, Grad-CAM++, LRP, integrated gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from ..errors import MedgroundError
from .attention import log_likelihood
from .batches import map_cases, on_grid
from .method import Attribution, Item


def gradcam(lvlm, items: Sequence[Item], layer: int, centred: bool) -> list[Attribution]:
    """Grad-CAM on the image tokens' states before decoder layer ``layer``.

    0 are the image embeddings; the number of layers, or -1, the last states, which no later attention reads: their
    gradient is exactly zero, and so is the map. The method was made for feature maps where zero means that a feature
    is absent; the states of a decoder share a large offset instead, and ``centred`` takes off each channel's mean over
    the image. Selvaraju et al., "Grad-CAM", ICCV 2017.
    """
    return _cam(lvlm, items, layer, centred, cam)


def gradcampp(lvlm, items: Sequence[Item], layer: int, centred: bool) -> list[Attribution]:
    """Grad-CAM++ on the same states. Chattopadhay et al., "Grad-CAM++", WACV 2018."""
    return _cam(lvlm, items, layer, centred, cam_plus_plus)


def lrp(lvlm, items: Sequence[Item]) -> list[Attribution]:
    """Relevance of the image embeddings for the logits of the answer's tokens, conserved layer by layer.

    Attention weights, norms' scales and gates are held constant, so that the decoder is linear in what flows through
    it, and gradient times input is layer-wise relevance propagation: without biases, the relevances of all positions
    add up to the logits. Ali et al., "XAI for transformers: better explanations through conservative propagation",
    ICML 2022; gates as in Arras et al., "Explaining recurrent neural network predictions", 2017.
    """

    def work(canvas: Tensor, text) -> Tensor:
        return relevance(lvlm, canvas, text)[0][:, text.image].cpu()

    values = map_cases(lvlm, items, work)
    return [on_grid(lvlm, item, row, forwards=1) for item, row in zip(items, values, strict=True)]


def relevance(lvlm, canvas: Tensor, text) -> tuple[Tensor, Tensor]:
    """Relevance of every position's embedding ``[B, L]``, and what they share out: the answer's logits, ``[B]``."""
    with torch.enable_grad(), lvlm.eager(), states(lvlm, 0) as seen, Linearised():
        logits = lvlm.forward(canvas, text).logits
        tokens = text.input_ids[0, text.answer].expand(len(logits), -1)
        picked = logits.gather(-1, tokens[..., None]).sum((1, 2))
        (slope,) = torch.autograd.grad(picked.sum(), seen)
    return (seen[0].detach() * slope).float().sum(-1), picked.detach().float()


def integrated_gradients(
    lvlm, items: Sequence[Item], steps: int, baseline: float, absolute: bool, tokens: bool
) -> list[Attribution]:
    """Integrated gradients of the answer's log-likelihood from a flat gray film to this one, by the midpoint rule.

    ``baseline`` is the gray in [0, 1] (black is 0; a zero in normalised pixels is about 0.5). ``absolute`` takes
    magnitudes, as the paper does; ``tokens`` adds up the pixels of each image token. The note records ``delta``: the
    sum of all attributions less the change of the log-likelihood, 0 for infinitely many steps.
    Sundararajan, Taly and Yan, "Axiomatic attribution for deep networks", ICML 2017.
    """

    def work(canvas: Tensor, text) -> list[tuple[Tensor, float]]:
        start = torch.full_like(canvas, baseline)
        shares = (torch.arange(steps, device=canvas.device) + 0.5) / steps
        path = torch.lerp(start, canvas, shares[:, None, None, None]).flatten(0, 1)
        slope = torch.cat([_slope(lvlm, part, text) for part in path.split(lvlm.batch_size)])
        evidence = slope.unflatten(0, (steps, -1)).mean(0) * (canvas - start)
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
    state, slope = torch.cat([state, -state], -1).clamp(min=0), torch.cat([slope, -slope], -1).clamp(min=0)
    alpha = 1 / (2 + state.sum(1, keepdim=True) * slope)  # Eq. 19 divided by slope squared
    weights = (alpha * slope).sum(1, keepdim=True)
    return (weights * state).sum(-1)


@contextmanager
def states(lvlm, layer: int) -> Iterator[list[Tensor]]:
    """Cut the graph before decoder layer ``layer``: the list receives the states ``[B, L, D]`` as a leaf.

    The number of layers (or -1) means the states after the last one. The hook comes off whatever happens.
    """
    layers = lvlm.layers
    if not -1 <= layer <= len(layers):
        raise MedgroundError(f"layer {layer} is not there; {lvlm.key} has states 0 to {len(layers)}")
    seen: list[Tensor] = []

    def leaf(state: Tensor) -> Tensor:
        seen.append(state.detach().requires_grad_())
        return seen[0]

    def before(module, args, kwargs):
        if args:
            return (leaf(args[0]), *args[1:]), kwargs
        return args, {**kwargs, "hidden_states": leaf(kwargs["hidden_states"])}

    def after(module, args, output):
        return (leaf(output[0]), *output[1:]) if isinstance(output, tuple) else leaf(output)

    if layer in (-1, len(layers)):
        handle = layers[-1].register_forward_hook(after)
    else:
        handle = layers[layer].register_forward_pre_hook(before, with_kwargs=True)
    try:
        yield seen
    finally:
        handle.remove()


class Linearised(TorchFunctionMode):
    """While active, softmax, inverse norms and activations are constants for the gradient."""

    CONSTANT = frozenset((functional.softmax, torch.softmax, torch.rsqrt, functional.silu, functional.gelu))

    def __torch_function__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        return result.detach() if function in self.CONSTANT else result


def _cam(
    lvlm, items: Sequence[Item], layer: int, centred: bool, rule: Callable[[Tensor, Tensor], Tensor]
) -> list[Attribution]:
    def work(canvas: Tensor, text) -> Tensor:
        with torch.enable_grad(), states(lvlm, layer) as seen:
            gain = log_likelihood(lvlm.forward(canvas, text).logits, text).sum()
            (slope,) = torch.autograd.grad(gain, seen)
        state = seen[0].detach()[:, text.image].float()
        if centred:
            state = state - state.mean(1, keepdim=True)
        return rule(state, slope[:, text.image].float()).cpu()

    values = map_cases(lvlm, items, work)
    return [on_grid(lvlm, item, row, forwards=1) for item, row in zip(items, values, strict=True)]


def _slope(lvlm, canvas: Tensor, text) -> Tensor:
    """Gradient of the answer's log-likelihood in the canvas ``[B, h, w]``."""
    with torch.enable_grad():
        canvas = canvas.detach().requires_grad_()
        gain = log_likelihood(lvlm.forward(canvas, text).logits, text).sum()
        return torch.autograd.grad(gain, canvas)[0]
