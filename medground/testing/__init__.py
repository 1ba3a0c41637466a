"""Conformance checks for what others add: run them in the tests of your method, model family, source or metric.

Each raises AssertionError that says everything that is wrong. Importing this package does not import torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .lvlm import check_lvlm
    from .method import check_method
    from .metric import check_metric
    from .source import check_source

__all__ = ["check_lvlm", "check_method", "check_metric", "check_source"]
_LAZY = {
    "check_lvlm": ".lvlm", "check_method": ".method", "check_metric": ".metric", "check_source": ".source"
}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
