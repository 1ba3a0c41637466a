"""Files made to do harm: nothing is run, followed or expanded, and there is a useful message."""

import json
import os
import pickle
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from medground import submission
from medground.submission import schema, validator

SANDBOX = 200 << 20


def the_problem(entry, cases):
    problems = submission.validate(entry, cases).problems
    assert len(problems) == 1, problems
    return str(problems[0])


def replaced(entry, content: bytes):
    (entry / "attributions.parquet").write_bytes(content)
    return entry


class Harm:
    def __reduce__(self):
        return os.system, ("touch HARM",)


def test_a_pickle_is_not_run(entry, cases, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert "is not a readable Parquet file" in the_problem(replaced(entry, pickle.dumps(Harm())), cases)
    assert not (tmp_path / "HARM").exists() and not (entry / "HARM").exists()


def test_damaged_files(entry, cases, in_process):
    whole = (entry / "attributions.parquet").read_bytes()
    for damaged in (
        b"",
        whole[: len(whole) // 2],
        b"PAR1" + bytes(100) + b"PAR1",
        whole[:-8] + b"\xff\xff\xff\x7fPAR1",
    ):
        assert "is not a readable Parquet file" in the_problem(replaced(entry, damaged), cases)


def test_links_pipes_and_folders_are_not_opened(entry, cases, tmp_path, in_process):
    table = entry / "attributions.parquet"
    table.rename(tmp_path / "elsewhere")
    table.symlink_to(tmp_path / "elsewhere")
    assert "attributions.parquet: cannot be opened" in the_problem(entry, cases)
    table.unlink()
    os.mkfifo(table)
    assert "is not a plain file" in the_problem(entry, cases)
    table.unlink()
    table.mkdir()
    assert "is not a plain file" in the_problem(entry, cases)
    table.rmdir()
    assert "is missing; an entry has entry.yaml and attributions.parquet" in the_problem(entry, cases)
    (tmp_path / "link").symlink_to(entry)
    assert "is not a folder" in the_problem(tmp_path / "link", cases)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: &x [1]\nb: *x\n", "entry.yaml line 1: anchors, aliases or deep nesting"),
        ("a: !!python/object/apply:os.system ['touch HARM']\n", "entry.yaml line 1: a tag"),
        ("a: [[[[[[[[1]]]]]]]]", "deep nesting"),
        ("[" * 20000, "deep nesting"),
        ("a: b: c", "is not YAML"),
        ("a: 2026-99-99", "is not YAML"),
        ("\x00", "is not YAML"),
        ("- a", "is not a mapping (list of 1)"),
    ],
)
def test_cards(entry, cases, in_process, text, message):
    (entry / "entry.yaml").write_text(text)
    assert any(message in str(problem) for problem in submission.validate(entry, cases).problems)


def test_a_card_of_bytes_or_megabytes(entry, cases, in_process):
    (entry / "entry.yaml").write_bytes(b"\xff\xfe\x00")
    assert "is not YAML in UTF-8" in the_problem(entry, cases)
    (entry / "entry.yaml").write_bytes(b"a" * (schema.MAX_CARD_BYTES + 1))
    assert "entry.yaml: is too large" in the_problem(entry, cases)


def bomb(path, values):
    """One row whose grid expands to ``4 * values`` bytes from a run-length code of a few."""
    grid = pa.ListArray.from_arrays([0, values], pa.array(np.zeros(values, np.float32)))
    columns = {"case_id": ["a/direct/s/0"], "grid": grid, "grid_height": [1], "grid_width": [values]}
    pq.write_table(pa.table(columns), path, compression="zstd", write_statistics=False)


def test_the_footer_is_enough_to_refuse_a_bomb(entry, cases, monkeypatch, in_process):
    bomb(entry / "attributions.parquet", 1 << 16)
    assert (entry / "attributions.parquet").stat().st_size < 4096
    monkeypatch.setattr(schema, "MAX_VALUES", 1 << 15)
    monkeypatch.setattr(validator, "read_batches", lambda file: pytest.fail("no data may be read"))
    assert "too many values (65,536); at most 32,768" in submission.validate(entry, cases).text()


MEASURE = """
import json, resource, sys
from medground.submission import validator
validator.MEMORY = int(sys.argv[1])
cases = json.loads(sys.argv[2])
texts = [validator.validate(folder, cases).text() for folder in sys.argv[3:]]
print(json.dumps([texts, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024]))
"""


def test_a_bomb_is_refused_in_bounded_memory(entry, cases, tmp_path):
    harmful = tmp_path / "harmful"
    harmful.mkdir()
    (harmful / "entry.yaml").write_bytes((entry / "entry.yaml").read_bytes())
    bomb(harmful / "attributions.parquet", 1 << 25)  # 128 MB, and its levels as much again
    assert (harmful / "attributions.parquet").stat().st_size < 16_000
    command = [sys.executable, "-c", MEASURE, str(SANDBOX), json.dumps(cases), entry, harmful]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": os.getcwd()})
    (good, bad), peak = json.loads(done.stdout)
    assert good == "no problems"
    assert "expands beyond" in bad or "makes its reader fail" in bad
    assert peak < SANDBOX + (150 << 20)  # the limit does not count code and shared libraries


def test_a_reader_that_dies_is_a_problem_of_the_file(entry, cases, monkeypatch, tmp_path):
    killed = tmp_path / "python"
    killed.write_text("#!/bin/sh\nkill -SEGV $$\n")
    killed.chmod(0o755)
    monkeypatch.setattr(validator.sys, "executable", str(killed))
    assert "makes its reader fail (exit -11)" in the_problem(entry, cases)


