"""Methods by name. A method registers itself where it is written; nothing lists them.

Our own are the modules of ``medground.attribution.builtin``, one or a few methods a file. Those of other packages are
found through their entry points of the group ``medground.methods``, and are imported when they are asked for.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from ..doors import Door
from ..errors import MedgroundError
from .method import NEEDS, PASSES, PROTOCOLS, Function, Method, Needs, Passes, entry_name, settings_model

#: Methods by what they are called on the board: ``rise``, or ``rise_published``.
DOOR: Door[Method] = Door("medground.methods", "method", ("medground.attribution.builtin.*",))
_NAME = re.compile(r"[a-z][a-z0-9_]{0,59}")
F = TypeVar("F", bound=Function)


def register(
    name: str,
    *,
    group: str,
    paper: str,
    needs: Needs = ("model",),
    passes: Passes | None = None,
    protocol: str = "medground",
    published: Mapping[str, Any] | None = None,
) -> Callable[[F], F]:
    """Make a function a method: ``function(lvlm, items, **settings)``, one `Attribution` per item, in order.

    Parameters
    ----------
    name
        Small letters, digits and underscores. What params.yaml, tables and the board call it.
    group
        The family that the board shows it with: attention, gradient, perturbation, prompting, medfocus, floor, or
        another one.
    paper
        Who published it, or what it does in a few words.
    needs
        Which of `method.NEEDS` it has; or a function from its settings to them.
    passes
        How many passes of each kind of `method.PASSES` one case takes at most; or a function from its settings to them.
        What the full study costs is computed from it.
    protocol
        ``medground``, or ``published`` for a function that repeats what a paper's own code does, where that is another
        one than the method's.
    published
        The settings under which the same function repeats what the paper's own code does; ``{}`` where they are the
        defaults.

    Raises MedgroundError for a name that is taken or malformed, an unknown need, kind of pass or protocol, and settings
    that the signature does not allow.
    """

    def registered(function: F) -> F:
        if not _NAME.fullmatch(name) or name.endswith(tuple(f"_{known}" for known in PROTOCOLS)):
            raise MedgroundError(
                f"a method cannot be called {name!r}: small letters, digits and underscores, at most 60, and no "
                f"protocol ({', '.join(PROTOCOLS)}) at the end"
            )
        if protocol not in PROTOCOLS:
            raise MedgroundError(f"method {name}: unknown protocol {protocol!r}; known: {', '.join(PROTOCOLS)}")
        parameters = inspect.signature(function).parameters.items()
        defaults = {word: known.default for word, known in parameters if known.default is not known.empty}
        settings_model(function)(**defaults)
        _add(Method(name, group, paper, function, needs, passes, protocol, defaults))
        if published is not None:
            _add(Method(name, group, paper, function, needs, passes, "published", defaults).with_settings(**published))
        return function

    return registered


def methods() -> dict[str, Method]:
    """Every method by its name, under the protocol ``medground``, those of installed packages included.

    Raises MedgroundError, which names the package, where one of them cannot be imported.
    """
    return {known.name: known for _, known in DOOR.items() if known.protocol == "medground"}


def entries() -> dict[str, Method]:
    """Every method under every protocol that it has, by what it is called on the board."""
    return dict(DOOR.items())


def method(name: str, protocol: str = "medground") -> Method:
    """The method of that name; under ``published`` as the paper's own code does it.

    Raises MedgroundError, which lists the known ones, for an unknown name, and for a method without such a protocol.
    """
    if protocol not in PROTOCOLS:
        raise MedgroundError(f"unknown protocol {protocol!r}; known: {', '.join(PROTOCOLS)}")
    called = entry_name(name, protocol)
    if called in DOOR:
        return DOOR.get(called)
    if name in methods():
        having = [known.name for known in entries().values() if known.protocol == protocol]
        raise MedgroundError(f"method {name} has no protocol {protocol}; methods that have: {', '.join(having)}")
    raise MedgroundError(f"unknown method {name!r}; known: {', '.join(methods())}")


def by_entry(name: str) -> Method:
    """The method that params.yaml, tables and the board call ``name``: ``rise``, or ``rise_published``."""
    for protocol in PROTOCOLS:
        if name.endswith(f"_{protocol}"):
            return method(name.removesuffix(f"_{protocol}"), protocol)
    return method(name)


def _add(method: Method) -> None:
    for kind, given, known in (("need", method.needs, NEEDS), ("kind of pass", method.passes or {}, PASSES)):
        if unknown := sorted(set(given) - set(known)):
            raise MedgroundError(f"method {method.entry}: unknown {kind} {unknown[0]!r}; known: {', '.join(known)}")
    DOOR.register(method.entry, method)
