"""What every stage passes to ``engine.map`` besides its own work: where to run, and what the rows depend on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

from ..params import Params
from . import code as modules


def options(params: Params, inputs: Iterable[Path | str], **settings) -> dict:
    """Keyword arguments for `engine.map`: where to run, and `about` the table."""
    return where(params) | about(params, inputs, **settings)


def where(params: Params) -> dict:
    """Keyword arguments for `engine.map` and `engine.map_tables`: which executor, how many processes, and how long
    their host waits for more to do."""
    return {"name": params.engine.name, "workers": params.engine.workers, "idle": params.engine.idle}


def about(params: Params, inputs: Iterable[Path | str], code: Sequence[str] = (), **settings) -> dict:
    """What `engine.Table` wants to know besides its items: batch size and fingerprint.

    The fingerprint covers the bytes of the ``inputs``, the ``settings`` (JSON values), the seed and the ``code`` (names
    of modules, with all that they import; the whole package if not given): batches that a run left are used again only
    where all of these are the same. It is never part of a table. Of the code, comments and docstrings do not count.
    """
    read = modules.digest(modules.closure(code) if code else _package())
    depends = [str(params.seed), json.dumps(settings, sort_keys=True), read]
    depends += [f"{path} {hashlib.sha256(Path(path).read_bytes()).hexdigest()}" for path in inputs]
    fingerprint = hashlib.sha256("\n".join(depends).encode()).hexdigest()
    return {"batch_size": params.engine.batch_size, "fingerprint": fingerprint}


@cache
def _package() -> tuple[str, ...]:
    """All modules of the package."""
    root = Path(__file__).parents[1]
    paths = (path.relative_to(root.parent).with_suffix("") for path in sorted(root.rglob("*.py")))
    return tuple(".".join(path.parts).removesuffix(".__init__") for path in paths)
