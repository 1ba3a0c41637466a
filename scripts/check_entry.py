"""What a pull request adds, where it adds entries: judged in git, taken out as plain files, validated and scored.

    python scripts/check_entry.py BASE PROPOSED build/entries                  refuses what is no addition of entries
    python scripts/check_entry.py BASE PROPOSED build/entries --data data      and validates and scores them

The judgement is of the merge, tree against tree, as the base branch would become: no rename, copy or merge in the
branch hides a change. Only two plain files in a new folder of ``submissions`` pass. Nothing of the pull request is
checked out or run; its files are read out of git's objects, with a limit, into a folder of their own.
"""

from __future__ import annotations

import argparse
import html
import io
import re
import subprocess
import sys
from contextlib import redirect_stdout
from pathlib import Path

from medground import folders
from medground.errors import MedgroundError, friendly
from medground.submission.schema import CARD, MAX_CARD_BYTES, MAX_TABLE_BYTES, TABLE

COMMAND = "scripts/check_entry.py"
LIMITS = {CARD: MAX_CARD_BYTES, TABLE: MAX_TABLE_BYTES}
MOST = 5  # entries of one pull request
_PATH = re.compile(rf"submissions/([a-z0-9][a-z0-9._-]{{0,99}})/({re.escape(CARD)}|{re.escape(TABLE)})")


def additions(base: str, proposed: str, repository: Path = Path(".")) -> dict[str, dict[str, str]]:
    """The entries that merging the commit ``proposed`` into ``base`` would add: id to file name to git's blob.

    Raises MedgroundError with everything that is not such an addition: a change, deletion or rename of any file, a mode
    other than that of a plain file, another name or place, an entry that is there already, half an entry, a conflict.
    """
    tree = _git(repository, "merge-tree", "--write-tree", "--no-messages", base, proposed, may_fail=True)
    if tree is None:
        raise MedgroundError("the pull request does not merge; rebase it on the base branch")
    raw = _git(repository, "diff-tree", "-r", "-z", "--raw", "--no-renames", "--no-abbrev", "--full-index", base,
               tree.decode().strip())  # fmt: skip
    fields = raw.decode("utf-8", "backslashreplace").split("\0")[:-1]
    there = (
        _git(repository, "ls-tree", "-z", "--name-only", base, "submissions/").decode("utf-8", "replace").split("\0")
    )
    problems, found = [], {}
    for status, path in zip(fields[::2], fields[1::2], strict=True):
        _, mode, _, blob, kind = status.split(" ")
        named = _PATH.fullmatch(path)
        if kind != "A":
            what = {"D": "deleted", "M": "changed", "T": "made another type"}.get(kind, f"changed ({kind})")
            problems.append(f"{path!r} is {what}; send entries and other changes in separate pull requests")
        elif not named:
            problems.append(f"{path!r} does not belong to an entry: submissions/<id>/{CARD} and {TABLE} do")
        elif mode != "100644":
            problems.append(f"{path!r} is no plain file (mode {mode})")
        elif f"submissions/{named[1]}" in there:
            problems.append(f"{path!r} is added to an entry that is there already; entries do not change")
        else:
            size = int(_git(repository, "cat-file", "-s", blob))
            if size > LIMITS[named[2]]:
                problems.append(f"{path!r} has {size:,} bytes; at most {LIMITS[named[2]]:,}")
            found.setdefault(named[1], {})[named[2]] = blob
    problems += [f"submissions/{name} has no {file}" for name in found for file in LIMITS if file not in found[name]]
    if len(found) > MOST:
        problems.append(f"{len(found)} entries in one pull request; at most {MOST}")
    if not problems and not found:
        problems.append("the pull request adds no entry")
    if problems:
        raise MedgroundError("this is no addition of entries:\n  " + "\n  ".join(problems))
    return found


def extract(found: dict[str, dict[str, str]], out: Path, repository: Path = Path(".")) -> list[Path]:
    """Write entries of git's objects as plain files below ``out``; their folders."""
    with folders.rebuilt(out, COMMAND) as partial:
        for name, files in sorted(found.items()):
            (partial / name).mkdir()
            for file, blob in files.items():
                with (partial / name / file).open("xb") as stream:
                    subprocess.run(["git", "cat-file", "blob", blob], cwd=repository, stdout=stream, check=True)
    return [out / name for name in sorted(found)]


def judged(folder: Path, data: Path) -> tuple[bool, str]:
    """Whether an entry is valid and may be published, and a report in Markdown that holds its texts as text."""
    from medground.hub.pull_request import check
    from medground.ranking.show import show
    from medground.submission.preview import NAME, against_board

    report, rows = against_board(folder, data, "dev")
    board = io.StringIO()
    if rows:
        with redirect_stdout(board):
            show(rows, marked=NAME)
    lines = [report.text(), board.getvalue()]
    valid = report.valid
    if valid:
        try:
            check(folder)
        except MedgroundError as error:
            valid, lines = False, [str(error), *lines]
    return valid, f"## {html.escape(folder.name)}\n\n<pre>\n{html.escape(chr(10).join(lines))}\n</pre>\n"


def _git(repository: Path, *words: str, may_fail: bool = False) -> bytes | None:
    done = subprocess.run(["git", *words], cwd=repository, capture_output=True)
    if done.returncode and not may_fail:
        raise MedgroundError(f"git {words[0]} failed: {done.stderr.decode(errors='replace').strip()}")
    return None if done.returncode else done.stdout


@friendly
def main() -> None:
    """Judge, take out, and with ``--data`` validate and score; exit 1 where anything is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("base", help="the commit of the base branch")
    parser.add_argument("proposed", help="the commit of the pull request")
    parser.add_argument("out", type=Path, help="the folder to write the entries to")
    parser.add_argument("--data", type=Path, help="the pipeline's tables: validate and score too")
    parser.add_argument("--summary", type=Path, help="append the report to this Markdown file")
    asked = parser.parse_args()
    entries = extract(additions(asked.base, asked.proposed), asked.out)
    print("\n".join(f"adds {entry.name}" for entry in entries))
    wrong = []
    for entry in entries if asked.data else ():
        valid, report = judged(entry, asked.data)
        print(report)
        if asked.summary:
            with asked.summary.open("a") as stream:
                stream.write(report)
        wrong += [] if valid else [entry.name]
    if wrong:
        raise MedgroundError(f"not valid: {', '.join(wrong)}")


if __name__ == "__main__":
    sys.exit(main())
