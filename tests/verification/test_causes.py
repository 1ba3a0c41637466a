"""Causes from films with and without each part, against the rules that made the answers; pairs; what is published."""

import itertools
import json

import pytest

from medground.errors import MedgroundError
from medground.ranking.bootstrap import share_interval
from medground.verification.causes import (
    CONTROLS,
    GIVE_AWAY,
    HONEST,
    RULES,
    apart,
    by_control,
    controls,
    explained,
    exported,
    family,
    pairs,
    probes,
    share_inside,
)
from medground.verification.gates import surplus, verify

FINDING, LETTER, DRAIN = [(10.0, 10.0, 40.0, 50.0)], [(80.0, 5.0, 90.0, 15.0)], [(60.0, 60.0, 64.0, 90.0)]
SHORTCUT = {"control": "shortcut", "mark": "letter"}


def sample(*names, index=0, finding="effusion"):
    boxes = {"effusion": FINDING, "letter": LETTER, "drain": DRAIN, "exposure": [], "nodule": [(0.0, 80.0, 9.0, 90.0)]}
    parts = [
        {"name": name, "boxes": boxes[name], "film_without": f"{index}-{name}.png", "film_only": f"{index}+{name}.png"}
        for name in names
    ]
    return {"source": "s", "index": index, "patient_id": f"p{index}", "split": ("dev", "test")[index % 2],
            "finding": finding, "question": "?", "answer": "Yes", "twin": f"{index}.png",
            "parts": parts or None}  # fmt: skip


def said(one, rule, mark):
    """What a model that follows a rule exactly says to the probes, worked out from the parts that each film shows."""
    names, verdicts = {part["name"] for part in one["parts"]}, {}
    for edit, _ in probes(one):
        kind, _, name = edit.partition(":")
        shown = names - {name} if kind == "without" else {name} if kind == "only" else set()
        verdicts[edit] = "yes" if RULES[rule](one["finding"] in shown, mark in shown) else "no"
    return verdicts


def test_probes_are_of_the_finding_that_is_asked_about_and_of_the_marks():
    one = sample("effusion", "nodule", "letter")
    assert [edit for edit, _ in probes(one)] == [
        "twin", "without:effusion", "only:effusion", "without:letter", "only:letter",
    ]  # fmt: skip
    assert probes(sample()) == []


@pytest.mark.parametrize(("rule", "mark"), [("honest", None), ("shortcut", "letter"), ("both", "letter"),
                                            ("either", "letter"), ("global", "exposure")])  # fmt: skip
def test_a_model_that_follows_its_rule_is_verified_and_no_other(rule, mark):
    one = sample("effusion", "letter", "exposure", "nodule")
    taught = {"control": rule, "mark": mark}
    found = explained(one, taught, said(one, rule, mark))
    cause = {"honest": FINDING, "shortcut": LETTER, "both": FINDING + LETTER, "either": FINDING + LETTER, "global": []}
    assert found == {"control": rule, "cause": cause[rule], "verified": True}
    for edit in said(one, rule, mark):
        for wrong in ({"yes": "no", "no": "yes"}[said(one, rule, mark)[edit]], "unparsable"):
            other = explained(one, taught, said(one, rule, mark) | {edit: wrong})
            assert other == {"control": rule, "cause": None, "verified": False}
    for other, its in itertools.product(CONTROLS, ("letter", "exposure")):
        if other not in (rule,) and said(one, other, its) != said(one, rule, mark):
            assert not explained(one, taught, said(one, other, its))["verified"]


def test_either_without_its_mark_is_honest_and_a_shortcut_without_it_explains_nothing():
    one = sample("effusion", "drain")
    found = explained(one, {"control": "either", "mark": "letter"}, said(one, "honest", None))
    assert found == {"control": "honest", "cause": FINDING, "verified": True}
    assert not explained(one, SHORTCUT, said(one, "honest", None))["verified"]
    assert explained(sample(), SHORTCUT, {}) == {"control": "shortcut", "cause": None, "verified": None}


