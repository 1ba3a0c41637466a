"""engine.map: order, resume, and what a crash can lose."""

import errno
import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from medground import engine, files, records
from medground.engine.lock import only
from medground.errors import MedgroundError

SCHEMA = pa.schema([pa.field("item", pa.int64(), False), pa.field("square", pa.int64(), False)])
WITH_FILES = pa.schema([pa.field("item", pa.int64(), False), pa.field("path", pa.string(), False)])


@dataclass
class Square:
    """Squares; leaves a trace of every call, and may misbehave at an item: die, die once, or raise."""

    trace: Path
    at: tuple = ()
    does: str = "die once"

    def __call__(self, items):
        for item in items:
            with open(self.trace / str(item), "a") as file:
                file.write("x")
        for item in set(self.at) & set(items):
            if self.does == "raise":
                raise MedgroundError(f"film {item}.png cannot be read; fetch it again")
            if self.does == "raise alike":
                raise MedgroundError("there is no such model")
            if self.does == "die" or not (self.trace / "died").exists():
                (self.trace / "died").touch()
                os.kill(os.getpid(), signal.SIGKILL)
        return [{"item": item, "square": item**2} for item in items]


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "trace").mkdir()

    def run(fn=None, items=range(10), **kwargs):
        options = {"workers": 1, "batch_size": 3, "fingerprint": "a", "schema": SCHEMA, "key": str} | kwargs
        engine.map(fn or Square(tmp_path / "trace"), items, out="out.parquet", **options)
        return records.read_rows("out.parquet", options["schema"])

    return run


def squares(items=range(10)):
    return [{"item": i, "square": i * i} for i in items]


def calls(tmp_path):
    return {int(p.name): len(p.read_text()) for p in (tmp_path / "trace").iterdir() if p.name.isdigit()}


def forget(tmp_path):
    for path in (tmp_path / "trace").iterdir():
        path.unlink()


def kept():
    return sorted(path for path in Path(".progress").rglob("*.parquet") if path.is_file())


def test_rows_come_in_the_order_of_the_items(run):
    alone = run()
    content = Path("out.parquet").read_bytes()
    assert alone == run(workers=2, fingerprint="b") == squares()
    assert Path("out.parquet").read_bytes() == content


def test_what_was_made_is_made_again_from_what_was_kept(run, tmp_path):
    run()
    content = Path("out.parquet").read_bytes()
    for harm in (lambda p: None, Path.unlink, lambda p: p.write_bytes(b"damaged")):
        harm(Path("out.parquet"))
        assert run() == squares()
        assert Path("out.parquet").read_bytes() == content
    assert calls(tmp_path) == dict.fromkeys(range(10), 1)


def test_kept_batches_are_of_one_fingerprint_and_of_whatever_items(run, tmp_path):
    run(items=range(9))
    run(items=range(6))
    assert run(items=range(12)) == squares(range(12))
    assert calls(tmp_path) == dict.fromkeys(range(12), 1)
    run(fingerprint="b")
    assert len({part.parent for part in kept()}) == 1, "those of another fingerprint are gone"
    assert calls(tmp_path) == dict.fromkeys(range(10), 2) | {10: 1, 11: 1}
    run(items=[1], fingerprint="")
    run(items=[1], fingerprint="")
    assert calls(tmp_path)[1] == 4, "what is not known to be the same is made anew"
    assert not kept()


@pytest.mark.parametrize("workers", [1, 2])
def test_tables_share_the_processes_and_what_these_load(workers, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "trace").mkdir()
    wanted = {"low": range(5), "none": [], "high": range(3, 9)}
    tables = [engine.Table(f"{name}.parquet", items, str, SCHEMA, 2, name) for name, items in wanted.items()]
    engine.map_tables(Loads(tmp_path / "trace"), tables[:1], workers=workers)
    engine.map_tables(Loads(tmp_path / "trace"), tables, workers=workers)
    for name, items in wanted.items():
        assert records.read_rows(f"{name}.parquet", SCHEMA) == squares(items)
    assert calls(tmp_path) == {0: 1, 1: 1, 2: 1, 3: 2, 4: 2, 5: 1, 6: 1, 7: 1, 8: 1}
    assert len((tmp_path / "trace" / "loads").read_text()) <= 2 * workers


