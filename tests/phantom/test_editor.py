"""The phantom's RadEdit: its training on a few synthetic films, and the checkpoint that is in the repository."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import training
from training import Killed

from medground import params
from medground.editing.radedit import RadEdit, Sheet
from medground.geometry import fill
from medground.phantom import FINDINGS
from medground.phantom import editor as phantom
from medground.phantom.editor import Settings
from medground.phantom.lvlms.data import Films

ROOT = Path(__file__).parents[2]
TINY = Settings(size=32, vae_batch=2, vae_steps=2, text_steps=4, batch=2, steps=4, save_every=2)


def films(count: int = 8) -> Films:
    """Noise with a bright square per finding that is present."""
    rng = np.random.default_rng(0)
    present = rng.random((count, len(FINDINGS))) < 0.4
    canvas = rng.integers(0, 90, (count, TINY.size, TINY.size), dtype=np.uint8)
    for film, finding in np.argwhere(present):
        canvas[film, 4 * finding : 4 * finding + 3, 10:20] = 255
    return Films(None, canvas, None, present, None, None)


@pytest.fixture
def synthetic(monkeypatch):
    torch.set_num_threads(1)
    monkeypatch.setattr(phantom, "load_films", lambda settings, ct, cache: (films(), films()))


def weights(parts) -> torch.Tensor:
    return training.weights(parts.unet, parts.vae, parts.text_encoder)


@pytest.mark.slow
def test_two_runs_are_identical_and_a_killed_one_goes_on(synthetic, tmp_path, monkeypatch, capsys):
    parts = phantom.train(TINY, tmp_path, tmp_path / "whole")
    whole = weights(parts)
    assert torch.equal(whole, weights(phantom.train(TINY, tmp_path, tmp_path / "again")))
    fresh = phantom.build(TINY)
    for name in ("unet", "vae", "text_encoder"):
        pairs = zip(getattr(parts, name).parameters(), getattr(fresh, name).parameters(), strict=True)
        assert any(not torch.equal(trained, new) for trained, new in pairs), name

    before = TINY.batch * (TINY.text_steps + 2 + 2)  # reading, its two reports, two steps of diffusion
    with monkeypatch.context() as during, pytest.raises(KeyboardInterrupt):
        during.setattr(phantom, "caption", Killed(phantom.caption, before + 1))
        phantom.train(TINY, tmp_path, tmp_path / "killed")
    capsys.readouterr()
    assert torch.equal(whole, weights(phantom.train(TINY, tmp_path, tmp_path / "killed")))
    told = capsys.readouterr().out
    assert "autoencoder: goes on after 2 of 2 steps" in told and "diffusion: goes on after 2 of 4 steps" in told


def test_the_latents_have_mean_0_and_deviation_1_and_films_are_redrawn_the_same(synthetic):
    vae, some = phantom.build(TINY).vae, films().canvas
    before = phantom.redrawn(vae, some)
    phantom._standardise(vae, some)
    latents = phantom._encode(vae, some)
    torch.testing.assert_close(latents.mean((0, 2, 3)), torch.zeros(4), atol=1e-4, rtol=0)
    torch.testing.assert_close(latents.std((0, 2, 3)), torch.ones(4), atol=1e-4, rtol=0)
    assert phantom.redrawn(vae, some) == pytest.approx(before, abs=1e-2)


def test_captions_are_true_and_cover_what_the_editor_asks_for():
    rng, told = np.random.default_rng(0), []
    for _ in range(3000):
        present = rng.random(len(FINDINGS)) < rng.choice((0.0, 0.4))
        text = phantom.caption(rng, present, 0.15)
        there, absent = np.split(phantom.said(text), 2)
        assert not (there & ~present).any() and not (absent & present).any()
        if text and not absent.any():
            assert np.array_equal(there, present)
        told.append(text)
    assert {"No abnormality", *(f"No {name}" for name in FINDINGS)} <= set(told)
    assert told.count("") / len(told) == pytest.approx(0.15, abs=0.03)
    assert np.mean([text.startswith("No ") for text in told]) > 0.4


def test_saved_parts_load_in_the_editor_which_reads_prompts_and_adds_noise_as_in_training(tmp_path):
    parts = phantom.build(TINY)
    parts.save(tmp_path)
    model = RadEdit.load(
        str(tmp_path), str(tmp_path / "vae"), str(tmp_path / "text_encoder"), "cpu", size=TINY.size, steps=1000,
        skip_ratio=0.0,
    )  # fmt: skip
    assert all(p.dtype == torch.float32 for part in (model.unet, model.vae) for p in part.parameters())
    prompts = ["No abnormality", "No left lung opacity", "", "No left lung opacity"]
    with torch.inference_mode():
        torch.testing.assert_close(model._embed(prompts), phantom.embed(parts.text_encoder, parts.tokenizer, prompts))
    kept = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))
    np.testing.assert_allclose(model.alphas[:-1], kept[::-1], rtol=1e-4)
    assert model.timesteps == list(range(999, -1, -1))
    assert model.tokenizer.unk_token_id not in model.tokenizer(", ".join(("No abnormality", *FINDINGS, "?"))).input_ids


# --- the checkpoint --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shipped():
    settings = params.load(ROOT / "profiles/phantom.yaml").edit.radedit.model_dump()
    places = {name: str(ROOT / settings[name]) for name in ("unet", "vae", "text_encoder")}
    rest = {name: settings[name] for name in ("size", "steps", "skip_ratio", "guidance")}
    return RadEdit.load(**places, **rest, device="cpu")


@pytest.fixture(scope="module")
def examples(ct_folder):
    """Films of the first validation patients, by finding."""
    return list(phantom.examples(1, 8, ct_folder))


@pytest.mark.slow
@pytest.mark.parametrize(
    "finding", ["left pleural effusion", "right pleural effusion", "widened mediastinum", "cardiomegaly"]
)
def test_the_shipped_checkpoint_brings_the_region_closer_to_the_twin(shipped, examples, finding):
    own = [example for example in examples if example.finding == finding]
    assert own
    rows = [row for number, example in enumerate(own) for row in phantom.distances(shipped, example, 12, number)]
    edit, film = (np.mean([row[name] for row in rows]) for name in ("edit_inside", "film_inside"))
    assert edit < 0.9 * film, rows


@pytest.mark.slow
def test_what_the_shipped_checkpoint_must_keep_is_kept_exactly(shipped, examples):
    example = examples[0]
    film, region = example.film.image, example.regions[1]
    sheet = Sheet.of(film, [region], 12, shipped.size)
    kinds = ("region_removed", "background_removed")
    change, keep = (np.stack([[sheet.masks(kind)[k] for kind in kinds]]) for k in (0, 1))
    canvases = shipped.edit(sheet.canvas[None], [[f"No {example.finding}"] * 2], change, keep, [0])[0]
    removed, background = (sheet.finish(kind, canvas) for kind, canvas in zip(kinds, canvases, strict=True))
    inside = fill([region], *film.shape)
    assert np.array_equal(removed[sheet.weight == 0], film[sheet.weight == 0])
    assert np.array_equal(background[inside], film[inside])
    assert not np.array_equal(removed[inside], film[inside])
    assert not np.array_equal(background[sheet.weight == 0], film[sheet.weight == 0])
