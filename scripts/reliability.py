"""Break the pipeline on purpose and count what is lost: writes the tables of docs/reliability.md.

    python scripts/reliability.py                     all sections
    python scripts/reliability.py interruptions flips --interruptions 40 --flips 400 --minutes 30

Works in a temporary copy of this repository with few patients, and touches nothing else. Each section is a function
that takes the `Workplace` and the options, and returns the lines of its table; it is written between the markers that
bear its name. Another section is one more function in `SECTIONS`.
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
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pyarrow as pa
import yaml

from medground import files, records
from medground.errors import MedgroundError

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "reliability.md"
STAGES = ("edit", "answer", "attribute", "score")
OUTS = {"edit": "data/edits", "answer": "data/answers", "attribute": "data/attributions", "score": "data/scores"}
TRIES = 60  # times that the same command is given, one second apart: an orphan of the first may still be at work
SMALL = {
    "sources": ["phantom_lesion"],
    "models": ["phantom-gemma3"],
    "methods": ["gradcam", "random", "center_box", "whole_film"],
    "engine": {"name": "local", "workers": 2, "batch_size": 2},
}


@dataclass
class Workplace:
    """A copy of the repository, with few patients, in which the pipeline ran to its scores, undisturbed."""

    folder: Path
    log: Callable[[str], None]

    @classmethod
    def make(cls, folder: Path, log: Callable[[str], None]) -> Workplace:
        """Copy what git has, and the CT where it is here; then run the pipeline."""
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
        for name in filter(None, listed.decode().split("\0")):
            if (ROOT / name).is_file() and not name.startswith(("tests/", "submissions/")):
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, folder / name)
        (folder / "submissions").mkdir(exist_ok=True)
        (folder / "submissions" / ".gitkeep").touch()
        (folder / "dvc.lock").unlink(missing_ok=True)
        if (ROOT / "data/raw/ct").is_dir():
            shutil.copytree(ROOT / "data/raw/ct", folder / "data/raw/ct")
        values = yaml.safe_load((folder / "params.yaml").read_text()) | SMALL
        values["phantom"] |= {"patients": 6, "films_per_patient": 3, "references": 2, "test_share": 0.99}
        values["answer"] |= {"batch_size": 4}
        (folder / "params.yaml").write_text(yaml.safe_dump(values))
        for command in (["git", "init", "-q"], ["git", "add", "-A"]):
            subprocess.run(command, cwd=folder, check=True)
        place = cls(folder, log)
        log("the undisturbed run")
        done = place.repro(["score"], alone=False).communicate()[0]
        if not (folder / "data/scores/scores.parquet").exists():
            sys.exit(f"the undisturbed run failed:\n{done}")
        return place

    def repro(self, names: list[str], alone: bool = True) -> subprocess.Popen:
        """Start ``dvc repro`` in a process group of its own; DVC's cache of runs is not used."""
        command = [sys.executable, "-m", "dvc", "repro", "--no-run-cache", *(["-s"] if alone else []), *names]
        env = os.environ | {"PYTHONPATH": str(self.folder), "OMP_NUM_THREADS": "1"}
        return subprocess.Popen(
            command, cwd=self.folder, env=env, start_new_session=True, text=True, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )  # fmt: skip

    @cached_property
    def names(self) -> dict[str, list[str]]:
        """The stages by their group: ``edit`` is ``edit@<source>``."""
        listed = subprocess.run([sys.executable, "-m", "dvc", "stage", "list", "--name-only"], cwd=self.folder,
                                capture_output=True, text=True, check=True).stdout.split()  # fmt: skip
        return {stage: [name for name in listed if name.split("@")[0] == stage] for stage in STAGES}

    def digests(self, stage: str) -> dict[str, str]:
        """The SHA-256 of each file of a stage's outputs."""
        folder = self.folder / OUTS[stage]
        paths = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != ".gitignore"]
        if stage == "score":  # faithfulness writes beside it
            paths = [path for path in paths if path.stem != "faithfulness"]
        return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}

    def forget(self, stage: str) -> None:
        """Remove what a stage made, and all that was kept on the way there."""
        for path in [self.folder / name for name in self.digests_paths(stage)]:
            path.unlink()
        for kept in (".progress", ".dvc/cache"):  # DVC would fetch the outputs from there, and run nothing
            shutil.rmtree(self.folder / kept, ignore_errors=True)

    def digests_paths(self, stage: str) -> list[str]:
        return [f"{OUTS[stage]}/{name}" for name in self.digests(stage)]


