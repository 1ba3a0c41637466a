"""docs/how-to/metric.md, followed word for word; what the metric adds, what it leaves alone, what the check finds."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from medground.scoring import METRICS, Evidence, Metric
from medground.testing import check_metric

sys.path.insert(0, str(Path(__file__).parents[1] / "leaderboard"))
sys.path.insert(0, str(Path(__file__).parent))
import fixture
import howto

HEAVY = ("torch", "transformers", "dvc", "diffusers")
ADDED = """
import sys
from pathlib import Path
from medground import ranking, records
from medground.scoring import score_entry
from medground.scoring.tables import load_cases, read_attributions

old = records.read_table("data/scores/scores.parquet", records.SCORES)
cases = load_cases("data")
assert "border_share" not in old.schema.names
results = ranking.Results.of(old, cases)
assert "border_share" not in results.values
entry = results.entries[0]
boxes = [{"case_id": case["case_id"], "boxes": [(1.0, 1.0, 9.0, 9.0)]} for case in cases]
records.write_table(score_entry("mine", boxes, cases), records.SCORES, "mine.parquet")
rows = records.read_rows("mine.parquet", records.SCORES)
print(sorted({row["border_share"] > 0.3 for row in rows}))
both = ranking.Results.of(records.read_table("mine.parquet", records.SCORES), cases)
board = ranking.board(both, {"mine": "method"}, {}, resamples=20)
measured = [row for row in board if row["border_share"] is not None]  # some tracks have no verified case
print(sorted({0.3 < row["border_share"] >= row["border_share_low"] for row in measured}))
print([name for name in sys.argv[1:] if name in sys.modules])
"""


def test_a_metric_of_a_package_of_ones_own(tmp_path):
    fixture.build(tmp_path, patients=4)  # tables of before
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    done = howto.follow("metric.md", tmp_path)
    assert [command for command, _ in done] == ["python check.py", "medground metrics"]
    board = howto.run("medground board --split test", tmp_path)  # is read, without the metric
    assert "rank" in board and "At the border" not in board
    (tmp_path / "added.py").write_text(ADDED)
    assert howto.run(f"python added.py {' '.join(HEAVY)}", tmp_path).splitlines() == ["[True]", "[True]", "[]"]
    assert all(path.read_bytes() == content for path, content in before.items())


def test_our_own_metrics_pass_the_check():
    for metric in METRICS.values():
        if metric.measure is not None:
            check_metric(metric)


def wrong(name, measure, **declared):
    return Metric(**({"name": name, "label": "x", "help": "y", "measure": measure} | declared))


@pytest.mark.parametrize(
    ("metric", "said"),
    [
        (wrong("unknown", lambda case: 0.5), "not registered as 'unknown'"),
        (wrong("large", lambda case: float(case.heat.max() * 3)), "range: .* is 2.99.*; it says 0 to 1"),
        (wrong("upside_down", lambda case: 1 - case.of_map["energy"]), "higher is better, and the region scores 0"),
        (wrong("silent", lambda case: 0.5, help=" "), "help is empty"),
        (wrong("by the way", lambda case: 0.5), "no name of a column"),
        (wrong("narrow", lambda case: 0.5, low=1.0), "low is below high"),
    ],
)
def test_what_is_wrong_is_found(metric, said):
    with pytest.raises(AssertionError, match=said):
        check_metric(metric)


def test_a_metric_that_changes_its_evidence_is_found():
    def sorts(case: Evidence) -> float:
        case.heat[:] = np.sort(case.heat, axis=None).reshape(case.heat.shape)
        return 0.5

    with pytest.raises(AssertionError, match="it changes the evidence"):
        check_metric(wrong("sorts", sorts))


def test_a_metric_of_a_stage_is_not_checked_on_examples():
    with pytest.raises(AssertionError, match="measured by a stage"):
        check_metric("deletion")
