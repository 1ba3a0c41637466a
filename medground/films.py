"""Films that are decoded once: what a process read last stays in memory, and what takes long to decode on disk.

Questions, modes, methods and entries look at the same films again and again. `read` gives a film as
`images.read_film` does, and the same array as long as it is held; `drawn` keeps what was made of such a film, such as
the canvas of a model. Both are bounded by `MOST_BYTES`, and what was used last stays. DICOM and JPEG 2000, whose
decoding takes a second and more, are kept as 8-bit PNG of their native size in `STORE`: that is lossless, and stays on
this machine. `STORE` is named after contents and may be deleted at any time.
"""

from __future__ import annotations

import hashlib
import os
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from threading import RLock

import numpy as np

from . import images
from .errors import MedgroundError

STORE = Path(".cache/films")  # ignored by git, unknown to DVC
MOST_BYTES = 1 << 30  # of a process: some 130 films of 2544 x 3056, or all canvases of a thousand


@dataclass
class _Held:
    """A film, read-only, with what was drawn of it."""

    film: np.ndarray
    drawn: dict[Hashable, np.ndarray] = field(default_factory=dict)

    @property
    def size(self) -> int:
        return self.film.nbytes + sum(image.nbytes for image in self.drawn.values())


class Films:
    """The films that were used last, as many as ``most_bytes`` hold with what was drawn of them, and at least one.

    Threads may share it: a film that one of them is decoding, the others wait for.
    """

    def __init__(self, most_bytes: int = MOST_BYTES):
        self.most_bytes = most_bytes
        self._held: OrderedDict[Hashable, _Held] = OrderedDict()
        self._keys: dict[int, Hashable] = {}  # of the arrays that are held, by their id
        self._coming: dict[Hashable, Future] = {}  # films that a thread is decoding
        self._lock = RLock()

    def read(self, path: Path | str) -> np.ndarray:
        """The film at ``path``, as `images.read_film` reads it and raises, but read-only and shared."""
        try:
            status = os.stat(path)
        except OSError:
            return images.read_film(path)  # which says what is wrong
        key = os.path.abspath(path), status.st_ino, status.st_mtime_ns, status.st_size
        with self._lock:
            if key in self._held:
                self._held.move_to_end(key)
                return self._held[key].film
            coming = self._coming.get(key)
            if mine := coming is None:
                coming = self._coming[key] = Future()
        if mine:
            try:
                coming.set_result(self._hold(key, Path(path)))
            except BaseException as error:
                coming.set_exception(error)
            finally:
                with self._lock:
                    del self._coming[key]
        return coming.result()

    def _hold(self, key: Hashable, path: Path) -> np.ndarray:
        film = _decoded(path)
        film.flags.writeable = False
        with self._lock:
            self._held[key] = _Held(film)
            self._keys[id(film)] = key
            self._make_room()
        return film

    def drawn(
        self, film: np.ndarray, draw: Callable[[np.ndarray], np.ndarray], how: Hashable | None = None
    ) -> np.ndarray:
        """``draw(film)``; of a film that `read` gave and that is held, only once for each ``how``.

        ``how`` names what is drawn, where ``draw`` itself does not.
        """
        how = draw if how is None else how
        with self._lock:
            key = self._keys.get(id(film))
            if key is not None:
                self._held.move_to_end(key)
                if how in self._held[key].drawn:
                    return self._held[key].drawn[how]
        image = draw(film)
        with self._lock:
            if key is not None and key in self._held:
                image.flags.writeable = False
                self._held[key].drawn[how] = image
                self._make_room()
        return image

    def _make_room(self) -> None:
        total = sum(held.size for held in self._held.values())
        while total > self.most_bytes and len(self._held) > 1:
            _, oldest = self._held.popitem(last=False)
            total -= oldest.size
            del self._keys[id(oldest.film)]


_films = Films()
read, drawn = _films.read, _films.drawn


def ahead(paths: Iterable[Path | str]) -> None:
    """Begin to `read` films in other threads, one a core that this process may compute on, and do not wait for them.

    What cannot be read is said by whoever reads it.
    """
    for path in paths:
        _threads().submit(read, path)


def _decoded(path: Path) -> np.ndarray:
    """A film as `images.read_film` reads it, by way of `STORE` where that is faster."""
    if not images.takes_long(path):
        return images.read_film(path)
    with open(path, "rb") as file:
        content = hashlib.file_digest(file, "sha256").hexdigest()
    stored = STORE / f"{content[:32]}-{_reader()}.png"
    if not stored.exists():
        film = images.read_film(path)
        images.write_film(stored, film)
        return film
    try:
        return images.read_film(stored)
    except MedgroundError as error:
        raise MedgroundError(f"{error}; {stored} is made from {path}: delete it, and it is made anew") from None


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(int(os.environ.get("OMP_NUM_THREADS") or 1))  # `engine.local` gives a worker its share


@cache
def _reader() -> str:
    """Names how films are read: with other code, other gray values may come out."""
    return hashlib.sha256(Path(images.__file__).read_bytes()).hexdigest()[:8]
