import numpy as np
import pytest
from PIL import Image
from references import write_masks
from scipy import ndimage

from medground import records
from medground.anatomy import Locator, References, Registration, transfer_boxes
from medground.anatomy.references import ALIKE, outline
from medground.anatomy.registration import Template, Warp
from medground.errors import MedgroundError
from medground.geometry import Letterbox, area, box_of, intersect
from medground.images import write_film


def iou(a, b):
    common = intersect(a, b)
    return area(common) / (area(a) + area(b) - area(common)) if common else 0.0


def named(golden, film):
    return dict(zip(golden.concepts, golden.masks[film], strict=True))


def fits(golden, boxes, film):
    return np.array([iou(box, box_of(golden.masks[film, c])) for c, box in enumerate(boxes.values())])


def test_a_film_on_itself_stays_where_it_is(golden):
    scores = fits(golden, transfer_boxes(golden.films[0], named(golden, 0), golden.films[0]), 0)
    assert scores.min() > 0.97


def test_a_shifted_film_shifts_the_boxes(golden):
    down, right = 9, -6
    target = np.roll(np.pad(golden.films[2, 16:-16, 16:-16], 16), (down, right), (0, 1))
    source = np.pad(golden.films[2, 16:-16, 16:-16], 16)
    boxes = transfer_boxes(source, named(golden, 2), target)
    for concept in ("cardiac silhouette", "left hilar structures", "right hilar structures"):
        x1, y1, x2, y2 = box_of(named(golden, 2)[concept])
        assert boxes[concept] == pytest.approx((x1 + right, y1 + down, x2 + right, y2 + down), abs=2.5)


def test_exposure_does_not_matter(golden):
    other = (255 * (golden.films[4] / 255.0) ** 0.7).astype(np.uint8)
    plain, bright = (transfer_boxes(golden.films[1], named(golden, 1), film) for film in (golden.films[4], other))
    assert min(iou(plain[concept], bright[concept]) for concept in plain) > 0.93


def test_better_than_the_paper_and_than_copying(golden):
    found, copied, published = [], [], []
    for source, target in ((0, 1), (2, 5), (6, 4), (5, 0)):
        masks, film = named(golden, source), golden.films[target]
        found.append(fits(golden, transfer_boxes(golden.films[source], masks, film), target))
        published.append(fits(golden, transfer_boxes(golden.films[source], masks, film, "published"), target))
        copied.append(fits(golden, {c: box_of(mask) for c, mask in masks.items()}, target))
    assert np.mean(found) > np.mean(copied) + 0.1
    assert np.mean(copied) > np.mean(published) + 0.1


def test_pot_gives_the_same_boxes(golden):
    masks = {"heart": golden.masks[0, 0]}
    ours, theirs = (transfer_boxes(golden.films[0], masks, golden.films[1], solver=s) for s in ("separable", "pot"))
    assert theirs["heart"] == pytest.approx(ours["heart"], abs=1e-6)


def test_distance_puts_the_film_itself_first_and_junk_last(golden):
    how = Registration()
    target = how.contrast(golden.films[3])
    square = np.zeros((224, 224), np.uint8)
    square[60:160, 60:160] = np.random.default_rng(0).integers(150, 255, (100, 100))
    distances = []
    for film in (*golden.films, square):
        template = Template(how.lifted(how.contrast(film)), how)
        distances.append(template.distance(target, template.register(target)))
    assert np.argmin(distances) == 3 and np.argmax(distances) == 7
    assert distances[7] > 2 * max(distances[:7])


def test_a_warp_and_its_inverse_cancel():
    rng = np.random.default_rng(0)
    warp = Warp().after(1, rng.normal(0, 0.05, (3, 2))).after(3, rng.normal(0, 0.02, (10, 2)))
    points = rng.uniform(-1, 1, (50, 2))
    np.testing.assert_allclose(warp(warp.inverse(points)), points, atol=1e-9)


def test_a_warp_stays_tame_beyond_the_square():
    wild = Warp().after(5, np.random.default_rng(0).normal(0, 0.3, (21, 2)))
    far = np.array([[1e6, -1e6], [3.0, 0.5]])
    np.testing.assert_allclose(wild(far) - far, wild(far.clip(-1, 1)) - far.clip(-1, 1), atol=1e-9)
    assert np.isfinite(wild.inverse(far)).all()


def test_the_last_step_of_a_warp_comes_first():
    shift = np.array([[0.5, 0.0]])  # degree 0
    stretch = np.array([[0.0, 0.0], [0.0, 0.0], [1.0, 0.0]])  # degree 1: 1, column, row; doubles the row
    assert Warp().after(1, stretch).after(0, shift)(np.array([[0.25, 0.0]])).tolist() == [[1.5, 0.0]]


def test_outline_holds_the_mask_tightly():
    mask = ndimage.binary_dilation(np.random.default_rng(0).random((224, 224)) > 0.9995, iterations=6)
    corners = (outline(mask) + 1) * 112
    (top, left), (bottom, right) = corners.min(0), corners.max(0)
    assert (left, top, right, bottom) == pytest.approx(box_of(mask))
    assert len(corners) < 100 and outline(mask & False).shape == (0, 2)


