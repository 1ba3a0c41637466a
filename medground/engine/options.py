"""What every stage passes to ``engine.map`` besides its own work: where to run, and what the rows depend on."""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from ..params import Params

_PACKAGE = Path(__file__).parents[1]


def options(params: Params, inputs: Iterable[Path | str], **settings) -> dict:
    """Keyword arguments for `engine.map`: where to run, and `about` the table."""
    return {"name": params.engine.name, "workers": params.engine.workers} | about(params, inputs, **settings)


def about(params: Params, inputs: Iterable[Path | str], code: tuple[str, ...] = ("",), **settings) -> dict:
    """What `engine.Table` wants to know besides its items: batch size and fingerprint.

    The fingerprint covers the bytes of the ``inputs``, the ``settings`` (JSON values), the seed and the ``code`` (files
    and folders of the package; all of it if not given): batches that a run left are used again only where all of these
    are the same. It is never part of a table. Of the code, comments and docstrings do not count.
    """
    depends = [str(params.seed), json.dumps(settings, sort_keys=True), _code(code)]
    depends += [f"{path} {hashlib.sha256(Path(path).read_bytes()).hexdigest()}" for path in inputs]
    fingerprint = hashlib.sha256("\n".join(depends).encode()).hexdigest()
    return {"batch_size": params.engine.batch_size, "fingerprint": fingerprint}


@cache
def _code(parts: tuple[str, ...]) -> str:
    digest = hashlib.sha256()
    for part in (_PACKAGE / name for name in parts):
        for path in sorted(part.rglob("*.py")) if part.is_dir() else [part]:
            digest.update(_meaning(path.read_text()).encode())
    return digest.hexdigest()


def _meaning(source: str) -> str:
    """What Python reads in a module: no comments, no formatting, no docstrings."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(
            node, clean=False
        ):
            node.body = body[1:] or [ast.Pass()]
    return ast.dump(tree)
