"""What every stage passes to ``engine.map`` besides its own work: where to run, what it depends on, how it was made."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from types import SimpleNamespace

from .. import __version__
from .local import gpus


def options(params: SimpleNamespace, inputs: Iterable[Path | str], **settings) -> dict:
    """Keyword arguments for `engine.map`: where to run, and `about` the table."""
    return {"name": params.engine.name, "workers": params.engine.workers} | about(params, inputs, **settings)


def about(params: SimpleNamespace, inputs: Iterable[Path | str], code: tuple[str, ...] = ("",), **settings) -> dict:
    """What `engine.Table` wants to know besides its items: batch size, fingerprint and provenance.

    The fingerprint covers the bytes of the ``inputs``, the ``settings`` (JSON values), the seed and the ``code`` (files
    and folders of the package; all of it if not given): batches that an interrupted run left, and tables, are used
    again only where all of these are the same.
    """
    depends = [str(params.seed), json.dumps(settings, sort_keys=True), _code(code)]
    depends += [f"{path} {hashlib.sha256(Path(path).read_bytes()).hexdigest()}" for path in inputs]
    return {
        "batch_size": params.engine.batch_size,
        "fingerprint": hashlib.sha256("\n".join(depends).encode()).hexdigest(),
        "made_by": provenance(params, **settings),
    }


def provenance(params: SimpleNamespace, **settings) -> dict:
    """A table's metadata: version, git commit (with ``+`` if edited), profile, seed, device, settings."""
    return {
        "medground": __version__,
        "commit": _commit(),
        "profile": params.profile,
        "seed": params.seed,
        "device": "cuda" if gpus() else "cpu",
        "settings": settings,
    }


@cache
def _code(parts: tuple[str, ...]) -> str:
    digest = hashlib.sha256()
    for part in (Path(__file__).parents[1] / name for name in parts):
        for path in sorted(part.rglob("*.py")) if part.is_dir() else [part]:
            digest.update(path.read_bytes())
    return digest.hexdigest()


@cache
def _commit() -> str:
    def git(*words: str) -> str:
        try:
            run = subprocess.run(["git", *words], capture_output=True, text=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            return ""  # an installed package, or an exported tree
        return run.stdout.strip()

    return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain", "--", "medground", "stages") else "")
