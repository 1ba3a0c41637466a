"""The command line. Each command is a few lines that call the library."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated

import typer

from .errors import MedgroundError

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)


def friendly(main: Callable) -> Callable:
    """Wrap a stage or command: a MedgroundError becomes one message on stderr and exit code 1."""

    @wraps(main)
    def run(*args, **kwargs):
        try:
            return main(*args, **kwargs)
        except MedgroundError as error:
            print(f"error: {error}", file=sys.stderr)
            raise SystemExit(1) from None
        except KeyboardInterrupt:
            print("interrupted; finished batches are kept, run the same command to go on", file=sys.stderr)
            raise SystemExit(130) from None

    return run


@app.command()
def profile(
    name: Annotated[str, typer.Argument(help="A file of profiles/, without .yaml")],
    root: Annotated[Path, typer.Option(help="The repository")] = Path("."),
) -> None:
    """Make a profile the active one: copy profiles/NAME.yaml to params.yaml."""
    from . import params

    params.activate(name, root)
    print(f"params.yaml is now the profile {name}")


@friendly
def main() -> None:
    """The entry point ``medground``."""
    app()
