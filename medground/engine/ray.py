"""A Ray cluster: one actor a GPU, or one a core where the cluster has no GPU, each with its own copy of the work.

The cluster is the one of ``RAY_ADDRESS`` (docs/cluster.md), or this machine's own where that is not set. Nodes may join
and leave while it runs: a batch whose worker died is given to another one.
"""

from __future__ import annotations

import os
import re
import socket
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ..errors import MedgroundError

Numbered = tuple[int, list[Any]]
TRIES = 3  # workers that may die over one batch before it is taken to be what kills them
PATIENCE = 600.0  # seconds without any worker at work before the cluster is given up


def run(
    fn: Callable[[list[Any]], list[dict]], batches: Sequence[Numbered], workers: int = 0
) -> Iterator[tuple[Numbered, list[dict]]]:
    """Yield each numbered batch with its rows, as they finish.

    ``workers`` is the number of actors; 0 follows the cluster. Raises MedgroundError when Ray is not installed, the
    cluster is out of reach or has no free worker, or a batch has cost `TRIES` workers.
    """
    ray = _connect()
    team = _Team(ray, fn, workers)
    try:
        yield from team.work(deque(batches))
    finally:
        team.dismiss()
        ray.shutdown()


class _Team:
    """Actors, what each is at, and the batches that are left."""

    def __init__(self, ray, fn: Callable, workers: int):
        self.ray, self.workers = ray, workers
        self.fn = ray.put(fn)  # sent to a node once, however many batches it gets
        self.busy: dict[Any, tuple[Any, Numbered | None]] = {}  # what is awaited: the actor, its batch (None: starting)
        self.deaths: Counter[int] = Counter()
        gpu = self.ray.cluster_resources().get("GPU", 0) >= 1
        self.unit = "GPU" if gpu else "CPU"
        self.Worker = ray.remote(num_cpus=0 if gpu else 1, num_gpus=int(gpu), max_restarts=0)(_Worker)

    def work(self, waiting: deque[Numbered]) -> Iterator[tuple[Numbered, list[dict]]]:
        while waiting or any(batch for _, batch in self.busy.values()):
            self._hire(len(waiting))
            done, _ = self.ray.wait(list(self.busy), timeout=PATIENCE if self._idle() else None)
            if not done:
                raise MedgroundError(
                    f"no worker of the Ray cluster was free within {PATIENCE:.0f} s; `ray status` shows its nodes and "
                    f"what occupies them (a worker takes one {self.unit})"
                )
            actor, batch = self.busy.pop(done[0])
            try:
                rows = self.ray.get(done[0])
            except self.ray.exceptions.RayTaskError as error:
                raise error.cause from None
            except self.ray.exceptions.RayError:  # the worker or its node is gone
                self.ray.kill(actor)
                if batch:
                    self._bury(batch, waiting)
                continue
            if waiting:
                following = waiting.popleft()
                self.busy[actor.run.remote(following[1])] = actor, following
            if batch:
                yield batch, rows

    def dismiss(self) -> None:
        for actor, _ in self.busy.values():
            self.ray.kill(actor)

    def _hire(self, left: int) -> None:
        """As many workers as the cluster has room for now, and batches to give them."""
        room = self.workers or int(self.ray.cluster_resources().get(self.unit, 0))
        starting = sum(batch is None for _, batch in self.busy.values())
        for _ in range(min(max(room, 1) - len(self.busy), left - starting)):
            actor = self.Worker.remote()
            self.busy[actor.start.remote(self.fn, os.getcwd())] = actor, None

    def _idle(self) -> bool:
        return all(batch is None for _, batch in self.busy.values())

    def _bury(self, batch: Numbered, waiting: deque[Numbered]) -> None:
        self.deaths[batch[0]] += 1
        if self.deaths[batch[0]] == TRIES:
            raise MedgroundError(
                f"batch {batch[0]} cost {TRIES} workers (killed, or out of memory); finished batches are kept: run the "
                "same command again, with a smaller engine.batch_size in params.yaml if memory was short"
            )
        waiting.appendleft(batch)


class _Worker:
    """Runs in the cluster; keeps the work, and with it a loaded model, from batch to batch."""

    def start(self, fn: Callable, folder: str) -> None:
        if not Path(folder).is_dir():
            raise MedgroundError(
                f"the node {os.uname().nodename} does not have the folder {folder}; the repository must be at the same "
                "path on every node (docs/cluster.md)"
            )
        os.chdir(folder)
        self.fn = fn

    def run(self, batch: list[Any]) -> list[dict]:
        return self.fn(batch)


def _connect():
    try:
        import ray
    except ImportError:
        raise MedgroundError("engine.name is ray, but Ray is not installed; pip install 'medground[ray]'") from None
    # tokens are not sent: Ray shows this environment to everybody on the cluster
    passed = {n: v for n, v in os.environ.items() if n.startswith(("MEDGROUND_", "HF_")) and "TOKEN" not in n}
    address = os.environ.get("RAY_ADDRESS", "")
    path = os.pathsep.join([os.getcwd(), *filter(None, [os.environ.get("PYTHONPATH")])])
    try:
        if re.fullmatch(r"[^/]+:\d+", address):  # Ray itself would wait for minutes
            host, port = address.rsplit(":", 1)
            socket.create_connection((host, int(port)), timeout=30).close()
        ray.init(
            runtime_env={"env_vars": {"PYTHONPATH": path, **passed}}, logging_level="ERROR", log_to_driver=False,
            include_dashboard=None if address else False,
        )  # fmt: skip
    except (OSError, ValueError, RuntimeError) as error:
        where = address or "this machine"
        raise MedgroundError(f"no Ray cluster at {where} ({error}); start it as docs/cluster.md says") from None
    return ray
