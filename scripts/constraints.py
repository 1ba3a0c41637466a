"""Write constraints.txt: the version of every package that an install brings, as they are in this environment.

python scripts/constraints.py        (in the .venv of this repository; then run the tests, and commit)
"""

from __future__ import annotations

import sys
import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
BY_INSTALL = ("torch",)  # scripts/install names their version
CUDA = ("cuda-", "nvidia-", "triton")  # what a build of torch for GPUs brings besides, in versions of its own
OUT = ROOT / "constraints.txt"
HEAD = """\
# What scripts/install installs, package by package. Written by scripts/constraints.py from an environment in which all
# tests passed. torch is named there, because its build (CPU or CUDA) is chosen by machine.
"""


def main() -> None:
    pins = pinned(declared())
    OUT.write_text(
        HEAD + "".join(f"{name}=={version}\n" for name, version in sorted(pins.items()) if name not in BY_INSTALL)
    )
    print(f"{OUT.name}: {len(pins)} packages")


def declared() -> list[Requirement]:
    """What pyproject.toml asks for, to build, to run, and in every extra."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = project["project"]["optional-dependencies"].values()
    asked = [project["build-system"]["requires"], project["project"]["dependencies"], *extras]
    found = [Requirement(text) for texts in asked for text in texts]
    return [requirement for requirement in found if requirement.name != project["project"]["name"]]


def pinned(requirements: list[Requirement]) -> dict[str, str]:
    """The installed version of each requirement, and of all that it requires; the build (``+cpu``) is not said."""
    pins: dict[str, str] = {}
    seen: set[tuple[str, str]] = set()
    waiting = [(requirement, extra) for requirement in requirements for extra in ("", *requirement.extras)]
    while waiting:
        requirement, extra = waiting.pop()
        name = canonicalize_name(requirement.name)
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        try:
            found = distribution(name)
        except PackageNotFoundError:
            sys.exit(f"error: {requirement} is not installed here; run scripts/install first")
        pins[name] = Version(found.version).public
        for text in found.requires or []:
            needed = Requirement(text)
            if name in BY_INSTALL and needed.name.startswith(CUDA):
                continue
            if needed.marker is None or needed.marker.evaluate({"extra": extra}):
                waiting += [(needed, each) for each in ("", *needed.extras)]
    return pins


if __name__ == "__main__":
    main()
