"""Questions, verdicts and results against rules written out anew, on every pattern of answers."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy.stats import binom

from medground import records
from medground.errors import MedgroundError
from medground.evaluation.questions import questions
from medground.evaluation.results import published, results, summed
from medground.evaluation.tables import EDITS, QUESTIONS, RESULTS, VERDICTS
from medground.evaluation.verdicts import verdicts

FINDINGS = ("cardiomegaly", "mass", "pneumothorax", "pleural effusion")


def sample(index, film, finding, shown, source="s"):
    return {
        "source": source, "index": index, "patient_id": film[0], "split": "dev", "film": film, "width": 8, "height": 9,
        "finding": finding, "question": f"Is there evidence of {finding} in the image?", "answer": "Yes",
        "regions": [[1.0, 1.0, 3.0, 3.0]], "licence": "MIT",
        "parts": [{"name": name, "boxes": [], "film_without": "x", "film_only": "y"} for name in (*shown, "letter")],
    }  # fmt: skip


SAMPLES = [
    sample(0, "a1", "mass", ["mass"]),
    sample(1, "a2", "mass", ["mass", "cardiomegaly"]),
    sample(2, "a2", "cardiomegaly", ["mass", "cardiomegaly"]),
    sample(3, "b1", "pneumothorax", ["pneumothorax"]),
    sample(7, "b2", "pleural effusion", ["pleural effusion"]),
]
MADE = [
    {"source": "s", "index": one["index"], "edit": edit, "seed": seed, "path": f"{edit}{seed}", "sha256": "0",
     "editor": "twin", "settings": '{"band": 12}'}
    for one in SAMPLES for edit in EDITS for seed in (0, 1)
]  # fmt: skip


def test_every_film_is_asked_about_as_many_findings_that_it_does_not_show():
    rows = questions(SAMPLES, MADE, seed=3)
    present, absent = ([row for row in rows if row["answer"] == answer] for answer in ("Yes", "No"))
    assert [row["index"] for row in present] == [0, 1, 2, 3, 7]
    assert all([row[edit] for edit in EDITS] == [f"{edit}0" for edit in EDITS] for row in present)
    shown = {one["film"]: {part["name"] for part in one["parts"]} for one in SAMPLES}
    assert sorted(row["film"] for row in absent) == sorted(row["film"] for row in present)
    for row in absent:
        assert row["finding"] in FINDINGS and row["finding"] not in shown[row["film"]]
        assert row["finding"] in row["question"] and row["regions"] == [] and row[EDITS[0]] is None
    assert sorted(row["index"] for row in absent) == [8, 9, 10, 11, 12]
    assert questions(SAMPLES, MADE, seed=3) == rows and questions(SAMPLES, MADE, seed=4) != rows
    records.as_table(rows, QUESTIONS)


def test_nothing_is_said_to_be_absent_where_the_parts_of_a_film_are_not_known():
    rows = questions([one | {"parts": None} for one in SAMPLES], [], seed=3)
    assert {row["answer"] for row in rows} == {"Yes"} and {row["recipe"] for row in rows} == {None}


def answer(index, edit, verdict, seed=0):
    return {
        "model": "m", "mode": "direct", "source": "s", "index": index, "edit": edit,
        "seed": -1 if edit == "original" else seed, "text": f"{verdict}.", "verdict": verdict, "margin": 0.0,
    }  # fmt: skip


@pytest.mark.parametrize("said", list(product(("yes", "no", "unparsable"), repeat=4)))
def test_a_question_is_kept_for_one_pattern_of_answers_alone(said):
    rows = questions(SAMPLES[:1], MADE, seed=3)
    edits = dict(zip(("original", *EDITS), said, strict=True))
    (row,) = verdicts(rows, [answer(0, edit, verdict) for edit, verdict in edits.items()])
    assert row["kept"] == (said == ("yes", "no", "yes", "yes"))
    assert row["right"] == (said[0] == "yes")
    assert [row[edit] for edit in EDITS] == (list(said[1:]) if said[0] == "yes" else [None] * 3)
    records.as_table([row], VERDICTS)


def test_an_absent_finding_is_right_with_no_and_never_kept():
    rows = questions(SAMPLES, MADE, seed=3)
    absent = rows[-1]
    for verdict in ("yes", "no", "unparsable"):
        (row,) = verdicts(rows, [answer(absent["index"], "original", verdict)])
        assert (row["right"], row["kept"]) == (verdict == "no", None)


def test_answers_that_do_not_fit_are_named():
    rows = questions(SAMPLES[:1], MADE, seed=3)
    with pytest.raises(MedgroundError, match="m/direct/s/99 is to no question"):
        verdicts(rows, [answer(99, "original", "yes")])
    with pytest.raises(MedgroundError, match="m/direct/s/0: no answer about the edit background_removed"):
        verdicts(rows, [answer(0, "original", "yes"), answer(0, "region_removed", "no")])


def verdict(patient, answer, said, *edits, mode="direct"):
    right = said == {"Yes": "yes", "No": "no"}[answer]
    told = dict(zip(EDITS, edits or (None, None, None), strict=True))
    return {
        "model": "m", "mode": mode, "source": "s", "index": 0, "patient_id": patient, "split": "test",
        "finding": "mass", "answer": answer, "text": said, "verdict": said, "right": right, **told,
        "kept": (right and list(told.values()) == ["no", "yes", "yes"]) if answer == "Yes" else None,
    }  # fmt: skip


def test_counts_and_shares_are_those_that_one_counts_by_hand():
    rows = [
        verdict("a", "Yes", "yes", "no", "yes", "yes"),  # grounded
        verdict("b", "Yes", "yes", "yes", "yes", "yes"),  # says yes whatever is shown
        verdict("c", "Yes", "yes", "no", "no", "yes"),  # does not stay
        verdict("d", "Yes", "no"),
        verdict("a", "No", "no"),
        verdict("b", "No", "yes"),
        verdict("c", "No", "unparsable"),
    ]
    found = summed(rows, resamples=500, seed=1)
    counts = ("patients", "asked", "right", "flipped", "stayed", "kept", "absent", "right_absent", "unparsable")
    assert [found[name] for name in counts] == [4, 4, 3, 2, 1, 1, 3, 1, 1]
    assert found["accuracy"] == pytest.approx(4 / 7)
    shares = ("sensitivity", "specificity", "says_yes", "grounded")
    assert [found[name] for name in shares] == pytest.approx([3 / 4, 1 / 3, 4 / 7, 1 / 4])


def test_one_who_says_yes_to_everything_has_half_the_accuracy_and_no_ground():
    rows = [verdict(str(i), "Yes", "yes", "yes", "yes", "yes") for i in range(10)]
    rows += [verdict(str(i), "No", "yes") for i in range(10)]
    found = summed(rows, resamples=500, seed=1)
    assert (found["accuracy"], found["grounded"], found["says_yes"]) == (0.5, 0.0, 1.0)
    assert found["grounded_low"] == 0 and found["grounded_high"] == pytest.approx(1 - 0.025 ** (1 / 10))


def test_the_interval_is_about_that_of_the_binomial_where_every_patient_has_one_question():
    rng = np.random.default_rng(0)
    kept = rng.random(200) < 0.3
    rows = [verdict(str(i), "Yes", "yes", "no" if one else "yes", "yes", "yes") for i, one in enumerate(kept)]
    found = summed(rows, resamples=4000, seed=1)
    low, high = binom.ppf([0.025, 0.975], 200, kept.mean()) / 200
    assert (found["grounded_low"], found["grounded_high"]) == pytest.approx((low, high), abs=0.02)


def test_what_a_model_was_taught_is_not_told_by_its_results():
    rows = [verdict("a", "Yes", "yes", "no", "yes", "yes")]
    found = results(rows + [row | {"split": "dev"} for row in rows], {"m": None}, resamples=50)
    assert [(row["split"], row["finding"]) for row in published(found, {"m"})] == [
        ("dev", None), ("dev", "mass"), ("test", None),
    ]  # fmt: skip
    assert published(found, {"other"}) == found


def test_a_row_for_all_findings_and_one_for_each_of_every_mode():
    rows = [verdict("a", "Yes", "yes", "no", "yes", "yes", mode=mode) for mode in ("direct", "reasoning")]
    found = results(rows, {"m": "sha256:1"}, resamples=100)
    assert [(row["mode"], row["finding"]) for row in found] == [
        ("direct", None), ("direct", "mass"), ("reasoning", None), ("reasoning", "mass"),
    ]  # fmt: skip
    assert {row["revision"] for row in found} == {"sha256:1"} and {row["specificity"] for row in found} == {None}
    records.as_table(found, RESULTS)
