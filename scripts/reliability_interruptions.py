"""Kill, interrupt and starve `dvc repro` at random moments: a section of docs/reliability.md.

Each stage is made from nothing, and struck once while it is at work; then the same command is given until it ends well.
What then lies there is held against the files, and the dvc.lock, of a run that nothing disturbed.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import yaml
from reliability_workplace import Workplace, environment

STAGES = {
    "edit": ("edit@phantom_lesion", "data/edits"),
    "answer": ("answer@phantom-gemma3", "data/answers"),
    "attribute": ("attribute@phantom-gemma3", "data/attributions"),
    "score": ("score", "data/scores"),
}
TRIES = 120  # times that the same command is given, one second apart: an orphan of the first may still be at work
GRACE = 10  # seconds in which workers have to end after their parent did
LOOK = 0.03  # seconds between two looks at the processes
AIMS = 5  # times that a stage is made anew where the moment was missed: a stroke that meets nothing is none
HOST = "medground.engine.warm"  # in the command lines of the host of warm workers, and of these
TORN = "dvc.lock' validation failed"  # dvc writes the lock in place, so that a full disk leaves it empty
WORKER, STAGE = ("multiprocessing.spawn", HOST), ("\0-m\0stages.",)  # the same, of workers and stages


def section(place: Workplace, options: argparse.Namespace) -> list[str]:
    """As many interruptions as are wanted and were not made yet; the table of all."""
    found = place.found.setdefault("interruptions", [])
    wanted = place.found.setdefault("undisturbed", {})
    for stage in STAGES:
        if stage not in wanted:
            wanted[stage] = _undisturbed(place, stage)
            place.keep()
            place.log(f"{stage}, undisturbed: {wanted[stage]['seconds']} s, {wanted[stage]['batches']} batches")
    turns = _turns(place, options)
    end = time.monotonic() + 60 * options.minutes
    for number in range(len(found), len(turns)):
        if time.monotonic() > end:
            place.log(f"{number} of {len(turns)} after {options.minutes} minutes; the same command goes on")
            break
        stage, way = turns[number]
        rng = random.Random(f"{options.seed} {number}")
        for _ in range(AIMS):
            one = _interrupt(place, stage, way, rng, wanted[stage])
            if one["hit"] or one["wrong"] or one["lost"] or one["left"]:
                break
        found.append({"stage": stage, "way": way} | one)
        place.keep()
        place.log(f"{number + 1}/{len(turns)} {found[-1]}")
    return _lines(found)


def complete(place: Workplace, options: argparse.Namespace) -> bool:
    """Whether all interruptions that are wanted were made."""
    return len(place.found.get("interruptions", ())) >= options.interruptions


def _turns(place: Workplace, options: argparse.Namespace) -> list[tuple[str, str]]:
    """Each way in each stage, shuffled; `score` has no workers, and a disk that others use is not filled."""
    pairs = [
        (stage, way)
        for stage, way in itertools.product(STAGES, WAYS)
        if (stage, WAYS[way][0]) != ("score", "worker") and (place.found["full_disk"] or way != "the disk is full")
    ]
    turns = list(itertools.islice(itertools.cycle(pairs), options.interruptions))
    random.Random(options.seed).shuffle(turns)
    return turns


def _lines(found: list[dict]) -> list[str]:
    lines = ["| what happened | edit | answer | attribute | score | while it was at work | files lost | wrong exits | "
             "workers left behind |", "|---|---|---|---|---|---|---|---|---|"]  # fmt: skip
    for name in (*WAYS, "**together**"):
        of = [one for one in found if name in (one["way"], "**together**")]
        stages = Counter(one["stage"] for one in of)
        cells = [
            *(stages[stage] for stage in STAGES),
            *(sum(one[key] for one in of) for key in ("hit", "lost", "wrong", "left")),
        ]
        lines.append(f"| {name} | {' | '.join(map(str, cells))} |")
    same, restored = (sum(bool(one[key]) for one in found) for key in ("same", "restored"))
    return [
        *lines,
        "",
        f"{same} of {len(found)} ended with the files and the dvc.lock of an undisturbed run, byte for byte; "
        f"{restored} of them after `git checkout dvc.lock`.",
    ]


def _undisturbed(place: Workplace, stage: str) -> dict:
    """What a stage makes from nothing, which must be what the first run made, and in how many batches."""
    before = _made(place, stage)
    _forget(place, stage)
    started = time.monotonic()
    _repro(place, stage).wait()
    took = round(time.monotonic() - started, 1)
    if _made(place, stage) != before:
        sys.exit(f"{stage} does not repeat itself:\n{_said(place)}")
    return before | {"batches": _batches(place), "seconds": took}


def _interrupt(place: Workplace, stage: str, way: str, rng: random.Random, wanted: dict) -> dict:
    """What came of one interruption.

    ``hit``: it met something to harm; ``lost``: files that are missing, other, or too many at the end; ``wrong``:
    commands that said that all was well while it was not, and ends that never came; ``left``: workers that outlived
    their stage; ``tries``: how often the command was given again; ``restored``: how often dvc.lock had to be taken from
    git before; ``same``: files and lock are those of the undisturbed run.
    """
    kind, strike = WAYS[way]
    _forget(place, stage)
    process = _repro(place, stage)
    batches = _wait(place, process, kind, rng, wanted["batches"], wanted["seconds"])
    hit = process.poll() is None and strike(place, process, rng)
    process.wait()
    (place.folder / "ballast").unlink(missing_ok=True)
    wrong = int(process.returncode == 0 and _files(place, stage) != wanted["files"])
    left = 0 if way == "kill -9 of dvc" else _left(place)  # there the stage goes on, and its workers with it
    restored = 0
    for tries in range(1, TRIES + 1):  # noqa: B007, it is told below
        again = _repro(place, stage)
        if again.wait() == 0:
            break
        if TORN in _said(place):
            place.run("git", "checkout", "dvc.lock")
            restored += 1
        time.sleep(1)
    made = _made(place, stage)
    lost = len(dict(made["files"].items() ^ wanted["files"].items()))
    same = made == {"files": wanted["files"], "lock": wanted["lock"]}
    wrong += int(again.returncode != 0) + int(again.returncode == 0 and not same)
    if wrong or lost or left:
        place.log(_said(place))
    found = {"hit": int(hit), "lost": lost, "wrong": wrong, "left": left, "tries": tries, "restored": restored}
    return found | {"same": int(same), "batches": batches, "of": wanted["batches"]}


def _wait(
    place: Workplace, process: subprocess.Popen, kind: str, rng: random.Random, batches: int, seconds: float
) -> int:
    """Wait for a random moment of a stage's work, by how many batches it has kept, so that a busy machine does not move
    it; how many there were. ``batches`` and ``seconds`` are what the stage takes undisturbed.

    Before the first: its processes are starting. After the last: it writes its table, and dvc takes note of it.
    """
    after = rng.randint(-1 if kind != "worker" else 0, batches if kind != "worker" else max(0, batches - 1))
    of = WORKER if kind == "worker" else STAGE
    while process.poll() is None and not (_processes(place, of) and (after < 1 or _batches(place) >= after)):
        time.sleep(LOOK)
    if after or kind != "worker":
        time.sleep(rng.uniform(0, seconds / (batches + 2) / 2))
    return _batches(place)


def _batches(place: Workplace) -> int:
    """The batches that are kept; parts of a batch are written under another name until they are whole."""
    return len([path for path in place.folder.glob(".progress/*/*/*.parquet") if not path.name.startswith(".")])


def _left(place: Workplace) -> int:
    """Workers that are there although their stage has ended."""
    end = time.monotonic() + GRACE
    while (left := len(_processes(place, WORKER))) and time.monotonic() < end:
        time.sleep(LOOK)
    return left


def _repro(place: Workplace, stage: str) -> subprocess.Popen:
    """Start ``dvc repro`` of one stage in a process group of its own; DVC's cache of runs is not used."""
    command = [sys.executable, "-m", "dvc", "repro", "--no-run-cache", "--single-item", STAGES[stage][0]]
    with (place.base / "said.txt").open("w") as said:  # a pipe would be held open by what outlives dvc
        return subprocess.Popen(
            command, cwd=place.folder, env=environment(place.folder), start_new_session=True, stdout=said,
            stderr=subprocess.STDOUT,
        )  # fmt: skip