def test_tables_are_written_as_they_are_done_and_an_interruption_keeps_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "trace").mkdir()

    class Stopped(Square):
        def __call__(self, items):
            if 7 in items:
                raise KeyboardInterrupt
            return super().__call__(items)

    tables = [engine.Table(f"{n}.parquet", range(n, n + 4), str, SCHEMA, 2, str(n)) for n in (0, 4)]
    with pytest.raises(KeyboardInterrupt):
        engine.map_tables(Stopped(tmp_path / "trace"), tables, workers=1)
    assert Path("0.parquet").exists() and not Path("4.parquet").exists()
    engine.map_tables(Square(tmp_path / "trace"), tables, workers=1)
    assert calls(tmp_path) == dict.fromkeys(range(8), 1)


def test_rows_are_sorted_as_the_table_says_and_else_stay_in_the_order_of_the_items(run):
    items = [3, -3, 2, -2, 1, -1, -5, 5]
    rows = [{"item": item, "square": item**2} for item in items]
    for workers in (1, 2):
        made = run(items=items, sort_by=["square"], batch_size=2, workers=workers, fingerprint=str(workers))
        assert made == sorted(rows, key=lambda row: row["square"]) and made != rows


def test_tables_say_in_turn_what_they_have_to_say_about_the_same_items(tmp_path, monkeypatch):
    """So that what is read for an item by one is still at hand for the next."""
    monkeypatch.chdir(tmp_path)
    order = []

    def work(items):
        order.append(items)
        return [{"item": item, "square": item**2} for _, item in items]

    tables = [
        engine.Table(f"{name}.parquet", [(name, n) for n in range(count)], str, SCHEMA, 2)
        for name, count in (("a", 5), ("b", 3))
    ]
    engine.map_tables(work, tables, workers=1)
    assert [(items[0][0], [n for _, n in items]) for items in order] == [
        ("a", [0, 1]), ("b", [0, 1]), ("a", [2, 3]), ("b", [2]), ("a", [4]),
    ]  # fmt: skip


def test_no_items_make_an_empty_table(run):
    assert run(items=[]) == []


# Files that rows name


def drawn(items):
    """Two files an item, one of which it shares with its neighbour."""
    rows = []
    for item in items:
        rows.append({"item": item, "path": files.File(f"films/{item}.png", b"%d" % item)})
        rows.append({"item": item, "path": files.File(f"films/shared{item // 2}.png", b"shared")})
    return rows


def films():
    return {path.name: path.read_bytes() for path in Path("films").iterdir()}


def test_rows_and_their_files_become_visible_together(run):
    def stopped(items):
        if 7 in items:
            assert not Path("films").exists() and not Path("out.parquet").exists()
            raise KeyboardInterrupt
        return drawn(items)

    with pytest.raises(KeyboardInterrupt):
        run(stopped, schema=WITH_FILES)
    assert not Path("films").exists()
    rows = run(drawn, schema=WITH_FILES)
    assert {Path(row["path"]).name for row in rows} == set(films())
    assert films()["3.png"] == b"3"


@pytest.mark.parametrize("harm", ["remove the folder", "remove one", "change one", "remove all"])
def test_a_file_that_is_gone_or_changed_comes_back(run, harm):
    rows = run(drawn, schema=WITH_FILES)
    before = films()
    if harm == "remove one":
        Path("films/3.png").unlink()
    elif harm == "change one":
        Path("films/3.png").write_bytes(b"4")
    else:
        for path in Path("films").iterdir():
            path.unlink()
        Path("films").rmdir()
        if harm == "remove all":
            Path("out.parquet").unlink()

    def never(items):
        raise AssertionError("all was kept")

    assert run(never, schema=WITH_FILES) == rows
    assert films() == before


def test_files_of_other_items_do_not_stay(run):
    run(drawn, schema=WITH_FILES)
    Path("films/notes.txt").write_text("mine")
    run(drawn, items=range(4), schema=WITH_FILES)
    assert set(films()) == {"0.png", "1.png", "2.png", "3.png", "shared0.png", "shared1.png", "notes.txt"}


