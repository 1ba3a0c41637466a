"""The varied world: what must hold of its patients, its marks, and films without each part and with each alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from medground.errors import MedgroundError
from medground.geometry import fill, intersect
from medground.phantom.causes import MARKS, VariedPhantom, reader
from medground.phantom.causes.marks import GLOBAL, MARKS_MOST, draw_marks
from medground.phantom.causes.patient import VARIED

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def phantom(ct_folder):
    return VariedPhantom.open(ct_folder, ROOT / ".cache" / "phantom")


@pytest.fixture(scope="module")
def patient(phantom):
    return phantom.patient(7)


@pytest.mark.parametrize("finding", ["pleural effusion", "lung opacity", "hilar enlargement", "pneumothorax"])
def test_sides_are_drawn_freely_and_named_as_the_patients(patient, finding):
    sides = []
    for seed in range(16):
        film = patient.film([finding], seed=seed)
        if finding in film.extents:
            middle = (film.extents[finding][0] + film.extents[finding][2]) / 2
            sides.append(middle > (film.anatomy["left lung"][0] + film.anatomy["right lung"][2]) / 2)
            lung = film.anatomy["left lung" if sides[-1] else "right lung"]
            assert intersect(film.regions[finding], lung)
    assert 2 < sum(sides) < len(sides) - 2


def test_a_mirrored_patient_has_the_heart_on_the_right(phantom):
    mirrored, usual = (phantom.patient(7, replace(VARIED, mirrored=share)) for share in (1.0, 0.0))
    offset = []
    for patient in (mirrored, usual):
        heart, lungs = patient.anatomy["cardiac silhouette"], [patient.anatomy[f"{s} lung"] for s in ("right", "left")]
        assert lungs[0][0] < lungs[1][0]  # the patient's right is always on the film's left
        offset.append((heart[0] + heart[2] - lungs[0][0] - lungs[1][2]) / 2)
    assert offset[0] < -5 and offset[1] > 5
    assert mirrored.mirrored and not usual.mirrored


def test_poses_differ_and_keep_the_lungs_on_the_film(phantom):
    films = [phantom.patient(k).film(seed=k) for k in range(12)]
    lungs = np.array([[*film.anatomy["right lung"][:2], *film.anatomy["left lung"][2:]] for film in films])
    assert (lungs.max(0) - lungs.min(0) > 40).all()
    for film in films:
        assert film.masks["left lung"].sum() > 5000 and film.masks["right lung"].sum() > 5000


@pytest.mark.parametrize("seed", range(4))
def test_films_with_and_without_each_part_are_exact(patient, seed):
    film = patient.film(["cardiomegaly", "pleural effusion"], seed=seed, marks=["letter", "pacemaker", "exposure"])
    assert np.array_equal(film.render(film.parts), film.image)
    assert np.array_equal(film.render([]), film.twin)
    alone = patient.film(["cardiomegaly"], seed=seed)
    assert np.array_equal(film.render(["cardiomegaly"]), alone.image)
    unmarked = patient.film(["cardiomegaly", "pleural effusion"], seed=seed)
    assert np.array_equal(film.render(["cardiomegaly", "pleural effusion"]), unmarked.image)
    for part in film.parts:
        assert np.array_equal(without(film, part), film.render([name for name in film.parts if name != part]))
        assert not np.array_equal(without(film, part), film.image)


@pytest.mark.parametrize("mark", [name for name in MARKS if name not in GLOBAL])
def test_a_mark_changes_the_film_within_its_boxes_and_visibly(patient, mark):
    drawn = 0
    for seed in range(6):
        film = patient.film(["hilar enlargement"], seed=seed, marks=[mark])
        if mark in film.marks:
            drawn += 1
            changed = film.image != without(film, mark)
            inside = fill(film.parts[mark], *changed.shape)
            assert changed[inside].any() and (changed & ~inside).sum() < 0.05 * changed.sum()
            difference = np.abs(film.image.astype(float) - without(film, mark))
            assert difference[film.marks[mark].mask].mean() > 25
    assert drawn >= 3


def test_letters_and_words_stay_off_the_findings(patient):
    for seed in range(10):
        film = patient.film(["pneumothorax", "cardiomegaly"], seed=seed, marks=["letter", "word"])
        letters = [box for mark in film.marks.values() for box in mark.boxes]
        for letter in letters:
            others = [box for box in (*film.extents.values(), *letters) if box != letter]
            assert all(intersect(letter, box) is None for box in others)


def test_an_exposure_has_no_place_and_changes_all_of_the_film(patient):
    film = patient.film(["lung opacity"], seed=1, marks=["exposure"])
    assert film.parts["exposure"] == [] and film.marks["exposure"].mask is None
    darker = without(film, "exposure").astype(int) - film.image
    assert (darker >= 0).all() and (darker[without(film, "exposure") > 20] > 0).mean() > 0.9


def test_marks_are_drawn_whatever_the_findings():
    rng = np.random.default_rng(0)
    drawn = [draw_marks(rng) for _ in range(4000)]
    assert max(map(len, drawn)) == MARKS_MOST
    rates = [np.mean([name in some for some in drawn]) for name in MARKS]
    assert max(rates) - min(rates) < 0.05 and 0.2 < np.mean(rates) < 0.32


def test_the_second_reader_has_a_policy_and_makes_mistakes():
    extent = (200.0, 100.0, 300.0, 220.0)  # the patient's left
    read = [reader.reads(extent, np.random.default_rng(k)) for k in range(2000)]
    drawn = [box for box in read if box]
    assert 1 - len(drawn) / len(read) == pytest.approx(reader.MISSED, abs=0.02)
    right = [box for box in drawn if (box[0] + box[2]) / 2 > 176]
    assert 1 - len(right) / len(drawn) == pytest.approx(reader.SWAPPED, abs=0.02)
    assert np.mean([b[2] - b[0] for b in right]) == pytest.approx(100 * (1 + 2 * reader.GENEROUS), abs=3)
    assert np.std([b[0] for b in right]) == pytest.approx(100 * reader.JITTER, abs=1.5)
    assert reader.reads(extent, np.random.default_rng(3)) == read[3]
    assert reader.names("pleural effusion", extent) == ["left lung"]
    assert reader.names("cardiomegaly", extent) == ["cardiac silhouette"]


def test_unknown_parts_are_named(patient):
    with pytest.raises(MedgroundError, match="pneumonia"):
        patient.film(["pneumonia"])
    with pytest.raises(MedgroundError, match="ring"):
        patient.film(marks=["ring"])


def without(film, part):
    return film.render([name for name in film.parts if name != part])
