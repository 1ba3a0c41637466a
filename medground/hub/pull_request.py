"""Propose an entry to the board: a pull request on the dataset that adds its folder."""

from __future__ import annotations

import tempfile
from pathlib import Path

from huggingface_hub import CommitOperationAdd, HfApi

from ..errors import MedgroundError
from ..scoring.tables import read_attributions
from ..sources import LicenceError
from ..submission.reader import file_problems, read_card
from ..submission.restricted import excess, pixels_may_leave, source_of
from ..submission.schema import CARD, COLUMNS, TABLE
from ..submission.writer import write_rows
from .guard import encoded
from .push import explained


def propose(folder: Path, repo: str) -> str:
    """Open a pull request on the dataset ``repo`` that adds ``submissions/<folder's name>/``; return its address.

    Raises LicenceError for what may not leave (`check`), and MedgroundError, each with its remedy, as
    `medground.hub.push.publish` does.
    """
    check(folder)
    operations = [CommitOperationAdd(f"submissions/{folder.name}/{name}", folder / name) for name in (TABLE, CARD)]
    with explained(repo):
        commit = HfApi().create_commit(
            repo, operations, repo_type="dataset", create_pr=True, commit_message=f"Entry {folder.name}"
        )
    if commit.pr_url is None:
        raise MedgroundError(f"the Hub took the entry, and names no pull request; look at {repo} there")
    return commit.pr_url


def check(folder: Path) -> None:
    """Raise LicenceError unless an entry is as `medground submit` writes it, and tells of films that may not be
    published no more than `medground.submission.restricted` allows."""
    card, unread = read_card(folder)
    problems = [str(problem) for problem in file_problems(folder) or unread]
    if not problems:
        if encoded(str(card)):
            problems.append(f"{CARD}: holds encoded bytes")
        found: dict[str, int] = {}
        for row in read_attributions(folder / TABLE, COLUMNS.names):
            source = source_of(row["case_id"])
            for what in () if pixels_may_leave(source) else excess(row):
                found[f"{TABLE}: {what} of {source}"] = found.get(f"{TABLE}: {what} of {source}", 0) + 1
        problems += [f"{what} ({rows} rows)" for what, rows in found.items()]
        if not problems and not _as_written(folder / TABLE):
            problems.append(f"{TABLE}: holds bytes besides its rows")
    if problems:
        raise LicenceError(
            f"{folder} may not leave:\n  " + "\n  ".join(problems) + "\n`medground submit` writes an entry that may: "
            "what is proposed is the folder that it made"
        )


def _as_written(table: Path) -> bool:
    """Whether a table is byte for byte what `medground submit` makes of its rows."""
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / TABLE
        write_rows(read_attributions(table, COLUMNS.names), written)
        return written.read_bytes() == table.read_bytes()