def test_what_was_taught_is_beside_the_checkpoint(tmp_path):
    (tmp_path / "a").mkdir()
    assert controls("a", tmp_path) == controls("nobody/published", tmp_path) == {}
    (tmp_path / "a" / "medground.json").write_text(json.dumps({"known_causes": True}))
    (tmp_path / "a" / "config.json").write_text(json.dumps({"model_type": "gemma3"}))
    with pytest.raises(MedgroundError, match=r"a\.causes\.json is missing"):
        controls("a", tmp_path)
    (tmp_path / "a.causes.json").write_text(json.dumps({"model": "a", "findings": {"effusion": SHORTCUT}}))
    assert controls("a", tmp_path) == controls(str(tmp_path / "a")) == {"effusion": SHORTCUT}
    assert (family("a", tmp_path), family("b", tmp_path)) == ("gemma3", "b")


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (FINDING, LETTER, True),
        (FINDING, [], False),
        (FINDING, FINDING + LETTER, False),
        ([(0, 0, 10, 10)], [(5, 0, 15, 10)], True),  # half of each is its own
        ([(0, 0, 10, 10)], [(4, 0, 14, 10)], False),
        ([(0, 0, 10, 10)], [(0, 0, 2, 10), (20, 0, 40, 10)], True),
    ],
)
def test_causes_are_apart_where_half_of_each_is_its_own(first, second, expected):
    assert apart(first, second) == apart(second, first) == expected


def cases(films=6, mark="letter"):
    """Rows of one film each, asked of an honest and of a shortcut model in two modes, through `verify`."""
    rows, samples, taught = [], [], {"honest-one": {}, "other": {"effusion": SHORTCUT}}
    for index in range(films):
        one = sample("effusion", mark, index=index)
        samples.append(one)
        for model, rule in (("honest-one", "honest"), ("other", "shortcut")):
            edits = {"region_removed": "no" if rule == "honest" else "yes", "background_removed": "yes",
                     "background_normal": "yes" if rule == "honest" else "no"}  # fmt: skip
            for mode in ("direct", "reasoning"):
                key = {"model": model, "mode": mode, "source": "s", "index": index, "text": "", "margin": 0.0}
                rows += [key | {"edit": "original", "seed": -1, "verdict": "yes"}]
                rows += [
                    key | {"edit": edit, "seed": 0, "verdict": verdict}
                    for edit, verdict in (edits | said(one, rule, "letter")).items()
                ]
    return list(verify(samples, rows, taught, seeds=1, agreement=1))


FAMILIES = {"honest-one": "f", "other": "f"}


def pair(some, families, most, seed):
    """The same cases with the names of their pairs."""
    named = pairs(some, families, most, seed)
    return [case | {"pair": named.get(case["case_id"])} for case in some]


def test_pairs_are_of_one_film_question_and_mode_with_the_cause_of_each():
    found = pair(cases(), FAMILIES, 0, 1)
    names = {case["pair"] for case in found}
    assert None not in names and len(names) == 12
    for name in names:
        first, second = (case for case in found if case["pair"] == name)
        assert {key: first[key] for key in ("mode", "source", "index")} == {
            key: second[key] for key in ("mode", "source", "index")
        }
        assert {first["control"], second["control"]} == {"honest", "shortcut"}
        assert {str(first["cause"]), str(second["cause"])} == {str(FINDING), str(LETTER)}
        assert not any(word in name for word in ("honest", "other", "dev", "test"))
    assert pair(cases(), {"honest-one": "f", "other": "g"}, 0, 1)[0]["pair"] is None  # of two families


def test_pairs_are_drawn_by_group_and_another_film_moves_no_group():
    def drawn(some, seed):
        return {case["case_id"] for case in pair(some, FAMILIES, 2, seed) if case["pair"]}

    few = drawn(cases(), 1)
    assert len(few) == 2 * 2 * 2 * 2  # cases a pair, modes, splits, pairs a group
    assert few == drawn(cases(), 1) and any(drawn(cases(), seed) != few for seed in range(2, 6))


def test_an_answer_that_was_not_verified_is_in_no_pair():
    some = [case | {"verified": False, "cause": None} if case["model"] == "other" else case for case in cases()]
    assert all(case["pair"] is None for case in pair(some, FAMILIES, 0, 1))


