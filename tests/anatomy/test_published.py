import numpy as np
import ot
import pytest
from scipy.spatial.distance import cdist

from medground.anatomy import published, transfer_boxes
from medground.errors import MedgroundError


@pytest.mark.parametrize("number", range(4))
def test_equals_the_published_code(golden, number):
    pair = golden.pairs[number]
    reference, masks, target = golden.films[pair["source"]], golden.masks[pair["source"]], golden.films[pair["target"]]
    boxes = transfer_boxes(reference, dict(zip(golden.concepts, masks, strict=True)), target, protocol="published")
    assert boxes == {concept: tuple(box) for concept, box in pair["boxes"].items()}

    plan, unit = published.plans(published.intensity(reference, 56)[None], published.intensity(target, 56)[None])
    assert unit[0] == pair["fine_scale"]
    assert plan.mass[0] == pytest.approx(pair["fine_mass"], rel=1e-13)
    assert plan.cost[0] * unit[0] * 4**2 == pytest.approx(pair["fine_cost"], rel=1e-13)
    np.testing.assert_allclose(plan.push(published.sampled(masks)), golden.heat[number], atol=1e-15)
    assert published.costs(reference[None], target)[0] == pytest.approx(pair["coarse_cost"], rel=1e-13)


def test_plan_equals_pot_with_the_papers_entropy(golden):
    """POT's own default is another problem (KL to a b'); the paper's is its ``entropy``."""
    a, b = (published.intensity(film, 14) for film in golden.films[:2])
    distance = cdist(np.argwhere(a > 0), np.argwhere(b > 0), "sqeuclidean")
    with pytest.warns(UserWarning, match="entropy"):
        expected = ot.unbalanced.sinkhorn_unbalanced(
            a[a > 0], b[b > 0], distance / np.percentile(distance, 90), 0.05, 0.1, reg_type="entropy", stopThr=1e-9
        )
    plan, unit = published.plans(a[None], b[None])
    assert unit[0] == np.percentile(distance, 90)
    np.testing.assert_allclose(plan.push(np.ones((1, 14, 14)))[0][b > 0], expected.sum(0), rtol=1e-6)
    assert plan.cost[0] * unit[0] == pytest.approx((expected * distance).sum(), rel=1e-6)


def test_pot_gives_the_same_boxes(golden):
    pair = golden.pairs[0]
    boxes = published.transfer(
        golden.films[pair["source"]], golden.masks[pair["source"]][:3], golden.films[pair["target"]], solver="pot"
    )
    assert boxes == [tuple(pair["boxes"][concept]) for concept in golden.concepts[:3]]


def test_costs_of_a_pool_are_those_of_its_films(golden):
    together = published.costs(golden.films, golden.films[3])
    alone = [published.costs(golden.films[[k]], golden.films[3])[0] for k in range(7)]
    np.testing.assert_allclose(together, alone, rtol=1e-12)


@pytest.mark.parametrize("share", [0.02, 0.5, 1.0])
def test_percentile_of_distances_is_exact(share):
    rng = np.random.default_rng(1)
    source, target = rng.random((2, 13, 13)) < share
    expected = np.percentile(cdist(np.argwhere(source), np.argwhere(target), "sqeuclidean"), 90)
    assert published.percentile(source, target) == expected


@pytest.mark.parametrize("gray", [0, 128])
@pytest.mark.parametrize("protocol", ["published", "medground"])
def test_films_without_contrast_are_refused(golden, gray, protocol):
    flat, mask = np.full((224, 224), gray, np.uint8), {"heart": golden.masks[0, 0]}
    for pair in ((golden.films[0], flat), (flat, golden.films[0])):
        with pytest.raises(MedgroundError, match="no contrast"):
            transfer_boxes(pair[0], mask, pair[1], protocol)


@pytest.mark.parametrize("protocol", ["published", "medground"])
def test_an_empty_mask_has_no_box(golden, protocol):
    nowhere = {"nothing": np.zeros((224, 224), bool)}
    assert transfer_boxes(golden.films[0], nowhere, golden.films[1], protocol) == {"nothing": None}
    assert transfer_boxes(golden.films[0], {}, golden.films[1], protocol) == {}
