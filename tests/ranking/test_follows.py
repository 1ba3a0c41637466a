"""The board on entries whose worth is known: who follows the model is ranked, who knows only findings is not."""

import numpy as np
import pyarrow as pa
import pytest

from medground import records
from medground.ranking import Results, board, lead, ranked
from medground.ranking.board import _over_models
from medground.ranking.bootstrap import resample_models
from medground.ranking.show import show
from medground.scoring import score_entry
from medground.scoring.tables import paired

WIDTH, HEIGHT, PATIENTS = 120, 100, 24
FINDINGS = {"effusion": (10.0, 55.0, 50.0, 95.0), "cardiomegaly": (40.0, 40.0, 90.0, 80.0)}
KINDS = {"oracle": "method", "half": "method", "finds": "method", "constant": "method", "lookup": "method",
         "silent": "method", "floor": "floor", "map": "method"}  # fmt: skip


def world():
    """Pairs of an honest case and one read off a mark whose place varies, on each film, in two modes; and as many
    films without a pair, which only the filter kept."""
    rng, cases = np.random.default_rng(0), []
    for patient in range(PATIENTS):
        finding = list(FINDINGS)[patient % 2]
        x, y = rng.uniform(0, 100), rng.uniform(0, 20)
        mark = (x, y, x + 14, y + 10)
        for mode in ("direct", "reasoning"):
            for model, control, cause in (("a", "honest", FINDINGS[finding]), ("b", "shortcut", mark)):
                if patient % 3 == 0 and mode == "direct":  # a model's cause differs by finding and film
                    model = {"a": "b", "b": "a"}[model]
                cases.append({
                    "case_id": f"{model}/{mode}/s/{patient}", "model": model, "mode": mode, "source": "s",
                    "index": patient, "finding": finding, "patient_id": f"p{patient}", "control": control,
                    "split": ("dev", "test")[patient >= PATIENTS // 2], "kept": control == "honest",
                    "cause": [list(cause)], "pair": f"{mode}{patient}", "width": WIDTH, "height": HEIGHT,
                    "regions": [list(FINDINGS[finding])],
                })  # fmt: skip
    extra = [
        case | {"case_id": case["case_id"] + "x", "source": "t", "pair": None}
        for case in cases
        if case["control"] == "honest"
    ]
    return paired(cases + extra)


def says(entry, case, rng):
    """What each entry says about a case."""
    region, cause = [case["regions"][0]], case["cause"]
    if entry == "oracle" or (entry == "half" and case["index"] % 2):
        return {"boxes": cause}
    if entry == "map":
        ys, xs = np.mgrid[:HEIGHT, :WIDTH]
        x1, y1, x2, y2 = cause[0]
        heat = np.exp(-(((xs - (x1 + x2) / 2) / 20) ** 2) - ((ys - (y1 + y2) / 2) / 20) ** 2)
        return {"grid": heat.ravel(), "grid_height": HEIGHT, "grid_width": WIDTH, "extent": None}
    if entry == "constant":
        return {"boxes": [[30.0, 30.0, 90.0, 90.0]]}
    if entry == "lookup":
        return {"boxes": [list(FINDINGS[case["finding"]])]}
    if entry == "silent":
        return {"boxes": []}
    if entry == "floor":
        x, y = rng.uniform(0, 60, 2)
        return {"boxes": [[x, min(y, 50), x + 50, min(y, 50) + 40]]}
    return {"boxes": region}  # half, on the other films, and finds: an oracle of findings


@pytest.fixture(scope="module")
def results():
    rng, cases, rows = np.random.default_rng(1), world(), []
    for entry in KINDS:
        said = [{"case_id": case["case_id"], **says(entry, case, rng)} for case in cases]
        rows += score_entry(entry, said, cases)
    return Results.of(records.as_table(rows, records.SCORES), cases)


@pytest.fixture(scope="module")
def rows(results):
    return board(results, KINDS, {}, resamples=500, seed=1)


def of(rows, track="all", split="all"):
    return {row["entry"]: row for row in rows if (row["track"], row["split"]) == (track, split)}


def test_an_oracle_of_causes_is_first_with_follows_one(rows):
    for split in ("dev", "test", "all"):
        top = of(rows, split=split)
        for entry in ("oracle", "map"):  # boxes and maps alike
            assert (top[entry]["follows"], top[entry]["follows_high"], top[entry]["rank"]) == (1, 1, 1)
            assert top[entry]["ranked"] and top[entry]["reason"] is None and top[entry]["cause_pointing"] == 1
        assert top["oracle"]["pairs"] == {"all": 2, "dev": 1, "test": 1}[split] * PATIENTS
        assert next(iter(top)) in ("oracle", "map")


@pytest.mark.parametrize("entry", ["finds", "constant", "lookup", "silent", "floor"])
def test_who_does_not_follow_is_listed_apart_whatever_it_scores_elsewhere(rows, entry):
    top = of(rows)
    row = top[entry]
    assert row["follows"] <= top["floor"]["follows_high"] and not row["ranked"] and row["reason"]
    assert (row["rank"], row["rank_low"], row["rank_high"], row["tie"]) == (None,) * 4
    if entry != "floor":
        assert row["follows"] == 0 and "is not above the floor floor" in row["reason"]
    if entry in ("finds", "lookup"):
        assert row["iou"] == 1 > top["half"]["iou"] * 0.99 and row["over_floor"] > 0.5


def test_half_the_pairs_are_half(rows, results):
    assert of(rows)["half"]["follows"] == pytest.approx(0.5)
    both = results.values["follows"][results.entries.index("half")][results.pairs].prod(1)
    patients = [results.cases[first]["index"] for first, _ in results.pairs]
    assert (both == [index % 2 for index in patients]).all()


def test_few_patients_are_no_proof(results):
    """One of all is 1, but three patients leave room for less than the floors' most."""
    chosen = np.array([case["index"] < 3 for case in results.cases])
    found = {row["entry"]: row for row in ranked(results, chosen, {"track": "x", "split": "all"}, KINDS, {})}
    assert found["oracle"]["follows"] == 1 and found["oracle"]["follows_low"] == pytest.approx(0.025 ** (1 / 3))
    assert found["constant"]["follows_high"] == pytest.approx(1 - 0.025 ** (1 / 3))
    assert not found["oracle"]["ranked"]


def test_a_track_without_pairs_says_what_its_order_rests_on(rows, capsys):
    top = of(rows, "source=t")
    assert {row["order"] for row in top.values()} == {"iou_at_area"} and {row["pairs"] for row in top.values()} == {0}
    assert {row["follows_from"] for row in top.values()} == {"the pairs of all cases"}
    assert top["oracle"]["follows"] == 1 and top["lookup"]["iou_at_area"] == 1
    assert top["oracle"]["ranked"] and not top["lookup"]["ranked"]
    assert "by the pairs of all cases" in top["lookup"]["reason"]
    show(list(top.values()))
    printed = " ".join(capsys.readouterr().out.split())
    assert (
        "There are no pairs here: follows is that of the pairs of all cases" in printed and "lookup: follows" in printed
    )


def test_follows_of_another_board_is_carried_over_and_named(results, rows):
    """Published models: no cause is known, and what the phantom's pairs said stands beside the localisation."""
    chosen = [n for n, case in enumerate(results.cases) if case["source"] == "t"]
    cases = [results.cases[n] for n in chosen]
    only = Results(
        results.entries, cases, {"iou": results.values["iou"][:, chosen],
                                 "iou_at_area": results.values["iou_at_area"][:, chosen]},
        results.published[:, chosen], results.valid[:, chosen],
    )  # fmt: skip
    alone = of(board(only, KINDS, {}, resamples=200))
    assert alone["lookup"]["ranked"] and alone["lookup"]["follows"] is None and alone["lookup"]["follows_from"] is None
    carried = of(board(only, KINDS, {}, resamples=200, carried=list(of(rows).values()), carried_from="the phantom"))
    assert carried["oracle"]["follows"] == 1 and carried["oracle"]["follows_from"] == "the phantom"
    assert not carried["lookup"]["ranked"] and "by the phantom" in carried["lookup"]["reason"]


def test_a_pair_is_on_the_track_of_either_model(rows):
    assert of(rows, "model=a")["oracle"]["pairs"] == of(rows, "model=b")["oracle"]["pairs"] == 2 * PATIENTS
    assert of(rows, "mode=direct")["oracle"]["pairs"] == PATIENTS
    assert of(rows, "finding=effusion")["oracle"]["pairs"] == PATIENTS


def test_models_drawn_again_widen_the_interval(rows):
    row = of(rows)["half"]
    assert row["order_low_models"] is None  # all pairs are of the same two models
    by_model = of(rows, "source=t")["half"]
    assert by_model["order_low_models"] <= by_model["iou_at_area"] <= by_model["order_high_models"]


def test_the_lead_is_in_what_the_track_is_ordered_by(results):
    first = lead(results, "oracle", resamples=200)
    assert {row["metric"] for row in first} == {"follows"}
    assert {row["entry"]: row["difference"] for row in first}["half"] == pytest.approx(0.5)
    iou = lead(results, "oracle", metric="iou", resamples=200)
    assert {row["entry"]: row["difference"] for row in iou}["lookup"] == 0


def test_a_missing_half_loses_the_pair(results):
    cases = world()
    said = [{"case_id": case["case_id"], "boxes": case["cause"]} for case in cases if case["control"] == "shortcut"]
    table = records.as_table(score_entry("picky", said, cases), records.SCORES)
    whole = score_entry("oracle", [{"case_id": c["case_id"], "boxes": c["cause"]} for c in cases], cases)
    together = Results.of(pa.concat_tables([table, records.as_table(whole, records.SCORES)]), cases)
    top = of(board(together, dict.fromkeys(("picky", "oracle"), "method"), {}, resamples=100))
    assert (top["picky"]["follows"], top["oracle"]["follows"]) == (0, 1)


def test_rows_fit_the_table(rows, tmp_path):
    records.write_table(rows, records.BOARD, tmp_path / "board.parquet")
    back = records.read_rows(tmp_path / "board.parquet", records.BOARD)
    assert {"follows", "follows_low", "follows_high", "pairs", "ranked", "over_floor"} <= back[0].keys()
    assert [row["entry"] for row in back] == [row["entry"] for row in rows]


@pytest.mark.parametrize("level", [0.5, 0.9])
def test_both_tails_of_the_interval_over_models_are_alike(results, level):
    """Of the draws, half of what is left lies below the lower end, and half above the upper one."""
    units = next(units for units in results.units(np.ones(len(results.cases), bool)) if "iou" in units.names)
    draws = resample_models(units.of("iou"), units.patients, units.models, 2000, np.random.default_rng(3))
    told = _over_models(units, "iou", level, 2000, np.random.default_rng(3))
    number = results.entries.index("floor")
    low, high = told["order_low_models"][number], told["order_high_models"][number]
    assert np.mean(draws[:, number] < low) == pytest.approx((1 - level) / 2, abs=0.01)
    assert np.mean(draws[:, number] > high) == pytest.approx((1 - level) / 2, abs=0.01)
