"""Methods that read the attention of the decoder, as the model computed it: its own masks, every query head.

The rows that predict the answer's tokens are read, each one before the token itself; ``rows="answer"`` reads the
tokens' own rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal

from ...errors import MedgroundError
from ..batches import log_likelihood, map_cases, on_grid
from ..method import Attribution, Item
from ..registry import register

if TYPE_CHECKING:
    from torch import Tensor

    from ...lvlm import LVLM, Text

Rows = Literal["predicting", "answer"]  # that are read: those that predict the answer's tokens, or the tokens' own
_ONE = {"forward": 1}


@register(
    "attention_head",
    group="attention",
    paper="Jain and Wallace, NAACL 2019",
    passes=_ONE,
)
def attention_head(lvlm: LVLM, items: Sequence[Item], rows: Rows = "predicting") -> list[Attribution]:
    """How much the answer looks at each image token in the last layer: mean over heads and answer rows.

    Jain and Wallace, "Attention is not explanation", NAACL 2019, discuss what such a map can and cannot show.
    """
    return _from_weights(lvlm, items, lambda weights, text: last_layer(weights, answer_rows(text, rows)))


@register(
    "rollout",
    group="attention",
    paper="Abnar and Zuidema, ACL 2020",
    passes=_ONE,
)
def rollout(lvlm: LVLM, items: Sequence[Item], rows: Rows = "predicting") -> list[Attribution]:
    """Attention followed through all layers, residual connections included.

    Abnar and Zuidema, "Quantifying attention flow in transformers", ACL 2020.
    """
    return _from_weights(lvlm, items, lambda weights, text: roll_out(weights, answer_rows(text, rows)))


@register(
    "gradient_attention",
    group="attention",
    paper="Chefer, Gur and Wolf, ICCV 2021",
    needs=("model", "gradients"),
    passes={"attention": 1},
)
def gradient_attention(lvlm: LVLM, items: Sequence[Item], rows: Rows = "predicting") -> list[Attribution]:
    """The last layer's attention times its positive gradient of the answer's log-likelihood, mean over heads and rows.

    After Chefer, Gur and Wolf, "Generic attention-model explainability", ICCV 2021 (Eq. 5).
    """
    import torch

    def work(canvas: Tensor, text: Text) -> Tensor:
        with torch.enable_grad():
            canvas = canvas.clone().requires_grad_()  # without a leaf there is no graph
            forward = lvlm.forward(canvas, text, attentions=True)
            (slope,) = torch.autograd.grad(log_likelihood(forward.logits, text).sum(), forward.attentions[-1])
        evidence = forward.attentions[-1].detach() * slope.clamp(min=0)
        return last_layer([evidence], answer_rows(text, rows))[:, text.image].cpu()

    values = map_cases(lvlm, items, work)
    return [on_grid(lvlm, item, row, forwards=1) for item, row in zip(items, values, strict=True)]


def answer_rows(text: Text, rows: Rows) -> Tensor:
    """Which rows of attention to read: those that predict the answer's tokens, or those of the tokens themselves."""
    if rows not in ("predicting", "answer"):
        raise MedgroundError(f"unknown rows {rows!r}; known: predicting, answer")
    return text.rows if rows == "predicting" else text.answer


def last_layer(weights: Sequence[Tensor], rows: Tensor) -> Tensor:
    """Mean over heads and rows of the last layer ``[B, H, L, L]``: ``[B, L]``."""
    return weights[-1][:, :, rows].float().mean((1, 2))


def roll_out(weights: Sequence[Tensor], rows: Tensor) -> Tensor:
    """Rows of the product over layers of (head mean + identity), rows normalised to one; mean over rows: ``[B, L]``.

    The product is taken from the last layer down on the chosen rows alone, T x L instead of L x L.
    """
    import torch

    batch, _, length, _ = weights[0].shape
    identity = torch.eye(length, device=weights[0].device)
    flow = identity[rows].expand(batch, -1, -1)
    for layer in reversed(weights):
        mixed = layer.float().mean(1) + identity
        flow = flow @ (mixed / mixed.sum(-1, keepdim=True))
    return flow.mean(1)


def _from_weights(lvlm: LVLM, items: Sequence[Item], read: Callable[..., Tensor]) -> list[Attribution]:
    """Grids of what ``read(weights, text)`` ``[B, L]`` says about the image tokens."""
    import torch

    def work(canvas: Tensor, text: Text) -> Tensor:
        with torch.inference_mode():
            weights = lvlm.forward(canvas, text, attentions=True).attentions
            return read(weights, text)[:, text.image].cpu()

    values = map_cases(lvlm, items, work)
    return [on_grid(lvlm, item, row, forwards=1) for item, row in zip(items, values, strict=True)]
