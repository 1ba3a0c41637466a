"""Reading entries is guarded everywhere: on the board too, whoever put what into the folder, and on any platform."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from medground import submission
from medground.errors import MedgroundError
from medground.scoring import score_case
from medground.submission import sandbox, slots, validator

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def board(entry, cases, tmp_path, in_process):
    """A folder of entries with one on it."""
    submission.accept(submission.receive(entry, cases, tmp_path / "root", "a@example.org").id, tmp_path / "root")
    return tmp_path / "root"


@pytest.fixture(autouse=True)
def at_most_three_minutes():
    def late(*_):
        raise AssertionError("it waits or reads for ever")

    signal.signal(signal.SIGALRM, late)
    signal.alarm(180)
    yield
    signal.alarm(0)


def endless(path: Path) -> None:
    path.symlink_to("/dev/zero")


def text(content: str):
    return lambda path: path.write_text(content)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (endless, "cannot be opened"),
        (os.mkfifo, "is not a plain file"),
        (Path.mkdir, "is not a plain file"),
        (text("["), "is damaged"),
        (text("[" * 200_000), "is (damaged|too large)"),
        (text("[" * 60_000), "is damaged"),
        (text("[]"), "is damaged"),
        (text("3"), "is damaged"),
        (text('{"id": 3}'), "is damaged"),
        (text('{"id": "x"}'), "is damaged"),
        (text('{"surprise": "x"}'), "is damaged"),
        (lambda path: path.write_bytes(b"\xff\xfe" * 9), "is damaged"),
        (lambda path: path.write_bytes(bytes(1 << 20)), "is too large"),
    ],
)
def test_any_receipt_gets_a_message(board, cases, make, message):
    (folder,) = (path for path in board.iterdir() if path.is_dir() and path.name[0] not in "._")
    (folder / "receipt.json").unlink()
    make(folder / "receipt.json")
    with pytest.raises(MedgroundError, match=message):
        submission.accepted(board, cases)
    with pytest.raises(MedgroundError, match=message):
        submission.receipts(board)


@pytest.mark.parametrize(
    ("name", "make", "message"),
    [
        ("entry.yaml", endless, "cannot be opened"),
        ("entry.yaml", os.mkfifo, "is not a plain file"),
        ("entry.yaml", text("- a\n- list\n"), "is not a mapping"),
        ("entry.yaml", text("words"), "is not a mapping"),
        ("entry.yaml", text("a: " + "[" * 9000), "deep nesting"),
        ("entry.yaml", lambda path: path.write_bytes(bytes(1 << 20)), "is too large"),
        ("attributions.parquet", endless, "cannot be opened"),
        ("attributions.parquet", os.mkfifo, "is not a plain file"),
        ("attributions.parquet", text("PAR1"), "is not valid"),
        ("extra", endless, "does not belong to an entry"),
    ],
)
def test_any_entry_gets_a_message(board, cases, name, make, message):
    """As after a pull request, which has no receipt."""
    (folder,) = (path for path in board.iterdir() if path.is_dir() and path.name[0] not in "._")
    (folder / "receipt.json").unlink()
    (folder / name).unlink(missing_ok=True)
    make(folder / name)
    with pytest.raises(MedgroundError, match=message):
        for one in submission.accepted(board, cases):
            next(one.attributions())


def test_a_claim_that_is_none_is_not_taken(board, cases):
    (folder,) = (path for path in board.iterdir() if path.is_dir() and path.name[0] not in "._")
    (folder / "receipt.json").unlink()
    card = (folder / "entry.yaml").read_text()
    for claim, taken in (("0.5", 0.5), ("[1]", None), ("nan", None), (".nan", None), ("7", None), ("true", None)):
        (folder / "entry.yaml").write_text(card.replace("claimed_iou: 0.4", f"claimed_iou: {claim}"))
        assert submission.accepted(board, cases)[0].claimed == taken


def test_the_limits_of_an_attribution_hold_when_it_is_scored():
    region, box = [(0.0, 0, 10, 10)], [0.0, 0, 10, 10]
    assert score_case({"boxes": [box] * 100}, 20, 20, region)["iou"] == 1.0
    assert score_case({"boxes": [box] * 101}, 20, 20, region)["problem"] == "more than 100 boxes"
    large = {"grid": range(1024 * 1025), "grid_height": 1024, "grid_width": 1025}
    assert score_case(large, 20, 20, region)["problem"] == "the grid has more than 1,048,576 cells"


@pytest.mark.skipif(sys.platform != "linux", reason="the filter of system calls is Linux's")
def test_the_sandbox_has_no_network_starts_nothing_and_writes_nothing(tmp_path):
    code = f"""
        import os, signal, socket, subprocess
        from medground.submission.sandbox import confine

        def write():
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            with open({str(tmp_path / "x")!r}, "wb", buffering=0) as file:
                file.write(b"x")

        print(sorted(confine(1 << 30, 30)))
        for harm in (
            lambda: socket.create_connection(("127.0.0.1", 9)), socket.socketpair,
            lambda: subprocess.run(["true"]), lambda: os.execv("/bin/true", ["true"]), lambda: bytes(2 << 30), write,
        ):
            try:
                harm()
                print("done")
            except BaseException as error:
                print(type(error).__name__, getattr(error, "errno", ""))
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, cwd=REPOSITORY)
    assert done.stdout.splitlines() == [
        "['core', 'files', 'memory', 'network', 'seconds']",
        *["PermissionError 1"] * 4, "MemoryError ", "OSError 27",
    ], done.stderr  # fmt: skip