def _said(place: Workplace) -> str:
    return (place.base / "said.txt").read_text()


def _made(place: Workplace, stage: str) -> dict:
    """The files of a stage, and the lock of all."""
    lock = place.folder / "dvc.lock"
    return {"files": _files(place, stage), "lock": yaml.safe_load(lock.read_text()) if lock.exists() else None}


def _files(place: Workplace, stage: str) -> dict[str, str]:
    """The SHA-256 of each file of a stage's outputs."""
    folder = place.folder / STAGES[stage][1]
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != ".gitignore"]
    if stage == "score":  # faithfulness writes beside it
        paths = [path for path in paths if path.stem != "faithfulness"]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def _forget(place: Workplace, stage: str) -> None:
    """Remove what a stage made, and all that was kept on the way there."""
    for name in _files(place, stage):
        (place.folder / STAGES[stage][1] / name).unlink()
    for kept in (".progress", ".dvc/cache"):  # DVC would fetch the outputs from there, and run nothing
        shutil.rmtree(place.folder / kept, ignore_errors=True)


def _processes(place: Workplace, of: Sequence[str]) -> list[int]:
    """The processes at work in the copy whose command line holds one of ``of``."""
    return _running(of, lambda process: (process / "cwd").resolve() == place.folder)


def _hosts(place: Workplace) -> list[int]:
    """The hosts of warm workers that were started from the copy; they are at work nowhere, but their variables tell."""
    told = f"PYTHONPATH={place.folder}"
    return _running(
        (HOST,),
        lambda process: (
            (process / "cwd").resolve() != place.folder and told in (process / "environ").read_text().split("\0")
        ),
    )


