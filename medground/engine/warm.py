"""Workers that start warm: what takes long to import is imported once, and kept from stage to stage.

A worker has to import PyTorch and transformers before it can ask a model anything, which takes longer than the work of
many a stage. A *host* imports them, waits at a socket that only its user can reach, and forks a worker whenever a stage
asks for one. The package itself is imported anew by each worker, so that it runs what the files say now. A worker ends
with the stage that asked for it, and the host when nobody has asked for some time.

Only on Linux, and not where there are GPUs: CUDA does not survive a fork, and start-up is little of the work there.
Where no host can be had, workers start cold, with the same results.
"""

from __future__ import annotations

import gc
import hashlib
import json
import os
import pickle
import select
import signal
import socket
import subprocess
import sys
import sysconfig
import time
import traceback
from collections.abc import Sequence
from contextlib import closing, suppress
from importlib import import_module
from multiprocessing import spawn
from multiprocessing.connection import Connection
from pathlib import Path

from filelock import FileLock

from ..errors import MedgroundError
from ..folders import private

PRELOADED = ("medground.lvlm.registry", "medground.lvlm.families.gemma3", "medground.lvlm.families.qwen2_5_vl")
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_PASSING = {"_", "PWD", "OLDPWD", "SHLVL", "PYTEST_CURRENT_TEST"}  # variables that change nothing of what is imported
_LONGEST = 107  # bytes of a socket's name
_PATIENCE = 120.0  # seconds for a host to import everything
_ANSWER = 10.0  # seconds for a host to fork, and for who asks to say all that it has to say


class Warm:
    """A forked worker, as who asked for it sees it: the process ends when ``lifeline`` is closed, or its owner dies."""

    def __init__(self, lifeline: socket.socket) -> None:
        self._lifeline = lifeline

    def kill(self) -> None:
        """End the process."""
        self._lifeline.close()

    def join(self) -> None:
        """Nothing: the host waits for it."""


def fork(
    connection: Connection, work: bytes, threads: int, idle: float, preload: Sequence[str] = PRELOADED
) -> Warm | None:
    """A worker at the other end of ``connection``, or None where none can be had warm.

    ``work`` is the pickled function that it runs, ``threads`` what its libraries may use; the host ends when it was
    asked for nothing for ``idle`` seconds. ``preload`` are the modules that the host imports.
    """
    if sys.platform != "linux":
        return None
    about = spawn.get_preparation_data("warm worker")
    about["authkey"] = bytes(about["authkey"])  # which does not pickle otherwise
    request = pickle.dumps((os.getcwd(), dict(os.environ), about, work, threads))
    try:
        lifeline = _reached(threads, idle, preload)
        socket.send_fds(lifeline, [len(request).to_bytes(8, "big")], [connection.fileno(), 1, 2])  # and where to print
        lifeline.sendall(request)
        lifeline.settimeout(_ANSWER)
        if lifeline.recv(1):
            return Warm(lifeline)
    except (MedgroundError, OSError, subprocess.SubprocessError):
        pass  # no folder of one's own, no socket, or a host that ended just now
    return None


def _reached(threads: int, idle: float, preload: Sequence[str]) -> socket.socket:
    """A connection to the host; it is started where there is none. OSError or MedgroundError where it cannot be."""
    place = private() / f"{_key(threads, preload)}.sock"
    if len(os.fsencode(place)) > _LONGEST:
        raise OSError(f"{place} is too long a name for a socket")
    with FileLock(place.with_suffix(".lock")):  # one starts it, the others wait
        with suppress(OSError):
            return _connected(place)
        host = subprocess.Popen(
            [sys.executable, "-m", __name__, str(place), str(idle), *preload],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
            env=os.environ | {name: str(threads) for name in THREADS},
        )  # fmt: skip
        deadline = time.monotonic() + _PATIENCE
        while host.poll() is None and time.monotonic() < deadline:
            with suppress(OSError):
                return _connected(place)
            time.sleep(0.02)
        host.kill()
        raise ConnectionError("the host did not start")


def _connected(place: Path) -> socket.socket:
    lifeline = socket.socket(socket.AF_UNIX)
    try:
        lifeline.connect(str(place))
    except OSError:
        lifeline.close()
        raise
    return lifeline


def _key(threads: int, preload: Sequence[str]) -> str:
    """Names the hosts that are as good as one of this process's own: same interpreter, packages, variables, rights.

    Where a stage runs does not matter: a worker imports what is there by itself.
    """
    passing = {*_PASSING, *THREADS}
    environment = {k: v for k, v in os.environ.items() if k not in passing and not k.startswith("DVC_")}
    packages = [sysconfig.get_path(name) for name in ("purelib", "platlib")]
    changed = [Path(folder).stat().st_mtime_ns for folder in packages if Path(folder).is_dir()]
    cores, paths = sorted(os.sched_getaffinity(0)), [path for path in sys.path if path not in ("", os.getcwd())]
    told = [sys.executable, sys.version, paths, packages, changed, environment, threads, cores, os.nice(0)]
    return hashlib.sha256(json.dumps([told, list(preload), Path(__file__).read_text()]).encode()).hexdigest()[:24]


def host(place: Path, idle: float, preload: Sequence[str]) -> None:
    """Import what is there of ``preload``, and fork workers for whoever connects to ``place``, until idle."""
    for module in preload:
        with suppress(ImportError):
            import_module(module)
    for module in [name for name in sys.modules if name.partition(".")[0] == "medground"]:
        del sys.modules[module]
    os.chdir("/")  # so that no folder is in use for longer than its stages
    gc.collect()
    gc.freeze()  # collecting in a worker would copy every page
    place.unlink(missing_ok=True)  # of a host that was killed
    with closing(socket.socket(socket.AF_UNIX)) as listener:
        listener.bind(str(place))
        listener.listen()
        workers: dict[socket.socket, int] = {}
        while ready := select.select([listener, *workers], [], [], None if workers else idle)[0]:
            for some in ready:
                if some is listener:
                    lifeline = listener.accept()[0]
                    with suppress(OSError, EOFError):
                        workers[lifeline] = _forked(lifeline, [listener, *workers])
                else:  # closed at the other end
                    os.kill(workers[some], signal.SIGKILL)
                    os.waitpid(workers.pop(some), 0)
                    some.close()
        place.unlink(missing_ok=True)


def _forked(lifeline: socket.socket, others: Sequence[socket.socket]) -> int:
    """The process of a worker for who asks at the other end of the lifeline."""
    lifeline.settimeout(_ANSWER)
    length, files, *_ = socket.recv_fds(lifeline, 8, 3)
    request = b""
    while len(request) < int.from_bytes(length, "big"):
        if not (more := lifeline.recv(1 << 20)):
            raise EOFError("who asked is gone")
        request += more
    if not (pid := os.fork()):
        try:
            for some in (lifeline, *others):
                some.close()
            _serve(request, *files)
        except EOFError:  # nobody has more to do
            pass
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)
    for file in files:
        os.close(file)
    lifeline.sendall(b"1")
    return pid


def _serve(request: bytes, connection: int, out: int, err: int) -> None:
    """A worker's life, as if it had been spawned by who asked for it."""
    os.dup2(out, 1)
    os.dup2(err, 2)
    directory, environment, about, work, threads = pickle.loads(request)
    os.chdir(directory)
    os.environ.clear()
    os.environ.update(environment)
    parent = os.getppid()
    spawn.prepare(about)
    from .local import serve  # as the files say now

    serve(Connection(connection), parent, work, "", threads)


if __name__ == "__main__":
    host(Path(sys.argv[1]), float(sys.argv[2]), sys.argv[3:])
