"""Doors: how a method, a model family, a source or a metric gets in, from this package or from somebody else's.

A door is a registry that fills itself on first use: it imports the modules that the package names, then every entry
point of the door's group (https://packaging.python.org/specifications/entry-points/), and each of these registers
what it brings while it is imported.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Generic, TypeVar

from .errors import MedgroundError

T = TypeVar("T")


class Door(Generic[T]):
    """What is known under a name, of one kind: ``group`` is the entry points' group, ``what`` a word for messages.

    ``modules`` are imported before the entry points; one that ends in ``.*`` stands for all modules of a package.
    """

    def __init__(self, group: str, what: str, modules: tuple[str, ...] = ()):
        self.group, self.what, self.modules = group, what, modules
        self._known: dict[str, T] = {}
        self._own = self._filled = False  # whether our modules, and the entry points, were imported

    def register(self, name: str, thing: T) -> T:
        """Make ``thing`` known as ``name``. Raises MedgroundError where another thing has that name."""
        known = self._known.get(name)
        if known is not None and _origin(known) != _origin(thing):
            raise MedgroundError(
                f"two {self.what}s are named {name!r}: {_origin(known)} and {_origin(thing)}; rename yours, or "
                "uninstall one of the packages"
            )
        self._known[name] = thing
        return thing

    def names(self) -> list[str]:
        """All names, sorted: what was imported first, and by whom, makes no difference."""
        self._fill()
        return sorted(self._known)

    def items(self) -> Iterator[tuple[str, T]]:
        """Names and what they stand for, in the order of `names`."""
        self._fill()
        return iter(sorted(self._known.items(), key=lambda item: item[0]))

    def get(self, name: str) -> T:
        """What is known as ``name``. Raises MedgroundError that lists the names there are.

        Entry points are imported for a name that the package's own modules do not bring, and no sooner: one that is
        broken is in nobody's way who does not ask for it.
        """
        if name not in self:
            known = ", ".join(sorted(self._known))
            raise MedgroundError(
                f"there is no {self.what} {name!r}; known: {known}. A package of your own brings more through the "
                f"entry point group {self.group}"
            )
        return self._known[name]

    def __contains__(self, name: object) -> bool:
        self._fill_own()
        if name not in self._known:
            self._fill()
        return name in self._known

    def _fill_own(self) -> None:
        if self._own:
            return
        self._own = True  # before importing: what is imported may ask the door
        try:
            for module in self.modules:
                _load(module)
        except BaseException:
            self._own = False
            raise

    def _fill(self) -> None:
        self._fill_own()
        if self._filled:
            return
        self._filled = True
        try:
            for point in sorted(entry_points(group=self.group), key=lambda point: (point.name, point.value)):
                self._enter(point)
        except BaseException:
            self._filled = False
            raise

    def _enter(self, point: EntryPoint) -> None:
        try:
            point.load()
        except MedgroundError:
            raise
        except Exception as error:  # whatever somebody else's module raises
            package = point.dist.name if point.dist else "a package"
            raise MedgroundError(
                f"the {self.what} {point.name!r} of {package} ({point.value}) cannot be imported: "
                f"{type(error).__name__}: {error}; repair the package, or uninstall it"
            ) from error


def _load(module: str) -> None:
    package, star, _ = module.partition(".*")
    found = import_module(package)
    if star:
        for entry in sorted(pkgutil.iter_modules(found.__path__), key=lambda entry: entry.name):
            import_module(f"{package}.{entry.name}")


def _origin(thing: object) -> str:
    """Where a thing was written: the same for a module that is imported again. A thing may say so itself."""
    if isinstance(said := getattr(thing, "origin", None), str):
        return said
    kind = thing if hasattr(thing, "__qualname__") else type(thing)
    return f"{kind.__module__}.{kind.__qualname__}"
