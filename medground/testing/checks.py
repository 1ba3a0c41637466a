"""Running a list of checks and saying all that failed, not the first."""

from __future__ import annotations

from collections.abc import Callable, Mapping


def run(what: str, checks: Mapping[str, Callable[[], None]]) -> None:
    """Run every check; raise one AssertionError that names those that failed, each with its reason.

    ``checks`` are functions by name, ``what`` is what they check.
    """
    failures = []
    for name, check in checks.items():
        try:
            check()
        except AssertionError as error:
            failures.append(f"{name}: {error}")
        except Exception as error:  # a check that cannot even run is a failed check
            failures.append(f"{name}: raised {type(error).__name__}: {error}")
    if failures:
        raise AssertionError(f"{what} fails {len(failures)} of {len(checks)} checks\n- " + "\n- ".join(failures))


def holds(condition: bool, reason: str) -> None:
    """Raise AssertionError with the reason unless the condition holds."""
    if not condition:
        raise AssertionError(reason)
