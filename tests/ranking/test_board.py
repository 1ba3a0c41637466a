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
            others = {
                "iou_at_area": iou,
                "f1": iou,
                "precision": iou,
                "recall": iou,
                "hit": 1.0,
                "energy": iou,
                "average_precision": iou,
            }
            for protocol, value in (("medground", iou), ("published", iou / 2)):
                row = {"entry": entry, "case_id": case["case_id"], "protocol": protocol, "problem": None}
                rows.append({**row, **others, "iou": value})
    return table(rows)


def table(rows):
    return records.as_table(rows, records.SCORES)


LEVELS = {"best": 0.6, "second": 0.595, "poor": 0.3, "random": 0.1}
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


def test_the_track_of_all_cases_stands_first_and_then_each_track_of_each_split(rows):
    tracks = [row["track"] for row in rows]
    last_of_all = max(place for place, track in enumerate(tracks) if track == "all")
    assert set(tracks[: last_of_all + 1]) == {"all"} and len(set(tracks)) > 1
    places = [(row["track"], row["split"]) for row in rows]
    runs = [place for number, place in enumerate(places) if number == 0 or places[number - 1] != place]
    assert len(runs) == len(set(runs))


def test_means_are_plain_means_over_honest_cases(rows, results):
    cases = [case for case in benchmark() if case["control"] == "honest"]
    found = scored(LEVELS, benchmark()).to_pylist()
    iou = {(row["entry"], row["case_id"]): row["iou"] for row in found if row["protocol"] == "medground"}
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
    assert top["poor"]["rank"] == 3 and top["random"]["rank"] is None and top["random"]["tie"] is None
    assert [row["entry"] for row in rows if (row["track"], row["split"]) == ("all", "all")][-1] == "random"
    assert set(top["best"]["tie"].split()) & set(top["second"]["tie"].split())
    assert (top["best"]["rank_low"], top["best"]["rank_high"]) == (1, 2)
    assert (top["random"]["ranked"], top["random"]["reason"]) == (False, "looks at no model")
    assert top["best"]["over_floor"] == pytest.approx(0.5, abs=0.02) and top["random"]["over_floor"] == 0
    assert top["best"]["over_floor_low"] < top["best"]["over_floor"] < top["best"]["over_floor_high"]
    assert {row["order"] for row in rows} == {"iou_at_area"} and {row["pairs"] for row in rows} == {0}
    assert top["best"]["seconds"] == 1.5 and top["poor"]["seconds"] is None


def test_omission_does_not_pay():
    cases = benchmark()
    whole = scored({"whole": 0.5, "picky": 0.5}, cases)
    kept = [row for row in whole.to_pylist() if row["entry"] == "whole" or row["iou"] > 0.5]
    rows = board(Results.of(table(kept), cases), dict.fromkeys(("whole", "picky"), "method"), {})
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
    found = scored(LEVELS, benchmark())
    shuffled = found.take(np.random.default_rng(0).permutation(len(found)))
    assert board(Results.of(shuffled, benchmark()), KINDS, {"best": 1.5}, resamples=300, seed=1) == rows


def test_localisation_has_an_interval_for_each_model_and_mode(results):
    found = localisation(results, resamples=200)
    assert len(found) == 4 * 2 * 2
    assert all(row["iou_low"] <= row["iou"] <= row["iou_high"] for row in found)


def test_summary_is_the_overall_track(results, rows):
    said = summary(results, rows, dataset="abc", resamples=300, level=0.95)
    assert [row["rank"] for row in said["board"]] == [1, 2, 3, None]
    told = said["separates"]["test"]["iou_at_area"]
    assert 0 < told["one_pair"] < told["all_pairs"] and told["standard_error"] < told["one_pair"] < told["with_power"]
    assert said["cases"] == {"dev": 40, "test": 38, "all": 78} and said["patients"] == 40


def test_lead_over_the_others_is_the_paired_difference(results):
    rows = lead(results, "second", split="test", resamples=300, seed=1)
    assert [row["entry"] for row in rows] == ["best", "poor", "random"]
    assert rows[0]["difference"] < 0.05 and rows[0]["low"] < rows[0]["difference"] < rows[0]["high"]
    assert rows[1]["low"] > 0.2 and rows[1]["p"] < 1e-6
    test = results.split("test")
    test &= results.localised
    second, poor = (results.values["iou_at_area"][results.entries.index(name), test] for name in ("second", "poor"))
    patients = [case["patient_id"] for case, inside in zip(results.cases, test, strict=True) if inside]
    assert paired_difference(second, poor, patients, resamples=300, seed=1).items() <= rows[1].items()
    assert rows[1]["difference"] == pytest.approx((second - poor).mean()) and rows[1]["value"] == poor.mean()
    with pytest.raises(MedgroundError, match="no entry 'third'; it has: best, poor"):
        lead(results, "third")
    with pytest.raises(MedgroundError, match="no cases on track 'model=c'"):
        lead(results, "best", "model=c")
