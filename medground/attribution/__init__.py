"""What in the film made the model answer so: methods by name, all with one interface."""

from __future__ import annotations

from typing import Any

from .method import Attribution, Item, Method
from .registry import by_entry, entries, method, methods, register

__all__ = ["Attribution", "Item", "MedFocus", "Method", "by_entry", "entries", "method", "methods", "register"]


def __getattr__(name: str) -> Any:
    if name == "MedFocus":  # imports torch
        from .film import MedFocus

        return MedFocus
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
