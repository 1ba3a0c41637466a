"""The board from scores to rows."""

import numpy as np
import pyarrow as pa
import pytest

from medground import records
from medground.errors import MedgroundError
from medground.ranking import Results, board, lead, localisation, paired_difference, summary
from medground.ranking.board import SPLITS

FINDINGS = ("cardiomegaly", "effusion")


def benchmark(patients=40):
    """Kept cases of two models and modes, of which the last patient's are read off a marker."""
    cases = []
    for patient in range(patients):
        for model in ("a", "b"):
            cases.append(
                {
                    "case_id": f"{model}/direct/s/{patient}",
                    "model": model,
                    "mode": "direct" if patient % 2 else "reasoning",
                    "source": "s",
                    "finding": FINDINGS[patient % 3 == 0],
                    "patient_id": f"p{patient}",
                    "split": "dev" if patient < patients // 2 else "test",
                    "control": "shortcut" if patient == patients - 1 else "honest",
                }
            )
    return cases


def scored(levels, cases, seed=0):
    """Scores whose IoU lies around the level of each entry."""
    rng = np.random.default_rng(seed)
    rows = []
    for entry, level in levels.items():
        for case in cases:
            iou = float(np.clip(level + rng.normal(0, 0.05), 0, 1))
            others = {"f1": iou, "precision": iou, "recall": iou, "hit": 1.0, "energy": iou, "average_precision": iou}
            for protocol, value in (("medground", iou), ("published", iou / 2)):
                row = {"entry": entry, "case_id": case["case_id"], "protocol": protocol, **others, "problem": None}
                rows.append({**row, "iou": value})
    return pa.Table.from_pylist(rows, records.SCORES)


UNMEASURED = {"measured", *(f"{name}{end}" for name in ("deletion", "insertion") for end in ("", "_low", "_high"))}
LEVELS = {"best": 0.6, "second": 0.59, "poor": 0.3, "random": 0.1}
KINDS = {"best": "submission", "second": "method", "poor": "method", "random": "floor"}


@pytest.fixture(scope="module")
def results():
    cases = benchmark()
    return Results.of(scored(LEVELS, cases), cases)


@pytest.fixture(scope="module")
def rows(results):
    return board(results, KINDS, {"best": 1.5}, resamples=300, seed=1)


def test_rows_fit_the_table_and_cover_every_track_with_every_entry(rows, tmp_path):
    records.write_table(rows, records.BOARD, tmp_path / "board.parquet")
    tracks = {row["track"] for row in rows}
    assert tracks == {
        "all", "mode=direct", "mode=reasoning", "model=a", "model=b", "source=s",
        "finding=cardiomegaly", "finding=effusion",
    }  # fmt: skip
    for track in tracks:
        for split in SPLITS:
            entries = [row["entry"] for row in rows if (row["track"], row["split"]) == (track, split)]
            assert sorted(entries) == sorted(LEVELS), (track, split)


def test_means_are_plain_means_over_honest_cases(rows, results):
    cases = [case for case in benchmark() if case["control"] == "honest"]
    table = scored(LEVELS, benchmark()).to_pylist()
    iou = {(row["entry"], row["case_id"]): row["iou"] for row in table if row["protocol"] == "medground"}
    for row in rows:
        name, _, value = row["track"].partition("=")
        chosen = [
            c for c in cases if row["split"] in ("all", c["split"]) and (name == "all" or c[name] == value)
        ]  # fmt: skip
        assert row["cases"] == len(chosen)
        mean = np.mean([iou[row["entry"], case["case_id"]] for case in chosen])
        assert row["iou"] == pytest.approx(mean) and row["iou_published"] == pytest.approx(mean / 2)
        assert row["iou_low"] <= row["iou"] <= row["iou_high"]


def test_ranks_ties_and_floors(rows):
    top = {row["entry"]: row for row in rows if (row["track"], row["split"]) == ("all", "all")}
    assert [top[entry]["rank"] for entry in ("poor", "random")] == [3, 4]
    assert set(top["best"]["tie"].split()) & set(top["second"]["tie"].split())
    assert (top["best"]["rank_low"], top["best"]["rank_high"]) == (1, 2)
    assert (top["random"]["rank_low"], top["random"]["rank_high"], top["random"]["kind"]) == (4, 4, "floor")
    assert top["best"]["seconds"] == 1.5 and top["poor"]["seconds"] is None


def test_omission_does_not_pay():
    cases = benchmark()
    whole = scored({"whole": 0.5, "picky": 0.5}, cases)
    kept = [row for row in whole.to_pylist() if row["entry"] == "whole" or row["iou"] > 0.5]
    rows = board(
        Results.of(pa.Table.from_pylist(kept, records.SCORES), cases), dict.fromkeys(("whole", "picky"), "method"), {}
    )
    top = {row["entry"]: row for row in rows if (row["track"], row["split"]) == ("all", "all")}
    assert top["picky"]["rank"] == 2 and top["picky"]["coverage"] < 1 == top["whole"]["coverage"]


