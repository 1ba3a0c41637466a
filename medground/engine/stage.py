"""How a stage's ``main`` runs: friendly, and alone."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path

from ..errors import friendly
from .lock import only


def stage(main: Callable[[], None]) -> Callable[[], None]:
    """Wrap the ``main`` of a stage: errors as `friendly` shows them; while it runs, the same command is refused."""

    @friendly
    @wraps(main)
    def run() -> None:
        with only(" ".join(["stages", Path(sys.argv[0]).stem, *sys.argv[1:]])):
            main()

    return run
