"""One process at a time: the second says so, and the lock of a dead one is no lock."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from ..errors import MedgroundError

LOCKS = Path(".progress/locks")
LONGEST = 128  # characters of a lock's name that say whose it is; file systems take 255 bytes


@contextmanager
def only(what: str) -> Iterator[None]:
    """Hold the lock of ``what``, a table or a command, in the working directory.

    Raises MedgroundError naming the process that holds it already.
    """
    path = LOCKS / f"{_name(what)}.lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path, timeout=0)
        lock.acquire()
    except Timeout:
        raise MedgroundError(
            f"{what} is at work already{_holder(path)}; wait until it is done, or end it, and run the command again"
        ) from None
    except OSError as error:
        raise MedgroundError(f"{path} cannot be written ({error}); make room and run the same command again") from None
    try:
        with suppress(OSError):
            path.with_suffix(".pid").write_text(str(os.getpid()))
        yield
    finally:
        lock.release()


def _name(what: str) -> str:
    """A file name for ``what``: its letters; of a long one the first, and a digest that tells it from others."""
    name = re.sub(r"[^A-Za-z0-9.=-]+", "_", what).strip("_")
    return name if len(name) <= LONGEST else f"{name[:LONGEST]}-{hashlib.sha256(what.encode()).hexdigest()[:16]}"


def _holder(path: Path) -> str:
    with suppress(OSError, ValueError):
        return f" in process {int(path.with_suffix('.pid').read_text() or 0)}"
    return ""
