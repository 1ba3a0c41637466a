"""Following a how-to word for word: its files are written as it shows them, its commands run as it says."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
_BLOCK = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', re.M | re.S)


def blocks(page: Path) -> list[tuple[str, str | None, str]]:
    """The code blocks of a page: language, file name, text."""
    return [(kind, name, text) for kind, name, text in _BLOCK.findall(page.read_text())]


def commands(block: str) -> list[str]:
    """The shell commands of a block, one each, continued lines joined and comments left out; where prompts are
    shown, the other lines are what was printed."""
    lines = re.sub(r"\\\n\s*", " ", block).splitlines()
    given = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")] or lines
    parts = [part.strip() for line in given for part in re.split(r"&&|;(?!;)", re.sub(r"(^|\s)#.*", "", line))]
    return [part for part in parts if part]


def follow(page: str, folder: Path, **replaced: str) -> list[tuple[str, str]]:
    """Write every titled block of ``docs/how-to/<page>`` under ``folder``, then run its console commands there.

    Returns each command with what it printed, after checking that it printed what the page shows. ``pip install .`` is
    done as pip would, as far as entry points go. ``replaced`` are words of commands that stand for something else here.
    """
    done = []
    consoles = []
    for kind, name, text in blocks(ROOT / "docs/how-to" / page):
        if name:
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        elif kind == "console":
            consoles.append(text)
    for command, shown in (pair for text in consoles for pair in _commands(text)):
        for word, other in replaced.items():
            command = command.replace(word, other)
        if command == "pip install .":
            install(folder)
            continue
        printed = run(command, folder)
        for line in shown.splitlines():
            assert line.strip() in printed, f"{command!r} printed\n{printed}\nand not the page's {line!r}"
        done.append((command, printed))
    return done


def run(command: str, folder: Path, at: Path = ROOT) -> str:
    """Run a command of a page in ``folder``, with the code of the checkout ``at``, and return what it printed; fails
    where it fails."""
    words = shlex.split(command)
    if words[0] == "medground":
        words = [sys.executable, "-c", "from medground.cli import main; main()", *words[1:]]
    elif words[0] == "python":
        words = [sys.executable, *words[1:]]
    environment = os.environ | {"PYTHONPATH": f"{folder}{os.pathsep}{at}", "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{command!r}: {done.stdout[-3000:]}\n{done.stderr[-6000:]}"
    return done.stdout


def install(folder: Path) -> None:
    """Announce the package of ``folder``, which is on the path, as pip does: its name and its entry points."""
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    info = folder / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    lines = []
    for group, points in project.get("entry-points", {}).items():
        lines += [f"[{group}]", *(f"{name} = {value}" for name, value in points.items())]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")


def _commands(text: str) -> list[tuple[str, str]]:
    """Each ``$ command`` of a console block with the lines shown below it."""
    parts = re.split(r"^\$ ", text, flags=re.M)[1:]
    return [(part.partition("\n")[0].strip(), part.partition("\n")[2]) for part in parts]
