"""The command line: ``app``, with the commands of each module of this package."""

from ..errors import MedgroundError, friendly
from . import board, dataset, entries, evaluate, explain, pipeline  # each adds its commands
from .app import app

__all__ = ["app", "board", "dataset", "entries", "evaluate", "explain", "main", "pipeline"]


@friendly
def main() -> None:
    """The entry point ``medground``."""
    try:
        app()
    except OSError as error:  # a path that cannot be read or written, wherever a command meets it
        raise MedgroundError(f"{error.filename or 'a file'} cannot be used ({error.strerror or error})") from None