# Interruptions


def interruptions(place: Workplace, options: argparse.Namespace) -> list[str]:
    """Each stage, each way of dying, at random moments; then the same command until it ends well."""
    rng = random.Random(options.seed)
    ways = list(WAYS)
    turns = list(itertools.islice(itertools.cycle(itertools.product(STAGES, ways)), options.interruptions))
    rng.shuffle(turns)
    wanted = {stage: place.digests(stage) for stage in STAGES}
    took = {stage: _undisturbed(place, stage, wanted[stage]) for stage in STAGES}
    end = time.monotonic() + 60 * options.minutes
    rows: dict[str, Counter] = {way: Counter() for way in ways}
    for number, (stage, way) in enumerate(turns, 1):
        if time.monotonic() > end:
            place.log(f"stopped after {options.minutes} minutes")
            break
        found = _interrupt(place, stage, way, rng.uniform(0.15, 1.0) * took[stage], wanted[stage])
        rows[way].update(found)
        place.log(f"{number}/{len(turns)} {stage}, {way}: {dict(found)}")
    total = sum(rows.values(), Counter())
    lines = [
        "| what happened | times | while the stage was at work | files lost | wrong exits |",
        "|---|---|---|---|---|",
    ]
    for name, count in [*rows.items(), ("**together**", total)]:
        cells = (count[key] for key in ("times", "hit", "lost", "wrong"))
        lines.append(f"| {name} | {' | '.join(map(str, cells))} |")
    return lines


def _undisturbed(place: Workplace, stage: str, wanted: dict[str, str]) -> float:
    """Seconds that a stage takes from nothing; the files must be those of the first run."""
    place.forget(stage)
    started = time.monotonic()
    said, _ = place.repro(place.names[stage]).communicate()
    if place.digests(stage) != wanted:
        sys.exit(f"{stage} does not repeat itself:\n{said}")
    return time.monotonic() - started


def _interrupt(place: Workplace, stage: str, way: str, after: float, wanted: dict[str, str]) -> Counter:
    """What came of one interruption: counts of ``hit`` (it met something to harm), files ``lost``, ``wrong`` exits."""
    place.forget(stage)
    process = place.repro(place.names[stage])
    time.sleep(after)
    hit = process.poll() is None and WAYS[way](place, process)
    said, _ = process.communicate()
    (place.folder / "ballast").unlink(missing_ok=True)
    found = place.digests(stage)
    wrong = process.returncode == 0 and found != wanted  # said that all is well, and it is not
    for _ in range(TRIES):
        again = place.repro(place.names[stage])
        said, _ = again.communicate()
        if again.returncode == 0:
            break
        time.sleep(1)
    found = place.digests(stage)
    lost = sum(found.get(name) != digest for name, digest in wanted.items()) + len(found.keys() - wanted.keys())
    wrong += again.returncode != 0 or bool(lost)
    if wrong or lost:
        place.log(said)
    return Counter(times=1, hit=int(hit), lost=lost, wrong=int(wrong))


