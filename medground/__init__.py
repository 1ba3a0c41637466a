"""MedGround: does the heat map that explains a model's answer show what caused it?"""

from __future__ import annotations

from importlib import import_module

__version__ = "0.1.0"
_LAZY = {"load_lvlm": "medground.lvlm", "MedFocus": "medground.attribution"}  # these import torch


def __getattr__(name: str):
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
