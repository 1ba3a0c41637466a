"""Large vision-language models behind one small interface: a film and a prompt in, an answer and its gradients out.

Importing this package does not import torch; what it names does, on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .base import LVLM, Answer, Forward, Text
    from .checkpoints import Published
    from .registry import load_lvlm, register_family

__all__ = ["LVLM", "Answer", "Forward", "Published", "Text", "load_lvlm", "register_family"]
_LAZY = dict.fromkeys(("LVLM", "Answer", "Forward", "Text"), ".base")
_LAZY |= {"Published": ".checkpoints", "load_lvlm": ".registry", "register_family": ".registry"}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
