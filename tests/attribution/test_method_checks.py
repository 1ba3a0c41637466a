"""Our own methods pass `medground.testing.check_method`, and methods that break a rule are told which."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from medground.attribution import Attribution, Method, by_entry
from medground.testing import check_method

NAN = np.full((2, 2), np.nan)
QUICK = {"cells": 3, "masks": 9, "steps": 3}
NAMES = (
    "attention_head rollout lrp gradcam gradient_attention integrated_gradients occlusion rise medfocus random",
    "center_box whole_film",
)
OURS = [name for names in NAMES for name in names.split()]


@pytest.mark.parametrize("name", OURS)
def test_our_methods_pass(name, lvlm):
    chosen = by_entry(name)
    settings = {key: value for key, value in QUICK.items() if key in chosen.settings}
    check_method(chosen.with_settings(**settings), lvlm)


def whole(_, items):
    return [Attribution(item.case_id, boxes=[(0.0, 0.0, *map(float, item.film.shape[::-1]))]) for item in items]


def broken(change):
    """A method of boxes, each result changed."""

    def function(lvlm, items):
        return [change(n, item, found) for n, (item, found) in enumerate(zip(items, whole(lvlm, items), strict=True))]

    return Method("broken", "floor", "", function, ())


def written(_, item, found):
    item.film[:] = 0
    return found


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda n, item, found: replace(found, boxes=None), "results: case .* has neither a map nor boxes"),
        (lambda n, item, found: replace(found, boxes=[(0.0, 0.0, 999.0, 9.0)]), "results: .*not within the film"),
        (
            lambda n, item, found: replace(found, boxes=None, grid=np.full((2, 2), np.nan), extent=(0, 0, 1, 1)),
            "finite",
        ),
        (
            lambda n, item, found: replace(found, boxes=[(0.0, 0.0, 1.0 + n, 9.0)]),
            "batches: case .*alone says",
        ),
        (lambda n, item, found: replace(found, boxes=[(0.0, 0.0, *np.random.rand(2))]), "determinism: .*the same call"),
        (written, "traces: a film was written to"),
        (lambda n, item, found: replace(found, forwards=3), "passes: .*took 3 passes, and 0 are declared"),
    ],
)
def test_what_breaks_a_rule_is_named(change, said):
    with pytest.raises(AssertionError, match=said):
        check_method(broken(change))
