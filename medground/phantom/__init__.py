"""Phantom radiographs: virtual patients made of one chest CT, findings with exact healthy twins.

Importing this package does not import torch; what it names does, on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .ct import fetch_ct
    from .film import CONCEPTS, SIZE, Film
    from .findings import FINDINGS
    from .patient import Patient, Phantom

__all__ = ["CONCEPTS", "FINDINGS", "SIZE", "Film", "Patient", "Phantom", "fetch_ct"]
_LAZY = {
    "CONCEPTS": ".film", "FINDINGS": ".findings", "SIZE": ".film", "Film": ".film", "Patient": ".patient",
    "Phantom": ".patient", "fetch_ct": ".ct",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