def test_a_new_entry_moves_no_interval(rows):
    cases = benchmark()
    larger = pa.concat_tables([scored(LEVELS, cases), scored({"zzz": 0.2}, cases, seed=9)])
    again = board(Results.of(larger, cases), {**KINDS, "zzz": "method"}, {}, resamples=300, seed=1)
    before = {(row["track"], row["split"], row["entry"]): (row["iou_low"], row["iou_high"]) for row in rows}
    after = {(row["track"], row["split"], row["entry"]): (row["iou_low"], row["iou_high"]) for row in again}
    for key, ends in before.items():
        assert after[key] == pytest.approx(ends, abs=1e-12)


def test_order_of_the_scores_does_not_matter(results, rows):
    table = scored(LEVELS, benchmark())
    shuffled = table.take(np.random.default_rng(0).permutation(len(table)))
    assert board(Results.of(shuffled, benchmark()), KINDS, {"best": 1.5}, resamples=300, seed=1) == rows


def test_localisation_has_an_interval_for_each_model_and_mode(results):
    found = localisation(results, resamples=200)
    assert len(found) == 4 * 2 * 2
    assert all(row["iou_low"] <= row["iou"] <= row["iou_high"] for row in found)


def test_deletion_and_insertion_are_means_of_what_was_measured(results):
    """On some test cases for two entries, on one of these only for a third; on the others nothing is invented."""
    cases = [case for case in benchmark() if case["control"] == "honest"]
    chosen = [case for case in cases if case["split"] == "test"][:10]
    rng = np.random.default_rng(3)
    rows = [
        {"entry": entry, "case_id": case["case_id"], "deletion": x, "insertion": 1 - x, "problem": None}
        for entry, known in (("best", chosen), ("poor", chosen), ("random", chosen[:1]))
        for case, x in zip(known, rng.random(len(known)), strict=True)
    ]
    measured = Results.of(scored(LEVELS, benchmark()), benchmark(), pa.Table.from_pylist(rows, records.FAITHFULNESS))
    of_track = {(row["track"], row["split"], row["entry"]): row for row in board(measured, KINDS, {}, resamples=300)}
    for split in ("test", "all"):
        for entry in ("best", "poor"):
            row = of_track["all", split, entry]
            mean = np.mean([r["deletion"] for r in rows if r["entry"] == entry])
            assert row["measured"] == 10 and row["deletion"] == pytest.approx(mean)
            assert row["insertion"] == pytest.approx(1 - mean)
            assert row["deletion_low"] < row["deletion"] < row["deletion_high"]
            assert row["insertion_low"] == pytest.approx(1 - row["deletion_high"])
        alone = of_track["all", split, "random"]
        assert (alone["measured"], alone["deletion_low"], alone["deletion_high"]) == (1, 0, 1)
        assert (of_track["all", split, "second"]["measured"], of_track["all", split, "second"]["deletion"]) == (0, None)
    assert all(row["measured"] == 0 and row["insertion"] is None for key, row in of_track.items() if key[1] == "dev")
    same = [{**row, **dict.fromkeys(row.keys() & UNMEASURED)} for row in of_track.values()]
    without = [{**row, **dict.fromkeys(row.keys() & UNMEASURED)} for row in board(results, KINDS, {}, resamples=300)]
    assert same == without  # nothing else moves


def test_summary_is_the_overall_track(results, rows):
    said = summary(results, rows, dataset="abc", resamples=300, level=0.95)
    assert [row["rank"] for row in said["board"]] == [1, 2, 3, 4]
    assert said["cases"] == {"dev": 40, "test": 38, "all": 78} and said["patients"] == 39


def test_lead_over_the_others_is_the_paired_difference(results):
    rows = lead(results, "second", split="test", resamples=300, seed=1)
    assert [row["entry"] for row in rows] == ["best", "poor", "random"]
    assert rows[0]["difference"] < 0.05 and rows[0]["low"] < rows[0]["difference"] < rows[0]["high"]
    assert rows[1]["low"] > 0.2 and rows[1]["p"] < 1e-6
    test = results.split("test")
    second, poor = (results.values[0, results.entries.index(name), test] for name in ("second", "poor"))
    patients = [case["patient_id"] for case in results.cases if case["split"] == "test"]
    assert paired_difference(second, poor, patients, resamples=300, seed=1).items() <= rows[1].items()
    assert rows[1]["difference"] == pytest.approx((second - poor).mean()) and rows[1]["iou"] == poor.mean()
    with pytest.raises(MedgroundError, match="no entry 'third'; it has: best, poor"):
        lead(results, "third")
    with pytest.raises(MedgroundError, match="no cases on track 'model=c'"):
        lead(results, "best", "model=c")
