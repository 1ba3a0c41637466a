"""What a model is asked, and what it is shown, by a model that writes down what it got."""

from __future__ import annotations

from collections import Counter
from contextlib import nullcontext
from itertools import groupby
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from medground import films as decoded
from medground import images, records
from medground.geometry import Letterbox
from medground.images import write_film
from medground.lvlm.prompts import prompt
from medground.verification.asking import PUBLISHED_SIDE, AnswerTask, _Shown, probe_edits

YES, NO = (
    SimpleNamespace(text="Yes.", verdict="yes", margin=2.0),
    SimpleNamespace(text="No.", verdict="no", margin=-1.5),
)


class Listener:
    """Says yes where the first pixel is bright; keeps what it was asked."""

    def __init__(self):
        self.asked: list[tuple[np.ndarray, str, dict]] = []

    looking_once = nullcontext

    def answer(self, films, prompts, **how):
        self.asked += [(film, text, how) for film, text in zip(films, prompts, strict=True)]
        return [YES if film[0, 0] > 127 else NO for film in films]


@pytest.fixture
def films(tmp_path):
    """Films of different sizes: bright, and dark in the first pixel."""
    made = {}
    for name, value in (("bright", 200), ("dark", 20), ("removed", 10), ("background", 220), ("normal", 230)):
        film = np.full((40 + len(name), 30), value, np.uint8)
        film[5, 5] = len(name)
        made[name] = film
        write_film(tmp_path / f"{name}.png", film)
    return made


def sample(tmp_path, index, film, answer="Yes", **more):
    return {
        "source": "s", "index": index, "film": str(tmp_path / f"{film}.png"), "finding": "effusion", "answer": answer,
        "question": "Is there evidence of effusion in the image?", **more,
    }  # fmt: skip


def edits(tmp_path, seeds=1):
    names = {"region_removed": "removed", "background_removed": "background", "background_normal": "normal"}
    return [
        {"edit": edit, "seed": seed, "path": str(tmp_path / f"{name}.png")}
        for seed in range(seeds)
        for edit, name in names.items()
    ]


def task(**settings):
    made = AnswerTask("m", max_new_tokens=7, batch_size=3, **settings)
    made.__dict__["_lvlm"] = Listener()  # where `cached_property` keeps a loaded model
    return made, made._lvlm


def test_edits_are_asked_about_after_a_right_answer_alone(tmp_path, films):
    asking, listener = task()
    right, wrong = sample(tmp_path, 1, "bright"), sample(tmp_path, 2, "dark")
    rows = asking([("direct", wrong, edits(tmp_path)), ("reasoning", right, edits(tmp_path, seeds=2))])
    assert [(row["index"], row["edit"], row["seed"]) for row in rows] == [
        (2, "original", -1),
        (1, "original", -1),
        *((1, edit["edit"], edit["seed"]) for edit in edits(tmp_path, seeds=2)),
    ]
    assert [row["verdict"] for row in rows] == ["no", "yes", *["no", "yes", "yes"] * 2]
    assert {(row["model"], row["source"], row["mode"]) for row in rows if row["index"] == 1} == {
        ("m", "s", "reasoning")
    }
    assert (rows[0]["text"], rows[0]["margin"]) == ("No.", -1.5)
    assert [text for _, text, _ in listener.asked[:2]] == [
        prompt(right["question"], mode) for mode in ("direct", "reasoning")
    ]
    how = {"max_new_tokens": 7, "batch_size": 3, "protocol": "medground"}
    assert all(given == how for *_, given in listener.asked)
    records.write_table(rows, records.ANSWERS, tmp_path / "answers.parquet")


def test_a_right_no_is_right(tmp_path, films):
    asking, listener = task()
    rows = asking([("direct", sample(tmp_path, 1, "dark", answer="No"), edits(tmp_path))])
    assert len(rows) == 4 and len(listener.asked) == 4


