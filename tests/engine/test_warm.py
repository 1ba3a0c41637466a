"""Workers out of a host that stays from stage to stage: the same results, the code of now, and no process left over."""

from __future__ import annotations

import ast
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="workers start cold where there is no Linux")
REPOSITORY = Path(__file__).parents[2]
STAGE = """
import sys
from collections import deque
from medground.engine import warm
from medground.engine.job import Job
from medground.engine.local import run
import work

warm.fork.__defaults__ = (("wave", "nosuchmodule"),)  # what the host imports
if __name__ == "__main__":
    jobs = deque(Job(0, n, n + 1, [n]) for n in range(int(sys.argv[2])))
    for job, rows in run(work.fn, jobs, 2, float(sys.argv[1])):
        print(rows if isinstance(rows, list) else rows.text, flush=True)
"""
WORK = """
import os, sys, time
def fn(items):
    row = {"parent": os.getppid(), "pid": os.getpid(), "folder": os.getcwd(), "said": os.environ.get("SAID", ""),
           "threads": os.environ["OMP_NUM_THREADS"], "preloaded": "wave" in sys.modules, "version": VERSION}
    print("worker speaks", file=sys.stderr, flush=True)
    return [row]
VERSION = 1
"""


JOBS = 4


@pytest.fixture
def folder():
    """A folder with a short name, as sockets want it, and a stage in it; its hosts are there, and end with the test."""
    with tempfile.TemporaryDirectory(prefix="warm") as made:
        (Path(made) / "stage.py").write_text(STAGE)
        (Path(made) / "work.py").write_text(WORK)
        yield Path(made)
        for pid in hosts(Path(made)):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def hosts(folder: Path) -> list[int]:
    """The processes of hosts whose sockets are in a folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            said = entry.read_bytes().split(b"\0")
            if b"medground.engine.warm" in said and any(str(folder).encode() in word for word in said):
                found.append(int(entry.parent.name))
    return found


def start(folder: Path, idle: float = 30, jobs: int = JOBS, **environ: str) -> subprocess.Popen:
    told = {"TMPDIR": str(folder), "PYTHONPATH": str(REPOSITORY), **environ}
    command = [sys.executable, "-W", "ignore", "stage.py", str(idle), str(jobs)]
    return subprocess.Popen(
        command, cwd=folder, env=os.environ | told, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def rows(folder: Path, idle: float = 30, jobs: int = JOBS, **environ: str) -> list[dict]:
    process = start(folder, idle, jobs, **environ)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert err.count("worker speaks") == jobs  # what workers print is seen
    return [ast.literal_eval(line)[0] for line in out.splitlines()]


def test_two_stages_share_a_host_and_run_what_the_files_say_now(folder):
    first = rows(folder)
    (pid,) = hosts(folder)
    (folder / "work.py").write_text(WORK.replace("VERSION = 1", "VERSION = 2"))
    second = rows(folder)
    assert hosts(folder) == [pid]
    assert {row["parent"] for row in first + second} == {pid}
    assert all(row["preloaded"] for row in first + second)
    assert ({row["version"] for row in first}, {row["version"] for row in second}) == ({1}, {2})
    assert {row["folder"] for row in first} == {str(folder)}
    assert {row["threads"] for row in first} == {str(max(1, len(os.sched_getaffinity(0)) // 2))}
    assert not {row["pid"] for row in first + second} & alive()  # a worker ends with its stage


@pytest.mark.parametrize("idle", [0, 30])
def test_a_job_that_is_left_alone_has_as_many_threads_as_among_others(folder, idle):
    """With more of them, sums would round otherwise than in a run that nothing interrupted."""
    assert {row["threads"] for row in rows(folder, idle, 1)} == {row["threads"] for row in rows(folder, idle)}


def test_another_environment_gets_a_host_of_its_own_and_every_worker_sees_its_stages(folder):
    first, second = rows(folder), rows(folder, SAID="something")
    assert {row["said"] for row in first} == {""} and {row["said"] for row in second} == {"something"}
    assert len(hosts(folder)) == 2


def test_without_idle_time_and_without_a_place_for_sockets_workers_start_cold(folder):
    deep = folder / ("deep" * 40)
    deep.mkdir()
    for cold in (rows(folder, 0), rows(folder, TMPDIR=str(deep))):
        assert not any(row["preloaded"] for row in cold)
        assert len(cold) == 4 and hosts(folder) == []


def test_a_folder_that_others_can_write_to_is_not_trusted(folder):
    (folder / f"medground-{os.getuid()}").mkdir(mode=0o777)
    (folder / f"medground-{os.getuid()}").chmod(0o777)
    assert not any(row["preloaded"] for row in rows(folder))


def test_a_killed_stage_takes_its_workers_along_and_an_idle_host_ends(folder):
    (folder / "work.py").write_text(
        WORK.replace("    return [row]", f"    open({str(folder)!r} + f'/at_{{os.getpid()}}', 'w')\n    time.sleep(60)")
    )
    process = start(folder, idle=1)
    wait_for(lambda: len(list(folder.glob("at_*"))) == 2)
    process.kill()
    process.communicate()
    busy = {int(path.name.removeprefix("at_")) for path in folder.glob("at_*")}
    wait_for(lambda: not busy & alive())
    wait_for(lambda: not hosts(folder))
    assert list(folder.glob("medground-*/*.sock")) == []


def test_a_killed_host_is_replaced_and_a_killed_worker_too(folder):
    (pid,) = {row["parent"] for row in rows(folder)}
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: pid not in alive())
    (again,) = {row["parent"] for row in rows(folder)}  # its socket was still there
    assert again != pid
    dies = ["if items == [2] and not os.path.exists('died'):", "    open('died', 'w')", "    os.kill(os.getpid(), 9)"]
    dying = "".join(f"    {line}\n" for line in [*dies, "return [row]"])
    (folder / "work.py").write_text(WORK.replace("    return [row]\n", dying))
    process = start(folder)
    out, _ = process.communicate(timeout=60)
    assert sum("version" in line for line in out.splitlines()) == 3 and "worker process died" in out


def alive() -> set[int]:
    """Processes that run, zombies left out."""
    found = set()
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            if entry.read_text().rpartition(")")[2].split()[0] != "Z":
                found.add(int(entry.parent.name))
    return found


def wait_for(what, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "not within the time"
        time.sleep(0.05)
