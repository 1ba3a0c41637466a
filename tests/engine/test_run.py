"""engine.map: order, resume, and what a crash can lose."""

import errno
import os
import signal
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from medground import engine, records
from medground.errors import MedgroundError

SCHEMA = pa.schema([pa.field("item", pa.int64(), False), pa.field("square", pa.int64(), False)])


@dataclass
class Square:
    """Squares; leaves a trace of every call, and dies once at an item if told to."""

    trace: Path
    dies_at: int = -1

    def __call__(self, items):
        if self.dies_at in items and not (self.trace / "died").exists():
            (self.trace / "died").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        for item in items:
            with open(self.trace / str(item), "a") as file:
                file.write("x")
        return [{"item": item, "square": item**2} for item in items]


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "trace").mkdir()

    def run(fn=None, items=range(10), **kwargs):
        options = {"workers": 1, "batch_size": 3, "fingerprint": "a"} | kwargs
        fn = fn or Square(tmp_path / "trace")
        engine.map(fn, items, key=str, out="out.parquet", schema=SCHEMA, **options)
        return records.read_rows("out.parquet", SCHEMA)

    return run


def calls(tmp_path):
    return {int(p.name): len(p.read_text()) for p in (tmp_path / "trace").iterdir() if p.name.isdigit()}


def test_rows_come_in_the_order_of_the_items(run):
    alone = run()
    Path("out.parquet").unlink()
    assert alone == run(workers=2) == [{"item": i, "square": i * i} for i in range(10)]
    assert not list(Path(".progress").iterdir())


def test_a_table_that_is_up_to_date_is_left(run, tmp_path):
    run()
    assert run() == [{"item": i, "square": i * i} for i in range(10)]
    assert calls(tmp_path) == dict.fromkeys(range(10), 1)
    run(items=range(11))
    run(items=range(11), fingerprint="b")
    assert calls(tmp_path) == dict.fromkeys(range(10), 3) | {10: 2}
    Path("out.parquet").write_bytes(b"damaged")
    assert len(run(items=range(11), fingerprint="b")) == 11
    run(items=[1], fingerprint="")
    run(items=[1], fingerprint="")
    assert calls(tmp_path)[1] == 6, "what is not known to be the same is made anew"


@pytest.mark.parametrize("workers", [1, 2])
def test_tables_share_the_processes_and_what_these_load(workers, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "trace").mkdir()
    wanted = {"low": range(5), "none": [], "high": range(3, 9)}
    tables = [engine.Table(f"{name}.parquet", items, str, SCHEMA, 2, name) for name, items in wanted.items()]
    engine.map_tables(Loads(tmp_path / "trace"), tables[:1], workers=workers)
    engine.map_tables(Loads(tmp_path / "trace"), tables, workers=workers)
    for name, items in wanted.items():
        assert records.read_rows(f"{name}.parquet", SCHEMA) == [{"item": i, "square": i * i} for i in items]
    assert calls(tmp_path) == {0: 1, 1: 1, 2: 1, 3: 2, 4: 2, 5: 1, 6: 1, 7: 1, 8: 1}
    assert len((tmp_path / "trace" / "loads").read_text()) <= 2 * workers
    assert not list(Path(".progress").iterdir())


def test_tables_are_written_as_they_are_done_and_a_failure_keeps_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "trace").mkdir()

    class Fails(Square):
        def __call__(self, items):
            if 7 in items:
                raise KeyboardInterrupt
            return super().__call__(items)

    tables = [engine.Table(f"{n}.parquet", range(n, n + 4), str, SCHEMA, 2, str(n)) for n in (0, 4)]
    with pytest.raises(KeyboardInterrupt):
        engine.map_tables(Fails(tmp_path / "trace"), tables, workers=1)
    assert Path("0.parquet").exists() and not Path("4.parquet").exists()
    engine.map_tables(Square(tmp_path / "trace"), tables, workers=1)
    assert calls(tmp_path) == dict.fromkeys(range(8), 1)


def test_no_items_make_an_empty_table(run):
    assert run(items=[]) == []


def test_a_failure_loses_one_batch_at_most(run, tmp_path):
    class Fails(Square):
        def __call__(self, items):
            if 7 in items:
                raise KeyboardInterrupt
            return super().__call__(items)

    with pytest.raises(KeyboardInterrupt):
        run(Fails(tmp_path / "trace"))
    assert not Path("out.parquet").exists()
    assert calls(tmp_path) == dict.fromkeys(range(6), 1)
    assert len(run()) == 10
    assert calls(tmp_path) == dict.fromkeys(range(10), 1)


def test_another_fingerprint_starts_anew(run, tmp_path):
    with pytest.raises(MedgroundError):
        run(Square(tmp_path / "trace", dies_at=9), workers=2)
    done = len(calls(tmp_path))
    run(fingerprint="b")
    assert sum(calls(tmp_path).values()) == 10 + done


def test_a_killed_worker_is_reported_and_the_next_run_goes_on(run, tmp_path):
    with pytest.raises(MedgroundError, match="a worker process died"):
        run(Square(tmp_path / "trace", dies_at=8), workers=2)
    kept = len(list(Path(".progress").rglob("*.parquet")))
    assert run() == [{"item": i, "square": i * i} for i in range(10)]
    assert sum(calls(tmp_path).values()) <= 10 + 3 * (4 - kept)


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
    written, write = [], pq.write_table

    def fills_up(table, where, **options):
        if len(written) == 2:
            Path(where).write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(where)
        write(table, where, **options)

    monkeypatch.setattr(pq, "write_table", fills_up)
    with pytest.raises(MedgroundError, match=r"cannot be written.*No space left.*run the same command again"):
        run()
    assert len([path for path in Path(".progress").rglob("*") if path.is_file()]) == 2  # no half-written file
    monkeypatch.setattr(pq, "write_table", write)
    assert len(run()) == 10
    assert calls(tmp_path) == {item: 2 if item in (6, 7, 8) else 1 for item in range(10)}


def test_the_same_item_twice_is_refused(run):
    with pytest.raises(MedgroundError, match="item 1 is there twice"):
        run(items=[1, 1])


def test_a_row_that_does_not_fit_is_named(run):
    with pytest.raises(MedgroundError, match="column square does not fit"):
        run(lambda items: [{"item": i, "square": "four"} for i in items])
