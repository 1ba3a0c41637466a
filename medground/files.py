"""Files are whole or absent: how everything is written, and how JSON is read.

A file is written beside its place under a name that git and DVC ignore, and moved there when it is whole. What a killed
process left of one is removed by the next that writes the same file.
"""

from __future__ import annotations

import configparser
import glob
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import MedgroundError

_RESTRICTED = 'remote "restricted"'  # in .dvc/config


@dataclass(frozen=True)
class File:
    """A file that a row of a table names: where it belongs, and its bytes. The engine writes it with the table."""

    path: str
    content: bytes


@contextmanager
def replacing(path: Path | str) -> Iterator[Path]:
    """The path at which to write what becomes ``path`` when the block ends well; makes the folder.

    Raises MedgroundError naming the file where it cannot be written, as when the disk is full; nothing half-written
    stays, and what was at ``path`` before stays as it was.
    """
    path = Path(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(path)
        yield partial
        os.replace(partial, path)
    except OSError as error:
        raise MedgroundError(f"{path} cannot be written ({error}); make room and run the same command again") from None
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def write(content: bytes | str, path: Path | str) -> None:
    """Write a file, whole or not at all; text as UTF-8. Raises MedgroundError as `replacing` does."""
    with replacing(path) as partial:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)


def write_json(value: Any, path: Path | str) -> None:
    """`write` a value as indented JSON."""
    write(json.dumps(value, indent=1) + "\n", path)


def read_json(path: Path | str, kind: type = dict) -> Any:
    """The value of a JSON file that holds a ``kind``: dict or list.

    Raises MedgroundError naming the file, and what makes or fetches it, where it is missing, damaged, or another kind.
    """
    try:
        value = json.loads(Path(path).read_bytes())
    except FileNotFoundError:
        raise MedgroundError(f"{path} is missing; {remedy(path)}") from None
    except OSError as error:
        raise MedgroundError(f"{path} cannot be read ({error.strerror}); {remedy(path)}") from None
    except (ValueError, RecursionError) as error:
        raise MedgroundError(f"{path} is not JSON ({error}): it is damaged; {remedy(path)}") from None
    if not isinstance(value, kind):
        raise MedgroundError(f"{path} holds a {type(value).__name__}, not a {kind.__name__}; {remedy(path)}")
    return value


def remedy(path: Path | str) -> str:
    """What brings back a file that is missing or damaged: git for a model's, else `dvc repro`, or a pull.

    `dvc pull` is named only where the repository in the working directory has a remote to pull from.
    """
    path = Path(path)
    if "models" in path.parts[:-1]:
        return f"`git checkout {path}` brings back what the repository has; download another model again"
    return "run `dvc repro` to make it" + (", or `dvc pull` to fetch it" if has_remote() else "")


def has_remote(root: Path = Path(".")) -> bool:
    """Whether the DVC repository at ``root`` has a remote to pull from: one besides the folder of this machine in which
    restricted films are kept, which every clone has and which holds nothing of another machine."""
    for name in ("config", "config.local"):
        parser = configparser.ConfigParser(interpolation=None, strict=False)
        with suppress(configparser.Error, OSError, UnicodeDecodeError):
            parser.read(root / ".dvc" / name)
            remotes = {section.strip("'") for section in parser.sections() if section.strip("'").startswith("remote ")}
            if remotes - {_RESTRICTED}:
                return True
    return False


def _remove_leftovers(path: Path) -> None:
    for partial in path.parent.glob(f".{glob.escape(path.name)}.*.partial"):
        number = re.fullmatch(r".*\.(\d+)\.partial", partial.name)
        if number and not _alive(int(number[1])):
            partial.unlink(missing_ok=True)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