def test_a_damaged_batch_is_made_again(run, tmp_path):
    run()
    part = kept()[1]
    content = bytearray(part.read_bytes())
    content[len(content) // 3] ^= 4
    part.write_bytes(content)
    assert run() == squares()
    assert sorted(calls(tmp_path).values()) in ([1] * 7 + [2] * 3, [1] * 9 + [2])


def test_durations_go_where_nothing_depends_on_them(run):
    def timed(items):
        return [row | {"seconds": 0.5} for row in squares(items)]

    assert run(timed) == squares()
    assert json.loads(Path("data/durations/out.json").read_text()) == {"rows": 10, "seconds": 5.0}
    assert pq.read_schema("out.parquet").names == SCHEMA.names


# What goes wrong


def test_an_interruption_loses_one_batch_at_most(run, tmp_path):
    class Stopped(Square):
        def __call__(self, items):
            if 7 in items:
                raise KeyboardInterrupt
            return super().__call__(items)

    with pytest.raises(KeyboardInterrupt):
        run(Stopped(tmp_path / "trace"))
    assert not Path("out.parquet").exists()
    assert calls(tmp_path) == dict.fromkeys(range(6), 1)
    assert len(run()) == 10
    assert calls(tmp_path) == dict.fromkeys(range(10), 1)


@pytest.mark.parametrize("workers", [1, 2])
def test_items_that_raise_are_named_the_rest_is_done_and_the_next_run_tries_them_alone(run, tmp_path, workers):
    with pytest.raises(MedgroundError) as caught:
        run(Square(tmp_path / "trace", (4, 8), "raise"), workers=workers)
    assert re.search(r"2 items failed.*out\.parquet, 4: film 4\.png cannot.*8: film 8\.png", str(caught.value), re.S)
    assert not Path("out.parquet").exists()
    (noted,) = Path(".progress").rglob("failed.json")
    assert str(noted) in str(caught.value)
    assert [(f["item"], f["error"][:10]) for f in json.loads(noted.read_text())] == [
        ("4", "film 4.png"),
        ("8", "film 8.png"),
    ]
    forget(tmp_path)
    with pytest.raises(MedgroundError, match=r"(?s)1 item failed.*film 8"):
        run(Square(tmp_path / "trace", (8,), "raise"), workers=workers)
    assert calls(tmp_path) == {4: 1, 8: 1}
    forget(tmp_path)
    assert run(workers=workers) == squares()
    assert calls(tmp_path) == {8: 1}
    assert not list(Path(".progress").rglob("failed.json"))


def test_an_exception_that_nobody_foresaw_is_named_with_its_item_and_place(run):
    def fails(items):
        return [{"item": item, "square": 10 // (item - 5)} for item in items]

    with pytest.raises(MedgroundError, match=r"(?s)1 item failed.*, 5: ZeroDivisionError: integer division"):
        run(fails)
    (noted,) = Path(".progress").rglob("failed.json")
    assert "in fails" in json.loads(noted.read_text())[0]["where"]


def test_what_fails_for_all_alike_is_not_tried_on_all(run, tmp_path):
    with pytest.raises(MedgroundError, match=r"(?s)3 items failed, and none went well.*there is no such model"):
        run(Square(tmp_path / "trace", tuple(range(10)), "raise alike"))
    assert set(calls(tmp_path)) < set(range(6))
    assert run() == squares()


@pytest.mark.parametrize("workers", [1, 2])
def test_tables_without_a_failure_are_written(tmp_path, monkeypatch, workers):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "trace").mkdir()
    tables = [engine.Table(f"{n}.parquet", range(n, n + 4), str, SCHEMA, 2, str(n)) for n in (0, 4)]
    with pytest.raises(MedgroundError, match=r"(?s)1 item failed.*0\.parquet, 1: film 1"):
        engine.map_tables(Square(tmp_path / "trace", (1,), "raise"), tables, workers=workers)
    assert Path("4.parquet").exists() and not Path("0.parquet").exists()


def test_another_fingerprint_starts_anew(run, tmp_path):
    with pytest.raises(MedgroundError):
        run(Square(tmp_path / "trace", (9,), "raise"))
    forget(tmp_path)
    run(fingerprint="b")
    assert calls(tmp_path) == dict.fromkeys(range(10), 1)


def test_a_killed_worker_is_replaced_and_its_batch_repeated_whole(run, tmp_path):
    assert run(Square(tmp_path / "trace", (7,)), workers=2) == squares()
    assert calls(tmp_path) == dict.fromkeys(range(10), 1) | {6: 2, 7: 2, 8: 2}
    assert len(kept()) == 4


def test_an_item_that_kills_its_workers_is_named_and_the_rest_is_done(run, tmp_path):
    with pytest.raises(MedgroundError, match=r"(?s)1 item failed.*, 7: its worker process died.*engine\.batch_size"):
        run(Square(tmp_path / "trace", (7,), "die"), workers=2)
    forget(tmp_path)
    assert run(workers=2) == squares()
    assert calls(tmp_path) == {7: 1}


class Loads(Square):
    """Loads something once, as an LVLM is loaded."""

    def __call__(self, items):
        if not hasattr(self, "model"):
            self.model = 1
            with open(self.trace / "loads", "a") as file:
                file.write("x")
        return super().__call__(items)


def test_a_worker_keeps_what_it_loaded_from_batch_to_batch(run, tmp_path):
    assert len(run(Loads(tmp_path / "trace"), workers=2, batch_size=1)) == 10
    assert (tmp_path / "trace" / "loads").read_text() in ("x", "xx")


def test_a_full_disk_loses_one_batch_and_the_next_run_goes_on(run, tmp_path, monkeypatch):
    written, write = [], pq.ParquetWriter.write_table

    def fills_up(self, table, *args, **options):
        if len(written) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(table)
        write(self, table, *args, **options)

    monkeypatch.setattr(pq.ParquetWriter, "write_table", fills_up)
    with pytest.raises(MedgroundError, match=r"cannot be written.*No space left.*run the same command again"):
        run()
    assert len([path for path in Path(".progress").rglob("*") if path.is_file() and path.suffix != ".lock"]) - 1 == 2
    monkeypatch.setattr(pq.ParquetWriter, "write_table", write)
    assert len(run()) == 10
    assert calls(tmp_path) == {item: 2 if item in (6, 7, 8) else 1 for item in range(10)}


def test_the_same_item_twice_is_refused(run):
    with pytest.raises(MedgroundError, match="item 1 is there twice"):
        run(items=[1, 1])


def test_a_row_that_does_not_fit_is_named(run):
    with pytest.raises(MedgroundError, match="column square does not fit"):
        run(lambda items: [{"item": i, "square": "four"} for i in items])


def test_a_table_is_made_by_one_process_at_a_time(run):
    with only("out.parquet"), pytest.raises(MedgroundError, match=rf"out\.parquet is at work already.*{os.getpid()}"):
        run()
    assert len(run()) == 10


# Processes

SCRIPT = """
    import os, sys, time
    from pathlib import Path
    import pyarrow as pa
    from medground import engine
    from medground.errors import friendly

    SCHEMA = pa.schema([pa.field("item", pa.int64(), False)])

    def held(items):
        Path(f"worker{os.getpid()}").touch()
        while items[0] >= 4 and not Path("go").exists():
            time.sleep(0.02)
        return [{"item": item} for item in items]

    @friendly
    def main():
        engine.map(held, range(40), key=str, out="out.parquet", schema=SCHEMA, workers=2, batch_size=2, fingerprint="a")

    if __name__ == "__main__":
        main()
"""


@pytest.fixture
def script(tmp_path):
    """A stage in a process group of its own, both workers at work and a batch kept; it ends when ``go`` is there."""
    (tmp_path / "script.py").write_text(textwrap.dedent(SCRIPT))
    started = []

    def start():
        for path in tmp_path.glob("worker*"):
            path.unlink()
        process = subprocess.Popen(
            [sys.executable, "script.py"], cwd=tmp_path, start_new_session=True, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # which the background of a shell ignores
        )  # fmt: skip
        started.append(process)
        wait_for(lambda: len(list(tmp_path.glob("worker*"))) == 2 and list(tmp_path.glob(".progress/*/*/*.parquet")))
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()


def wait_for(condition, seconds=300):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def workers(tmp_path):
    return [int(path.name.removeprefix("worker")) for path in tmp_path.glob("worker*")]


def alive(process):
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks at /proc")
def test_workers_end_when_their_parent_is_killed(script, tmp_path):
    process = script()
    process.kill()
    process.communicate()
    wait_for(lambda: not any(alive(worker) for worker in workers(tmp_path)))


def test_ctrl_c_says_one_line_and_leaves_nothing_running(script, tmp_path):
    process = script()
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    _, said = process.communicate(timeout=300)
    assert process.returncode == 130
    assert "Traceback" not in said and "KeyboardInterrupt" not in said
    assert said.strip().splitlines()[-1].startswith("interrupted; finished batches are kept")
    assert not any(alive(worker) for worker in workers(tmp_path))


def test_the_second_of_two_at_once_says_so_and_the_first_is_right(script, tmp_path):
    process = script()
    second = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, check=False,
                            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])})  # fmt: skip
    assert second.returncode == 1
    assert f"out.parquet is at work already in process {process.pid}" in second.stderr
    (tmp_path / "go").touch()
    assert process.wait(300) == 0
    assert pq.read_table(tmp_path / "out.parquet")["item"].to_pylist() == list(range(40))
