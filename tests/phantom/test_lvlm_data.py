from __future__ import annotations

import numpy as np
import pytest

from medground.geometry import Letterbox
from medground.phantom.lvlms import corpus
from medground.phantom.lvlms.data import FINDINGS, HEALTHY, MOST, RATE, Canvas, coverage, draw_findings
from medground.phantom.lvlms.evaluate import area_under_curve, balanced_accuracy

WIDTH, HEIGHT = 352, 416


@pytest.mark.parametrize(
    "canvas",
    [
        Canvas(Letterbox.fit(WIDTH, HEIGHT, 120), (10, 10)),
        Canvas(Letterbox.stretch(WIDTH, HEIGHT, 112, 128), (8, 7)),
    ],
)
def test_coverage_is_the_share_of_each_cell(canvas):
    rng = np.random.default_rng(0)
    mask = rng.random((HEIGHT, WIDTH)) < 0.3
    got = coverage(mask, canvas)
    assert got.shape == canvas.grid
    x1, y1, x2, y2 = canvas.letterbox.extent
    rows, columns = canvas.grid
    fine = 20  # sub-pixels a pixel and axis, an independent count
    for row, column in [(0, 0), (4, 3), (rows - 1, columns - 1)]:
        top, bottom = (y1 + (y2 - y1) * (row + d) / rows for d in (0, 1))
        left, right = (x1 + (x2 - x1) * (column + d) / columns for d in (0, 1))
        ys = np.floor(np.arange(np.ceil(top * fine), bottom * fine) / fine + 0.5 / fine).astype(int)
        xs = np.floor(np.arange(np.ceil(left * fine), right * fine) / fine + 0.5 / fine).astype(int)
        known = ((ys >= 0) & (ys < HEIGHT))[:, None] & ((xs >= 0) & (xs < WIDTH))
        inside = mask[ys.clip(0, HEIGHT - 1)][:, xs.clip(0, WIDTH - 1)] & known
        assert got[row, column] == pytest.approx(inside.mean(), abs=0.01)
    assert coverage(np.zeros_like(mask), canvas).max() == 0


def test_draws_are_balanced_over_findings():
    rng = np.random.default_rng(0)
    drawn = [draw_findings(rng, FINDINGS, RATE) for _ in range(4000)]
    assert max(map(len, drawn)) == MOST
    rates = [np.mean([name in some for some in drawn]) for name in FINDINGS]
    assert max(rates) - min(rates) < 0.04 and 0.15 < np.mean(rates) < 0.3
    assert np.mean([not some for some in drawn]) > HEALTHY


def test_readings_say_where_and_end_in_the_verdict():
    high_right = (20.0, 60.0, 80.0, 120.0)  # native pixels; the film's left is the patient's right
    answer = corpus.answer("right lung opacity", "reasoning", True, high_right, WIDTH, HEIGHT)
    assert answer == "The right upper zone is dense. Yes."
    assert corpus.answer("hilar enlargement", "reasoning", True, high_right, WIDTH, HEIGHT).startswith(
        "The right hilum"
    )
    assert corpus.answer("hilar enlargement", "reasoning", False, None, WIDTH, HEIGHT).endswith(" No.")
    assert corpus.answer("pneumothorax", "direct", True, None, WIDTH, HEIGHT) == "Yes."
    assert corpus.region_names("left pleural effusion", high_right, WIDTH) == ["left lung", "left costophrenic angle"]
    assert corpus.region_names("pneumothorax", high_right, WIDTH) == ["right lung"]


def test_boxes_are_json_in_steps_within_the_canvas():
    assert corpus.boxes((-30.0, 118.0, 642.0, 1100.0)) == "[[0, 125, 650, 1000]]"
    assert corpus.boxes(None) == "[]"


def test_balanced_accuracy_and_area_in_closed_form():
    truth = np.array([True, True, True, True, False, False])
    said = np.array([True, True, True, False, False, True])
    assert balanced_accuracy(said, truth) == pytest.approx((3 / 4 + 1 / 2) / 2)
    assert np.isnan(balanced_accuracy(said, np.ones(6, bool)))
    scores = np.array([0.9, 0.8, 0.4, 0.4, 0.4, 0.1])
    pairs = [(s > t) + 0.5 * (s == t) for s in scores[truth] for t in scores[~truth]]
    assert area_under_curve(scores, truth) == pytest.approx(np.mean(pairs))
