"""Metrics against pixel counting, brute force and closed forms."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medground.geometry import fill
from medground.scoring import METRICS, box_metrics, map_metrics

SIDE = 30
spans = st.tuples(st.integers(0, SIDE), st.integers(0, SIDE)).map(sorted)
boxes = st.lists(st.tuples(spans, spans).map(lambda s: (s[0][0], s[1][0], s[0][1], s[1][1])), max_size=5)


@settings(max_examples=150, deadline=None)
@given(boxes, boxes)
def test_box_metrics_count_pixels(predicted, expert):
    found, wanted = fill(predicted, SIDE, SIDE), fill(expert, SIDE, SIDE)
    common, either = (found & wanted).sum(), (found | wanted).sum()
    metrics = box_metrics(predicted, expert)
    assert metrics["iou"] == pytest.approx(common / either if either else 0)
    assert metrics["precision"] == pytest.approx(common / found.sum() if found.any() else 0)
    assert metrics["recall"] == pytest.approx(common / wanted.sum() if wanted.any() else 0)
    assert metrics["f1"] == pytest.approx(2 * common / (found.sum() + wanted.sum()) if common else 0)


def test_box_metrics_are_exact_between_pixels():
    half = box_metrics([(0.25, 0, 0.75, 1)], [(0.5, 0, 1.0, 1)])
    assert half == pytest.approx({"iou": 1 / 3, "f1": 0.5, "precision": 0.5, "recall": 0.5})


def test_nothing_predicted_scores_nothing_unless_the_paper_is_asked():
    assert set(box_metrics([], [(0, 0, 1, 1)]).values()) == {0.0}
    assert set(box_metrics([], []).values()) == {0.0}
    assert set(box_metrics([], [], "published").values()) == {1.0}
    assert set(box_metrics([(3, 3, 3, 9)], [(0, 0, 1, 1)]).values()) == {0.0}


def brute_force_average_precision(scores, labels):
    """The definition, one threshold after the other."""
    area, recall = 0.0, 0.0
    for threshold in sorted(set(scores), reverse=True):
        kept = [label for score, label in zip(scores, labels, strict=True) if score >= threshold]
        reached = sum(kept) / sum(labels)
        area += (reached - recall) * sum(kept) / len(kept)
        recall = reached
    return area


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 12))
def test_average_precision_equals_its_definition(seed, levels):
    rng = np.random.default_rng(seed)
    heat, inside = rng.integers(0, levels, (6, 9)).astype(np.float32), rng.random((6, 9)) < 0.4
    inside[2, 3] = True
    expected = brute_force_average_precision(heat.ravel().tolist(), inside.ravel().tolist())
    assert map_metrics(heat, inside)["average_precision"] == pytest.approx(expected, abs=1e-12)


def test_closed_forms():
    inside = np.zeros((10, 10), bool)
    inside[:2, :5] = True
    perfect = map_metrics(inside.astype(float), inside)
    assert perfect == {"hit": 1.0, "energy": 1.0, "average_precision": 1.0}
    constant = map_metrics(np.ones((10, 10)), inside)
    assert constant == pytest.approx({"hit": 0.1, "energy": 0.1, "average_precision": 0.1})
    worst = map_metrics(1.0 - inside, inside)
    assert worst == pytest.approx({"hit": 0, "energy": 0, "average_precision": 0.1})
    assert map_metrics(-np.ones((10, 10)) + 0.5 * inside, inside)["energy"] == 0  # no positive evidence at all
    assert set(map_metrics(np.ones((3, 3)), np.zeros((3, 3), bool)).values()) == {0.0}


def test_hit_is_the_share_of_tied_maxima():
    heat, inside = np.zeros((8, 8)), np.zeros((8, 8), bool)
    heat[0, :4] = 5
    inside[0, 3:] = True
    assert map_metrics(heat, inside)["hit"] == 0.25


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6))
def test_a_random_map_has_the_average_precision_of_chance(seed):
    rng = np.random.default_rng(seed)
    inside = np.zeros((60, 60), bool)
    inside[10:40, 10:40] = True
    assert map_metrics(rng.random((60, 60)), inside)["average_precision"] == pytest.approx(inside.mean(), abs=0.04)


def test_a_metric_says_which_way_is_better_and_where_it_is_written():
    assert not METRICS["deletion"].higher_is_better and METRICS["deletion"].arrow == "Deletion ↓"
    assert METRICS["insertion"].higher_is_better and METRICS["insertion"].arrow == "Insertion"
    assert METRICS["deletion"].worst == METRICS["deletion"].high and METRICS["iou"].worst == METRICS["iou"].low
    assert METRICS["deletion"].origin == "a stage" and METRICS["hit"].origin == "medground.scoring.metrics.hit"
    assert len(METRICS) == len(list(METRICS)) == len(set(METRICS)) > 10
