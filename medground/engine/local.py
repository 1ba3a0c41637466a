"""This machine: one worker process a GPU, or one a core where there is no GPU."""

from __future__ import annotations

import multiprocessing
import os
import pickle
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from ..errors import MedgroundError

Numbered = tuple[int, list[Any]]
_fn: Callable[[list[Any]], list[dict]]  # in a worker: what it does with a batch


def run(
    fn: Callable[[list[Any]], list[dict]], batches: Sequence[Numbered], workers: int = 0
) -> Iterator[tuple[Numbered, list[dict]]]:
    """Yield each numbered batch with its rows, as they finish.

    Raises MedgroundError when a worker dies; what was yielded before is the caller's.
    """
    devices = gpus()
    workers = min(workers or len(devices) or len(os.sched_getaffinity(0)), max(1, len(batches)))
    if workers == 1:
        for number, batch in batches:
            yield (number, batch), fn(batch)
        return
    spawn = multiprocessing.get_context("spawn")  # CUDA and threaded libraries do not survive a fork
    free = spawn.Queue()
    for worker in range(workers):
        free.put(devices[worker % len(devices)] if devices else "")
    threads = max(1, len(os.sched_getaffinity(0)) // workers)
    waiting = list(reversed(batches))
    with ProcessPoolExecutor(workers, spawn, _start, (free, threads, pickle.dumps(fn))) as pool:
        running = {}
        try:
            while waiting or running:
                while waiting and len(running) < workers + 1:
                    batch = waiting.pop()
                    running[pool.submit(_work, batch[1])] = batch
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    yield running.pop(future), future.result()
        except BrokenProcessPool:
            raise MedgroundError(
                "a worker process died (killed, or out of memory); finished batches are kept: run the same command "
                "again, with a smaller engine.batch_size or engine.workers in params.yaml if memory was short"
            ) from None
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _start(free: multiprocessing.Queue, threads: int, work: bytes) -> None:
    """In a new worker, before the work imports torch: its GPU, its share of the cores; then the work.

    The work is kept from batch to batch, and with it the model that it loads.
    """
    global _fn
    if device := free.get():
        os.environ["CUDA_VISIBLE_DEVICES"] = device
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(threads)
    _fn = pickle.loads(work)


def _work(batch: list[Any]) -> list[dict]:
    return _fn(batch)


def gpus() -> list[str]:
    """The GPUs this process may use, found without importing torch."""
    if (visible := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [gpu for gpu in visible.split(",") if gpu and gpu != "-1"]
    folder = Path("/proc/driver/nvidia/gpus")
    return [str(number) for number, _ in enumerate(folder.iterdir())] if folder.is_dir() else []
