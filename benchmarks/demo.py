"""What each stage of the demo takes: ``python -m benchmarks.demo``.

Runs ``dvc repro`` in a folder, by default this repository, and shows what it says while it says it. From when a stage
is named until the next one is, time is the stage's: it holds the hashing of what it made. Stages of a matrix are summed
under their name. What is up to date is not run, and the table says so; ``--force`` runs everything, and makes every
table anew. Wall time: run it on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
BEFORE = "before the first stage"  # what dvc does until it names one
_NAMED = re.compile(r"(Running stage|Stage) '([^']+)'(:$| didn't change| is cached)")
_HOW = {":": "ran", " didn't change": "up to date", " is cached": "from the run cache"}


@dataclass
class Stage:
    """A stage that dvc named: how it came by its outputs, and the seconds until the next was named."""

    name: str
    how: str = "ran"
    seconds: float = 0.0


def main(argv: Sequence[str] | None = None) -> int:
    """Exits with what ``dvc repro`` exits with; the table is printed either way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=ROOT, help="a clone of the repository")
    parser.add_argument("--force", action="store_true", help="run stages that are up to date, too")
    arguments = parser.parse_args(argv)
    command = [sys.executable, "-m", "dvc", "repro", *(["--force"] if arguments.force else [])]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])  # stages call `python`
    process = subprocess.Popen(
        command, cwd=arguments.folder, env={**os.environ, "PATH": path, "PYTHONUNBUFFERED": "1"}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=1,
    )  # fmt: skip
    assert process.stdout is not None
    stages = stamped(shown(process.stdout))
    status = process.wait()
    print("\n" + table(stages))
    if status:
        print(f"\n`dvc repro` failed ({status}): the last stage above is not whole")
    return status


def shown(lines: Iterable[str]) -> Iterator[str]:
    """The same lines, each printed as it comes."""
    for line in lines:
        print(line, end="", flush=True)
        yield line


def stamped(lines: Iterable[str], clock: Callable[[], float] = time.monotonic) -> list[Stage]:
    """The stages that ``dvc repro`` names in what it prints, in their order, with seconds by ``clock``; before them,
    `BEFORE`."""
    stages, since = [Stage(BEFORE)], clock()
    for line in lines:
        if found := _NAMED.match(line.rstrip()):
            now = clock()
            stages[-1].seconds += now - since
            stages.append(Stage(found[2], _HOW[found[3]]))
            since = now
    stages[-1].seconds += clock() - since
    return stages


def table(stages: Iterable[Stage]) -> str:
    """Markdown: seconds and share of each stage, those of a matrix (``name@item``) together, and of all."""
    groups: dict[str, list[Stage]] = defaultdict(list)
    for stage in stages:
        groups[stage.name.split("@")[0]].append(stage)
    total = sum(stage.seconds for some in groups.values() for stage in some)
    lines = ["| stage | ran | seconds | share |", "|---|---|---|---|"]
    for name, some in groups.items():
        seconds = sum(stage.seconds for stage in some)
        lines.append(f"| {name} | {_ran(name, some)} | {seconds:.1f} | {seconds / max(total, 1e-9):.1%} |")
    return "\n".join([*lines, f"| **all** | | {total:.1f} | 100.0% |"])


def _ran(name: str, stages: Sequence[Stage]) -> str:
    """How many of a stage ran, and what became of the others."""
    if name == BEFORE:
        return ""
    counts = {how: sum(stage.how == how for stage in stages) for how in _HOW.values()}
    if len(stages) == 1:
        return "1" if counts["ran"] else stages[0].how
    told = [str(count) if how == "ran" else f"{count} {how}" for how, count in counts.items() if count]
    return ", ".join(told)


if __name__ == "__main__":
    sys.exit(main())