@pytest.mark.parametrize(("reference", "mask"), [(np.zeros((224, 200), np.uint8), None), (None, np.zeros((224, 224)))])
def test_wrong_arrays_are_named(golden, reference, mask):
    with pytest.raises(MedgroundError, match=r"the (reference|mask of heart) is (uint8|float64) \(224, (200|224)\)"):
        transfer_boxes(
            golden.films[0] if reference is None else reference,
            {"heart": golden.masks[0, 0] if mask is None else mask},
            golden.films[1],
        )


def test_unknown_protocol(golden):
    with pytest.raises(MedgroundError, match="unknown protocol 'papers'"):
        transfer_boxes(golden.films[0], named(golden, 0), golden.films[1], "papers")


@pytest.fixture(scope="module")
def pool(golden):
    return References(tuple(f"r{k}" for k in range(6)), tuple(golden.concepts), golden.films[:6], golden.masks[:6])


@pytest.fixture(scope="module")
def locator(pool):
    return Locator(pool)


def test_the_atlas_finds_the_concepts_of_an_unseen_film(golden, locator):
    found = locator(golden.films[6])
    assert [concept for concept, *_ in found] == golden.concepts
    assert all(name == "atlas" and cost < 0.3 for *_, name, cost in found)
    mean_copy = np.mean([[box_of(mask) for mask in masks] for masks in golden.masks[:6]], axis=0)
    copied = fits(golden, dict(zip(golden.concepts, map(tuple, mean_copy), strict=True)), 6).mean()
    assert fits(golden, {concept: box for concept, box, *_ in found}, 6).mean() > copied + 0.1


def test_boxes_are_in_the_films_own_pixels(golden, locator):
    """A film of another size whose letterbox is the golden one gives the same boxes, scaled."""
    large = np.kron(golden.films[6], np.ones((2, 2), np.uint8))[:, 30:-30]
    letterbox = Letterbox.fit(large.shape[1], large.shape[0], 224)
    small = letterbox.apply(large)
    for (_, box, *_), (_, square, *_) in zip(locator(large), locator(small), strict=True):
        assert box == pytest.approx(letterbox.to_native(square), abs=1e-6) or box[0] == 0 or box[2] == large.shape[1]
        assert 0 <= box[0] < box[2] <= large.shape[1] and 0 <= box[1] < box[3] <= large.shape[0]


def test_the_paper_takes_the_cheapest_reference(golden, pool):
    found = Locator(pool, "published")(golden.films[6])
    from medground.anatomy import published

    costs = published.costs(pool.films, golden.films[6])
    best = int(np.argmin(costs))
    assert {(name, cost) for *_, name, cost in found} == {(f"r{best}", costs[best])}
    expected = transfer_boxes(pool.films[best], named(golden, best), golden.films[6], "published")
    assert {concept: box for concept, box, *_ in found} == expected


def test_references_are_read_and_checked(golden, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = []
    for k in range(2):
        write_film(f"films/{k}.png", golden.films[k][:, 12:-12])
        masks = write_masks(f"masks/{k}", {c: m[:, 12:-12] for c, m in named(golden, k).items()})
        rows.append({"reference": f"r{k}", "film": f"films/{k}.png", "masks": masks})
    records.write_table(rows, records.REFERENCES, "references.parquet")
    pool = References.read("references.parquet")
    assert pool.films.shape == (2, 224, 224) and pool.masks.shape == (2, 11, 224, 224)
    assert list(pool.concepts) == golden.concepts
    np.testing.assert_array_equal(pool.films[1][:, 12:-12], golden.films[1][:, 12:-12])
    np.testing.assert_array_equal(pool.masks[1, ..., 12:-12], golden.masks[1][..., 12:-12])

    def other(masks: list[dict]) -> None:
        records.write_table([rows[0], rows[1] | {"masks": masks}], records.REFERENCES, "references.parquet")

    other(write_masks("masks/other", {"heart": golden.masks[1, 0]}))
    with pytest.raises(MedgroundError, match="reference r1: masks differ"):
        References.read("references.parquet")
    other(write_masks("masks/1", named(golden, 1)))
    with pytest.raises(MedgroundError, match="reference r1: the mask of cardiac silhouette is not of its film's size"):
        References.read("references.parquet")
    (tmp_path / "masks/1/left_lung.png").write_bytes(b"cut")
    with pytest.raises(MedgroundError, match=r"masks/1/left_lung.png"):
        References.read("references.parquet")


def test_the_atlas_holds_a_film_against_the_references_that_resemble_it(locator, pool):
    atlas, how = locator.atlas, locator.how
    for number, film in enumerate(pool.films):
        contrast = how.contrast(film)
        alike = atlas.alike(contrast, atlas.template.register(contrast))
        assert alike[0] == number  # a reference resembles itself most
        assert len(alike) == len(set(alike)) == min(ALIKE, len(pool.films))


def test_a_film_of_a_smaller_body_is_found_from_far(golden, locator, pool):
    small, shrink = np.zeros_like(golden.films[6]), 144 / 224
    small[60:204, 20:164] = np.asarray(Image.fromarray(golden.films[6]).resize((144, 144), Image.Resampling.BOX))
    expected = {
        concept: tuple(np.array(box_of(mask)) * shrink + [20, 60, 20, 60])
        for concept, mask in zip(golden.concepts, golden.masks[6], strict=True)
    }
    near = Locator(pool, how=Registration(rounds=Registration().rounds[4:]))  # the narrow kernels alone

    def fit(one):
        return np.mean([iou(box, expected[concept]) for concept, box, *_ in one(small)])

    assert fit(locator) > fit(near) + 0.05
