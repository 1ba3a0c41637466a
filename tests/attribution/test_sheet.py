"""All methods side by side, and attributions read back from their rows."""

import numpy as np
import pytest

from medground import records
from medground.attribution import Attribution
from medground.attribution.report import ACCENT
from medground.attribution.sheet import EXPERT, sheet

GRID = Attribution("a", grid=np.eye(3, dtype=np.float32), extent=(-8.0, 0.0, 72.0, 80.0), note={"delta": 0.5})
BOXES = Attribution(
    "a", boxes=[(10.0, 20.0, 30.0, 60.0)], concepts=[("heart", (1.0, 2.0, 3.0, 4.0), 0.25)], tokens=[("Yes", 0.5)],
    seconds=0.125, forwards=3,
)  # fmt: skip


@pytest.mark.parametrize("found", [GRID, BOXES])
def test_an_attribution_comes_back_from_its_row(found, tmp_path):
    records.write_table([found.row()], records.ATTRIBUTIONS, tmp_path / "table.parquet")
    back = Attribution.of_row(records.read_rows(tmp_path / "table.parquet", records.ATTRIBUTIONS)[0])
    for name in ("case_id", "extent", "boxes", "concepts", "tokens", "note", "forwards"):
        assert getattr(back, name) == getattr(found, name), name
    assert (back.grid is None) == (found.grid is None)
    assert found.grid is None or np.array_equal(back.grid, found.grid)


def test_a_sheet_has_the_film_and_a_panel_a_method():
    film = np.full((80, 64), 90, np.uint8)
    one = np.asarray(sheet(film, [(16.0, 16.0, 48.0, 48.0)], "a case", [("boxes", BOXES, 0.5)]))
    seven = np.asarray(sheet(film, [], "a case", [("map", GRID, 0.25)] * 7))

    def near(picture, colour):
        return np.abs(picture.astype(int) - colour).max(-1) < 25

    assert one.shape[1] == seven.shape[1] and seven.shape[0] > one.shape[0]
    panels = np.flatnonzero(near(one, EXPERT).any(0))
    assert np.count_nonzero(np.diff(panels) > 100) == 1, "the expert's region stands on the film and on the method"
    assert near(one, ACCENT).any() and not near(seven, EXPERT).any()
