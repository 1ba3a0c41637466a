"""What goes to a worker, and what comes back."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from ..errors import MedgroundError

TRIES = 3  # workers that may die over a job before it is taken to be what kills them
DIED = "its worker process died (killed, or out of memory)"


@dataclass(frozen=True)
class Job:
    """Some items of one table, ``items[start:stop]``; ``deaths`` counts the workers that died over it."""

    table: int
    start: int
    stop: int
    items: list[Any]
    deaths: int = 0

    def halves(self) -> list[Job]:
        """The job in two, to find out which items fail."""
        middle = (self.start + self.stop) // 2
        cut, deaths = middle - self.start, min(self.deaths, TRIES - 1)
        return [
            replace(self, stop=middle, items=self.items[:cut], deaths=deaths),
            replace(self, start=middle, items=self.items[cut:], deaths=deaths),
        ]

    def after_death(self) -> Job:
        """The same job, which has cost one more worker."""
        return replace(self, deaths=self.deaths + 1)


@dataclass(frozen=True)
class Failure:
    """A job that raised, or whose worker died: what to tell, and where it happened."""

    text: str
    where: str = ""
    died: bool = False

    @classmethod
    def of(cls, error: BaseException) -> Failure:
        """What an exception says; its type too, where it was not meant for users."""
        text = str(error) if isinstance(error, MedgroundError) else f"{type(error).__name__}: {error}"
        return cls(text, "".join(traceback.format_exception(error)))


def attempt(fn: Callable[[list[Any]], list[dict]], items: list[Any]) -> list[dict] | Failure:
    """The rows of the items, or why there are none."""
    try:
        return fn(items)
    except Exception as error:
        return Failure.of(error)
