"""Imports run downwards: what lies above knows what lies below, never the other way round.

The order is that of the README's picture and of the map in CONTRIBUTING.md. Imports for annotations alone
(``TYPE_CHECKING``) do not count, nor do modules that a door imports by name.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "medground"
# From the top down. What shares a line may not import each other.
LAYERS = (
    {"cli"},
    {"testing"},  # its checks build small models of the phantom; nothing that runs imports it
    {"phantom"},
    {"hub"},
    {"submission", "evaluation"},
    {"ranking"},
    {"attribution"},
    {"scoring"},
    {"verification"},
    {"anatomy"},
    {"grounding", "editing"},
    {"sources"},
    {"lvlm"},
    {"engine"},
)
# What every layer may use, and which uses none of them.
GROUND = {
    "records",
    "images",
    "thumbnail",
    "cases",
    "films",
    "geometry",
    "params",
    "errors",
    "files",
    "folders",
    "doors",
    "wording",
    "charts",
    "reproduced",
    "__init__",
}


def imports(path: Path) -> set[str]:
    """The parts of medground (its packages and top modules) that a file imports when it runs."""
    found: set[str] = set()
    package = ("medground", *path.relative_to(PACKAGE).parts[:-1])

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            return
        if isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            name = (*base, *(node.module.split(".") if node.module else ()))
            if name == ("medground",):
                found.update(alias.name for alias in node.names)
            elif name[:1] == ("medground",):
                found.add(name[1])
        elif isinstance(node, ast.Import):
            found.update(alias.name.split(".")[1] for alias in node.names if alias.name.startswith("medground."))
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(path.read_text()))
    return found


def edges() -> dict[tuple[str, str], str]:
    """(importer, imported) among the parts, with a file that does it."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        part = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        for other in imports(path) - {part}:
            found[part, other] = str(path.relative_to(PACKAGE.parent))
    return found


EDGES = edges()
HEIGHT = {part: len(LAYERS) - number for number, layer in enumerate(LAYERS) for part in layer}


def test_every_part_has_its_place():
    parts = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
    assert parts == set(HEIGHT) | GROUND, "give the new part a place in LAYERS, or in GROUND"


def test_imports_run_downwards():
    wrong = {
        f"{importer} imports {imported} in {path}"
        for (importer, imported), path in EDGES.items()
        if imported in HEIGHT and HEIGHT.get(importer, 0) <= HEIGHT[imported]
    }
    assert not wrong, "\n".join(sorted(wrong))


@pytest.mark.parametrize("importer", sorted({*HEIGHT, *GROUND} - {"phantom", "testing"}))
def test_the_phantom_is_a_wing_that_nothing_imports(importer):
    assert (importer, "phantom") not in EDGES, EDGES.get((importer, "phantom"))


def test_nothing_that_runs_imports_the_checks():
    assert not [importer for importer, imported in EDGES if imported == "testing"]


@pytest.mark.parametrize("imported", ["engine", "lvlm", "attribution", "sources", "phantom"])
def test_scoring_asks_neither_engine_nor_models(imported):
    assert ("scoring", imported) not in EDGES, EDGES.get(("scoring", imported))


def test_the_reader_of_imports_sees_them(tmp_path, monkeypatch):
    """All the ways to import that the package uses."""
    monkeypatch.setattr(f"{__name__}.PACKAGE", tmp_path / "medground")
    file = tmp_path / "medground" / "hub" / "deep" / "x.py"
    file.parent.mkdir(parents=True)
    file.write_text(
        "import medground.engine.run\nfrom medground import cli, params\nfrom ...lvlm import base\n"
        "from .. import card\n"
        "from ... import images\nfrom typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from ...anatomy import x\n"
        "def f():\n    from ...scoring.boxes import y\n"
    )
    assert imports(file) == {"engine", "cli", "params", "lvlm", "hub", "images", "scoring"}


def test_test_files_have_names_of_their_own():
    """Two of one name cannot be collected together: the folders of tests are no packages."""
    names = [path.name for path in PACKAGE.parent.glob("tests/**/test_*.py")]
    assert len(names) == len(set(names)), sorted({name for name in names if names.count(name) > 1})
