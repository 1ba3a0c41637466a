"""One film outside the pipeline: asking, explaining, and what is written to look at."""

from __future__ import annotations

import json
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image
from references import write_masks

import medground
from medground import records
from medground.attribution import Attribution, method
from medground.attribution.builtin.medfocus import VERDICTS
from medground.attribution.film import Anatomy, explain, finding_of
from medground.attribution.report import LATERALITY, NOT_A_DIAGNOSIS, NOTHING, boxes, overlay, page, sentence, write
from medground.errors import MedgroundError
from medground.images import write_film

QUESTION = "Is there evidence of left <pleural> effusion in the image?"


@pytest.fixture
def table(tmp_path, items):
    """Two references with the masks of two concepts."""
    rows = []
    for n, item in enumerate(items[:2]):
        height, width = item.film.shape
        left, right = np.zeros((2, height, width), bool)
        left[20:110, 70:120], right[20:110, 10:60] = True, True
        write_film(tmp_path / f"{n}.png", item.film)
        masks = write_masks(tmp_path / str(n), {"left lung": left, "right lung": right})
        rows.append({"reference": str(n), "film": str(tmp_path / f"{n}.png"), "masks": masks})
    records.write_table(rows, records.REFERENCES, tmp_path / "references.parquet")
    return tmp_path / "references.parquet"


@pytest.fixture
def explained(lvlm, items, table, monkeypatch):
    from medground.lvlm.base import Answer

    monkeypatch.setattr(lvlm, "answer", lambda films, prompts, **_: [Answer("<Yes> it is.", "yes", 1.5)] * len(films))
    chosen = method("medfocus")
    return explain(lvlm, items[0].film, QUESTION, chosen, anatomy=Anatomy.read(table, chosen), name="a<b>.png")


def test_medfocus_on_a_film(lvlm, items, table, monkeypatch):
    from medground.lvlm.base import Answer

    monkeypatch.setattr(lvlm, "answer", lambda films, prompts, **_: [Answer("Yes.", "yes", 1.5)] * len(films))
    found = medground.MedFocus(lvlm, references=table).attribute(items[0].film, QUESTION)
    assert {name for name, *_ in found.concepts} == {"left lung", "right lung", "both lungs"}
    assert found.note["verdict"] in VERDICTS and "".join(token for token, _ in found.tokens) == "Yes."
    with pytest.raises(MedgroundError, match="unknown protocol 'old'; known: medground, published"):
        medground.MedFocus(lvlm, references=table, protocol="old")


def test_what_cannot_be_explained(lvlm, items, monkeypatch):
    from medground.lvlm.base import Answer

    monkeypatch.setattr(lvlm, "answer", lambda films, prompts, **_: [Answer("", "unparsable", 0.0)])
    with pytest.raises(MedgroundError, match="wrote nothing about f"):
        explain(lvlm, items[0].film, QUESTION, method("rollout"), name="f.png")
    monkeypatch.setattr(lvlm, "answer", lambda films, prompts, **_: [Answer("Yes.", "yes", 0.0)])
    with pytest.raises(MedgroundError, match="medfocus needs reference films"):
        explain(lvlm, items[0].film, QUESTION, method("medfocus"))


