"""Which code a piece of work depends on: the modules that it imports, read and not run.

The closure of a module holds every module of this repository that it imports, anywhere in it, and what these import.
An import inside a function counts as well: the function may run. What does not count is what cannot change a result:
imports for annotations alone (``if TYPE_CHECKING``), and of a package that hands out names on demand (a module-level
``__getattr__``), what nobody asks it for. A module that is found by a name in params.yaml is no import; who names it
adds it.

Of a module, what Python reads is taken: comments, docstrings and formatting do not count. Other files that lie in a
package, such as templates, belong to the package.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Collection, Iterable, Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

PACKAGES = ("medground", "stages")  # are followed, and the package of a module that is asked about; others are pinned
_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def closure(modules: Iterable[str], without: Collection[str] = ()) -> list[str]:
    """The modules that ``modules`` need, themselves included, sorted. Those of ``without`` are not followed.

    Names are dotted, such as ``medground.scoring.boxes``. Raises ModuleNotFoundError for one that is not there.
    """
    found: set[str] = set()
    waiting = list(modules)
    while waiting:
        module = waiting.pop()
        for name in _with_packages(module):
            if name not in found and name not in without:
                found.add(name)
                waiting += imports(name)
    return sorted(found)


def digest(modules: Iterable[str]) -> str:
    """One digest of what Python reads in all of ``modules``."""
    return hashlib.sha256("".join(f"{name} {_meaning(name)}\n" for name in sorted(modules)).encode()).hexdigest()


def below(package: str) -> list[str]:
    """The modules of a package, which a door imports by listing it; none where there is no such package."""
    file = _source(package)
    return [f"{package}.{path.stem}" for path in sorted(file.parent.glob("[a-z]*.py"))] if file else []


def listing(modules: Iterable[str]) -> str:
    """A line for each of ``modules``: its name, and the digest of what Python reads in it."""
    return "".join(f"{name} {_meaning(name)[:16]}\n" for name in sorted(modules))


@cache
def imports(module: str) -> tuple[str, ...]:
    """The modules that one module imports by itself, of those in `PACKAGES`."""
    tree, package = _tree(module), _package(module)
    names = [name for node in _running(tree) for name in _imported(node, package)]
    followed = {*PACKAGES, module.split(".")[0]}
    return tuple(sorted({name for name in names if name.split(".")[0] in followed and _source(name)}))


def meaning(source: str) -> str:
    """What Python reads in a module's source: no comments, no formatting, no docstrings."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, _DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return ast.dump(tree)


def _imported(node: ast.AST, package: str) -> Iterator[str]:
    """The dotted names that an import statement may be about; some are no modules but what is in one."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    if isinstance(node, ast.ImportFrom):
        base = node.module or ""
        if node.level:
            above = package.split(".")[: len(package.split(".")) - node.level + 1]
            base = ".".join([*above, *filter(None, [node.module])])
        yield base
        for alias in node.names:
            yield f"{base}.{alias.name}"
            if base.split(".")[0] in PACKAGES and _source(base):
                yield from _on_demand(base, alias.name)


def _on_demand(module: str, name: str) -> list[str]:
    """What a module imports in its ``__getattr__`` when it is asked for ``name``."""
    tree = _tree(module)
    lazy = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "__getattr__"]
    if not lazy or name in _bound(tree) or _source(f"{module}.{name}"):
        return []
    package = _package(module)
    found = [imported for node in ast.walk(lazy[0]) for imported in _imported(node, package)]
    for node in tree.body:  # tables from names to modules
        if isinstance(node, ast.Assign | ast.AugAssign):
            found += [f"{module}{text}" if text.startswith(".") else text for text in _beside(node.value, name)]
    return found


def _beside(value: ast.expr, name: str) -> list[str]:
    """The strings that stand for ``name`` in a dict; in any other expression that has the name, all strings."""
    if isinstance(value, ast.Dict):
        pairs = zip(value.keys, value.values, strict=True)
        return [text for key, given in pairs if name in _strings(key) for text in _strings(given)]
    return [text for text in _strings(value) if text != name] if name in _strings(value) else []


def _strings(node: ast.AST | None) -> list[str]:
    nodes = ast.walk(node) if node else ()
    return [part.value for part in nodes if isinstance(part, ast.Constant) and isinstance(part.value, str)]


def _running(tree: ast.Module) -> Iterator[ast.AST]:
    """The nodes of a module but those for annotations alone, and those of its ``__getattr__``."""
    waiting: list[ast.AST] = [node for node in tree.body if getattr(node, "name", "") != "__getattr__"]
    while waiting:
        node = waiting.pop()
        yield node
        if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            waiting += node.orelse
        else:
            waiting += ast.iter_child_nodes(node)


def _bound(tree: ast.Module) -> set[str]:
    """The names that the statements of a module bind."""
    names: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            names |= {alias.asname or alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        else:
            names |= {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
    return names


def _with_packages(module: str) -> list[str]:
    """``a.b.c`` as a, a.b, a.b.c: Python imports the packages first."""
    parts = module.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts) + 1)]


def _package(module: str) -> str:
    return module if _file(module).name == "__init__.py" else module.rpartition(".")[0]


def _file(module: str) -> Path:
    if (path := _source(module)) is None:
        raise ModuleNotFoundError(f"there is no module {module}")
    return path


@cache
def _source(module: str) -> Path | None:
    """The file of a module, found without importing anything."""
    top, *rest = module.split(".")
    spec = find_spec(top)
    if spec and not rest and spec.origin:
        return Path(spec.origin)
    for place in (spec and spec.submodule_search_locations) or []:
        path = Path(place, *rest)
        for file in (path / "__init__.py", path.with_name(f"{path.name}.py")):
            if file.is_file():
                return file
    return None


@cache
def _tree(module: str) -> ast.Module:
    return ast.parse(_file(module).read_text(encoding="utf-8"))


@cache
def _meaning(module: str) -> str:
    file = _file(module)
    digest = hashlib.sha256(meaning(file.read_text(encoding="utf-8")).encode())
    if file.name == "__init__.py":
        for path in _resources(file.parent):
            digest.update(path.relative_to(file.parent).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _resources(package: Path) -> list[Path]:
    """The files of a package that are no modules, those of packages below it left out."""
    found = []
    for path in sorted(package.iterdir()):
        if path.is_dir() and path.name != "__pycache__" and not (path / "__init__.py").exists():
            found += [file for file in sorted(path.rglob("*")) if file.is_file() and "__pycache__" not in file.parts]
        elif path.is_file() and path.suffix not in (".py", ".pyc"):
            found.append(path)
    return found
