"""This machine: one worker process a GPU, or one a core where there is no GPU."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from ..errors import MedgroundError
from . import warm
from .job import DIED, Failure, Job, attempt
from .parent import end_with

Rows = list[dict]


def run(
    fn: Callable[[list[Any]], Rows], jobs: deque[Job], workers: int = 0, idle: float = 0
) -> Iterator[tuple[Job, Rows | Failure]]:
    """Yield each job with its rows, or with why it has none, as they finish; more jobs may be added meanwhile.

    With ``workers`` 1 the work is done in this process. Otherwise in so many others (0: one a GPU, else one a core),
    each with its own copy of ``fn``, and a worker that dies is replaced. Where there is no GPU they start warm, out of
    a host that waits ``idle`` seconds for further stages (`medground.engine.warm`); 0: they start cold.
    """
    if workers == 1:
        while jobs:
            job = jobs.popleft()
            yield job, attempt(fn, job.items)
        return
    devices = gpus()
    most = workers or len(devices) or _cores()
    threads = max(1, _cores() // most)  # however few jobs are left: with more threads, sums round otherwise
    idle = 0 if devices else idle
    count = min(most, len(jobs))
    team = [_Worker(fn, devices[number % len(devices)] if devices else "", threads, idle) for number in range(count)]
    try:
        while jobs or any(worker.job for worker in team):
            for worker in team:
                if jobs and not worker.job:
                    worker.give(jobs.popleft())
            ready = wait([worker.connection for worker in team if worker.job])
            for worker in team:
                if worker.connection in ready:
                    yield worker.take()
    finally:
        for worker in team:
            worker.end()


def call(fn: Callable[..., Any], *args: Any, idle: float = 0) -> Any:
    """``fn(*args)``, from a process that is warm where ``idle`` allows it: for what imports more than it does.

    Raises MedgroundError with what ``fn`` raised, or where the process died.
    """
    ((_, result),) = run(partial(_called, fn), deque([Job(0, 0, 1, [args])]), idle=idle)
    if isinstance(result, Failure):
        raise MedgroundError(result.text)
    return result[0]


def _called(fn: Callable[..., Any], some: list[tuple]) -> list[Any]:
    return [fn(*args) for args in some]


class _Worker:
    """A process that keeps the work, and with it a loaded model, from job to job. Replaced when it dies."""

    def __init__(self, fn: Callable, device: str, threads: int, idle: float) -> None:
        self._about, self._idle = (pickle.dumps(fn), device, threads), idle
        self.job: Job | None = None
        self._start()

    def give(self, job: Job) -> None:
        """Send a job; to a new process where the old one died idle."""
        try:
            self.connection.send(job.items)
        except OSError:
            self._restart()
            with suppress(OSError):  # dead again: `take` will see it
                self.connection.send(job.items)
        self.job = job

    def take(self) -> tuple[Job, Rows | Failure]:
        """The job that is done, and what came of it. Blocks until then."""
        job, self.job = self.job, None
        if job is None:
            raise RuntimeError("this worker was given nothing to do")
        try:
            return job, self.connection.recv()
        except (EOFError, OSError, pickle.UnpicklingError):
            self._restart()
            return job, Failure(DIED, died=True)

    def end(self) -> None:
        """End the process; it writes nothing, so nothing is lost."""
        self._process.kill()
        self._process.join()
        self.connection.close()

    def _restart(self) -> None:
        self.end()
        self._start()

    def _start(self) -> None:
        spawn = multiprocessing.get_context("spawn")  # CUDA and threaded libraries do not survive a fork
        self.connection, theirs = spawn.Pipe()
        with _uninterrupted():
            self._process = self._warm(theirs) or self._cold(spawn, theirs)
        theirs.close()  # only the worker holds it, so that its death is seen here

    def _warm(self, theirs: Connection) -> Any:
        work, _, threads = self._about
        return warm.fork(theirs, work, threads, self._idle) if self._idle else None

    def _cold(self, spawn: Any, theirs: Connection) -> Any:
        resource_tracker.ensure_running()  # it would let signals through again while the process starts
        process = spawn.Process(target=serve, args=(theirs, os.getpid(), *self._about), daemon=True)
        process.start()
        return process


def serve(connection: Connection, parent: int, work: bytes, device: str, threads: int) -> None:
    """A worker's life: its GPU and its share of the cores, before the work imports torch; then job after job.

    It ends with its ``parent``, the process that this id names; ``connection`` brings items and takes rows, ``work`` is
    the pickled function between the two, ``device`` what ``CUDA_VISIBLE_DEVICES`` says (empty: what it said before).
    """
    end_with(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if device:
        os.environ["CUDA_VISIBLE_DEVICES"] = device
    for name in warm.THREADS:
        os.environ[name] = str(threads)
    fn = None
    while True:
        items = connection.recv()
        try:
            fn = fn or pickle.loads(work)
            connection.send(attempt(fn, items))
        except Exception as error:  # the work, or what it made, does not pickle
            connection.send(Failure.of(error))


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Ctrl-C goes to all processes of the terminal: one that is started in this block never sees it."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _cores() -> int:
    """The cores that this process may use; where the system does not say (macOS before Python 3.13), all there are."""
    if hasattr(os, "process_cpu_count"):  # Python 3.13
        return os.process_cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):  # Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def gpus() -> list[str]:
    """The GPUs this process may use, found without importing torch."""
    if (visible := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [gpu for gpu in visible.split(",") if gpu and gpu != "-1"]
    folder = Path("/proc/driver/nvidia/gpus")
    return [str(number) for number, _ in enumerate(folder.iterdir())] if folder.is_dir() else []
