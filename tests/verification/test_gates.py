"""The three-step filter on answers whose verdicts are known."""

import itertools

import pytest

from medground.errors import MedgroundError
from medground.verification import causes
from medground.verification.gates import released_records, retention, surplus, verify

SAMPLE = {
    "source": "s", "index": 4, "patient_id": "p", "split": "dev", "finding": "effusion",
    "question": "Is there evidence of effusion in the image?", "answer": "Yes",
}  # fmt: skip
SHORTCUT = {"control": "shortcut", "mark": "letter"}
TEXT = {"yes": "Yes.", "no": "No.", "unparsable": "I see a lung."}


def answers(original, *edits, mode="direct"):
    """Rows of an original verdict and one (removed, background, normal) triple a seed."""
    key = {"model": "m", "mode": mode, "source": "s", "index": 4}
    rows = [key | {"edit": "original", "seed": -1, "text": TEXT[original], "verdict": original, "margin": 0.0}]
    names = ("region_removed", "background_removed", "background_normal")
    for seed, triple in enumerate(edits):
        rows += [
            key | {"edit": name, "seed": seed, "text": TEXT[verdict], "verdict": verdict, "margin": 0.0}
            for name, verdict in zip(names, triple, strict=True)
        ]
    return rows


def one(rows, shortcuts=None, seeds=1, agreement=1):
    (case,) = verify([SAMPLE], rows, shortcuts or {}, seeds=seeds, agreement=agreement)
    return case


@pytest.mark.parametrize("triple", itertools.product(("yes", "no", "unparsable"), repeat=3))
def test_truth_table(triple):
    case = one(answers("yes", triple))
    assert case["kept"] == (triple == ("no", "yes", "yes"))
    assert (case["reason"] == "kept") == case["kept"]
    if not case["kept"]:
        assert case["reason"] == ("not stayed" if triple[0] == "no" else "not flipped")


@pytest.mark.parametrize(("verdict", "reason"), [("no", "wrong"), ("unparsable", "unparsable")])
def test_wrong_answers_need_no_edits(verdict, reason):
    case = one(answers(verdict))
    assert not case["right"] and not case["kept"] and case["reason"] == reason and case["seeds"] == 0


def test_a_seed_must_pass_every_gate_together():
    good, no_flip, no_stay = ("no", "yes", "yes"), ("yes", "yes", "yes"), ("no", "no", "yes")
    rows = answers("yes", good, no_flip, no_stay)
    case = one(rows, seeds=3, agreement=1)
    assert (case["flipped"], case["stayed_removed"], case["stayed_normal"], case["passed"]) == (2, 2, 3, 1)
    assert case["kept"] and not one(rows, seeds=3, agreement=2)["kept"]


def test_missing_edit_and_bad_agreement_are_named():
    with pytest.raises(MedgroundError, match="no answer for the edit region_removed, seed 1"):
        one(answers("yes", ("no", "yes", "yes")), seeds=2)
    with pytest.raises(MedgroundError, match="agreement is 2"):
        one(answers("no"), seeds=1, agreement=2)


def test_retention_counts_and_control():
    rows = answers("yes", ("no", "yes", "yes")) + answers("yes", ("no", "no", "yes"), mode="reasoning")
    cases = list(verify([SAMPLE], rows, {"m": {"effusion": SHORTCUT}}, seeds=1, agreement=1))
    direct, reasoning = retention(cases)
    assert direct["control"] == reasoning["control"] == "shortcut"
    counts = [{k: row[k] for k in ("asked", "right", "flipped", "stayed", "kept")} for row in (direct, reasoning)]
    assert counts == [
        {"asked": 1, "right": 1, "flipped": 1, "stayed": 1, "kept": 1},
        {"asked": 1, "right": 1, "flipped": 1, "stayed": 0, "kept": 0},
    ]


def test_released_form_has_the_papers_columns():
    rows = answers("yes", ("no", "yes", "yes"))
    cases = list(verify([SAMPLE], rows, {}, seeds=1, agreement=1))
    assert released_records(cases, rows, "direct") == [
        {
            "model": "m", "dataset": "s", "index": 4, "answer": "Yes", "prediction_direct": "Yes.",
            "prediction_edited_direct": "No.", "prediction_edited_kept_direct": "Yes.",
            "prediction_edited_kept_normal_direct": "Yes.",
        }
    ]  # fmt: skip
    assert released_records(cases, rows, "reasoning") == []


