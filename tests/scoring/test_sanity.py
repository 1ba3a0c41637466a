"""Sanity checks on maps whose answer is known."""

import numpy as np
import pytest

from medground import records
from medground.attribution import method
from medground.attribution.method import Item
from medground.attribution.sanity import SanityTask, reinitialised
from medground.phantom.lvlms.architecture import build
from medground.scoring.entries import Entry
from medground.scoring.sanity import hottest, nulls, overlap, same_films, verdict
from stages.rank import said
from stages.sanity import few, measured, spread, verdicts

WIDTH, HEIGHT = 100, 80


def case(patient, finding, film=0, **more):
    name = f"m/direct/s/{patient}-{film}-{finding}"
    return {"case_id": name, "model": "m", "mode": "direct", "patient_id": patient, "film": f"{patient}{film}",
            "finding": finding, "width": WIDTH, "height": HEIGHT, "split": "dev", "kept": True, "control": "honest",
            **more}  # fmt: skip


def box(x, y, side=20.0):
    return {"boxes": [(float(x), float(y), x + side, y + side)]}


def test_the_hottest_tenth_of_maps_and_boxes():
    heat = np.zeros((HEIGHT, WIDTH), np.float32)
    heat[:8] = 1  # a tenth
    shape = {"grid_height": HEIGHT, "grid_width": WIDTH, "extent": None}
    mask = hottest({"grid": heat.ravel(), **shape}, WIDTH, HEIGHT)
    assert mask.mean() == pytest.approx(0.1, abs=0.005) and mask[: mask.shape[0] // 11].all()
    small, large = (hottest(box(50 - side / 2, 40 - side / 2, side), WIDTH, HEIGHT) for side in (4, 40))
    assert small.mean() == pytest.approx(0.1, abs=0.005) and overlap(small, large) > 0.99
    assert hottest({"grid": np.ones(4), "grid_height": 2, "grid_width": 2}, WIDTH, HEIGHT) is None
    assert hottest(None, WIDTH, HEIGHT) is None and overlap(None, mask) == 0 and overlap(mask, mask) == 1


def test_the_null_is_of_other_films_and_findings():
    cases = [case("p", "a"), case("q", "b"), case("r", "a"), case("p", "b"), case("s", "b", model="n")]
    masks = {c["case_id"]: hottest(box(10 if c["finding"] == "a" else 60, 20), WIDTH, HEIGHT) for c in cases}
    masks[cases[1]["case_id"]] = masks[cases[0]["case_id"]]
    found = nulls(cases, masks)
    assert found[cases[0]["case_id"]] == 1  # q's alone: r has its finding, p's other case its film
    assert found[cases[2]["case_id"]] == pytest.approx(0.5)  # of q's, which is the same, and p's, which is elsewhere
    assert cases[4]["case_id"] not in found
    assert [{a["finding"], b["finding"]} for a, b in same_films(cases)] == [{"a", "b"}]


@pytest.mark.parametrize(("check", "low", "similarity", "null", "passes"), [
    ("decoder", -0.1, 0.3, 0.3, True), ("decoder", 0.01, 0.4, 0.3, False), ("question", 0.0, 0.5, 0.3, True),
    ("question", 0.2, 0.9, 0.3, False), ("noise", 0.2, 0.65, 0.3, True), ("noise", 0.2, 0.64, 0.3, False),
])  # fmt: skip
def test_maps_must_move_no_nearer_than_the_null_and_stay_at_least_halfway(check, low, similarity, null, passes):
    assert verdict(check, low, similarity, null) == passes


def entry(tmp_path, name, places):
    path = tmp_path / f"{name}.parquet"
    empty = dict.fromkeys(records.ATTRIBUTIONS.names) | {"forwards": 0}
    rows = [{**empty, "case_id": case_id, **box(*place)} for case_id, place in places.items()]
    rows = [{key: value for key, value in row.items() if key in records.ATTRIBUTIONS.names} for row in rows]
    records.write_table(rows, records.ATTRIBUTIONS, path)
    return path


def test_what_ignores_the_model_or_the_question_fails_and_what_follows_both_passes(tmp_path):
    rng = np.random.default_rng(0)
    cases = [case(f"p{n}", finding) for n in range(12) for finding in "ab"]
    own = {c["case_id"]: tuple(rng.uniform(0, 60, 2)) for c in cases}
    by_film = {c["case_id"]: own[c["case_id"][:-1] + "a"] for c in cases}  # whatever was asked
    moved = {name: tuple(rng.uniform(0, 60, 2)) for name in own}
    tables = {
        "good": (own, {"decoder:1": moved, "decoder:2": moved, "noise": own}),
        "deaf": (own, {"decoder:1": moved, "decoder:2": own, "noise": own}),
        "one_map_a_film": (by_film, {"decoder:1": moved, "noise": moved}),
    }
    rows = []
    for name, (maps, changed) in tables.items():
        one = Entry(name, "method", (entry(tmp_path, name, maps),))
        again = {change: [entry(tmp_path, f"{name}-{change}", of)] for change, of in changed.items()}
        rows += measured(one, cases, again)
    records.write_table(rows, records.SANITY, tmp_path / "sanity.parquet")
    found = verdicts(rows, cases, 0.95, 500, 1)
    assert {name: said(checks) for name, checks in found.items()} == {
        "good": "pass", "deaf": "fails decoder", "one_map_a_film": "fails question, noise",
    }  # fmt: skip
    assert found["deaf"]["decoder"]["similarity"] == 1 and found["good"]["noise"]["similarity"] == 1
    assert found["one_map_a_film"]["question"]["cases"] == 12 and said({}) == ""


def test_few_cases_are_of_many_findings():
    cases = [case(f"p{n}", finding) for n in range(3) for finding in "ab"]
    cases += [case("q", "c", split="test"), case("r", "c", control="shortcut"), case("t", "c", mode="reasoning")]
    assert [c["finding"] for c in few(cases, 3)["m"]] == ["a", "b", "a"]
    assert spread(cases[:2], 9) == cases[:2] and few([], 3) == {}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    build("gemma3", ["Is it?", "Yes."], seed=0).save(folder)
    return str(folder)


def test_re_initialised_layers_are_new_and_nothing_else_is(model):
    from medground.lvlm import load_lvlm

    lvlm = load_lvlm(model)
    for layers in (1, 2):
        changed = reinitialised(lvlm, layers, 1)
        before, after = dict(lvlm.model.named_parameters()), dict(changed.model.named_parameters())
        new = {name for name in before if not before[name].equal(after[name])}
        kept = len(lvlm.layers) - layers
        assert new and all(".layers." in name and int(name.split(".layers.")[1].split(".")[0]) >= kept for name in new)
        again = dict(reinitialised(lvlm, layers, 1).model.named_parameters())
        assert all(after[name].equal(again[name]) for name in after)
        for name in new:
            assert after[name].std() == pytest.approx(float(before[name].std()), rel=0.2)


def test_the_task_explains_the_changed_film_or_model(model):
    film = np.random.default_rng(0).integers(0, 255, (60, 50), dtype=np.uint8)
    items = lambda case: Item(case["case_id"], film, "Is it?", "Yes.")  # noqa: E731
    chosen = method("rollout")
    task = SanityTask(model, {"rollout": (chosen, items)}, seed=1)
    from medground.lvlm import load_lvlm

    (before,) = chosen.attribute(load_lvlm(model), [items({"case_id": "c"})])
    jobs = [(change, "rollout", {"case_id": "c"}) for change in ("noise", "decoder:1", "decoder:2")]
    noise, one, two = (np.asarray(row["grid"]) for row in task(jobs))
    same = np.abs(noise - before.grid.ravel()).max()
    assert 0 < same < np.abs(one - before.grid.ravel()).max() and not np.allclose(one, two)
