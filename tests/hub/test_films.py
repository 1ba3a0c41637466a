"""Joining restricted films from a copy that is laid out in its own way."""

from __future__ import annotations

import shutil

import pyarrow.parquet as pq
import pytest
from hub_facts import RESTRICTED, SAMPLES
from typer.testing import CliRunner

from medground import cli
from medground.errors import MedgroundError
from medground.hub import films, folder


@pytest.fixture(scope="module")
def hub(tree, tmp_path_factory):
    out = tmp_path_factory.mktemp("films") / "hub"
    folder.build(tree / "data", out)
    return out


@pytest.mark.parametrize("source", RESTRICTED)
def test_finds_every_film_of_a_complete_copy(hub, tree, source):
    rows = films.join(films.wanted(str(hub), source), tree / "raw")
    assert len(rows) == SAMPLES
    assert {row["state"] for row in rows} == {"found"}
    assert all(row["film"] in row["path"] for row in rows)


def test_tells_missing_from_changed_and_takes_the_right_one_of_two(hub, tree, tmp_path):
    copy = shutil.copytree(tree / "raw/vindr-cxr", tmp_path / "mine")
    rows = films.join(films.wanted(str(hub), "vindr_cxr"), copy)
    first, second, third = (row["film"] for row in rows[:3])
    lost, altered, doubled = (next(copy.rglob(f"{film}.dicom")) for film in (first, second, third))
    lost.unlink()
    altered.write_bytes(altered.read_bytes() + b"x")
    (copy / f"{third}.png").write_bytes(b"converted")  # another file of the same name
    states = {row["film"]: row for row in films.join(films.wanted(str(hub), "vindr_cxr"), copy)}
    assert (states[first]["state"], states[first]["path"]) == ("missing", None)
    assert (states[second]["state"], states[second]["path"]) == ("changed", str(altered))
    assert (states[third]["state"], states[third]["path"]) == ("found", str(doubled))
    report = films.report(list(states.values()), "vindr_cxr")
    assert f"{SAMPLES - 2} of {SAMPLES} films found" in report
    assert f"missing: {first}" in report
    assert f"changed: {second} ({altered})" in report
    assert "https://physionet.org/content/vindr-cxr/1.0.0/" in report


def test_command_writes_the_table_and_fails_when_films_are_missing(hub, tree, tmp_path):
    out = tmp_path / "films.parquet"
    words = ["films", "--source", "padchest_gr", "--dataset", str(hub), "--out", str(out), "--data-root"]
    done = CliRunner().invoke(cli.app, [*words, str(tree / "raw")])
    assert done.exit_code == 0
    assert pq.read_table(out).schema.equals(films.JOINED)
    done = CliRunner().invoke(cli.app, [*words, str(tmp_path)])
    assert done.exit_code == 1
    assert f"0 of {SAMPLES} films found" in done.output
    assert set(pq.read_table(out)["state"].to_pylist()) == {"missing"}


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("phantom_region", "are in the dataset itself"),
        ("hospital", "does not declare what may leave"),
    ],
)
def test_sources_that_cannot_be_joined(hub, source, message):
    with pytest.raises(MedgroundError, match=message):
        films.wanted(str(hub), source)


def test_source_that_the_dataset_lacks(phantom_tree, tmp_path):
    folder.build(phantom_tree / "data", tmp_path / "hub")
    with pytest.raises(
        MedgroundError, match="has no films of vindr_cxr; it has those of phantom_lesion, phantom_region"
    ):
        films.wanted(str(tmp_path / "hub"), "vindr_cxr")


def test_data_root_must_exist(hub, tmp_path):
    with pytest.raises(MedgroundError, match="--data-root"):
        films.join(films.wanted(str(hub), "vindr_cxr"), tmp_path / "nowhere")