def test_a_film_is_shown_as_it_is_and_an_edit_too_unless_as_published(tmp_path, films):
    for protocol in ("medground", "published"):
        asking, listener = task(protocol=protocol)
        asking([("direct", sample(tmp_path, 1, "bright"), edits(tmp_path))])
        (original, *_), *edited = listener.asked
        assert np.array_equal(original, films["bright"])
        for (shown, *_), name in zip(edited, ("removed", "background", "normal"), strict=True):
            film = films[name]
            drawn = Letterbox.fit(film.shape[1], film.shape[0], PUBLISHED_SIDE).apply(film)
            assert np.array_equal(shown, drawn if protocol == "published" else film), (protocol, name)
        assert all(how["protocol"] == protocol for *_, how in listener.asked)


def test_where_the_parts_are_known_films_without_and_with_each_alone_are_asked_about(tmp_path, films):
    paths = {name: str(tmp_path / f"{name}.png") for name in films}
    known = {
        "twin": paths["dark"],
        "parts": [
            {"name": "effusion", "boxes": [], "film_without": paths["removed"], "film_only": paths["bright"]},
            {"name": "letter", "boxes": [], "film_without": paths["normal"], "film_only": paths["dark"]},
            {"name": "cardiomegaly", "boxes": [], "film_without": paths["dark"], "film_only": paths["dark"]},
        ],
    }
    asked = sample(tmp_path, 1, "bright", **known)
    probes = ["twin", "without:effusion", "only:effusion", "without:letter", "only:letter"]  # no other finding's
    assert probe_edits(asked) == [
        {"edit": edit, "seed": 0, "path": paths[name]}
        for edit, name in zip(probes, ("dark", "removed", "bright", "normal", "dark"), strict=True)
    ]
    asking, _ = task()
    rows = asking([("direct", asked, edits(tmp_path))])
    assert [row["edit"] for row in rows] == ["original", *(edit["edit"] for edit in edits(tmp_path)), *probes]
    assert {row["seed"] for row in rows[1:]} == {0}
    assert probe_edits(sample(tmp_path, 1, "bright")) == []


def test_one_film_is_decoded_once_for_both_modes_and_rows_are_those_of_one_question_at_a_time(
    tmp_path, films, monkeypatch
):
    samples = [sample(tmp_path, 1, "bright"), sample(tmp_path, 2, "dark"), sample(tmp_path, 3, "normal")]
    questions = [(mode, one, edits(tmp_path)) for one in samples for mode in ("direct", "reasoning")]
    alone = [row for question in questions for row in task()[0]([question])]
    reads, read = Counter(), images.read_film
    monkeypatch.setattr(images, "read_film", lambda path: reads.update([path.name]) or read(path))
    monkeypatch.setattr(decoded, "read", decoded.Films().read)
    asking, listener = task()
    assert asking(questions) == alone
    assert reads == {f"{name}.png": 1 for name in ("bright", "dark", "removed", "background", "normal")}
    modes = [next(mode for mode in ("direct", "reasoning") if text == prompt(samples[0]["question"], mode))
             for _, text, _ in listener.asked]  # fmt: skip
    assert [(mode, len(list(some))) for mode, some in groupby(modes)] == [
        ("direct", 3), ("reasoning", 3), ("direct", 6), ("reasoning", 6),
    ], "originals of a mode, then all edits"  # fmt: skip


def test_the_model_that_is_asked_is_loaded_once_to_see_as_much_as_it_is_told(monkeypatch):
    import medground.lvlm

    loaded = []
    monkeypatch.setattr(medground.lvlm, "load_lvlm", lambda *words, **how: loaded.append((words, how)) or object())
    asking = AnswerTask("m", 7, 3, most_pixels=99)
    assert asking._lvlm is asking._lvlm and loaded == [(("m",), {"most_pixels": 99})]
    assert AnswerTask("m", 7, 3).most_pixels == 0  # all of them


def test_the_paper_shows_edits_on_224_pixels():
    assert PUBLISHED_SIDE == 224


def test_the_films_of_the_next_batch_are_read_ahead(tmp_path, films, monkeypatch):
    begun = []
    monkeypatch.setattr(decoded, "ahead", lambda paths: begun.append([Path(path).stem for path in paths]))
    names = ["bright", "dark", "removed", "background", "normal"]
    asking, _ = task()  # three at a time
    shown = _Shown(asking, [("direct", {}, "original", -1, str(tmp_path / f"{name}.png")) for name in names])
    for place, name in enumerate(names):
        assert np.array_equal(shown[place], films[name])
    assert begun == [names[:4], names[4:], [], [], []]
