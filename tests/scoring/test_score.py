"""Scores of cases and entries."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from medground import records
from medground.errors import MedgroundError
from medground.geometry import Letterbox, area, intersect
from medground.scoring import METRICS, score_case, score_entry
from medground.scoring.score import MAX_BOXES, MAX_CELLS, attribution_problem, canvases, measured, render

WIDTH, HEIGHT = 448, 320  # scored on a canvas of 224 x 160
LOCALISED = [metric.name for metric in METRICS.that_need("regions")]
REGIONS = [(40.0, 64.0, 120.0, 160.0)]


def grid(values, extent=None):
    values = np.asarray(values, np.float32)
    return {"grid": values.ravel(), "grid_height": values.shape[0], "grid_width": values.shape[1], "extent": extent}


def perfect(height=HEIGHT, width=WIDTH):
    heat = np.zeros((height, width))
    heat[64:160, 40:120] = 1
    return grid(heat)


def test_a_perfect_native_map_is_perfect_under_medground():
    row = score_case(perfect(), WIDTH, HEIGHT, REGIONS)
    assert row == {**dict.fromkeys(LOCALISED, 1.0), "problem": None}


def test_paper_maps_both_map_and_regions_to_the_letterbox():
    row = score_case(perfect(), WIDTH, HEIGHT, REGIONS, "published")
    x1, y1, x2, y2 = Letterbox.fit(WIDTH, HEIGHT, 224).to_canvas(REGIONS[0])
    assert row["iou"] == pytest.approx((x2 - x1 - 1) * (y2 - y1 - 1) / ((x2 - x1) * (y2 - y1)), abs=0.01)
    assert row["hit"] == 1 and row["problem"] is None
    large = score_case(perfect(), WIDTH, HEIGHT, REGIONS)["iou"]
    assert large > row["iou"] > 0.9  # not the 0 that 224-pixel boxes against native ones would give


def test_a_token_grid_over_its_extent_is_seen_where_it_lies():
    tokens = np.zeros((8, 8))
    tokens[3, 2] = 1  # a square canvas of 320 native pixels, padded by 32 above and below the film
    row = score_case(grid(tokens, (0, -32, 320, 288)), 320, 256, [(80, 88, 120, 128)])
    assert row["hit"] == 1 and row["iou"] > 0.2
    elsewhere = score_case(grid(tokens, (0, 0, 320, 256)), 320, 256, [(80, 150, 120, 190)])
    assert elsewhere["hit"] == 0 and elsewhere["iou"] == 0


@pytest.mark.parametrize("protocol", ["medground", "published"])
def test_boxes_keep_their_order(protocol):
    wrong, right = (200.0, 100.0, 280.0, 196.0), REGIONS[0]
    best_first = score_case({"boxes": [right, wrong]}, WIDTH, HEIGHT, REGIONS, protocol)
    worst_first = score_case({"boxes": [wrong, right]}, WIDTH, HEIGHT, REGIONS, protocol)
    assert best_first["iou"] == worst_first["iou"] == pytest.approx(0.5)
    assert best_first["hit"] == best_first["average_precision"] == 1
    assert worst_first["hit"] == 0
    assert worst_first["average_precision"] == pytest.approx(0.5)
    assert (best_first["energy"], worst_first["energy"]) == pytest.approx((2 / 3, 1 / 3), abs=1e-6)


def test_of_overlapping_boxes_the_better_one_lies_on_top():
    canvas = canvases(448, 320)["medground"]  # pixels of two
    boxes = [(40.0, 40.0, 80.0, 80.0), (60.0, 40.0, 120.0, 80.0), (20.0, 20.0, 160.0, 100.0)]
    heat, problem = render({"boxes": boxes}, canvas)
    expected = np.zeros((160, 224))
    expected[10:50, 10:80], expected[20:40, 30:60], expected[20:40, 20:40] = 1 / 3, 2 / 3, 1
    np.testing.assert_allclose(heat, expected, atol=1e-6)
    assert problem is None


def test_one_box_off_the_film_leaves_the_others_as_they_are():
    row = score_case({"boxes": [REGIONS[0], (900.0, 0.0, 950.0, 20.0)]}, WIDTH, HEIGHT, REGIONS)
    assert row["problem"] is None and row["iou"] == row["hit"] == 1


def test_at_the_limits_of_an_attribution():
    film = (0.0, 0.0, float(WIDTH), float(HEIGHT))
    assert attribution_problem(None, film) == "missing"
    assert attribution_problem({"boxes": REGIONS * MAX_BOXES}, film) is None
    assert attribution_problem({"boxes": REGIONS * (MAX_BOXES + 1)}, film) == "more than 100 boxes"
    wide = np.arange(MAX_CELLS, dtype=np.float32)
    whole = {"grid": wide, "grid_height": 1, "grid_width": MAX_CELLS}
    assert attribution_problem(whole, film) is None
    longer = {"grid": np.append(wide, 1), "grid_height": 1, "grid_width": MAX_CELLS + 1}
    assert "more than 1,048,576 cells" in attribution_problem(longer, film)
    for values, rows, columns in ((10, 3, 3), (8, 3, 3), (9, 0, 9), (9, -3, -3), (9, 9, 0)):
        row = score_case(
            {"grid": np.arange(values), "grid_height": rows, "grid_width": columns}, WIDTH, HEIGHT, REGIONS
        )
        assert row["problem"] == f"the grid has {values} values, not {rows} x {columns}"
    assert attribution_problem({"boxes": [(0.0, 0.0, 9.0)]}, film) == "a box has not four numbers"
    assert attribution_problem({"boxes": [None]}, film) == "a box has not four numbers"


def test_a_region_in_the_last_corner_is_found_there():
    corner = [(WIDTH - 0.5, HEIGHT - 0.5, float(WIDTH), float(HEIGHT))]
    heat = np.zeros((HEIGHT // 2, WIDTH // 2))
    heat[-1, -1] = 1
    assert score_case(grid(heat), WIDTH, HEIGHT, corner)["hit"] == 1
    assert score_case(grid(heat[::-1, ::-1]), WIDTH, HEIGHT, corner)["hit"] == 0


@pytest.mark.parametrize("cells", [500, 1000, 1003, 1343])
def test_blocks_of_cells_stay_in_their_place_even_where_they_do_not_divide_the_map(cells):
    """A ramp of the place in pixels is the same ramp at any number of cells."""
    ramp = (np.arange(cells) + 0.5) * 224 / cells
    canvas = canvases(448, 320)["medground"]
    heat, _ = render(grid(np.tile(ramp, (7, 1))), canvas)
    np.testing.assert_allclose(heat[:, 4:-4], np.tile(np.arange(224) + 0.5, (160, 1))[:, 4:-4], atol=0.02)
    tall, _ = render(grid(np.tile(ramp[:, None] * 160 / 224, (1, 7))), canvas)
    np.testing.assert_allclose(tall[4:-4], np.tile(np.arange(160)[:, None] + 0.5, (1, 224))[4:-4], atol=0.02)


def test_the_whole_film_scores_the_share_of_the_regions():
    row = score_case({"boxes": [(0, 0, WIDTH, HEIGHT)]}, WIDTH, HEIGHT, REGIONS)
    share = area(REGIONS[0]) / (WIDTH * HEIGHT)
    expected = dict.fromkeys(("iou", "precision", "energy", "average_precision"), share)
    assert {name: row[name] for name in expected} == pytest.approx(expected)
    assert row["recall"] == 1 and row["problem"] is None


def test_boxes_and_regions_are_clipped_to_the_film():
    row = score_case({"boxes": [(-50, -50, 100, 100)]}, WIDTH, HEIGHT, [(-10, 0, 100, 100)])
    assert row["iou"] == 1


@pytest.mark.parametrize(
    ("attribution", "problem"),
    [
        (None, "missing"),
        ({"grid": None, "boxes": []}, "neither a grid nor boxes"),
        (grid(np.full((4, 4), 2.0)), "the map has no contrast"),
        (grid([[0.0, np.nan], [1.0, 2.0]]), "the map has NaN or infinite values"),
        (grid([[0.0, -np.inf], [1.0, 2.0]]), "the map has NaN or infinite values"),
        ({**grid(np.eye(3)), "grid_width": 4}, "the grid has 9 values, not 3 x 4"),
        ({**grid(np.eye(3)), "grid_width": None}, "the grid has 9 values, not 3 x None"),
        (grid(np.eye(3), (500.0, 0.0, 600.0, 10.0)), "does not overlap the film"),
        (grid(np.eye(3), (10.0, 0.0, 0.0, 10.0)), "does not overlap the film"),
        ({**grid(np.eye(3)), "boxes": REGIONS}, "both a grid and boxes"),
        ({"boxes": [(10, 10, 5, 20)]}, "no box has area on the film"),
        ({"boxes": [(0, 0, float("nan"), 20)]}, "a box has NaN or infinite coordinates"),
    ],
)
def test_an_invalid_attribution_scores_the_worst_value_with_a_reason(attribution, problem):
    row = score_case(attribution, WIDTH, HEIGHT, REGIONS)
    assert {name: row[name] for name in LOCALISED} == dict.fromkeys(LOCALISED, 0.0)
    assert problem in row["problem"]


def test_paper_scores_a_constant_map_as_one_box():
    row = score_case(grid(np.full((4, 4), 2.0)), WIDTH, HEIGHT, REGIONS, "published")
    canvas = Letterbox.fit(WIDTH, HEIGHT, 224)
    assert row["iou"] == pytest.approx(area(canvas.to_canvas(REGIONS[0])) / 223**2)
    assert row["problem"] is None
    nan = score_case(grid([[0.0, np.nan], [1.0, 2.0]]), WIDTH, HEIGHT, REGIONS, "published")
    assert nan["iou"] == 0 and nan["problem"] == "the map has NaN or infinite values"


def test_a_case_without_region_is_an_error():
    with pytest.raises(MedgroundError, match="no expert region on its film of 448x320"):
        score_case(None, WIDTH, HEIGHT, [(500, 0, 600, 10)])


def cases(count, width=WIDTH, height=HEIGHT):
    return [{"case_id": f"m/direct/s/{n}", "width": width, "height": height, "regions": REGIONS} for n in range(count)]


@pytest.mark.parametrize("protocol", ["medground", "published"])
def test_scores_do_not_depend_on_the_size_of_the_film(protocol):
    heat = gaussian_filter(np.random.default_rng(1).random((16, 14)), 1)
    small, large = (score_case(grid(heat), 14 * n, 16 * n, [(2 * n, 3 * n, 7 * n, 9 * n)], protocol) for n in (16, 160))
    for name in LOCALISED:
        assert small[name] == pytest.approx(large[name], rel=1e-6)
    assert 0 < small["iou"] < 1


def test_a_map_finer_than_the_canvas_is_averaged_not_sampled():
    """Stripes of one native pixel, twice as dense inside the region: sampled, they would be all or nothing."""
    width, height = 2240, 400
    heat = np.zeros((height, width))
    heat[:, ::5] = 1
    heat[120:240, 480:960] = np.arange(480) % 2
    row = score_case(grid(heat), width, height, [(480, 120, 960, 240)])
    assert row["hit"] == row["average_precision"] == 1 and row["iou"] == pytest.approx(1)
    share = 0.5 * 480 * 120
    assert row["energy"] == pytest.approx(share / (share + 0.2 * (width * height - 480 * 120)), rel=1e-3)


def test_a_region_smaller_than_a_pixel_of_the_canvas_can_be_hit():
    heat = np.zeros((160, 224))
    heat[80, 112] = 1
    row = score_case(grid(heat), 2240, 1600, [(1121, 801, 1124, 804)])
    assert row["hit"] == row["average_precision"] == 1


def test_an_entry_gets_a_row_for_every_case_whatever_it_sends(tmp_path):
    sent = [{"case_id": f"m/direct/s/{n}", **perfect()} for n in (2, 0, 3, 3, 99)]
    rows = score_entry("mine", iter(sent), cases(5))
    assert [row["case_id"] for row in rows[::2]] == [case["case_id"] for case in cases(5)]
    assert [row["protocol"] for row in rows[:2]] == ["medground", "published"]
    problems = {row["case_id"][-1]: row["problem"] for row in rows}
    assert problems == {"0": None, "1": "missing", "2": None, "3": "given more than once", "4": "missing"}
    assert [row["iou"] for row in rows[::2]] == [1, 0, 1, 0, 0]
    records.write_table(rows, records.SCORES, tmp_path / "scores.parquet")


def test_order_of_an_entry_does_not_matter():
    rng = np.random.default_rng(0)
    sent = [{"case_id": case["case_id"], **grid(rng.random((9, 7)))} for case in cases(100)]
    assert score_entry("a", sent, cases(100)) == score_entry("a", sent[::-1], cases(100))


def test_paper_iou_matches_direct_arithmetic_on_boxes():
    box = (60.0, 80.0, 140.0, 150.0)
    row = score_case({"boxes": [box]}, WIDTH, HEIGHT, REGIONS, "published")
    common = area(intersect(box, REGIONS[0]))
    assert row["iou"] == pytest.approx(common / (area(box) + area(REGIONS[0]) - common), rel=0.01)


def test_causes_are_no_matter_of_the_published_protocol_and_a_pair_needs_both():
    other = [(200.0, 100.0, 280.0, 196.0)]
    asked = {"published": {"cause": REGIONS, "other": other}, "medground": {"other": other}}
    for protocol, known in asked.items():
        row = score_case(perfect(), WIDTH, HEIGHT, REGIONS, protocol, **known)
        assert set(row) == {*LOCALISED, "problem"}, protocol
    assert score_case(perfect(), WIDTH, HEIGHT, REGIONS, cause=REGIONS, other=other)["follows"] == 1
    assert score_case(perfect(), WIDTH, HEIGHT, REGIONS, cause=other, other=REGIONS)["follows"] == 0
    assert "follows" not in score_case(perfect(), WIDTH, HEIGHT, REGIONS, cause=REGIONS)


@pytest.mark.parametrize(("width", "height"), [(400, 60), (60, 400)])
def test_boxes_point_and_thin_regions_lie_on_long_films_where_they_are(width, height):
    far = (width - 12.0, height - 14.0, width - 4.0, height - 4.0)
    assert score_case({"boxes": [far]}, width, height, [far])["hit"] == 1
    x, y = far[0] + 0.1, far[1] + 0.1  # between the centres of pixels
    heat = np.zeros((height, width))
    heat[int(y), int(x)] = 1
    assert score_case(grid(heat), width, height, [(x, y, x + 0.2, y + 0.2)])["hit"] == 1


def test_a_box_that_ends_with_the_film_points_into_it():
    for edge in ((WIDTH - 0.5, 0.0, WIDTH + 0.0, 10.0), (0.0, HEIGHT - 0.5, 10.0, HEIGHT + 0.0)):
        assert score_case({"boxes": [edge]}, WIDTH, HEIGHT, [edge])["hit"] == 1


def test_what_is_measured_follows_from_what_is_known():
    def needs(protocol="medground", **case):
        return {metric.needs for metric in measured(case, protocol)}

    box = [(0.0, 0.0, 1.0, 1.0)]
    assert needs() == needs(cause=None) == needs(cause=[]) == {"regions"}
    assert needs(cause=box) == needs(cause=box, other=None) == {"regions", "cause"}
    assert needs(cause=box, other=box) == {"regions", "cause", "pair"}
    assert needs(other=box) == needs(cause=None, other=box) == {"regions"}  # of a pair that is kept back, one half
    assert needs("published", cause=box, other=box) == {"regions"}


def test_what_is_not_there_is_missing_and_what_says_nothing_says_so():
    film = (0.0, 0.0, float(WIDTH), float(HEIGHT))
    assert attribution_problem(None, film) == "missing"
    assert attribution_problem({"grid": None, "boxes": []}, film) == "neither a grid nor boxes"
    assert attribution_problem({"boxes": REGIONS}, film) is None
