"""Following gradients through a model: to the states of a layer, to the pixels, and with attention held constant."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from ..errors import MedgroundError
from .batches import log_likelihood

if TYPE_CHECKING:
    from ..lvlm import LVLM, Text


@contextmanager
def states(lvlm: LVLM, layer: int) -> Iterator[list[Tensor]]:
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


def slope(lvlm: LVLM, canvas: Tensor, text: Text) -> Tensor:
    """Gradient of the answer's log-likelihood in the canvas ``[B, h, w]``."""
    with torch.enable_grad():
        canvas = canvas.detach().requires_grad_()
        gain = log_likelihood(lvlm.forward(canvas, text).logits, text).sum()
        return torch.autograd.grad(gain, canvas)[0]


def relevance(lvlm: LVLM, canvas: Tensor, text: Text) -> tuple[Tensor, Tensor]:
    """Relevance of every position's embedding ``[B, L]``, and what they share out: the answer's logits, ``[B]``."""
    with torch.enable_grad(), lvlm.eager(), states(lvlm, 0) as seen, Linearised():
        logits = lvlm.forward(canvas, text).logits
        tokens = text.input_ids[0, text.answer].expand(len(logits), -1)
        picked = logits.gather(-1, tokens[..., None]).sum((1, 2))
        (slope,) = torch.autograd.grad(picked.sum(), seen)
    return (seen[0].detach() * slope).float().sum(-1), picked.detach().float()


class Linearised(TorchFunctionMode):
    """While active, softmax, inverse norms and activations are constants for the gradient."""

    CONSTANT = frozenset((functional.softmax, torch.softmax, torch.rsqrt, functional.silu, functional.gelu))

    def __torch_function__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        return result.detach() if function in self.CONSTANT else result
