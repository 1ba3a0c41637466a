"""Native and model space meet in one place: there and back, against PIL, torch and closed forms."""

import numpy as np
import pytest
import torch
from PIL import Image

from medground.geometry import Letterbox, area, as_box, box_of, fill, hull, intersect, resample


def test_boxes():
    assert area((1, 2, 4, 6)) == 12 and area((4, 2, 1, 6)) == 0
    assert intersect((0, 0, 4, 4), (2, 3, 9, 9)) == (2, 3, 4, 4)
    assert intersect((0, 0, 2, 2), (2, 0, 4, 2)) is None
    assert hull([(1, 5, 2, 6), (0, 7, 1, 9)]) == (0, 5, 2, 9)


def test_mask_and_box_are_inverse():
    box = (3.0, 1.0, 7.0, 5.0)
    mask = fill([box], 10, 12)
    assert mask.sum() == area(box) and box_of(mask) == box
    assert box_of(np.zeros((3, 3), bool)) is None
    assert fill([(-5, -5, 100, 100)], 4, 5).all()


def test_a_pixel_belongs_to_a_box_that_holds_its_centre_the_first_edge_included():
    expected = np.zeros((10, 12), bool)
    expected[:2, :3] = True
    for box in ((-3.0, -2.0, 3.0, 2.0), (0.5, 0.5, 3.5, 2.5), (-9.0, -9.0, 2.51, 1.51)):
        assert np.array_equal(fill([box], 10, 12), expected), box
    assert not fill([(0.6, 0.0, 1.4, 9.0), (-9.0, -9.0, -3.0, -3.0), (20.0, 0.0, 30.0, 9.0)], 10, 12).any()


def test_a_box_has_four_numbers_and_any_overlap_has_area():
    assert as_box(np.array([1, 2, 3, 4])) == (1, 2, 3, 4)
    for numbers in ((1, 2, 3), (1, 2, 3, 4, 5)):
        with pytest.raises(ValueError, match="values to unpack"):
            as_box(numbers)
    assert intersect((0, 0, 4, 4), (0, 4, 4, 8)) is None and intersect((0, 0, 4, 4), (1, 5, 3, 8)) is None
    assert intersect((0, 0, 4, 4), (3, 3, 3, 9)) is None and area((0, 5, 4, 2)) == 0 and area((4, 5, 1, 2)) == 0


@pytest.mark.parametrize(("width", "height"), [(3, 3000), (3000, 3), (1, 1), (5, 7)])
def test_the_thinnest_film_keeps_a_pixel_and_lies_in_the_middle(width, height):
    letterbox = Letterbox.fit(width, height, 224)
    canvas = letterbox.apply(np.full((height, width), 255, np.uint8))
    rows, columns = np.flatnonzero(canvas.any(1)), np.flatnonzero(canvas.any(0))
    drawn = max(1, round(224 * width / max(width, height))), max(1, round(224 * height / max(width, height)))
    assert (columns.size, rows.size) == drawn
    assert (columns[0], rows[0]) == ((224 - drawn[0]) // 2, (224 - drawn[1]) // 2) == (letterbox.left, letterbox.top)


@pytest.mark.parametrize(("width", "height"), [(352, 416), (2544, 3056), (416, 352), (100, 100)])
@pytest.mark.parametrize(
    "make", [lambda w, h: Letterbox.fit(w, h, 224), lambda w, h: Letterbox.stretch(w, h, 112, 128)]
)
def test_there_and_back(make, width, height):
    letterbox = make(width, height)
    box = (11.5, 20.0, 60.25, 90.0)
    np.testing.assert_allclose(letterbox.to_native(letterbox.to_canvas(box)), box, atol=1e-9)
    np.testing.assert_allclose(
        letterbox.to_canvas(letterbox.extent), (0, 0, letterbox.width, letterbox.height), atol=1e-9
    )


def test_letterbox_keeps_aspect_and_pads_black():
    film = np.full((416, 352), 200, np.uint8)
    letterbox = Letterbox.fit(352, 416, 224)
    canvas = letterbox.apply(film)
    x1, y1, x2, y2 = letterbox.to_canvas((0, 0, 352, 416))
    assert canvas.shape == (224, 224) and y2 - y1 == 224 and round(x2 - x1) == round(352 * 224 / 416)
    assert (canvas[:, : int(x1)] == 0).all() and (canvas[:, int(x1) : int(x2)] == 200).all()
    assert letterbox.extent[0] < 0 and letterbox.extent[2] > 352


def test_stretch_is_pils_resize():
    film = np.random.default_rng(0).integers(0, 256, (50, 40), dtype=np.uint8)
    expected = np.asarray(Image.fromarray(film).resize((16, 24), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(Letterbox.stretch(40, 50, 16, 24).apply(film), expected)


def test_a_drawn_box_lands_where_the_letterbox_says():
    film = np.zeros((3056, 2544), np.uint8)
    box = (400.0, 1000.0, 1200.0, 2200.0)
    film[fill([box], *film.shape)] = 255
    letterbox = Letterbox.fit(2544, 3056, 224)
    np.testing.assert_allclose(box_of(letterbox.apply(film) > 127), letterbox.to_canvas(box), atol=1.0)


def test_resample_equals_torch():
    grid = np.random.default_rng(1).normal(size=(7, 5)).astype(np.float32)
    expected = torch.nn.functional.interpolate(torch.tensor(grid)[None, None], (31, 23), mode="bilinear")[0, 0].numpy()
    np.testing.assert_allclose(resample(grid, (0, 0, 23, 31), 31, 23), expected, atol=1e-5)


def test_resample_over_an_extent_beyond_the_film():
    """A linear ramp over [-10, 30) is the same ramp inside [0, 20)."""
    columns = np.arange(8) * 5 - 7.5  # the cells' centres
    values = resample(np.tile(columns, (3, 1)), (-10, 0, 30, 12), 12, 20)
    np.testing.assert_allclose(values, np.tile(np.arange(20) + 0.5, (12, 1)), atol=1e-9)


def test_resample_holds_what_is_outermost_and_keeps_single_precision():
    grid = np.array([[1.0, 5.0], [3.0, 7.0]])
    values = resample(grid, (0, 0, 4, 4), 4, 4)
    assert values.dtype == np.float64 and resample(grid.astype(np.float32), (0, 0, 4, 4), 4, 4).dtype == np.float32
    corners = [values[0, 0], values[0, -1], values[-1, 0], values[-1, -1]]
    assert corners == [1, 5, 3, 7] and values[1, 1] == 1 + 0.25 * 4 + 0.25 * 2
    np.testing.assert_array_equal(resample(np.array([[2.0]]), (0, 0, 9, 9), 3, 3), np.full((3, 3), 2.0))


def test_nan_spreads():
    assert np.isnan(resample(np.array([[np.nan, 1.0]]), (0, 0, 4, 2), 2, 4)).any()
