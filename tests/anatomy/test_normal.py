"""The normal film drawn in a patient's shape: it follows the patient, not his finding."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from medground.anatomy import Locator, References
from medground.anatomy.normal import Normal
from medground.errors import MedgroundError


def chest(shift=0.0, wide=1.0, opacity=False, side=224) -> np.ndarray:
    """A drawing of a chest: a bright body, two dark lungs; a finding brightens the left one."""
    y, x = np.mgrid[0:side, 0:side] / side
    body = np.exp(-(((x - 0.5 - shift) / (0.42 * wide)) ** 8) - ((y - 0.5) / 0.46) ** 8)
    lungs = sum(
        np.exp(-(((x - 0.5 - shift - s * 0.2 * wide) / (0.12 * wide)) ** 4) - ((y - 0.42) / 0.25) ** 4) for s in (-1, 1)
    )
    film = 190 * body * (1 - 0.75 * lungs) + 8 * np.sin(40 * x) * body
    if opacity:
        film += 110 * np.exp(-(((x - 0.7 - shift) / 0.07) ** 2) - ((y - 0.55) / 0.07) ** 2)
    return np.clip(gaussian_filter(film, 1), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def normal():
    films = np.stack([chest(shift, wide) for shift in (-0.03, 0.0, 0.03) for wide in (0.95, 1.05)])
    masks = np.zeros((len(films), 1, 224, 224), bool)
    masks[:, 0, 60:160, 120:190] = True
    return Normal(Locator(References(tuple("abcdef"), ("left lung",), films, masks)))


def test_a_normal_film_is_drawn_as_it_is(normal):
    film = chest(0.02, 1.02)
    drawn = normal.draw(film)
    assert drawn.shape == film.shape and drawn.dtype == np.uint8
    error = np.abs(drawn.astype(float) - film)
    assert error.mean() < 8 and np.abs(chest().astype(float) - film).mean() > 1.5 * error.mean()


def test_a_finding_is_not_drawn(normal):
    healthy, ill = chest(-0.02), chest(-0.02, opacity=True)
    finding = np.abs(ill.astype(float) - healthy) > 30
    drawn = normal.draw(ill).astype(float)
    assert np.abs(drawn - healthy)[finding].mean() < 0.4 * np.abs(ill.astype(float) - healthy)[finding].mean()


def test_films_of_any_size_and_exposure(normal):
    film = chest(0.01)[::2, ::2].repeat(3, 0)  # 336 x 112
    drawn = normal.draw(film)
    assert drawn.shape == film.shape
    darker = normal.draw((film * 0.5).astype(np.uint8)).astype(float)
    assert np.abs(darker - drawn * 0.5).mean() < 3


def test_a_film_without_contrast(normal):
    with pytest.raises(MedgroundError, match="no contrast"):
        normal.draw(np.zeros((50, 40), np.uint8))
