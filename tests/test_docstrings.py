"""Who calls a function of the library need not read its body: it says what it does, and what its arguments are."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "medground"
#: what others implement or call: here every argument is explained, too
EXPLAINED = (
    "doors.py", "attribution/method.py", "attribution/registry.py", "lvlm/base.py", "lvlm/registry.py",
    "sources/source.py", "scoring", "ranking", "verification", "testing",
)  # fmt: skip
FUNCTION = ast.FunctionDef | ast.AsyncFunctionDef


def public(path: Path) -> Iterator[tuple[str, ast.AST, ast.ClassDef | None]]:
    """The public classes, functions and methods of a file: name, node, and the class that a method is of."""
    if any(part.startswith("_") and part != "__init__.py" for part in path.relative_to(PACKAGE).parts):
        return
    for node in ast.parse(path.read_text()).body:
        if not isinstance(node, ast.ClassDef | FUNCTION) or node.name.startswith("_"):
            continue
        yield node.name, node, None
        for member in node.body if isinstance(node, ast.ClassDef) else ():
            if isinstance(member, FUNCTION) and not member.name.startswith("_"):
                yield f"{node.name}.{member.name}", member, node


def everything() -> Iterator[tuple[str, ast.AST, ast.ClassDef | None]]:
    """As `public`, of the whole package; names begin with their file."""
    for path in sorted(PACKAGE.rglob("*.py")):
        for name, node, owner in public(path):
            yield f"{path.relative_to(PACKAGE)}: {name}", node, owner


def declared() -> dict[str, set[str]]:
    """Class -> the methods that it documents, of the whole package."""
    found: dict[str, set[str]] = {}
    for name, node, owner in everything():
        if owner is not None and ast.get_docstring(node):
            found.setdefault(owner.name, set()).add(name.rpartition(".")[2])
    return found


def elsewhere(name: str, node: ast.AST, owner: ast.ClassDef | None, documented: dict[str, set[str]]) -> bool:
    """Whether it is documented elsewhere: a method where its base class declares it, a metric by its ``help``."""
    if owner is None:
        decorators = [d for d in getattr(node, "decorator_list", ()) if isinstance(d, ast.Call)]
        return any(keyword.arg == "help" for d in decorators for keyword in d.keywords)
    bases = {base.attr if isinstance(base, ast.Attribute) else getattr(base, "id", "") for base in owner.bases}
    return any(name.rpartition(".")[2] in documented.get(base, ()) for base in bases)


def test_everything_public_says_what_it_does():
    documented = declared()
    bare = [
        name
        for name, node, owner in everything()
        if not ast.get_docstring(node) and not elsewhere(name, node, owner, documented)
    ]
    assert not bare, f"{len(bare)} without a docstring:\n" + "\n".join(bare)


def test_interfaces_explain_every_argument():
    silent, documented = [], declared()
    for name, node, owner in everything():
        if not name.startswith(EXPLAINED) or not isinstance(node, FUNCTION):
            continue
        if elsewhere(name, node, owner, documented):
            continue
        places = [ast.parse((PACKAGE / name.partition(":")[0]).read_text()), owner, node]
        said = " ".join(ast.get_docstring(place) or "" for place in places if place is not None)
        arguments = node.args
        for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs):
            if argument.arg in ("self", "cls") or re.search(rf"\b{argument.arg}\b", said):
                continue
            silent.append(f"{name}: {argument.arg}")
    assert not silent, f"{len(silent)} arguments that nothing is said of:\n" + "\n".join(silent)