def test_the_sandbox_gets_no_secrets(entry, cases, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("MEDGROUND_SUBMISSIONS", "/data")
    run, seen = subprocess.run, []

    def watched(*words, env, **options):
        seen.append(env)
        return run(*words, env=env, **options)

    monkeypatch.setattr(validator.subprocess, "run", watched)
    assert submission.validate(entry, cases).valid
    assert "hf_secret" not in seen[0].values() and set(seen[0]) <= {*sandbox._KEPT, "PYTHONPATH", "OMP_NUM_THREADS",
                                                                     "ARROW_DEFAULT_MEMORY_POOL"}  # fmt: skip


def test_only_so_many_validations_run_at_once(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDGROUND_VALIDATIONS", "2")
    running, most, lock = 0, 0, threading.Lock()

    def work():
        nonlocal running, most
        with slots.slot(1 << 30, folder=tmp_path):
            with lock:
                running += 1
                most = max(most, running)
            time.sleep(0.05)
            with lock:
                running -= 1

    threads = [threading.Thread(target=work) for _ in range(8)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert most == 2


def test_processes_share_the_places_and_a_dead_one_leaves_its_own(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDGROUND_VALIDATIONS", "1")
    code = f"""
        import time
        from pathlib import Path
        from medground.submission.slots import slot
        with slot(1 << 30, folder=Path({str(tmp_path)!r})):
            print("held", flush=True)
            time.sleep(60)
    """
    other = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True, cwd=REPOSITORY
    )
    assert other.stdout.readline() == "held\n"
    with (
        pytest.raises(MedgroundError, match="1 other entries are being validated"),
        slots.slot(1 << 30, patience=0.2, folder=tmp_path),
    ):
        pass
    other.kill()
    other.wait()
    with slots.slot(1 << 30, patience=5, folder=tmp_path) as number:
        assert number == 0


def test_the_number_of_places_follows_the_memory(monkeypatch):
    monkeypatch.delenv("MEDGROUND_VALIDATIONS", raising=False)
    for gigabytes, places in ((4, 1), (8, 1), (16, 2), (32, 4), (512, 4)):
        monkeypatch.setattr(slots.os, "sysconf", lambda name, g=gigabytes: {"SC_PAGE_SIZE": 1}.get(name, g << 30))
        assert slots.at_once(2 << 30) == places
    monkeypatch.setenv("MEDGROUND_VALIDATIONS", "many")
    with pytest.raises(MedgroundError, match="MEDGROUND_VALIDATIONS is 'many'"):
        slots.at_once(1)


def test_works_where_unix_modules_are_absent(tmp_path, entry, cases):
    """As on Windows: no fcntl, no resource, no affinity; an entry can be validated and received."""
    (tmp_path / "cases.json").write_text(json.dumps(cases))
    code = f"""
        import json, os, sys, warnings

        class Absent:
            def find_spec(self, name, path=None, target=None):
                if name in ("fcntl", "resource", "pwd", "grp", "termios"):
                    raise ModuleNotFoundError(f"no module named {{name}}", name=name)

        sys.meta_path.insert(0, Absent())
        for name in ("fcntl", "resource"):
            sys.modules.pop(name, None)
        for name in ("sched_getaffinity", "O_NOFOLLOW", "O_NONBLOCK", "getuid", "sysconf"):
            delattr(os, name)
        import medground.submission, medground.scoring, medground.ranking, medground.cli
        from medground.submission import sandbox, slots
        assert sandbox.confine(1, 1) == set() and slots.at_once(1) == 1
        cases = json.load(open({str(tmp_path / "cases.json")!r}))
        print(medground.submission.validate({str(entry)!r}, cases).text())
        print(medground.submission.receive({str(entry)!r}, cases, {str(tmp_path / "root")!r}, "a@b.c").status)
    """
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(code)], capture_output=True, text=True, cwd=REPOSITORY
    )
    assert done.stdout.splitlines() == ["no problems", "quarantined"], done.stderr


@pytest.mark.parametrize("module", ["fcntl", "resource", "pwd", "grp"])
def test_no_module_of_the_package_imports_what_is_not_everywhere(module):
    import ast

    for path in sorted((REPOSITORY / "medground").rglob("*.py")):
        for node in ast.parse(path.read_text()).body:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) else []
            assert module not in names, path
