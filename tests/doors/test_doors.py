"""A door: what registers, what is refused, and what the light core says about what it does without."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from importlib.metadata import EntryPoint, packages_distributions
from pathlib import Path

import pytest

from medground import doors, errors
from medground.doors import Door
from medground.errors import MedgroundError

ROOT = Path(__file__).parents[2]


class Thing: ...


class Other: ...


@pytest.fixture
def outside(tmp_path, monkeypatch):
    """Write a module of somebody else's and announce it to a door's group."""
    monkeypatch.syspath_prepend(tmp_path)

    def announce(group, name, text):
        (tmp_path / f"{name}.py").write_text(text)
        point = EntryPoint(name, name, group)
        monkeypatch.setattr(doors, "entry_points", lambda group: [point] if group == point.group else [])

    return announce


def test_modules_and_entry_points_register_and_names_are_sorted(outside, tmp_path):
    package = tmp_path / "shelf"
    package.mkdir()
    (package / "__init__.py").write_text("from medground.doors import Door\ndoor = Door('x.y', 'thing', ('shelf.*',))")
    for name in ("b", "a"):
        (package / f"{name}.py").write_text(f"from . import door\ndoor.register({name!r}, object())")
    outside("x.y", "aguest", "import shelf\nshelf.door.register('aguest', object())")
    import shelf
    import shelf.b  # somebody imports one by itself, before the door is asked

    assert shelf.door.names() == [name for name, _ in shelf.door.items()] == ["a", "aguest", "b"]
    assert "aguest" in shelf.door and "c" not in shelf.door
    with pytest.raises(MedgroundError, match=r"no thing 'c'; known: a, aguest, b\..*group x\.y"):
        shelf.door.get("c")


def test_one_name_one_thing():
    door = Door("x.y", "thing")
    first = door.register("one", Thing())
    assert door.register("one", Thing()) is not first, "a module that is imported again registers again"
    with pytest.raises(MedgroundError, match=r"two things are named 'one': .*Thing and .*Other; rename yours"):
        door.register("one", Other())


def test_a_broken_guest_is_named_and_does_not_spoil_the_door(outside):
    outside("x.y", "broken_guest", "1 / 0")
    door = Door("x.y", "thing")
    for _ in range(2):
        with pytest.raises(MedgroundError, match=r"'broken_guest' .*\(broken_guest\).*ZeroDivisionError.*uninstall it"):
            door.names()


def test_every_module_of_an_extra_is_in_that_extra_and_not_in_the_core():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    def names(requirements):
        return {r.partition("[")[0].split("=")[0].split(">")[0].lower() for r in requirements}

    distributions = packages_distributions()
    for module, extra in errors.EXTRAS.items():
        known = {name.lower() for name in distributions[module]}
        assert known & names(project["optional-dependencies"][extra]), module
        assert not known & names(project["dependencies"]), module


def test_a_command_names_the_extra_that_it_lacks():
    program = """
import sys
sys.modules["torch"] = None
sys.argv = ["medground", *sys.argv[1:]]
from medground.cli import main
main()
"""
    asked = ["attribute", "docs/methods.png", "--question", "?", "--model", "phantom-gemma3", "--out", "nowhere"]
    done = subprocess.run([sys.executable, "-c", program, *asked], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "pip install 'medground[run]'" in done.stderr


def test_every_module_that_is_imported_comes_with_the_core_or_a_known_extra():
    """So that a command without an extra never ends in a traceback."""
    core = {"numpy", "pandas", "pyarrow", "scipy", "PIL", "yaml", "pydantic", "filelock", "typer", "rich"}
    with_run = {"tokenizers", "safetensors"}  # required by transformers, imported beside it
    known = core | set(errors.EXTRAS) | with_run | set(sys.stdlib_module_names) | {"medground"}
    strangers = {}
    for path in sorted((ROOT / "medground").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module]
            strangers |= {name.split(".")[0]: path.name for name in names if name.split(".")[0] not in known}
    assert not strangers