def _running(of: Sequence[str], wanted: Callable[[Path], bool]) -> list[int]:
    """The processes whose command line holds one of ``of``, and whose folder in /proc is ``wanted``."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            said = (process / "cmdline").read_text()
            if any(word in said for word in of) and wanted(process):
                found.append(int(process.name))
        except OSError:
            continue
    return sorted(found)


Strike = Callable[[Workplace, subprocess.Popen, random.Random], bool]


def _kill(found: Callable[[Workplace], list[int]]) -> Strike:
    def kill(place: Workplace, process: subprocess.Popen, rng: random.Random) -> bool:
        chosen = found(place)
        if chosen:
            os.kill(rng.choice(chosen), signal.SIGKILL)
        return bool(chosen)

    return kill


def _kill_dvc(place: Workplace, process: subprocess.Popen, rng: random.Random) -> bool:
    process.kill()
    return True


def _interrupted(place: Workplace, process: subprocess.Popen, rng: random.Random) -> bool:
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    return True


def _full_disk(place: Workplace, process: subprocess.Popen, rng: random.Random) -> bool:
    """Fill the file system of the copy, which is one of its own, until the command has ended."""
    with (place.folder / "ballast").open("wb", buffering=0) as ballast:
        for size in (1 << 20, 1 << 10, 1):
            try:
                while True:
                    ballast.write(b"\0" * size)
            except OSError:
                pass
    return True


#: What happens, whose life the moment is drawn from, and how it is done.
WAYS: dict[str, tuple[str, Strike]] = {
    "kill -9 of a worker": ("worker", _kill(partial(_processes, of=WORKER))),
    "kill -9 of the workers' host": ("worker", _kill(_hosts)),
    "kill -9 of the stage": ("stage", _kill(partial(_processes, of=STAGE))),
    "kill -9 of dvc": ("dvc", _kill_dvc),
    "Ctrl-C": ("dvc", _interrupted),
    "the disk is full": ("dvc", _full_disk),
}
