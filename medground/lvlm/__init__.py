"""Large vision-language models behind one small interface: a film and a prompt in, an answer and its gradients out.

Importing this package does not import torch; `load_lvlm` and `LVLM` do, on first use.
"""

from __future__ import annotations

from importlib import import_module

_LAZY = {"load_lvlm": ".registry", "LVLM": ".base", "Text": ".base", "Forward": ".base", "Answer": ".base"}


def __getattr__(name: str):
    if name in _LAZY:
        return getattr(import_module(_LAZY[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
