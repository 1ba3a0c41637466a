"""The sources of the world with many known causes: their rows, their parts, and the maintainer's own test seed."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from medground import params, sources
from medground.phantom.causes import FINDINGS, MARKS
from medground.phantom.causes.source import CAUSES, CausesWorld
from medground.phantom.source import Films, World

NUMBERS = [1, 9]  # with seed 1 and half of the patients in each split: one of each


@pytest.fixture(scope="module")
def films(ct_folder, tmp_path_factory):
    torch.set_num_threads(1)
    return Films(CAUSES[1], CausesWorld(), 1, 1, 2, 0.5, 0.5, ct_folder, tmp_path_factory.mktemp("samples"))


@pytest.fixture(scope="module")
def rows(films):
    return films(NUMBERS)


def pixels(file) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(file.content)))


def test_both_splits_are_among_the_patients(rows):
    assert {row["split"] for row in rows} == {"dev", "test"}


def test_each_finding_on_a_film_is_asked_about_and_its_box_is_its_part(rows):
    for row in rows:
        parts = {part["name"]: part["boxes"] for part in row["parts"]}
        assert row["finding"] in FINDINGS and row["answer"] == "Yes" and set(parts) <= {*FINDINGS, *MARKS}
        assert row["regions"] == parts[row["finding"]] and row["labels"] == "finding"
        same = {other["finding"] for other in rows if other["film"].path == row["film"].path}
        assert same == set(parts) & set(FINDINGS)
        assert row["marker"] == (parts["letter"][0] if "letter" in parts else None)


def test_a_mark_left_out_changes_its_place_alone_and_the_twin_has_nothing(rows):
    seen = 0
    for row in rows:
        film, twin = pixels(row["film"]), pixels(row["twin"])
        for part in row["parts"]:
            without, alone = pixels(part["film_without"]), pixels(part["film_only"])
            assert (film != without).any() and (alone != twin).any()
            if part["name"] in MARKS and part["boxes"]:
                seen += 1
                y, x = np.nonzero(film != without)
                x1, y1, x2, y2 = np.array(part["boxes"]).T
                assert x.min() >= x1.min() - 2 and x.max() < x2.max() + 2
                assert y.min() >= y1.min() - 2 and y.max() < y2.max() + 2
    assert seen


@pytest.mark.parametrize("world", [World(), CausesWorld()], ids=["phantom", "causes"])
def test_a_test_seed_of_ones_own_changes_every_test_film_and_no_dev_film(world, films):
    ours = replace(films, world=world, films_per_patient=1)
    private = replace(ours, test_seed=977)
    for number in NUMBERS:
        public, own = ours([number]), private([number])
        assert {row["split"] for row in public} == {row["split"] for row in own}
        if public[0]["split"] == "dev":
            assert public == own
        else:
            assert not {row["film"].content for row in public} & {row["film"].content for row in own}


def test_the_sources_are_known_and_their_code_is_their_own(monkeypatch):
    p = params.load()
    for name in CAUSES:
        assert sources.SOURCES.get(name).has_references
        assert sources.module(p, name) == "medground.phantom.causes.source"
