"""The Ray engine: the same table as on one machine, whatever dies on the way. Starts real clusters, hence slow."""

import os
import signal
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pyarrow as pa
import pytest

from medground import engine, records
from medground.errors import MedgroundError

ray = pytest.importorskip("ray", reason="ray is not installed (pip install .[ray])")
from ray.cluster_utils import Cluster  # noqa: E402

pytestmark = pytest.mark.slow
SCHEMA = pa.schema([pa.field("item", pa.int64(), False), pa.field("square", pa.int64(), False)])


@dataclass
class Square:
    """Squares; leaves a trace of each batch and of each load of its `model`; may misbehave at one item, and may wait
    until ``team`` workers are there."""

    trace: Path
    at: int = -1
    does: str = "nothing"
    team: int = 1

    def __call__(self, items):
        assert self.model == 2
        while len({path.name.split("_")[1] for path in self.trace.glob("load_*")}) < self.team:
            time.sleep(0.05)
        (self.trace / f"{os.getpid()}_{items[0]}_{time.monotonic_ns()}").touch()
        if self.at in items:
            if self.does == "raise":
                raise MedgroundError("film 7.png cannot be read; fetch it again")
            if self.does == "die" or (self.does == "die once" and not (self.trace / "died").exists()):
                (self.trace / "died").touch()
                os.kill(os.getpid(), signal.SIGKILL)
        return [{"item": item, "square": item**self.model} for item in items]

    @cached_property
    def model(self):
        (self.trace / f"load_{os.getpid()}_{time.monotonic_ns()}").touch()
        return 2


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """Two nodes of one core each on this machine."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    cluster.second = cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))  # where the workers find `Square`
    monkeypatch.chdir(tmp_path)
    (tmp_path / "trace").mkdir()
    yield cluster
    ray.shutdown()
    cluster.shutdown()


def table(name, fn, items=40):
    engine.map(fn, range(items), key=str, out=f"{name}.parquet", schema=SCHEMA, name=name,
               workers=int(name == "local"), batch_size=2, fingerprint="a", settings={"by": "test"})  # fmt: skip
    return Path(f"{name}.parquet").read_bytes()


def batches(trace):
    return [path.name.split("_") for path in trace.iterdir() if path.name[0].isdigit()]


def test_a_node_killed_in_the_middle_changes_nothing(cluster, tmp_path, monkeypatch):
    trace = tmp_path / "trace"
    real_wait = ray.wait

    def kill_then_wait(*args, **kwargs):
        if cluster.second and len(batches(trace)) >= 6 and len({pid for pid, *_ in batches(trace)}) == 2:
            cluster.remove_node(cluster.second, allow_graceful=False)
            cluster.second = None
        return real_wait(*args, **kwargs)

    monkeypatch.setattr(ray, "wait", kill_then_wait)
    got = table("ray", Square(trace, team=2))
    assert cluster.second is None, "the node was to be killed during the run"
    done = batches(trace)
    assert len({pid for pid, *_ in done}) >= 2
    assert {int(first) for _, first, _ in done} == set(range(0, 40, 2))
    assert got == table("local", Square(trace))
    assert [row["square"] for row in records.read_rows("ray.parquet", SCHEMA)] == [i * i for i in range(40)]


def test_a_killed_worker_loses_one_batch_and_loads_its_model_once(cluster, tmp_path):
    trace = tmp_path / "trace"
    got = table("ray", Square(trace, 8, "die once"), 20)
    assert (trace / "died").exists()
    done = batches(trace)
    assert len(done) == 11  # the batch of item 8 twice, every other once
    loads = [path.name.split("_")[1] for path in trace.glob("load_*")]
    assert len(loads) == len(set(loads)) <= 4  # one a worker process: two, and the one that followed the dead
    assert got == table("local", Square(trace), 20)


def test_an_item_that_kills_every_worker_is_named_and_the_next_run_tries_it_alone(cluster, tmp_path):
    trace = tmp_path / "trace"
    with pytest.raises(MedgroundError, match=r"(?s)1 item failed.*, 8: its worker process died.*batch_size"):
        table("ray", Square(trace, 8, "die"), 20)
    for path in trace.iterdir():
        path.unlink()
    table("ray", Square(trace), 20)
    assert [first for _, first, _ in batches(trace)] == ["8"]


def test_an_item_that_raises_is_named_and_the_next_run_tries_it_alone(cluster, tmp_path):
    trace = tmp_path / "trace"
    with pytest.raises(MedgroundError, match=r"(?s)1 item failed.*, 8: film 7\.png cannot be read; fetch it again"):
        table("ray", Square(trace, 8, "raise"), 20)
    for path in trace.iterdir():
        path.unlink()
    got = table("ray", Square(trace), 20)
    assert [first for _, first, _ in batches(trace)] == ["8"]
    assert got == table("local", Square(trace), 20)


def test_no_cluster_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MedgroundError, match=r"no Ray cluster at 127\.0\.0\.1:1.*docs/cluster\.md"):
        table("ray", Square(tmp_path))
