"""How many validations run at once on a machine, over all its processes and visitors: each may hold two gigabytes."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from ..errors import MedgroundError
from ..folders import private

PATIENCE = 900.0  # seconds that a validation waits for its turn
_MOST = 4


def at_once(each: int) -> int:
    """How many processes of ``each`` bytes may run at once: a quarter of the machine's memory, one to four.

    The environment variable ``MEDGROUND_VALIDATIONS`` overrides it.
    """
    told = os.environ.get("MEDGROUND_VALIDATIONS", "")
    if told:
        if not told.isdecimal() or int(told) < 1:
            raise MedgroundError(f"MEDGROUND_VALIDATIONS is {told!r}; it must be a whole number from 1")
        return int(told)
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):  # Windows
        return 1
    return max(1, min(_MOST, memory // 4 // each))


@contextmanager
def slot(each: int, patience: float = PATIENCE, folder: Path | None = None) -> Iterator[int]:
    """Hold one of the machine's `at_once` places while the block runs; its number.

    A process that dies leaves its place. Raises MedgroundError where none is free within ``patience`` seconds.
    """
    folder = folder or private()
    locks = [FileLock(folder / f"{number}.lock") for number in range(at_once(each))]
    until = time.monotonic() + patience
    while True:
        for number, lock in random.sample(list(enumerate(locks)), len(locks)):
            try:
                lock.acquire(timeout=0)
            except Timeout:
                continue
            try:
                yield number
            finally:
                lock.release()
            return
        if time.monotonic() > until:
            raise MedgroundError(f"{len(locks)} other entries are being validated on this machine; try again later")
        time.sleep(random.uniform(0.05, 0.2))
