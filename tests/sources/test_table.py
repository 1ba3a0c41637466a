"""Films of one's own: what a table may hold, everything that can be wrong with it, and a run through the stages."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from medground import records, sources
from medground.errors import MedgroundError
from medground.hub import licences
from medground.sources import table

sys.path.insert(0, str(Path(__file__).parents[1] / "howto"))
import howto

SIZE = (180, 240)


@pytest.fixture
def folder(tmp_path):
    """Two PNG films, one of 16 bits, and the real film of pydicom's data as DICOM; boxes as the how-to has them."""
    data = pytest.importorskip("pydicom").data
    films = tmp_path / "films"
    films.mkdir()
    gray = np.random.default_rng(0).integers(0, 256, SIZE[::-1]).astype(np.uint8)
    Image.fromarray(gray).save(films / "a.png")
    Image.fromarray(gray.astype(np.uint16) * 256).save(films / "b.png")
    shutil.copy(data.get_testdata_file("RG1_UNCR.dcm"), films / "c.dcm")
    for kind, name, text in howto.blocks(howto.ROOT / "docs/how-to/your-own-data.md"):
        if kind == "csv":
            (tmp_path / name).write_text(text)
    return tmp_path


def params(folder, path="films.csv", **settings):
    section = {"path": str(folder / path), "images": "", "coordinates": "pixels", "dev_share": 0.5, "licence": ""}
    return SimpleNamespace(seed=1, sources=["table"], table=SimpleNamespace(**section | settings))


def ingest(folder, **settings):
    chosen = params(folder, **settings)
    dropped = sources.ingest(chosen, "table", folder / "raw", folder / "out")
    return records.read_rows(folder / "out/samples.parquet", records.SAMPLES), dropped


def test_the_page_word_for_word(folder):
    assert [command for command, _ in howto.follow("your-own-data.md", folder)] == ["medground check-table films.csv"]


def test_rows_become_samples(folder):
    rows, dropped = ingest(folder)
    assert dropped == {}
    assert [(row["index"], Path(row["film"]).name, row["finding"]) for row in rows] == [
        (0, "a.png", "cardiomegaly"), (1, "a.png", "pleural effusion"), (2, "b.png", "pleural effusion"),
        (3, "c.dcm", "mass"),
    ]  # fmt: skip
    assert rows[2]["regions"] == [[130, 180, 175, 235], [15, 185, 50, 230]]
    assert (rows[3]["width"], rows[3]["height"]) == (1841, 1955)
    assert rows[0]["question"] == "Is there evidence of cardiomegaly in the image?"
    assert rows[0]["licence"] == "as its table says, else not to be passed on"
    assert {row["split"] for row in rows if row["patient_id"] == "anna"} in ({"dev"}, {"test"})
    assert not licences.may_leave("table", licences.Kind.PIXELS) and not licences.may_leave("table", licences.Kind.TEXT)


def test_the_split_is_by_patient_the_seeds_and_half_of_many():
    sides = [table.split(1, str(number), 0.5) for number in range(2000)]
    assert 900 < sides.count("dev") < 1100 and sides == [table.split(1, str(number), 0.5) for number in range(2000)]
    assert sides != [table.split(2, str(number), 0.5) for number in range(2000)]
    assert {table.split(1, str(number), 0.0) for number in range(99)} == {"test"}


def test_parquet_lists_relative_coordinates_and_every_optional_column(folder):
    frame = pd.DataFrame(
        {
            "image": ["films/a.png", "films/b.png", "films/c.dcm"], "patient": ["anna", "boris", "clara"],
            "finding": ["mass"] * 3,
            "boxes": [[[0.25, 0.5, 0.5, 0.75], [0.0, 0.0, 1.0, 0.1]], [[0, 0, 1, 1]], [[0, 0, 1, 1]]],
            "question": ["Do you see a mass?", None, None], "split": ["dev", "test", "test"],
            "licence": ["CC-BY-4.0", None, None], "view": ["PA", "lateral", "AP"],
        }
    )  # fmt: skip
    frame.to_parquet(folder / "films.parquet")
    rows, dropped = ingest(folder, path="films.parquet", coordinates="relative", licence="ours")
    assert dropped == {"samples: the view is lateral, not frontal": 1}
    assert rows[0]["regions"] == [[45, 120, 90, 180], [0, 0, 180, 24]]
    assert [row["split"] for row in rows] == ["dev", "test"] and [row["licence"] for row in rows] == [
        "CC-BY-4.0",
        "ours",
    ]
    assert rows[0]["question"] == "Do you see a mass?" and rows[1]["index"] == 2