def _processes(place: Workplace, of: str) -> list[int]:
    """The processes at work in the copy whose command line holds ``of``."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if of in (folder / "cmdline").read_text() and (folder / "cwd").resolve() == place.folder:
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def _kill(of: str) -> Callable[[Workplace, subprocess.Popen], bool]:
    def kill(place: Workplace, process: subprocess.Popen) -> bool:
        chosen = _processes(place, of)[-1:]
        for number in chosen:
            os.kill(number, signal.SIGKILL)
        return bool(chosen)

    return kill


def _kill_dvc(place: Workplace, process: subprocess.Popen) -> bool:
    process.kill()
    return True


def _interrupted(place: Workplace, process: subprocess.Popen) -> bool:
    os.killpg(process.pid, signal.SIGINT)
    return True


def _full_disk(place: Workplace, process: subprocess.Popen) -> bool:
    """Fill the file system of the copy, which is one of its own, until the command has ended."""
    with (place.folder / "ballast").open("wb") as ballast:
        try:
            while True:
                ballast.write(b"\0" * (1 << 20))
                ballast.flush()
        except OSError:
            pass
    return True


WAYS = {
    "kill -9 of a worker": _kill("multiprocessing.spawn"),
    "kill -9 of the stage": _kill("stages."),
    "kill -9 of dvc": _kill_dvc,
    "Ctrl-C": _interrupted,
    "the disk is full": _full_disk,
}


# Flipped bits


def flips(place: Workplace, options: argparse.Namespace) -> list[str]:
    """One bit of one table turned, anywhere in the file, and the table read."""
    rng = random.Random(options.seed)
    tables = dict(_tables(place.folder / "data"))
    rows: dict[str, Counter] = {}
    names = sorted(tables)
    for number in range(options.flips):
        path = names[number % len(names)]
        content = bytearray((place.folder / path).read_bytes())
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        flipped = place.folder / "flipped.parquet"
        flipped.write_bytes(content)
        kind = path.split("/")[1]
        try:
            records.read_table(flipped, tables[path])
        except MedgroundError:
            rows.setdefault(kind, Counter()).update(turned=1)
        else:
            rows.setdefault(kind, Counter()).update(turned=1, undetected=1)
    lines = ["| tables | bits turned | undetected |", "|---|---|---|"]
    for name, count in [*sorted(rows.items()), ("**together**", sum(rows.values(), Counter()))]:
        lines.append(f"| {name} | {count['turned']} | {count['undetected']} |")
    return lines


def _tables(data: Path) -> Iterator[tuple[str, pa.Schema]]:
    schemas = {
        "samples.parquet": records.SAMPLES, "references.parquet": records.REFERENCES, "edits.parquet": records.EDITS,
        "cases.parquet": records.CASES, "scores.parquet": records.SCORES,
    }  # fmt: skip
    folders = {"answers": records.ANSWERS, "attributions": records.ATTRIBUTIONS, "anatomy": records.CONCEPTS}
    for path in data.rglob("*.parquet"):
        schema = schemas.get(path.name) or folders.get(path.relative_to(data).parts[0])
        if schema is not None:
            yield str(path.relative_to(data.parent)), schema


SECTIONS: dict[str, Callable[[Workplace, argparse.Namespace], list[str]]] = {
    "interruptions": interruptions,
    "flips": flips,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=f"{', '.join(SECTIONS)}; default: all")
    parser.add_argument("--interruptions", type=int, default=40)
    parser.add_argument("--flips", type=int, default=400)
    parser.add_argument("--minutes", type=float, default=60, help="after which no more interruptions are begun")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    if unknown := set(options.sections) - set(SECTIONS):
        parser.error(f"no section {', '.join(sorted(unknown))}; known: {', '.join(SECTIONS)}")
    with _folder() as folder:
        place = Workplace.make(folder, lambda line: print(line, flush=True))
        for name in options.sections or SECTIONS:
            lines = SECTIONS[name](place, options)
            print("\n".join(lines), flush=True)
            write(name, lines)


def write(name: str, lines: list[str]) -> None:
    """Put the lines between the markers of a section of the page."""
    start, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    text = PAGE.read_text()
    before, _, rest = text.partition(start)
    _, _, after = rest.partition(end)
    files.write(before + start + "\n" + "\n".join(lines) + "\n" + end + after, PAGE)


class _folder:
    """A temporary folder with a small file system of its own, so that its disk can be filled; needs to be root."""

    def __enter__(self) -> Path:
        self.path = Path(tempfile.mkdtemp(prefix="medground-reliability-")).resolve()
        mount = ["mount", "-t", "tmpfs", "-o", "size=1g", "tmpfs", str(self.path)]
        if not shutil.which("mount") or subprocess.run(mount, capture_output=True, check=False).returncode:
            shutil.rmtree(self.path)
            del WAYS["the disk is full"]
            print("no file system of its own could be mounted (root may): a full disk is not tried", flush=True)
            self.path = Path(tempfile.mkdtemp(prefix="medground-reliability-")).resolve()
        return self.path

    def __exit__(self, *_: object) -> None:
        subprocess.run(["umount", "-l", str(self.path)], capture_output=True, check=False)
        shutil.rmtree(self.path, ignore_errors=True)


if __name__ == "__main__":
    main()
