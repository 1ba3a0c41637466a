"""constraints.txt against pyproject.toml and what is installed: an install of next year is the one of today."""

import re
import sys
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "scripts"))
import constraints  # noqa: E402

PINS = dict(
    line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")
)
INSTALL = (ROOT / "scripts/install").read_text()


def test_every_dependency_of_every_extra_is_pinned_in_a_version_that_it_allows():
    torch = re.search(r"torch==([\d.]+)", INSTALL)[1]
    pins = PINS | {"torch": torch}
    for requirement in constraints.declared():
        name = canonicalize_name(requirement.name)
        assert name in pins, f"{requirement} is not pinned: run scripts/constraints.py"
        assert requirement.specifier.contains(pins[name]), f"{requirement} does not allow {pins[name]}"


def test_pins_are_plain_versions_from_the_index():
    for name, pin in PINS.items():
        assert name == canonicalize_name(name) and str(Version(pin)) == pin and not Version(pin).local
        Requirement(f"{name}=={pin}")


def test_no_dependency_of_a_dependency_is_forgotten():
    assert constraints.pinned(constraints.declared()).keys() - {"torch"} <= PINS.keys(), "run scripts/constraints.py"


def test_the_install_and_what_builds_the_package_use_the_pins():
    assert "PIP_CONSTRAINT=$PWD/constraints.txt" in INSTALL
    assert ".venv/all: pyproject.toml constraints.txt scripts/install" in (ROOT / "Makefile").read_text()
