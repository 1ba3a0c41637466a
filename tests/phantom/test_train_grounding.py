"""Training the segmenter and the detector on a few synthetic films: twice the same, and on from where killed."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.ndimage import affine_transform
from training import Killed, weights

from medground.attribution.candidates import PAIRS
from medground.geometry import fill
from medground.phantom import FINDINGS
from medground.phantom.grounding import MODELS, films, motion, owlvit, sam, train
from medground.phantom.grounding.films import MASK, THINGS, Films
from medground.phantom.lvlms.corpus import region_names

KEYS = sorted(MODELS)
LOSSES = {"phantom-sam": ("_loss", "_single_loss"), "phantom-owlvit": ("_loss",)}  # of each phase
TINY = {key: replace(MODELS[key], batch=2, steps=6, prompts=3, save_every=2) for key in KEYS}


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def squares(count: int = 8) -> Films:
    """Noise with a bright square for every thing: boxes, masks and films agree."""
    rng = np.random.default_rng(0)
    corner = rng.uniform(0.05, 0.6, (count, len(THINGS), 2))
    boxes = np.concatenate([corner, corner + 0.3], -1).astype(np.float32)
    boxes[:, -3:] = np.nan
    film = rng.integers(0, 60, (count, 224, 224), dtype=np.uint8)
    masks = np.zeros((count, len(THINGS), MASK, MASK), bool)
    for n, k in np.ndindex(count, len(THINGS) - 3):
        masks[n, k] = fill([boxes[n, k] * MASK], MASK, MASK)
        film[n][fill([boxes[n, k] * 224], 224, 224)] += 9
    return Films(film[:, :, 7:], film, np.packbits(masks.reshape(count, len(THINGS), -1), axis=-1), boxes)


@pytest.mark.parametrize("key", KEYS)
def test_two_runs_are_identical_and_a_killed_one_goes_on(key, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(train, "load_films", lambda settings, ct, cache: (squares(), squares(3)))
    whole = weights(train.train(key, TINY[key], tmp_path, tmp_path / "whole"))
    assert not torch.equal(whole, weights(train.eye(key).build(TINY[key].seed)))
    assert torch.equal(whole, weights(train.train(key, TINY[key], tmp_path, tmp_path / "again")))

    for loss in LOSSES[key]:
        state, module = tmp_path / f"killed{loss}", train.eye(key)
        with monkeypatch.context() as during, pytest.raises(KeyboardInterrupt):
            during.setattr(module, loss, Killed(getattr(module, loss), 4))
            train.train(key, TINY[key], tmp_path, state)
        capsys.readouterr()
        assert torch.equal(whole, weights(train.train(key, TINY[key], tmp_path, state)))
        assert "goes on after 2 of 6 steps" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("key", KEYS)
def test_the_loss_falls(key, tmp_path, capsys):
    settings = replace(TINY[key], batch=4, steps=60, save_every=10)
    train.eye(key).train(settings, squares(), squares(3), tmp_path / "state.pt")
    losses = [float(loss) for loss in re.findall(r"loss ([\d.]+)", capsys.readouterr().out)]
    phases = [losses[start : start + 6] for start in range(0, len(losses), 6)]  # SAM's single mask learns in a second
    assert len(losses) == (12 if key == "phantom-sam" else 6) and phases[0][-1] < 0.8 * phases[0][0]


def test_films_masks_and_boxes_move_together():
    """`moved` against scipy's affine map of pixel centres, and boxes against the masks that moved."""
    image = np.random.default_rng(0).random((40, 50)).astype(np.float32)
    how = np.float32([[1.1, 0.08, -0.05]])
    scale, right, down = how[0]
    matrix, middle = np.eye(2) / scale, np.array([20.0, 25.0])
    offset = middle - 0.5 - (middle - 0.5 + 0.5 - 0.5 + np.array([down * 40, right * 50])) / scale
    expected = affine_transform(image, matrix, offset, order=1)
    got = motion.moved(torch.from_numpy(image)[None, None], how)[0, 0].numpy()
    np.testing.assert_allclose(got[5:-5, 5:-5], expected[5:-5, 5:-5], atol=1e-4)

    box = np.float32([0.3, 0.4, 0.6, 0.7])
    mask = torch.from_numpy(fill([box * 400], 400, 400).astype(np.float32))[None, None]
    there = motion.moved(mask, how)[0, 0].numpy() > 0.5
    rows, columns = np.flatnonzero(there.any(1)), np.flatnonzero(there.any(0))
    seen = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]) / 400
    np.testing.assert_allclose(motion.moved_boxes(box[None, None], how)[0, 0], seen, atol=0.005)
    out = motion.moved_boxes(np.float32([[[0.9, 0.1, 1.0, 0.2], [np.nan] * 4]]), np.float32([[1, 0.08, 0]]))
    assert np.isnan(out).all()  # more than half of it left the film


