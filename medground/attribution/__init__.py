"""What in the film made the model answer so: methods by name, all with one interface."""

from __future__ import annotations

from .method import Attribution, Item, Method
from .registry import method, methods

__all__ = ["Attribution", "Item", "MedFocus", "Method", "method", "methods"]


def __getattr__(name: str):
    if name == "MedFocus":  # imports torch
        from .film import MedFocus

        return MedFocus
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
