import numpy as np

from leaderboard.pictures import PREDICTED, REGION, draw, scaled

FILM = np.full((60, 40), 100, np.uint8)


def test_a_map_colours_the_film_where_it_is_high_and_leaves_it_where_it_is_least():
    grid = np.array([[0.0, 0.0], [0.0, 5.0]])
    picture = draw(FILM, 1.0, grid=grid, extent=(0, 0, 40, 60), opacity=1.0)
    assert (picture[0, 0] == 100).all()
    assert np.ptp(picture[-1, -1].astype(int)) > 50


def test_without_opacity_or_contrast_the_film_is_shown_as_it_is():
    grey = np.repeat(FILM[..., None], 3, axis=2)
    varied = np.arange(4.0).reshape(2, 2)
    assert (draw(FILM, 1.0, grid=varied, extent=(0, 0, 40, 60), opacity=0.0) == grey).all()
    for flat in (np.ones((2, 2)), np.array([[0, np.nan], [1, 2]]), np.array([[0, np.inf], [1, 2]])):
        assert (draw(FILM, 1.0, grid=flat, extent=(0, 0, 40, 60), opacity=1.0) == grey).all()


def test_the_extent_is_native_and_follows_the_scale():
    """A map that covers only the lower half of a film of twice the shown size."""
    grid = np.array([[0.0], [1.0]])
    picture = draw(FILM, 0.5, grid=grid, extent=(0, 60, 80, 120), opacity=1.0)
    assert (picture[:30] == 100).all()
    assert (picture[-1] != 100).any()


def test_boxes_are_outlined_at_their_native_place():
    picture = draw(FILM, 0.5, regions=[(20, 20, 60, 80)], boxes=[(-50, -50, 1000, 1000)])
    assert tuple(picture[12, 20]) == REGION and tuple(picture[20, 20]) == (100, 100, 100)
    assert tuple(picture[1, 20]) == PREDICTED


def test_a_box_outside_the_film_is_not_drawn():
    assert (draw(FILM, 1.0, boxes=[(100, 100, 200, 200)]) == 100).all()


def test_scaled_spans_zero_to_one():
    values = scaled(np.array([-3.0, 1.0, 5.0]))
    assert values.tolist() == [0.0, 0.5, 1.0]
