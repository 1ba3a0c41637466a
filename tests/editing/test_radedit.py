"""RadEdit's invariants, which hold for any weights: small random parts of the real classes."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler
from transformers import BertConfig, BertForMaskedLM, BertModel, BertTokenizerFast

from medground import files, records
from medground.editing import EDITS, editor, radedit
from medground.editing.radedit import RadEdit, Sheet
from medground.errors import MedgroundError
from medground.geometry import fill
from medground.images import read_film, write_film
from medground.params import Edit

sys.path.insert(0, str(Path(__file__).parents[1]))
import parts

SIZE = 64
BOX = (16.0, 12.0, 40.0, 44.0)
CLOSE = 2e-3  # half a gray level: guidance amplifies the rounding of another batch size


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A checkpoint folder of each part, laid out as on the Hub."""
    return parts.radedit(tmp_path_factory.mktemp("radedit"))


@pytest.fixture(scope="module")
def model(folders):
    return load(folders)


def load(folders, **settings):
    return RadEdit.load(**folders, device="cpu", size=SIZE, **({"steps": 10, "skip_ratio": 0.3} | settings))


def films(count, size=SIZE):
    rng = np.random.default_rng(3)
    return np.kron(rng.integers(0, 256, (count, 8, 8)), np.ones((size // 8, size // 8), int)).astype(np.uint8)


def region(count, ways=1):
    return np.broadcast_to(fill([BOX], SIZE, SIZE), (count, ways, SIZE, SIZE)).copy()


def redrawn(model, film):
    """The film through the VAE alone."""
    with torch.inference_mode():
        return model._decode(model._encode(film)).numpy()


def test_the_same_prompt_at_guidance_1_reproduces_the_film(folders):
    model = load(folders, guidance=1.0)
    film = films(2)
    everywhere = np.ones((2, 1, SIZE, SIZE), bool)
    edited = model.edit(film, [[""], [""]], everywhere, ~everywhere, [1, 2])
    np.testing.assert_allclose(edited[:, 0], redrawn(model, film), atol=CLOSE)


def test_a_prompt_changes_the_film(model):
    everywhere = np.ones((1, 1, SIZE, SIZE), bool)
    edited = model.edit(films(1), [["No mass"]], everywhere, ~everywhere, [1])
    assert np.isfinite(edited).all()
    assert np.abs(edited[:, 0] - redrawn(model, films(1))).max() > 0.02


def test_kept_latents_end_as_the_film(model, monkeypatch):
    """The last latents are captured: kept cells are the film's own, to the bit, whatever the guidance."""
    last = {}
    monkeypatch.setattr(model, "_decode", lambda x: last.update(x=x) or RadEdit._decode(model, x))
    monkeypatch.setattr(model, "guidance", 50.0)
    change = region(1)
    model.edit(films(1), [["No mass"]], change, ~change, [5])
    with torch.inference_mode():
        x0 = model._encode(films(1))
    cells = torch.from_numpy(fill([tuple(v / 4 for v in BOX)], SIZE // 4, SIZE // 4))
    assert torch.equal(last["x"][..., ~cells], x0[..., ~cells])
    assert (last["x"][..., cells] - x0[..., cells]).abs().min() > 0


def test_the_content_of_the_keep_mask_counts(model):
    change = region(1)
    one, other = ~change, np.zeros_like(change)
    first, second = (model.edit(films(1), [["No mass"]], change, keep, [5]) for keep in (one, other))
    assert np.abs(first - second).max() > 1e-3


def test_one_step_left_has_no_variance_and_no_nan(folders):
    model = load(folders, steps=4, skip_ratio=0.75)
    assert len(model.timesteps) == 1 and model.alphas[-1] == 1.0
    film, everywhere = films(1), np.ones((1, 1, SIZE, SIZE), bool)
    edited = model.edit(film, [["No mass"]], everywhere, ~everywhere, [1])
    assert np.isfinite(edited).all()
    with pytest.raises(MedgroundError, match=r"skip_ratio is 1\.0"):
        load(folders, skip_ratio=1.0)


def test_the_step_is_ddim_with_eta_1(model):
    """Against diffusers' own scheduler, and the residual against the noise map of the paper."""
    scheduler = DDIMScheduler(
        beta_start=1e-4, beta_end=0.02, beta_schedule="linear", clip_sample=False, timestep_spacing="trailing"
    )
    scheduler.set_timesteps(10)
    generator = torch.Generator().manual_seed(0)
    x, noise, drawn = torch.randn(3, 2, 4, 5, 5, generator=generator)
    assert model.timesteps == scheduler.timesteps.tolist()[3:]
    for k, t in enumerate(model.timesteps):
        stepped = scheduler.step(noise, t, x, eta=1.0, variance_noise=drawn).prev_sample
        spread = scheduler._get_variance(t, t - 100) ** 0.5
        torch.testing.assert_close(model._mean(x, noise, k), stepped - spread * drawn, atol=1e-5, rtol=1e-4)


def test_the_inverted_films_have_the_noise_of_their_step(model):
    with torch.inference_mode():
        x0 = torch.zeros(1, 4, 64, 64)
        noisy, residuals = model._invert(x0, [7])
    assert len(noisy) == len(residuals) + 1 == len(model.timesteps) + 1
    for x, a in zip(noisy, model.alphas, strict=True):
        assert x.std().item() == pytest.approx((1 - a) ** 0.5, abs=0.02)
    flat = torch.stack([x.flatten() for x in noisy[:-1]])
    assert (torch.corrcoef(flat) - torch.eye(len(flat))).abs().max() < 0.05  # drawn anew for every step


def test_an_edit_depends_on_its_seed_and_not_on_its_batch(model):
    change = region(3)
    prompts = [["No mass"]] * 3
    together = model.edit(films(3), prompts, change, ~change, [1, 2, 3])
    alone = model.edit(films(3)[1:2], prompts[:1], change[:1], ~change[:1], [2])
    other = model.edit(films(3)[1:2], prompts[:1], change[:1], ~change[:1], [9])
    np.testing.assert_allclose(together[1:2], alone, atol=CLOSE)
    assert np.abs(alone - other).max() > 5 * CLOSE


def test_ways_of_one_film_are_the_single_edits(model):
    change = np.concatenate([region(1), ~region(1)], 1)
    both = model.edit(films(1), [["No mass", "No abnormality"]], change, ~change, [4])
    for way, prompt in enumerate(("No mass", "No abnormality")):
        one = model.edit(films(1), [[prompt]], change[:, [way]], ~change[:, [way]], [4])
        np.testing.assert_allclose(both[:, [way]], one, atol=CLOSE)


def test_the_text_encoder_is_the_published_berts_last_hidden_state(model, folders):
    config = BertConfig.from_pretrained(folders["text_encoder"])
    whole = BertForMaskedLM.from_pretrained(folders["text_encoder"], config=config).eval()
    tokens = model.tokenizer(["No mass"], padding="max_length", max_length=128, return_tensors="pt").input_ids
    with torch.inference_mode():
        expected = whole(tokens, output_hidden_states=True).hidden_states[-1]
        torch.testing.assert_close(model._embed(["No mass"]), expected)
    assert tokens[0, :4].tolist() == [2, 5, 6, 3]


@pytest.mark.parametrize("band", [0, 5])
@pytest.mark.parametrize("shape", [(100, 60), (50, 120), (1300, 2600)])
def test_a_sheet_keeps_the_film_and_masks_only_what_an_edit_may_change(shape, band):
    film = np.random.default_rng(0).integers(0, 255, shape).astype(np.uint8)
    height, width = shape
    sheet = Sheet.of(film, [(0.2 * width, 0.3 * height, 0.5 * width, 0.6 * height)], band, SIZE)
    if max(shape) <= radedit.STORED:
        assert np.array_equal(sheet.film, film)
    assert max(sheet.film.shape) <= radedit.STORED
    assert sheet.film.shape[0] / sheet.film.shape[1] == pytest.approx(shape[0] / shape[1], rel=0.02)
    for kind in EDITS:
        change, keep = sheet.masks(kind)
        assert not (change & keep).any() and change.any()
        assert (change | keep).all() == (band == 0)
        gray = sheet.finish(kind, np.full((SIZE, SIZE), 0.5, np.float32))
        inside = sheet.weight == 1
        changed, same = (inside, sheet.weight == 0) if kind == "region_removed" else (sheet.weight == 0, inside)
        assert (gray[changed] == 128).all()
        assert np.array_equal(gray[same], sheet.film[same])


def test_the_smallest_lesion_is_painted(model):
    film = np.full((1000, 1000), 90, np.uint8)
    sheet = Sheet.of(film, [(500.2, 500.2, 501.1, 500.9)], 0, SIZE)
    change, _ = sheet.masks("region_removed")
    assert change.sum() >= 1 and (sheet.weight == 1).sum() >= 1


def params(folders, **more):
    settings = {
        **folders,
        "size": SIZE,
        "steps": 6,
        "skip_ratio": 0.3,
        "guidance": 7.5,
        "redraw": False,
        "batch_size": 2,
    }
    return SimpleNamespace(
        seed=1, verify=SimpleNamespace(seeds=2),
        edit=Edit(editor="radedit", band=3, radedit=settings | more),
    )  # fmt: skip


def samples(tmp_path, count):
    rows = []
    for index in range(count):
        film = films(index + 1, 80)[index][:, : 80 - 16 * index]
        write_film(tmp_path / f"{index}.png", film)
        rows.append({"source": "s", "index": index, "film": str(tmp_path / f"{index}.png"), "finding": "mass",
                     "regions": [(10.0, 10.0, 30.0, 30.0)]})  # fmt: skip
    return rows


def written(rows):
    """The rows with their films on disk, as the engine leaves them."""
    for row in rows:
        files.write(row["path"].content, row["path"].path)
    return [row | {"path": row["path"].path} for row in rows]


def test_the_editor_makes_films_and_rows_that_do_not_depend_on_the_batch(folders, tmp_path):
    rows = samples(tmp_path, 2)
    edits = written(editor(params(folders), rows, tmp_path / "a")(rows))
    again = written(editor(params(folders, batch_size=1), rows, tmp_path / "b")(rows[1:]))
    records.write_table(edits, records.EDITS, tmp_path / "edits.parquet")
    by_key = {(e["index"], e["edit"], e["seed"]): e for e in edits}
    assert set(by_key) == {(index, kind, seed) for index in (0, 1) for kind in EDITS for seed in (0, 1)}
    for row in again:
        other = by_key[row["index"], row["edit"], row["seed"]]
        first, second = read_film(row["path"]).astype(int), read_film(other["path"])
        assert np.abs(first - second).max() <= 2
    film = read_film(rows[0]["film"])
    removed, background = (read_film(by_key[0, kind, 0]["path"]) for kind in EDITS[:2])
    inside = fill(rows[0]["regions"], *film.shape)
    assert np.array_equal(background[inside], film[inside]) and not np.array_equal(removed[inside], film[inside])
    assert not np.array_equal(read_film(by_key[0, EDITS[0], 1]["path"]), removed)
    said = json.loads(by_key[0, "background_normal", 0]["settings"])
    assert said["prompt"] == "No abnormality" and json.loads(edits[0]["settings"])["prompt"] == "No mass"
    assert set(said["revisions"]) == {"unet", "vae", "text_encoder"} and all(said["revisions"].values())


def test_a_redrawn_film_is_alike_inside_and_outside_of_an_edit(folders, tmp_path):
    """What is kept is what the model decodes of the film's own latents, at the same size and by the same filter."""
    rows = samples(tmp_path, 1)
    plain = written(editor(params(folders), rows, tmp_path / "a")(rows))
    drawn = written(editor(params(folders, redraw=True), rows, tmp_path / "b")(rows))
    film = read_film(rows[0]["film"])
    sheet = Sheet.of(film, rows[0]["regions"], 3, SIZE)
    model = load(folders)
    latents = model.vae.encode(torch.tensor(sheet.canvas)[None, None].expand(1, 3, -1, -1) / 127.5 - 1.0)
    canvas = (model.vae.decode(latents.latent_dist.mode()).sample.mean(1)[0] / 2 + 0.5).clamp(0, 1).detach().numpy()
    redrawn = sheet.redrawn(canvas).film
    for before, after in zip(plain, drawn, strict=True):
        one, other = read_film(before["path"]), read_film(after["path"])
        kept = sheet.weight == (0 if after["edit"] == "region_removed" else 1)
        assert np.array_equal(one[kept], film[kept])
        assert np.abs(other[kept].astype(int) - redrawn[kept]).max() <= 1
        changed = sheet.weight == (1 if after["edit"] == "region_removed" else 0)
        assert np.array_equal(one[changed], other[changed])
    assert np.abs(redrawn.astype(int) - film).mean() > 5


def test_the_revision_of_a_part_from_the_hub_is_its_commit(tmp_path, monkeypatch):
    commit = "0123456789abcdef0123456789abcdef01234567"
    folder = tmp_path / "models--microsoft--radedit"
    (folder / "snapshots" / commit / "unet").mkdir(parents=True)
    (folder / "snapshots" / commit / "unet" / "config.json").write_text("{}")
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(commit)
    monkeypatch.setattr(radedit, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert radedit._revision("microsoft/radedit", "unet/config.json") == commit
    assert radedit._revision(f"microsoft/radedit@{commit}", "unet/config.json") == commit


def test_a_part_that_cannot_be_loaded_is_named(folders, tmp_path):
    for part in ("unet", "vae", "text_encoder"):
        with pytest.raises(MedgroundError, match=rf"{tmp_path}.*edit\.radedit"):
            load(folders | {part: str(tmp_path)})


def test_the_tokenizer_and_encoder_classes_are_those_of_the_published_checkpoint(model):
    assert isinstance(model.text_encoder, BertModel) and isinstance(model.tokenizer, BertTokenizerFast)