class Reader(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tokens, self.effects, self.cells, self.inside = [], [], [], None

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.inside = "token" if attributes.get("class") == "token" else tag
        if self.inside == "token":
            self.effects.append(float(attributes["style"].rpartition(",")[2].strip(" )")))

    def handle_endtag(self, tag):
        self.inside = None

    def handle_data(self, text):
        if self.inside == "token":
            self.tokens.append(text)
        elif self.inside == "td":
            self.cells.append(text)


def test_the_page_shows_tokens_and_ranked_concepts(explained):
    reader = Reader()
    reader.feed(page(explained))
    assert "".join(reader.tokens) == "<Yes> it is."
    lost = np.array([effect for _, effect in explained.attribution.tokens])
    expected = lost.clip(min=0) / lost.max() if lost.max() > 0 else np.zeros(len(lost))
    assert np.allclose(reader.effects, expected, atol=1e-3)
    assert [float(cell) for cell in reader.cells[1::2]] == [round(e, 3) for *_, e in explained.attribution.concepts]
    assert reader.cells[::2] == [name for name, *_ in explained.attribution.concepts]
    assert "a&lt;b&gt;.png" in page(explained) and "<Yes>" not in page(explained)


def test_files(explained, tmp_path):
    paths = write(explained, tmp_path / "out")
    assert Image.open(paths["overlay"]).size == explained.item.film.shape[::-1]
    data = json.loads(paths["data"].read_text())
    assert data["answer"] == "<Yes> it is." and data["verdict"] == "yes" and data["method"] == "medfocus"
    assert data["boxes"] == [list(box) for box in explained.attribution.boxes]
    assert [c["concept"] for c in data["concepts"]] == [name for name, *_ in explained.attribution.concepts]
    assert data["prompt"].startswith(QUESTION) and data["film"]["width"] == explained.item.film.shape[1]


def test_the_overlay_marks_the_box_and_the_heat():
    film = np.full((40, 60), 100, np.uint8)
    boxed = np.asarray(overlay(film, Attribution("f", boxes=[(10.0, 5.0, 30.0, 25.0)])))
    assert (boxed[5, 10] != 100).any() and (boxed[24, 29] != 100).any() and (boxed[30, 40] == 100).all()
    heat = np.zeros((4, 6))
    heat[1, 2] = 1
    found = Attribution("f", grid=heat, extent=(0.0, 0.0, 60.0, 40.0))
    warm = np.asarray(overlay(film, found)).astype(int)
    assert warm[15, 25, 0] > 150 and (warm[35, 55] == 100).all()
    (box,) = boxes(film, found)
    assert box[0] < 25 < box[2] and box[1] < 15 < box[3]
    flat = replace(found, grid=np.zeros((4, 6)))
    assert (np.asarray(overlay(film, flat)) == 100).all() and boxes(film, flat) == []


FILM = np.full((90, 120), 100, np.uint8)


@pytest.mark.parametrize("found, said", [
    (Attribution("f", boxes=[], note={"verdict": "not local", "region": None}), NOTHING),
    (Attribution("f", grid=np.zeros((3, 4)), extent=(0.0, 0.0, 120.0, 90.0)), NOTHING),
    (Attribution("f", boxes=[(1.0, 1.0, 9.0, 9.0)], note={"verdict": "anatomy", "region": "heart"}),
     "The answer depends on the heart, most of all in the upper left of the film."),
    (Attribution("f", boxes=[(1.0, 1.0, 9.0, 9.0)], note={"verdict": "elsewhere", "region": None}),
     "The answer depends on a part in the upper left of the film, and on no anatomical region."),
    (Attribution("f", boxes=[(1.0, 1.0, 9.0, 9.0), (50.0, 80.0, 60.0, 90.0)],
                 note={"verdict": "several", "region": None, "together": True, "parts": ["a", "b"]}),
     "The answer depends on several parts, in the upper left and lower middle of the film; neither alone carries it."),
    (Attribution("f", boxes=[(1.0, 1.0, 9.0, 9.0), (50.0, 80.0, 60.0, 90.0)],
                 note={"verdict": "several", "region": None, "together": True, "parts": ["a"]}),
     "The answer depends on a part in the upper left and lower middle of the film, which does not carry it alone."),
    (Attribution("f", boxes=[(100.0, 40.0, 119.0, 50.0)]), "The method points at the middle right of the film."),
])  # fmt: skip
def test_what_was_found_is_said_in_words(found, said, explained):
    assert sentence(FILM, found) == said
    shown = page(replace(explained, attribution=found, item=replace(explained.item, film=FILM)))
    assert said in shown and NOT_A_DIAGNOSIS in shown and LATERALITY in shown


def test_effects_are_signed(explained):
    found = replace(explained.attribution, concepts=[("heart", (0.0, 0.0, 9.0, 9.0), 0.5),
                                                     ("left lung", (0.0, 0.0, 9.0, 9.0), -0.25)])  # fmt: skip
    shown = page(replace(explained, attribution=found))
    assert "+0.500" in shown and "left: 50.0%; width: 50.0%" in shown
    assert "-0.250" in shown and "left: 25.0%; width: 25.0%" in shown


@pytest.mark.parametrize("question, finding", [
    (QUESTION, "left <pleural> effusion"),
    ("Is there evidence of edema in this film?", "edema"),
    ("Is there evidence of edema?", "edema"),
    ("Does the patient have pneumonia?", "Does the patient have pneumonia"),
])  # fmt: skip
def test_finding_of_a_question(question, finding):
    assert finding_of(question) == finding