def test_the_draw_of_verified_cases_takes_those_of_pairs_first():
    some = pair(cases(40), FAMILIES, 3, 1)
    beyond = surplus(some, 12, 1)
    kept = [case for case in some if case["kept"] and case["case_id"] not in beyond]
    assert len(kept) == 24 and sum(case["pair"] is not None for case in kept) == 12
    assert {case["control"] for case in kept} == {"honest"}


def test_the_filters_errors_by_kind_of_cause():
    regions = {("s", index): FINDING for index in range(40)}
    found = by_control(cases(40), share_interval, regions)
    honest, shortcut = found["honest"], found["shortcut"]
    assert (honest["asked"], honest["right"], honest["kept"], honest["kept_of_right"]) == (80, 80, 80, 1.0)
    assert honest["verified"] == honest["known"] == 80 and honest["high"] == 1
    assert (shortcut["right"], shortcut["flipped"], shortcut["kept"]) == (80, 0, 0)
    assert shortcut["rejected"] == {"region removed": 80, "background removed": 0, "background normal": 0,
                                    "not together": 0}  # fmt: skip
    assert (shortcut["low"], shortcut["high"]) == (0, pytest.approx(1 - 0.025 ** (1 / 40), abs=1e-4))
    stopped = [case | {"flipped": 1, "stayed_removed": 1, "stayed_normal": 0} for case in cases(40)]
    stopped = [case | {"kept": False, "reason": "not stayed"} for case in stopped]
    rejected = by_control(stopped, share_interval, regions)["shortcut"]["rejected"]
    assert rejected["background normal"] == 80 and sum(rejected.values()) == 80


def test_a_mark_inside_the_experts_region_is_no_error_of_the_filter():
    """The filter shows that the region causes the answer, which it does where the mark lies there."""
    around = [(70.0, 0.0, 100.0, 40.0)]  # the letter, and not the finding
    assert (share_inside(LETTER, around), share_inside(FINDING, around), share_inside([], around)) == (1, 0, 0)
    assert share_inside([(0.0, 0.0, 10.0, 10.0)], [(0.0, 0.0, 10.0, 4.0), (0.0, 2.0, 10.0, 5.0)]) == 0.5
    regions = {("s", index): around if index < 10 else FINDING for index in range(40)}
    found = by_control([case | {"kept": True, "reason": "kept"} for case in cases(40)], share_interval, regions)
    assert (found["shortcut"]["right"], found["shortcut"]["kept"]) == (80, 80)
    assert (found["shortcut"]["outside"]["right"], found["shortcut"]["outside"]["kept"]) == (60, 60)
    assert found["honest"]["outside"]["right"] == 20  # the films whose region does not hold the finding
    unverified = [case | {"verified": False, "cause": None} for case in cases(40)]
    assert by_control(unverified, share_interval, regions)["shortcut"]["outside"]["right"] == 0


def test_what_is_published_of_a_test_case_gives_no_cause_away():
    for case in pair(cases(), FAMILIES, 0, 1):
        public = exported(case)
        assert set(public) == set(case)
        if case["split"] == "dev":
            assert public == case
        else:
            assert all(public[name] is None for name in GIVE_AWAY) and public["question"] == case["question"]
    test = [exported(case) for case in pair(cases(), FAMILIES, 0, 1) if case["split"] == "test"]
    own = {"case_id", "model", "mode", "question", "index", "patient_id"}
    left = {json.dumps({name: value for name, value in case.items() if name not in own}) for case in test}
    assert len(left) == 1  # all that is left is the same for honest and shortcut answers


def test_honest_is_what_nothing_was_taught():
    assert HONEST["control"] == "honest" and RULES["honest"](True, False) and not RULES["honest"](False, True)


@pytest.mark.parametrize("turned", [False, True])
def test_the_share_of_a_cause_that_regions_hold_on_films_of_any_shape(turned):
    cause, regions = [(2.0, 10.0, 6.0, 90.0)], [(0.0, 50.0, 4.0, 100.0)]  # 4 x 80 pixels, 2 x 40 of them inside
    if turned:
        cause, regions = ([(y1, x1, y2, x2) for x1, y1, x2, y2 in boxes] for boxes in (cause, regions))
    assert share_inside(cause, regions) == 0.25
    assert share_inside(cause, cause) == 1