def test_the_canvases_are_what_the_processors_make():
    from PIL import Image

    from medground.phantom.grounding import canvas

    film = np.random.default_rng(0).integers(0, 255, (416, 352), dtype=np.uint8)
    for processor in (canvas.segmenter_processor(), canvas.detector_processor()):
        drawn = canvas.resized(processor, film)
        pixels = processor([Image.fromarray(film)], return_tensors="np")["pixel_values"][0]
        height, width = drawn.shape
        np.testing.assert_allclose(pixels[1, :height, :width], 2 * (drawn / 255) - 1, atol=1e-6)
        assert not pixels[:, height:].any() and not pixels[:, :, width:].any()


def test_phrases_cover_what_is_asked_and_differ():
    assert owlvit.PAIRS == PAIRS and len(set(owlvit.PHRASES)) == len(owlvit.PHRASES)
    named = {name for finding in FINDINGS for side in (0.0, 9.0)
             for name in region_names(finding, (side, 0, side + 1, 1), 10)}  # fmt: skip
    assert named <= set(owlvit.PHRASES)
    words = owlvit.tokenizer()
    ids = words(list(owlvit.PHRASES)).input_ids
    assert len(set(map(tuple, ids))) == len(ids) and max(map(len, ids)) <= 16
    assert all(row[-1] == max(row) == words.eos_token_id and row.count(row[-1]) == 1 for row in ids)
    assert words.decode(words("Pleurakuppe 3×").input_ids, skip_special_tokens=True).strip() == "Pleurakuppe 3×"


def test_prompts_are_jittered_around_their_boxes():
    boxes = np.tile([0.4, 0.3, 0.6, 0.7], (4000, 1))
    rough, blown = (sam.jittered(boxes, np.random.default_rng(0), loose) for loose in (0.0, 1.0))
    np.testing.assert_allclose((rough - boxes).std(0), [0.02, 0.04, 0.02, 0.04], rtol=0.1)
    np.testing.assert_allclose(rough.mean(0), boxes[0], atol=0.01)
    grown = (blown[:, 2:] - blown[:, :2]) / [0.2, 0.4]
    assert grown.min() >= 1.3 - 1e-9 and grown.max() <= 3 + 1e-9
    assert np.abs((blown[:, :2] + blown[:, 2:]) / 2 - 0.5).max(0) == pytest.approx([0.07, 0.14], rel=0.05)


def test_generalized_iou_in_closed_form():
    box = torch.tensor([0.0, 0.0, 2.0, 2.0])
    for other, expected in (([0, 0, 2, 2], 1.0), ([1, 0, 3, 2], 1 / 3), ([3, 0, 5, 2], -1 / 5)):
        assert owlvit.generalized_iou(box, torch.tensor(other, dtype=torch.float)).item() == pytest.approx(expected)


def test_a_row_holds_the_truth_about_its_film(ct_folder):
    film = next(films.take(films.Cohort("validation", 1, 1, 1), ct_folder))
    row = films.row(film)
    masks = np.unpackbits(row["masks"], axis=-1).reshape(len(THINGS), MASK, MASK)
    for k, thing in enumerate(THINGS):
        box = {**film.anatomy, **film.extents}.get(thing)
        assert (box is None) == np.isnan(row["boxes"][k]).all() == (not masks[k].any())
        if box:
            rows, columns = np.flatnonzero(masks[k].any(1)), np.flatnonzero(masks[k].any(0))
            tight = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]) / MASK
            np.testing.assert_allclose(tight, row["boxes"][k], atol=2 / MASK)
