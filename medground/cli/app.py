"""The command line. Each command is a few lines that call the library."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
#: The option ``--data`` of every command that reads tables.
Data = Annotated[
    str,
    typer.Option(
        help="The data: ORG/NAME or ORG/NAME@TAG on the Hub, a folder of that dataset, or the pipeline's tables"
    ),
]


def found(data: str, *, films: bool = False) -> Path:
    """The folder of tables that ``data`` stands for; with ``films`` it has films and questions, too."""
    from ..hub.data import tables

    return tables(data, films=films)