def test_coco(folder):
    content = {
        "images": [
            {"id": 7, "file_name": "films/a.png", "patient": "anna"},
            {"id": 9, "file_name": "films/b.png", "patient": "boris", "split": "dev"},
        ],
        "categories": [{"id": 1, "name": "mass"}, {"id": 2, "name": "nodule"}],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 1, "bbox": [10, 20, 30, 40]},
            {"id": 2, "image_id": 9, "category_id": 2, "bbox": [0, 0, 5.5, 6]},
            {"id": 3, "image_id": 7, "category_id": 1, "bbox": [50, 60, 10, 10]},
        ],
    }
    (folder / "coco.json").write_text(json.dumps(content))
    rows, _ = ingest(folder, path="coco.json")
    assert [(row["finding"], row["regions"]) for row in rows] == [
        ("mass", [[10, 20, 40, 60], [50, 60, 60, 70]]), ("nodule", [[0, 0, 5.5, 6]]),
    ]  # fmt: skip
    assert rows[1]["split"] == "dev"
    content["annotations"][1]["image_id"] = 8
    del content["images"][0]["patient"]
    (folder / "coco.json").write_text(json.dumps(content))
    report = table.read(folder / "coco.json").report()
    assert "annotation 2: image_id is 8, which the file does not list" in report
    assert "annotation 1: patient is empty" in report and "annotation 3: patient is empty" in report


def test_everything_wrong_is_listed_at_once(folder):
    (folder / "films/bad.png").write_bytes(b"no picture")
    (folder / "films.csv").write_text(
        "image,patient,finding,x1,y1,x2,y2,split\n"
        "films/a.png,anna,mass,10,20,30,40,dev\n"
        "films/gone.png,anna,mass,10,20,30,40,dev\n"
        "films/bad.png,anna,mass,10,20,30,40,dev\n"
        "films/a.png,,nodule,10,20,30,40,train\n"
        "films/a.png,anna,,10,20,5,40,dev\n"
        "films/a.png,anna,scar,10,20,3000,40,test\n"
        "films/b.png,boris,mass,one,20,30,40,dev\n"
        "films/b.png,boris,scar,0.1,0.2,0.3,0.4,dev\n"
        "films/b.png,anna,scar,10,20,30,40,dev\n"
    )
    found = table.read(folder / "films.csv")
    for expected in (
        "row 3: image 'films/gone.png' is missing",
        "row 4: image 'films/bad.png' cannot be used",
        "row 5: patient is empty; fill it in, with the image's name",
        "row 5: split is 'train'; write dev or test",
        "row 6: finding is empty",
        "row 6: the box [10.0, 20.0, 5.0, 40.0] has no area",
        "row 7: the box [10.0, 20.0, 3000.0, 40.0] lies beyond the film, 180 x 240",
        "row 7: patient 'anna' is in split 'test', in row 2 in 'dev'",
        "row 8: the box is ['one', '20', '30', '40']; it must be four numbers",
        "row 9: the box [0.1, 0.2, 0.3, 0.4] is within one pixel; set table.coordinates to relative",
        "row 10: patient is 'anna', in row 9 of the same image and finding 'boris'",
    ):
        assert any(problem.startswith(expected) for problem in found.problems), (expected, found.problems)
    assert len(found.problems) == 11
    with pytest.raises(MedgroundError, match="11 problems\nrow 3"):
        ingest(folder)
    with pytest.raises(MedgroundError, match="11 problems"):
        sources.SOURCES.get("table").files(params(folder), folder)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.csv", "image,finding\na,b\n", "columns patient are missing"),
        ("x.csv", "image,patient,finding\na,b,c\n", "neither columns x1, y1, x2, y2 nor a column boxes"),
        ("x.csv", "image,patient,finding,boxes\na,b,c,none\n", "row 2: boxes is 'none', not a list"),
        ("x.csv", "image,patient,finding,boxes\n", "there is no row"),
    ],
)
def test_tables_of_another_shape(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    assert message in table.read(tmp_path / name).report()


def test_files_that_are_no_table(tmp_path):
    (tmp_path / "x.json").write_text("[]")
    (tmp_path / "x.xlsx").write_text("")
    (tmp_path / "x.parquet").write_text("no")
    for name, message in (("x.json", "not COCO JSON"), ("x.xlsx", "neither .csv"), ("x.parquet", "cannot be read"),
                          ("gone.csv", "is missing; give the path")):  # fmt: skip
        with pytest.raises(MedgroundError, match=message):
            table.read(tmp_path / name)
    with pytest.raises(MedgroundError, match=r"needs table\.path in params\.yaml"):
        chosen = params(tmp_path)
        chosen.table.path = ""
        sources.SOURCES.get("table").files(chosen, tmp_path)


def test_the_inventory_follows_table_and_films(folder):
    root, files = sources.SOURCES.get("table").files(params(folder), folder / "raw")
    assert root == folder.resolve()
    assert [file.as_posix() for file in files] == ["films.csv", "films/a.png", "films/b.png", "films/c.dcm"]
