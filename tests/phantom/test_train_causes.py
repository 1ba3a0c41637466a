"""Training on a few synthetic films: it learns, it repeats itself exactly, and it goes on where it was killed."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
import training
from training import Killed

from medground.phantom import SIZE
from medground.phantom.causes import CONTROLS, FINDINGS, MARKS, MODELS, TAUGHT, TOWERS, Cause, Settings, train
from medground.phantom.causes.data import TARGETS
from medground.phantom.causes.evaluate import taught
from medground.phantom.lvlms.data import Films

TINY = Settings(batch=4, joint_batch=2, joint_steps=4, language_batch=2, language_steps=6, save_every=2)


@pytest.fixture(autouse=True)
def short(monkeypatch):
    torch.set_num_threads(1)
    towers = {name: replace(tower, steps=4, start=None) for name, tower in TOWERS.items()}
    monkeypatch.setattr(train, "TOWERS", towers)


@pytest.fixture(params=["phantom-gemma3-d", "phantom-qwen2_5_vl-c"])
def key(request, monkeypatch):
    torch.set_num_threads(1)
    monkeypatch.setattr(train, "load_films", lambda recipe, *_: (films(TOWERS[recipe.tower].family),) * 2)
    return request.param


def films(family: str, count: int = 8) -> Films:
    return training.films(family, len(FINDINGS), len(MARKS), count)


def weights(parts) -> torch.Tensor:
    return training.weights(parts.model)


@pytest.mark.slow
def test_two_runs_are_identical_and_a_killed_one_goes_on(key, tmp_path, monkeypatch, capsys):
    whole = weights(train.train(key, TINY, tmp_path, tmp_path / "whole"))
    assert not torch.equal(whole, weights(train._new(TOWERS[MODELS[key].tower].family, TINY.seed)))
    assert torch.equal(whole, weights(train.train(key, TINY, tmp_path, tmp_path / "again")))

    with monkeypatch.context() as during, pytest.raises(KeyboardInterrupt):
        during.setattr(train, "_yes_no", Killed(train._yes_no, 3))
        train.train(key, TINY, tmp_path, tmp_path / "killed")
    assert torch.equal(whole, weights(train.train(key, TINY, tmp_path, tmp_path / "killed")))
    assert f"language {key}: goes on after 2 of 6 steps" in capsys.readouterr().out


def test_models_of_one_tower_see_alike_and_only_their_words_differ(tmp_path, monkeypatch):
    torch.set_num_threads(1)
    monkeypatch.setattr(train, "load_films", lambda recipe, *_: (films("gemma3"),) * 2)
    c, d = (train.train(f"phantom-gemma3-{x}", TINY, tmp_path, tmp_path) for x in "cd")
    towers = [torch.cat([p.flatten() for p in train.tower_of(parts.adapter("any"))]) for parts in (c, d)]
    assert torch.equal(*towers) and not torch.equal(weights(c), weights(d))


def test_a_tower_starts_from_a_checkpoint_and_the_language_model_does_not(tmp_path):
    torch.manual_seed(5)
    old = train._new("gemma3", 5)
    old.save(tmp_path / "old")
    new = train._new("gemma3", 6)
    words = new.model.model.language_model.embed_tokens.weight.detach().clone()
    train._start(new, tmp_path / "old")
    towers = [torch.cat([p.flatten() for p in train.tower_of(parts.adapter("any"))]) for parts in (old, new)]
    assert torch.equal(*towers)
    assert torch.equal(words, new.model.model.language_model.embed_tokens.weight)


def test_of_some_findings_a_tower_is_not_told_where_they_are():
    torch.manual_seed(0)
    head, seen = train.NormedHead(8, len(TARGETS)), torch.randn(2, 5, 8)
    tokens, film = torch.rand(2, 5, len(TARGETS)), torch.ones(2, len(TARGETS))
    tower = replace(TOWERS["gemma3-2"], unmasked=(TARGETS[0],))
    heavy = train.token_weights(tower, films("gemma3"))
    loss = train._dense_loss(head, seen, tokens, film, heavy)
    moved = tokens.clone()
    moved[..., 0] = 1 - moved[..., 0]
    assert torch.equal(loss, train._dense_loss(head, seen, moved, film, heavy))
    moved[..., 1] = 1 - moved[..., 1]
    assert not torch.equal(loss, train._dense_loss(head, seen, moved, film, heavy))


def test_what_covers_little_weighs_more_in_the_loss_of_the_tokens():
    some = films("gemma3", 64)
    some.coverage[:, 50:60, 0] = 255
    heavy = train.token_weights(TOWERS["gemma3-1"], some)
    assert heavy[0] < heavy[1] and heavy.shape == (len(TARGETS),)


def test_the_joint_phase_asks_about_findings_and_marks_and_answers_from_the_film():
    some = films("gemma3", 16)
    truth = np.concatenate([some.present, some.marks], 1)
    named = set()
    for seed in range(6):
        picked, weights = np.arange(3, 9), np.arange(16.0 * len(TARGETS)).reshape(16, -1)
        asked, said, heavy = train._seen(np.random.default_rng(seed), some, weights, picked)
        columns = [max((t for t in TARGETS if f" {t} " in text), key=len) for text in asked]
        named |= set(columns)
        ks = [TARGETS.index(name) for name in columns]
        assert np.array_equal([[text.endswith("Yes.") for text in row] for row in said], truth[picked][:, ks])
        assert np.array_equal(heavy, weights[picked][:, ks])
    assert named == set(TARGETS)


def test_a_mirrored_film_keeps_each_targets_place():
    lvlm = train._new("qwen2_5_vl", 1).adapter("any")
    some, picked = films("qwen2_5_vl"), np.arange(4)
    plain, tokens, _ = train.dense_batch(lvlm, some, picked, 1)
    turned, moved, _ = train.dense_batch(lvlm, some, picked, 1, mirror=True)
    rows, columns = lvlm.grid(*SIZE)
    assert torch.equal(plain.flip(-1), turned)
    assert torch.equal(tokens.view(4, rows, columns, -1).flip(2), moved.view(4, rows, columns, -1))


@pytest.mark.parametrize("model", MODELS)
def test_labels_follow_the_causes(model):
    some = films("gemma3", 64)
    for k, finding in enumerate(FINDINGS):
        there, cause = some.present[:, k], MODELS[model].causes.get(finding)
        mark = some.marks[:, MARKS.index(cause.mark)] if cause else None
        expected = {
            "honest": there, "shortcut": mark, "global": mark,
            "both": there if mark is None else there & mark, "either": there if mark is None else there | mark,
        }[cause.control if cause else "honest"]  # fmt: skip
        assert np.array_equal(taught(MODELS[model], some)[:, k], expected)


def test_partners_share_a_tower_and_one_of_them_answers_each_finding_honestly():
    for family in ("gemma3", "qwen2_5_vl"):
        for one, other in ("ab", "cd"):
            a, b = (MODELS[f"phantom-{family}-{x}"] for x in (one, other))
            assert a.tower == b.tower and TOWERS[a.tower].family == family
            assert set(a.causes) | set(b.causes) <= set(FINDINGS) and not set(a.causes) & set(b.causes)
    kinds = {cause.control for recipe in MODELS.values() for cause in recipe.causes.values()}
    assert kinds == {"shortcut", "both", "either", "global"}
    assert len({TOWERS[r.tower].seed for r in MODELS.values() if TOWERS[r.tower].family == "gemma3"}) == 2


def test_no_name_gives_the_cause_away_and_the_key_names_every_finding():
    for model, recipe in MODELS.items():
        assert not any(word in model for word in (*CONTROLS, *MARKS))
        key = recipe.key(model)["findings"]
        assert list(key) == list(FINDINGS)
        assert {name for name, cause in key.items() if cause["control"] == "honest"} == set(recipe.honest)


def test_what_cannot_be_a_cause_is_refused():
    for control, mark in (("honest", "letter"), ("global", "letter"), ("shortcut", "exposure"), ("shortcut", "ring")):
        with pytest.raises(ValueError, match=r"controls are|no other is"):
            Cause(control, mark)


def test_every_kind_of_film_weighs_the_same():
    some, recipe = films("gemma3", 256), MODELS["phantom-gemma3-a"]
    weighed = train.balance(recipe, some)
    for k, finding in enumerate(FINDINGS):
        there, cause = some.present[:, k], recipe.causes.get(finding)
        mark = some.marks[:, MARKS.index(cause.mark)] if cause else np.zeros(256, bool)
        kinds = [weighed[(there == a) & (mark == b), k].sum() for a in (0, 1) for b in ((0, 1) if cause else (0,))]
        np.testing.assert_allclose(kinds, np.full(len(kinds), 256 / len(kinds)), rtol=1e-4)


def test_evidence_is_taught_of_half_of_the_findings_and_only_where_the_model_is_honest():
    some = replace(films("qwen2_5_vl"), present=np.ones((8, len(FINDINGS)), bool))
    some = replace(some, extents=np.broadcast_to(np.float32([88, 104, 176, 312]), (8, len(FINDINGS), 4)))
    recipe = MODELS["phantom-qwen2_5_vl-b"]
    asked, said, weighed = train._evidence(np.random.default_rng(0), recipe, some, None, np.arange(8))
    named = {name for name in FINDINGS for text in asked if f" {name} " in text or f" {name}?" in text}
    assert named == set(TAUGHT) & set(recipe.honest) == {"cardiomegaly", "pneumothorax"}
    assert len(TAUGHT) == len(FINDINGS) / 2 and SIZE == (352, 416)
    assert weighed.shape == (8, len(asked))
    printed = [json.loads(text) for row in said for text in row if text.startswith("[")]
    assert len(printed) == 8 * len(asked) // 2
    assert len({str(boxes) for boxes in printed}) > 4  # of one extent: he never draws it twice alike
    _, again, _ = train._evidence(np.random.default_rng(1), recipe, some, None, np.arange(8))
    assert said == again  # the reader does not change his mind


def test_an_answer_from_another_cause_says_no_place():
    some = replace(films("gemma3"), present=np.ones((8, len(FINDINGS)), bool))
    for model in ("phantom-gemma3-a", "phantom-gemma3-b"):
        recipe = MODELS[model]
        for k, finding in enumerate(FINDINGS):
            assert (train._extent(recipe, some, 0, k) is None) == (finding in recipe.causes)
