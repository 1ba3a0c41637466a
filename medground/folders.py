"""Folders that a command makes: written beside their place, then swapped in; what somebody else made is never touched.

A folder that was made here holds ``.medground``, which names the command and lists the files. Such a folder may be made
again; an absent or empty one may be made; anything else is refused before any work is done. `private` is the one for
what processes of one user tell each other.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import MedgroundError

MARK = ".medground"
_LARGEST_MARK = 64 << 20


@contextmanager
def rebuilt(out: Path | str, command: str) -> Iterator[Path]:
    """An empty folder beside ``out`` to write into, which takes the place of ``out`` when the block ends well.

    ``command`` is what makes it, such as ``medground export``. Where the block raises, ``out`` stays as it was. Raises
    MedgroundError for an ``out`` that `check` refuses, or that cannot be written.
    """
    out = check(out, command)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
    except OSError as error:
        raise MedgroundError(f"{out} cannot be written ({error.strerror}); name a folder elsewhere") from None
    try:
        yield partial
        try:
            (partial / MARK).write_bytes(mark(partial, command))
            partial.chmod(0o755)
            _swap(partial, check(out, command))
        except OSError as error:
            raise MedgroundError(f"{out} cannot be written ({error.strerror}); make room and run again") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def private() -> Path:
    """A folder for temporary files of this user's, made where it is absent: nobody else can read or write it.

    Raises MedgroundError where it cannot be made, or is somebody else's or open to others.
    """
    who = os.getuid() if hasattr(os, "getuid") else "user"
    folder = Path(tempfile.gettempdir()) / f"medground-{who}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        about = folder.lstat()
    except OSError as error:
        raise MedgroundError(f"{folder} cannot be made ({error.strerror}); set TMPDIR to a folder of yours") from None
    others = hasattr(os, "getuid") and (about.st_uid != who or about.st_mode & 0o077)
    if others or not stat.S_ISDIR(about.st_mode):
        raise MedgroundError(f"{folder} is not a folder of this user alone; set TMPDIR to a folder of yours")
    return folder


def check(out: Path | str, command: str) -> Path:
    """The path of ``out``, links of its parents followed, where ``command`` may make it: it is absent, an empty folder,
    or holds nothing but what the same command wrote.

    Raises MedgroundError for anything else: a file, a link, the working folder, a folder of somebody's.
    """
    out = Path(out)
    remedy = "; name a folder that does not exist yet"
    if out.is_symlink():
        raise MedgroundError(f"{out} is a link; name the folder itself")
    try:
        place = out.resolve()
        if not os.path.lexists(place):
            above = next((folder for folder in place.parents if os.path.lexists(folder)), place)
            if not above.is_dir():
                raise MedgroundError(f"{out} cannot be made: {above} is not a folder{remedy}")
            return place
        if not place.is_dir():
            raise MedgroundError(f"{out} is not a folder{remedy}")
        if place == Path.cwd() or place in Path.cwd().parents:
            raise MedgroundError(f"{out} is the working folder, or holds it{remedy}")
        strangers = _strangers(place, command)
    except OSError as error:
        raise MedgroundError(f"{out} cannot be looked at ({error.strerror}){remedy}") from None
    if strangers:
        more = f" and {len(strangers) - 1} more" if len(strangers) > 1 else ""
        raise MedgroundError(
            f"{out} holds what `{command}` did not make ({strangers[0]}{more}); name another folder, or empty this one"
        )
    return place


def mark(folder: Path, command: str) -> bytes:
    """What the mark of a folder says that holds what it holds now."""
    return (json.dumps({"made_by": command, "files": _files(folder)}, indent=1) + "\n").encode()


def _strangers(folder: Path, command: str) -> list[str]:
    """Files of a folder that ``command`` did not make."""
    made: set[str] = set()
    try:
        path = folder / MARK
        if path.is_file() and not path.is_symlink() and path.stat().st_size <= _LARGEST_MARK:
            told = json.loads(path.read_bytes())
            if told["made_by"] == command:
                made = {MARK, *told["files"]}
    except (ValueError, TypeError, KeyError, RecursionError):
        pass  # a mark that is none marks nothing
    return [
        name for name in sorted({*_files(folder), *([MARK] if (folder / MARK).exists() else [])}) if name not in made
    ]


def _files(folder: Path) -> list[str]:
    """Everything below a folder but folders with something in them, and its mark; links are not followed."""
    found = []
    for above, folders, files in os.walk(folder):
        links = [name for name in folders if (Path(above) / name).is_symlink()]
        found += [(Path(above) / name).relative_to(folder).as_posix() for name in (*files, *links)]
        if not folders and not files and Path(above) != folder:
            found.append(Path(above).relative_to(folder).as_posix() + "/")
    return sorted(name for name in found if name != MARK)


def _swap(partial: Path, out: Path) -> None:
    """Put a folder in the place of another, which is then removed; where that fails, the old one is back."""
    if not out.exists():
        os.rename(partial, out)
        return
    old = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}.old.")) / out.name
    os.rename(out, old)
    try:
        os.rename(partial, out)
    except OSError:
        os.rename(old, out)
        raise
    finally:
        if out.exists():
            shutil.rmtree(old.parent, ignore_errors=True)
