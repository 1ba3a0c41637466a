"""Boxes of heat maps: the reference's outputs, closed forms and invariances."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from medground.errors import MedgroundError
from medground.scoring import box_metrics, boxes, boxes_from_heatmap
from medground.scoring.boxes import invalid

DATA = Path(__file__).parents[1] / "data"
GOLDEN = json.loads((DATA / "heatmap_boxes.json").read_text())


@pytest.fixture(scope="module")
def maps():
    with np.load(DATA / "heatmap_boxes.npz") as stored:
        return dict(stored)


def test_paper_equals_the_reference_exactly(maps):
    for row in GOLDEN:
        boxes = boxes_from_heatmap(maps[row["map"]], protocol="published")
        assert boxes == [tuple(box) for box in row["boxes"]], row["map"]
        metrics = box_metrics(boxes, row["gt"], protocol="published")
        assert metrics == {name: row[name] for name in metrics}, row["map"]


def test_medground_differs_from_paper_by_half_open_boxes_and_refused_constants(maps):
    for row in GOLDEN:
        heat = maps[row["map"]]
        expected = [] if np.ptp(heat) == 0 else [(x1, y1, x2 + 1, y2 + 1) for x1, y1, x2, y2 in row["boxes"]]
        assert boxes_from_heatmap(heat) == expected, row["map"]


@pytest.mark.parametrize(("height", "width"), [(20, 20), (1, 20), (16, 1)])
def test_a_perfect_map_is_perfect(height, width):
    heat = np.zeros((224, 224))
    heat[30 : 30 + height, 50 : 50 + width] = 1
    region = (50.0, 30.0, 50.0 + width, 30.0 + height)
    assert boxes_from_heatmap(heat) == [region]
    assert box_metrics(boxes_from_heatmap(heat), [region]) == {"iou": 1, "f1": 1, "precision": 1, "recall": 1}
    off_by_one = box_metrics(boxes_from_heatmap(heat, "published"), [region], "published")["iou"]
    assert off_by_one == pytest.approx((height - 1) * (width - 1) / (height * width))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_one_value_that_is_not_finite(value):
    heat = np.random.default_rng(0).random((40, 50))
    heat[3, 4] = value
    assert invalid(heat) == "the map has NaN or infinite values"
    assert boxes_from_heatmap(heat) == []
    assert boxes_from_heatmap(heat, "published") == ([(0, 0, 49, 39)] if value == np.inf else [])


def test_empty_and_constant_maps_are_invalid():
    assert invalid(np.zeros((0, 4))) == "the map is empty"
    assert invalid(np.full((4, 4), 0.3)) == "the map has no contrast"
    assert boxes_from_heatmap(np.zeros((30, 30))) == []
    assert boxes_from_heatmap(np.zeros((30, 30)), "published") == [(0, 0, 29, 29)]


def test_components_touch_at_corners_need_16_pixels_and_ten_are_kept():
    heat = np.zeros((100, 200))
    heat[0:3, 0:5] = 2  # 15 pixels
    assert boxes_from_heatmap(heat) == []
    heat[3, 5] = 2  # the 16th, at a corner
    assert boxes_from_heatmap(heat) == [(0, 0, 6, 4)]
    steps = np.zeros((100, 200))
    for number in range(12):
        steps[40:45, 10 * number : 10 * number + 5] = 1 + (number >= 2)
    assert boxes_from_heatmap(steps) == [(10 * n, 40, 10 * n + 5, 45) for n in range(2, 12)]


def test_hottest_component_comes_first():
    heat = np.zeros((60, 60))
    heat[5:10, 5:10] = 1
    heat[30:35, 30:35] = 1
    assert [box[0] for box in boxes_from_heatmap(heat)] == [5, 30]  # ties stay in reading order
    heat[32, 32] = 3
    assert [box[0] for box in boxes_from_heatmap(heat)] == [30, 5]


@settings(max_examples=60, deadline=None)
@given(
    hnp.arrays(np.float64, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=24)),
    st.sampled_from(["medground", "published"]),
)
def test_any_map_gives_boxes_within_it(heat, protocol):
    height, width = heat.shape
    for x1, y1, x2, y2 in boxes_from_heatmap(heat, protocol):
        assert 0 <= x1 <= x2 <= width and 0 <= y1 <= y2 <= height
    if invalid(heat):
        assert boxes_from_heatmap(heat) == []


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([1e-30, 2.0**-8, 2.0**9, 1e30]))
def test_medground_ignores_the_unit_of_the_map(seed, unit):
    heat = np.random.default_rng(seed).integers(0, 4, (30, 40)).astype(float)
    assert boxes_from_heatmap(heat * unit) == boxes_from_heatmap(heat)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=40))
def test_the_threshold_is_the_quantile_of_numpy(values):
    heat = np.array([*values, min(values) - 1])  # the least value of a map does not count
    expected = pytest.approx(np.quantile(values, 0.9), rel=1e-9, abs=1e-6)
    assert boxes._quantile(heat, None) == boxes._quantile(heat, np.sort(heat)) == expected


def test_a_tenth_of_what_stands_above_the_least_value_is_kept():
    heat = np.zeros((50, 60))
    heat[10:30, 5:25] = np.arange(1, 401).reshape(20, 20)  # what is at the least value does not count
    assert boxes_from_heatmap(heat) == [(5, 28, 25, 30)]  # the two hottest rows of twenty
    assert boxes_from_heatmap(heat - 7.0) == [(5, 28, 25, 30)]
    heat[10:30, 5:25] = 5  # all above it are alike
    assert boxes_from_heatmap(heat) == [(5, 10, 25, 30)]


def test_wrong_input_is_named():
    with pytest.raises(MedgroundError, match="'papers'; choose one of medground, published"):
        boxes_from_heatmap(np.zeros((4, 4)), "papers")
    with pytest.raises(MedgroundError, match=r"\(2, 3, 4\)"):
        boxes_from_heatmap(np.zeros((2, 3, 4)))


@pytest.mark.parametrize("levels", [2, 3, 17, None])
def test_boxes_are_the_same_whether_the_values_come_ranked_or_not(levels):
    """With few levels many pixels tie, at the lowest value and at the quantile."""
    rng = np.random.default_rng(levels or 0)
    for size in ((4, 5), (31, 17), (224, 184)):
        heat = ndimage.gaussian_filter(rng.random(size), 2)
        heat = heat if levels is None else np.floor((heat - heat.min()) / np.ptp(heat) * levels)
        assert boxes_from_heatmap(heat) == boxes_from_heatmap(heat, ranked=np.sort(heat, axis=None))
