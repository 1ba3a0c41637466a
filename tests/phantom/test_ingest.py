"""The stages that make the phantom's films: two patients, one reference, and what lies on disk afterwards."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from medground import files, params, records
from medground.anatomy.references import References
from medground.images import read_film
from medground.phantom import CONCEPTS, Phantom
from medground.phantom.cohorts import patient_seed
from medground.sources import SOURCES

ROOT = Path(__file__).parents[2]


@pytest.fixture
def made(ct_folder, tmp_path, monkeypatch):
    """Small settings, and a working folder with the CT where `fetch` leaves it."""
    torch.set_num_threads(1)
    monkeypatch.chdir(tmp_path)
    Path("data/raw").mkdir(parents=True)
    Path("data/raw/ct").symlink_to(ct_folder)
    for name in ("phantom_lesion", "references"):
        files.write_json({}, Path(f"data/raw/{name}.json"))
    p = params.load(ROOT / "profiles/phantom.yaml")
    phantom = p.phantom.model_copy(update={"patients": 2, "films_per_patient": 1, "references": 1})
    return p.model_copy(update={"phantom": phantom, "engine": p.engine.model_copy(update={"workers": 1})})


def test_samples_name_films_that_are_there(made):
    out = Path("data/samples/phantom_lesion")
    dropped = SOURCES.get("phantom_lesion").ingest(made, Path("data/raw"), out)
    rows = records.read_rows(out / "samples.parquet", records.SAMPLES)
    assert {row["patient_id"] for row in rows} == {"phantom0001"}, "patients alternate between the two sources"
    assert set(dropped) == {"hidden by another finding"} and dropped["hidden by another finding"] >= 0
    for row in rows:
        film, twin = read_film(row["film"]), read_film(row["twin"])
        assert film.shape == twin.shape == (row["height"], row["width"]) and (film != twin).any()
        for part in row["parts"]:
            assert read_film(part["film_without"]).shape == read_film(part["film_only"]).shape == film.shape
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    SOURCES.get("phantom_lesion").ingest(made, Path("data/raw"), out)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_references_have_a_picture_of_each_concept(made, ct_folder):
    out = Path("data/references")
    SOURCES.get("phantom_lesion").references(made, Path("data/raw"), out)
    (row,) = records.read_rows(out / "references.parquet", records.REFERENCES)
    film = Phantom.open(ct_folder, Path("cache")).patient(patient_seed(made.seed, "reference", 0)).film(seed=0)
    assert np.array_equal(read_film(row["film"]), film.image)
    assert [mask["concept"] for mask in row["masks"]] == list(film.masks) and set(film.masks) == set(CONCEPTS)
    for mask in row["masks"]:
        assert np.array_equal(read_film(mask["path"]), 255 * film.masks[mask["concept"]].view(np.uint8))
    pool = References.read(out / "references.parquet")
    assert pool.names == ("normal00",) and pool.masks.shape == (1, len(CONCEPTS), 224, 224)