ARROWS = st.sampled_from(
    [pa.int64(), pa.float16(), pa.string(), pa.bool_(), pa.binary(), pa.list_(pa.float32()), pa.timestamp("s"),
     pa.list_(pa.list_(pa.float64())), pa.list_(pa.string()), pa.struct([("a", pa.int8())]),
     pa.dictionary(pa.int8(), pa.string())]
)  # fmt: skip


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.sampled_from([*schema.COLUMNS.names, "other"]), ARROWS, min_size=1), st.integers(0, 3))
def test_columns_of_any_type_get_a_report(entry, cases, in_process, kinds, rows):
    pq.write_table(
        pa.table({name: pa.nulls(rows, kind) for name, kind in kinds.items()}), entry / "attributions.parquet"
    )
    assert not submission.validate(entry, cases).valid


VALUES = st.none() | st.floats() | st.integers(-(2**31), 2**31 - 1)
ROWS = st.fixed_dictionaries(
    {
        "case_id": st.none() | st.sampled_from(["a/direct/s/0", "b/direct/s/3"]) | st.text(max_size=5),
        "grid": st.none() | st.lists(VALUES, max_size=6),
        "grid_height": st.none() | st.integers(-3, 3),
        "grid_width": st.none() | st.integers(-(2**31), 2**31 - 1),
        "extent": st.none() | st.lists(st.none() | st.floats(), max_size=5),
        "boxes": st.none() | st.lists(st.none() | st.lists(st.none() | st.floats(), max_size=5), max_size=3),
        "note": st.none() | st.text(max_size=5),
        "seconds": st.none() | st.floats(),
    }
)
TYPES = {
    "case_id": pa.string(), "grid": pa.list_(pa.float64()), "grid_height": pa.int64(), "grid_width": pa.int64(),
    "extent": pa.list_(pa.float64()), "boxes": pa.list_(pa.list_(pa.float64())), "note": pa.string(),
    "seconds": pa.float64(),
}  # fmt: skip


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(ROWS, max_size=4))
def test_any_values_get_a_report_and_a_score(entry, cases, in_process, rows):
    from medground.scoring import METRICS, score_entry
    from medground.scoring.tables import read_attributions

    asked = {metric.name for metric in METRICS.that_need("regions")}  # the cases here have regions, and no causes

    path = entry / "attributions.parquet"
    pq.write_table(pa.Table.from_pylist(rows, pa.schema(TYPES)), path)
    report = submission.validate(entry, cases)
    assert not report.valid  # six of the eight cases are missing at least
    scored = score_entry("any", read_attributions(path), cases)
    assert [(row["case_id"], row["protocol"]) for row in scored] == [
        (case["case_id"], protocol) for case in cases for protocol in ("medground", "published")
    ]
    for row in scored:
        assert set(row) & set(METRICS) == asked
        assert all(0 <= row[name] <= 1 for name in asked)


FUZZ = """
import random, sys
from pathlib import Path
from medground.submission.validator import table_problems
whole, target = Path(sys.argv[1]).read_bytes(), Path(sys.argv[2])
films = {f"{m}/direct/s/{n}": (320, 256) for m in "ab" for n in range(4)}
random.seed(int(sys.argv[3]))
for _ in range(int(sys.argv[4])):
    damaged = bytearray(whole)
    for _ in range(random.randint(1, 4)):
        damaged[random.randrange(len(damaged))] = random.randrange(256)
    target.write_bytes(damaged[: random.choice([len(damaged), random.randrange(len(damaged))])])
    list(table_problems(target, films, films))
"""


CHANGES = """
import os, sys
from pathlib import Path
from medground.scoring.tables import read_attributions
from medground.submission.schema import COLUMNS
from medground.submission.validator import table_problems
path, step = Path(sys.argv[1]), int(sys.argv[2])
films = {f"{m}/direct/s/{n}": (320, 256) for m in "ab" for n in range(4)}

def said():
    rows = read_attributions(path, COLUMNS.names)
    return repr([{**row, "grid": row["grid"] if row["grid"] is None else row["grid"].tolist()} for row in rows])

whole, wanted = path.read_bytes(), said()
assert not list(table_problems(path, films, films))
for at in range(0, len(whole), step):
    path.write_bytes(whole[:at] + bytes([whole[at] ^ 0xFF >> at % 8]) + whole[at + 1 :])
    child = os.fork()  # a decoder that aborts is what the validator's own process is for
    if not child:
        os.close(2)
        os._exit(0 if list(table_problems(path, films, films)) or said() == wanted else 1)
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) > 0:
        print(at)
"""


def test_a_changed_byte_is_reported_or_changes_nothing(entry, tmp_path):
    """Without the checksums of pages, some of these are read as other numbers."""
    command = [sys.executable, "-c", CHANGES, entry / "attributions.parquet", "47"]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": os.getcwd()})
    assert (done.returncode, done.stdout) == (0, ""), done


def test_a_table_without_checksums_is_valid(entry, cases, in_process):
    table = entry / "attributions.parquet"
    columns = ["case_id", "grid", "grid_height", "grid_width"]
    pq.read_table(table, columns=columns).to_pandas().to_parquet(table)
    assert submission.validate(entry, cases).valid


@pytest.mark.parametrize("seed", range(2))
def test_flipped_bytes_raise_nothing(entry, tmp_path, seed):
    """In a process of its own, as the validator does it: a decoder in C++ may well crash on such files."""
    command = [sys.executable, "-c", FUZZ, entry / "attributions.parquet", tmp_path / "damaged", str(seed), "150"]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": os.getcwd()})
    assert done.returncode <= 0, done.stderr  # killed by a signal at worst: never a Python exception
