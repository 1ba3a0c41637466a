"""A Ray cluster: one actor a GPU, or one a core where the cluster has no GPU, each with its own copy of the work.

The cluster is the one of ``RAY_ADDRESS`` (docs/cluster.md), or this machine's own where that is not set. Nodes may join
and leave while it runs: a job whose worker died is given back, to be given to another one.
"""

from __future__ import annotations

import logging
import os
import re
import socket
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ..errors import MedgroundError
from .job import DIED, Failure, Job, attempt

Rows = list[dict]
PATIENCE = 600.0  # seconds without any worker at work before the cluster is given up


def run(
    fn: Callable[[list[Any]], Rows], jobs: deque[Job], workers: int = 0, idle: float = 0
) -> Iterator[tuple[Job, Rows | Failure]]:
    """Yield each job with its rows, or with why it has none, as they finish; more jobs may be added meanwhile.

    ``workers`` is the number of actors; 0 follows the cluster. ``idle`` is nothing to it: a cluster keeps what it
    imported as it likes. Raises MedgroundError when Ray is not installed, the
    cluster is out of reach or has no free worker, or a node lacks the repository.
    """
    if not jobs:
        return
    ray = _connect()
    team = _Team(ray, fn, workers)
    try:
        yield from team.work(jobs)
    finally:
        team.dismiss()
        ray.shutdown()


class _Team:
    """Actors, and what each is at."""

    def __init__(self, ray, fn: Callable, workers: int):
        self.ray, self.workers = ray, workers
        self.fn = ray.put(fn)  # sent to a node once, however many batches it gets
        self.busy: dict[Any, tuple[Any, Job | None]] = {}  # what is awaited: the actor, its job (None: starting)
        self.idle: list[Any] = []  # actors without a job
        gpu = self.ray.cluster_resources().get("GPU", 0) >= 1
        self.unit = "GPU" if gpu else "CPU"
        self.Worker = ray.remote(num_cpus=0 if gpu else 1, num_gpus=int(gpu), max_restarts=0)(_Worker)

    def work(self, jobs: deque[Job]) -> Iterator[tuple[Job, Rows | Failure]]:
        while jobs or any(job for _, job in self.busy.values()):
            while jobs and self.idle:
                self._give(self.idle.pop(), jobs.popleft())
            self._hire(len(jobs))
            done, _ = self.ray.wait(list(self.busy), timeout=None if self._at_work() else PATIENCE)
            if not done:
                raise MedgroundError(
                    f"no worker of the Ray cluster was free within {PATIENCE:.0f} s; `ray status` shows its nodes and "
                    f"what occupies them (a worker takes one {self.unit})"
                )
            actor, job = self.busy.pop(done[0])
            try:
                result = self.ray.get(done[0])
            except self.ray.exceptions.RayTaskError as error:
                raise error.cause from None
            except self.ray.exceptions.RayError:  # the worker or its node is gone
                self.ray.kill(actor)
                if job:
                    yield job, Failure(DIED, died=True)
                continue
            if job and jobs:  # the worker goes on while the caller keeps what it made
                self._give(actor, jobs.popleft())
            else:
                self.idle.append(actor)
            if job:
                yield job, result

    def dismiss(self) -> None:
        for actor in (*self.idle, *(actor for actor, _ in self.busy.values())):
            self.ray.kill(actor)

    def _give(self, actor: Any, job: Job) -> None:
        self.busy[actor.run.remote(job.items)] = actor, job

    def _hire(self, left: int) -> None:
        """As many workers as the cluster has room for now, and jobs to give them."""
        room = self.workers or int(self.ray.cluster_resources().get(self.unit, 0))
        starting = sum(job is None for _, job in self.busy.values())
        for _ in range(min(max(room, 1) - len(self.busy) - len(self.idle), left - starting)):
            actor = self.Worker.remote()
            self.busy[actor.start.remote(self.fn, os.getcwd())] = actor, None

    def _at_work(self) -> bool:
        return any(job for _, job in self.busy.values())


class _Worker:
    """Runs in the cluster; keeps the work, and with it a loaded model, from job to job."""

    def start(self, fn: Callable, folder: str) -> None:
        if not Path(folder).is_dir():
            raise MedgroundError(
                f"the node {os.uname().nodename} does not have the folder {folder}; the repository must be at the same "
                "path on every node (docs/cluster.md)"
            )
        os.chdir(folder)
        self.fn = fn

    def run(self, items: list[Any]) -> Rows | Failure:
        return attempt(self.fn, items)


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
            runtime_env={"env_vars": {"PYTHONPATH": path, **passed}}, logging_level=logging.ERROR, log_to_driver=False,
            include_dashboard=None if address else False,
        )  # fmt: skip
    except (OSError, ValueError, RuntimeError) as error:
        where = address or "this machine"
        raise MedgroundError(f"no Ray cluster at {where} ({error}); start it as docs/cluster.md says") from None
    return ray
