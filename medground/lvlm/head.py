"""The output head in single precision, for models that are kept in half precision.

In bfloat16 the logits of a large model are spaced by 0.06 to 0.12 nats, as much as taking a region away changes an
answer. States and weights stay as they are; their products are summed up and kept in float32.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import linear
from transformers import PreTrainedModel

_ROWS = 1 << 14  # of the vocabulary, converted at once


def in_float32(model: PreTrainedModel) -> PreTrainedModel:
    """The same model, whose head gives float32 logits where its weights are in half precision."""
    head = model.get_output_embeddings()
    plain = head.forward

    def forward(states: Tensor) -> Tensor:
        if head.weight.dtype not in (torch.bfloat16, torch.float16):
            return plain(states)
        logits = _Head.apply(states, head.weight)
        return logits if head.bias is None else logits + head.bias.float()

    head.forward = forward
    return model


class _Head(torch.autograd.Function):
    """``states @ weight.T`` in float32, a part of the vocabulary at a time, so that no second copy of it is kept."""

    @staticmethod
    def forward(ctx, states: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(weight)
        ctx.dtype = states.dtype
        return torch.cat([linear(states.float(), rows.float()) for rows in weight.split(_ROWS)], -1)

    @staticmethod
    def backward(ctx, slope: Tensor) -> tuple[Tensor, None]:
        (weight,) = ctx.saved_tensors
        parts = zip(slope.split(_ROWS, -1), weight.split(_ROWS), strict=True)
        return sum(part @ rows.float() for part, rows in parts).to(ctx.dtype), None
