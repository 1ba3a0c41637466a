"""Maps of films that may not be published: the films do not come back from them."""

from __future__ import annotations

import numpy as np
import pyarrow.parquet as pq
import pytest

from medground import submission
from medground.hub import pull_request
from medground.sources import LicenceError
from medground.submission import restricted, store
from medground.submission.writer import write_rows

CARD = {
    "method": "Mine", "version": "1", "authors": ["A"], "licence": "CC0-1.0", "models": ["a"], "modes": ["direct"],
    "hardware": "none", "used_test_regions": False, "trained_on_sources": False,
}  # fmt: skip
SIDE = 224


@pytest.fixture
def cases():
    """Two cases of a source whose pixels may leave, two of one whose may not, one of a source that says nothing."""
    return [
        {"case_id": f"a/direct/{source}/{index}", "model": "a", "mode": "direct", "source": source, "index": index,
         "width": SIDE, "height": SIDE, "split": "dev", "control": "honest", "regions": [[1.0, 1, 9, 9]]}
        for source, index in (("nih_cxr", 0), ("nih_cxr", 1), ("vindr_cxr", 0), ("imagenome", 7), ("hospital", 0))
    ]  # fmt: skip


@pytest.fixture
def films(cases):
    """A film for each case: 256 gray values, fine structure."""
    rng = np.random.default_rng(0)
    return {case["case_id"]: rng.integers(0, 256, (SIDE, SIDE)).astype(np.float32) for case in cases}


@pytest.fixture
def prepared(cases, films, tmp_path, monkeypatch):
    monkeypatch.setattr(
        store, "validate", lambda folder, cases: submission.Report(dict(CARD), [])
    )  # without the sandbox
    return submission.prepare(submission.write(tmp_path / "entry", maps=films, **CARD), cases, tmp_path / "out")


def test_films_sent_as_maps_do_not_come_back(prepared, films):
    for row in pq.read_table(prepared / "attributions.parquet").to_pylist():
        grid = np.array(row["grid"]).reshape(row["grid_height"], row["grid_width"])
        if "/nih_cxr/" in row["case_id"]:
            assert np.array_equal(grid, films[row["case_id"]])  # this source lets pixels leave
            continue
        assert grid.size <= 32 * 32 and set(np.unique(grid)) <= set(range(16))
        back = np.kron(grid, np.ones((7, 7))) * 17
        assert (back == films[row["case_id"]]).mean() < 0.01
    pull_request.check(prepared)


def test_the_coarse_map_is_the_mean_of_what_was_sent():
    rng = np.random.default_rng(1)
    fine = np.kron(rng.integers(0, 16, (32, 32)), np.ones((7, 7)))
    fine.flat[0], fine.flat[-1] = fine.flat[0], fine.flat[-1]
    row = restricted.confined({"grid": fine.ravel(), "grid_height": SIDE, "grid_width": SIDE})
    steps = (fine[::7, ::7] - fine.min()) / (fine.max() - fine.min()) * 15
    assert np.array_equal(row["grid"].reshape(32, 32), np.rint(steps))
    assert not list(restricted.excess(row))
    small = restricted.confined({"grid": [0.0, 0.5, 1.0, 0.25], "grid_height": 2, "grid_width": 2})
    assert (small["grid_height"], small["grid"].tolist()) == (2, [0, 8, 15, 4])


def test_all_that_could_carry_content_is_dropped():
    row = restricted.confined(
        {
            "case_id": "a/direct/vindr_cxr/0", "boxes": [[1.25, 2.5, 30.1, 40.9]], "extent": [0.4, 0.6, 9.5, 10.2],
            "seconds": 0.123456789, "forwards": 123456789, "note": "text", "tokens": [{"token": "x", "effect": 1.0}],
            "concepts": [{"concept": "x", "box": [0.0] * 4, "effect": 0.1}],
        }
    )  # fmt: skip
    assert row["boxes"] == [[1.0, 2.0, 31.0, 41.0]] and row["extent"] == [0.0, 1.0, 10.0, 10.0]
    assert row["seconds"] == 0.1 and all(row[name] is None for name in ("forwards", "note", "tokens", "concepts"))
    assert not list(restricted.excess(row))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"grid": np.zeros(33 * 4), "grid_height": 33, "grid_width": 4}, "a map of more than 32 x 32 cells"),
        ({"grid": np.full(4, 0.5), "grid_height": 2, "grid_width": 2}, "a map of other values than 0 to 15"),
        ({"boxes": [[0.0, 0, 1.5, 2]]}, "not in whole pixels"),
        ({"extent": [0.0, 0, 1.5, 2]}, "not in whole pixels"),
        ({"note": "c2VjcmV0"}, "note of vindr_cxr"),
        ({"tokens": [{"token": "x", "effect": 0.0}]}, "tokens of vindr_cxr"),
        ({"forwards": 7}, "forwards of vindr_cxr"),
        ({"seconds": 0.123}, "seconds of more than one decimal"),
    ],
)
def test_the_guard_finds_what_was_not_made_coarse(prepared, change, message):
    """Whoever made the folder: the guard reads it again."""
    write_rows([{"case_id": "a/direct/vindr_cxr/0", **change}], prepared / "attributions.parquet")
    with pytest.raises(LicenceError, match=message):
        pull_request.propose(prepared, "org/name")
    write_rows([{"case_id": "a/direct/nih_cxr/0", **change}], prepared / "attributions.parquet")
    pull_request.check(prepared)


def test_bytes_besides_rows_and_in_the_card_are_refused(prepared):
    table = prepared / "attributions.parquet"
    original = table.read_bytes()
    footer = int.from_bytes(original[-8:-4], "little") + 8
    table.write_bytes(original[:-footer] + b"film" + original[-footer:])
    with pytest.raises(LicenceError, match="holds bytes besides its rows"):
        pull_request.check(prepared)
    table.write_bytes(original)
    (prepared / "entry.yaml").write_text((prepared / "entry.yaml").read_text() + f"settings: {{x: {'QUJD' * 60}}}\n")
    with pytest.raises(LicenceError, match=r"entry\.yaml: holds encoded bytes"):
        pull_request.check(prepared)
