"""Writing an entry."""

import numpy as np
import pytest
import yaml

from medground import submission
from medground.errors import MedgroundError
from medground.scoring.tables import read_attributions


def test_what_is_written_is_read(tmp_path, card):
    heat = np.arange(6, dtype=np.float64).reshape(2, 3) / 7
    submission.write(
        tmp_path / "e", maps={"m/direct/s/0": heat}, boxes={"m/direct/s/1": [(1, 2, 3, 4)]},
        extents={"m/direct/s/0": (0, -8, 64, 72)}, seconds={"m/direct/s/1": 2.5}, **card,
    )  # fmt: skip
    grid, boxes = read_attributions(tmp_path / "e" / "attributions.parquet")
    assert np.array_equal(grid["grid"], heat.ravel().astype(np.float32))
    assert (grid["grid_height"], grid["grid_width"], grid["extent"], grid["boxes"]) == (2, 3, [0, -8, 64, 72], None)
    assert (boxes["grid"], boxes["boxes"], boxes["seconds"]) == (None, [[1, 2, 3, 4]], 2.5)
    assert yaml.safe_load((tmp_path / "e" / "entry.yaml").read_text()) == card


def test_token_maps_of_3940_cases_fit_in_5_megabytes(tmp_path):
    rng = np.random.default_rng(0)
    folder = submission.write(
        tmp_path / "e", maps={f"m/direct/imagenome/{n}": rng.random((16, 16)) for n in range(3940)}
    )
    assert (folder / "attributions.parquet").stat().st_size < 5_000_000


def test_the_same_entry_is_the_same_bytes(tmp_path, card, maps):
    first, second = (submission.write(tmp_path / name, maps=maps, **card) for name in "ab")
    assert (first / "attributions.parquet").read_bytes() == (second / "attributions.parquet").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"maps": {"c": np.zeros(4)}}, r"the map of case c has the shape \(4,\); pass \[h, w\]"),
        ({"maps": {"c": np.zeros((2, 2))}, "boxes": {"c": []}}, "case c has both a map and boxes"),
        ({"extents": {"c": (0, 0, 1, 1)}}, "case c has an extent or seconds, but neither"),
        ({"boxes": {"c": [(1, 2, 3)]}}, "does not fit its column"),
        ({"boxes": {}, "autor": "me"}, r"unknown keys \['autor'\]"),
    ],
)
def test_mistakes_are_named(tmp_path, arguments, message):
    with pytest.raises(MedgroundError, match=message):
        submission.write(tmp_path / "e", **arguments)
    assert list(tmp_path.glob("e/*")) == []


def test_nothing_is_overwritten(tmp_path, card, maps):
    submission.write(tmp_path / "e", maps=maps, **card)
    with pytest.raises(MedgroundError, match=r"entry.yaml exists; choose another folder"):
        submission.write(tmp_path / "e", maps=maps, **card)
