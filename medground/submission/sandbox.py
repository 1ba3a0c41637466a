"""The process in which the validator opens a table: little memory, little time, no files written, answers in JSON.

``python -m medground.submission.sandbox MEMORY SECONDS`` reads the question from standard input.
"""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path


def main() -> None:
    memory, seconds = map(int, sys.argv[1:3])
    from .validator import _shortened, table_problems  # what it imports is not the file's doing

    resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    question = json.load(sys.stdin)
    found = _shortened(table_problems(Path(question["path"]), question["expected"], question["films"]))
    json.dump([problem.as_dict() for problem in found], sys.stdout)


if __name__ == "__main__":
    main()