def test_released_records_hold_a_seed_that_passes_the_filter():
    """With several seeds the first may fail a gate that the case as a whole passes."""
    good, no_flip, no_stay = ("no", "yes", "yes"), ("yes", "yes", "yes"), ("no", "no", "yes")
    rows = answers("yes", no_flip, no_stay, good, good)
    texts = {2: "No, there is none.", 3: "No"}
    rows = [
        row | {"text": texts.get(row["seed"], row["text"])} if row["edit"] == "region_removed" else row for row in rows
    ]
    cases = list(verify([SAMPLE], rows, {}, seeds=4, agreement=2))
    (record,) = released_records(cases, rows, "direct")
    assert record["prediction_edited_direct"] == "No, there is none."
    assert record["prediction_edited_kept_direct"] == record["prediction_edited_kept_normal_direct"] == "Yes."
    with pytest.raises(MedgroundError, match="m/direct/s/4 is kept, but no seed passes"):
        released_records(cases, [row for row in answers("yes", no_flip, no_stay, no_stay, no_stay)], "direct")


def test_released_records_say_the_answer_that_was_right():
    sample = SAMPLE | {"answer": "No"}
    rows = answers("no", ("yes", "no", "no"))
    cases = list(verify([sample], rows, {}, seeds=1, agreement=1))
    (record,) = released_records(cases, rows, "direct")
    assert record["answer"] == "No" and record["prediction_direct"] == "No."


def test_answers_about_a_sample_stand_together():
    """One after another is held; a second part would otherwise count as another case."""
    rows = answers("yes", ("no", "yes", "yes"))
    with pytest.raises(MedgroundError, match="case m/direct/s/4 do not stand together"):
        list(verify([SAMPLE], [*rows, *answers("no", mode="reasoning"), rows[-1]], {}, seeds=1, agreement=1))


@pytest.mark.parametrize(("passing", "kept"), [(1, False), (2, True), (3, True)])
def test_as_many_seeds_as_agreement_asks_for_are_enough(passing, kept):
    good, bad = ("no", "yes", "yes"), ("no", "no", "yes")
    rows = answers("yes", *[good] * passing, *[bad] * (3 - passing))
    assert one(rows, seeds=3, agreement=2)["kept"] is kept


def test_what_is_beyond_the_most_of_a_group_is_drawn():
    samples = [SAMPLE | {"index": index, "finding": finding} for index, finding in enumerate("aaaaabb")]
    rows = [row | {"index": s["index"]} for s in samples for row in answers("yes", ("no", "yes", "yes"))]
    rows += [row | {"index": 7} for row in answers("no")]
    cases = list(verify([*samples, SAMPLE | {"index": 7, "finding": "b"}], rows, {}, seeds=1, agreement=1))
    beyond = surplus(cases, 3, seed=1)
    assert beyond <= {case["case_id"] for case in cases if case["kept"] and case["finding"] == "a"} and len(beyond) == 2
    assert beyond == surplus(cases, 3, seed=1) and surplus(cases, 0, seed=1) == set()
    without_b = [case for case in cases if case["finding"] == "a"]
    assert surplus(without_b, 3, seed=1) == beyond  # a group does not move another
    assert any(surplus(without_b, 3, seed=seed) != beyond for seed in range(9))


@pytest.mark.parametrize("seeds", list(itertools.product((0, 1, 2), repeat=3)))
def test_a_case_stays_where_some_seed_of_either_background_does(seeds):
    """In both tables of the filter: flipped asks for one seed, stayed for one of each background besides."""
    flipped, removed, normal = seeds
    case = {"model": "m", "mode": "direct", "source": "s", "index": 0, "finding": "f", "patient_id": "p",
            "control": "honest", "right": True, "verified": False, "seeds": 2, "flipped": flipped,
            "stayed_removed": removed, "stayed_normal": normal, "passed": 0, "kept": False, "reason": "not stayed",
            "cause": None}  # fmt: skip
    (row,) = retention([case])
    kinds = causes.by_control([case], lambda values, patients: (0.0, 1.0), {("s", 0): []})
    for told in (row, kinds["honest"]):
        assert told["flipped"] == bool(flipped) and told["stayed"] == bool(flipped and removed and normal)
