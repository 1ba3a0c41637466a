"""The command line: ``app``, with the commands of each module of this package."""

from ..errors import friendly
from . import board, dataset, entries, explain, pipeline  # each adds its commands
from .app import app

__all__ = ["app", "board", "dataset", "entries", "explain", "main", "pipeline"]


@friendly
def main() -> None:
    """The entry point ``medground``."""
    app()
