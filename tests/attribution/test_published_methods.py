"""``protocol="published"`` against what the paper's code computed on the same checkpoints and films.

Tolerances: grids within 5e-4 of their largest value (what another BLAS moves; here most differ by 1e-6), effects within
1e-4 nats, texts, boxes, references and winners exactly.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import pytest
import torch
from reference import CASES, FOLDER, NAMES, array, decoded, item, references

from medground.anatomy import Locator
from medground.attribution import method
from medground.attribution.builtin import published
from medground.errors import MedgroundError
from medground.grounding.segmenter import MedSAM
from medground.lvlm import load_lvlm
from medground.scoring import boxes_from_heatmap

case_of = pytest.mark.parametrize("case", CASES, ids=[case["case_id"] for case in CASES])


@pytest.fixture(scope="module")
def models():
    torch.set_num_threads(1)
    return {name: load_lvlm(str(FOLDER / "models" / name), device="cpu") for name in {c["model"] for c in CASES}}


@pytest.fixture(scope="module")
def locator():
    return Locator(references(), "published", segmenter=MedSAM.load(str(FOLDER / "models" / "phantom-sam")))


def run(name, models, case):
    chosen = method(name, protocol="published")
    settings = {"masks": array(case, "rise_masks")} if name == "rise" else {}
    return chosen.attribute(models[case["model"]], [item(case)], **settings)[0]


@case_of
def test_the_model_sees_what_the_reference_showed_it(models, case):
    lvlm = models[case["model"]]
    shown = published.Case.of(lvlm, item(case))
    assert np.array_equal(shown.film, array(case, "film_224"))
    assert shown.text.input_ids[0].tolist() == case["input_ids"]
    assert [shown.text.answer[0], shown.text.answer[-1] + 1] == case["target_span"]
    pixels = lvlm.pixel_inputs(lvlm.canvas([shown.film], "published"))["pixel_values"].numpy()
    assert np.array_equal(pixels[0, 0] if pixels.ndim == 4 else pixels, array(case, "pixel_values"))


@case_of
@pytest.mark.parametrize("name", NAMES)
def test_grids_and_boxes_are_the_references(models, case, name):
    found = run(name, models, case)
    expected = array(case, f"grid/{NAMES[name]}")
    assert found.grid.shape == expected.shape
    np.testing.assert_allclose(found.grid, expected, rtol=0, atol=5e-4 * max(abs(expected).max(), 1e-9))
    shown = upsampled(found.grid)
    np.testing.assert_allclose(shown, decoded(array(case, f"map/{NAMES[name]}")), rtol=0, atol=2e-3)
    least = 0.85 if name == "occlusion" else 0.97  # drops of one rounding, 6e-8, are above zero here or there
    assert agreement(boxes_from_heatmap(shown, "published"), case["boxes"][NAMES[name]]) > least


@pytest.mark.parametrize("name", NAMES)
def test_the_answer_without_its_end_would_be_another_explanation(name):
    """The turn's end moves every map but those that are zero: what the fixture can tell apart."""
    moved = [
        abs(array(case, f"grid/{NAMES[name]}_answer_only") - array(case, f"grid/{NAMES[name]}")).max()
        for case in CASES
        if not name.startswith("gradcam")
    ]
    assert all(moved)


@case_of
def test_concepts_are_where_the_reference_found_them(locator, case):
    film = array(case, "film")
    letterbox = published.Letterbox.fit(*film.shape[::-1], 224)
    plain, tight = replace(locator, segmenter=None)(film), locator(film)
    expected = case["medfocus"]
    for found, name in ((plain, "boxes_before_medsam"), (tight, "boxes_after_medsam")):
        boxes = {concept: [round(v) for v in letterbox.to_canvas(box)] for concept, box, *_ in found}
        assert boxes == expected[name]
        assert {reference for *_, reference, _ in found} == {expected["reference"]}
    assert tight[0][3] == pytest.approx(expected["selection_costs"][expected["reference"]], rel=1e-9)


@case_of
def test_medfocus_explains_as_the_reference(models, locator, case):
    shown, expected = item(case), case["medfocus"]
    concepts = tuple((concept, box) for concept, box, *_ in locator(shown.film))
    chosen = method("medfocus", protocol="published")
    found = chosen.attribute(models[case["model"]], [replace(shown, concepts=concepts)])[0]
    letterbox = published.Letterbox.fit(*shown.film.shape[::-1], 224)
    assert found.note == {"region": expected["winner"]}
    assert [[round(v) for v in letterbox.to_canvas(box)] for box in found.boxes] == [expected["bbox"]]
    assert {name: effect for name, _, effect in found.concepts} == pytest.approx(expected["deltas"], abs=1e-4)
    best = max(expected["deltas"], key=expected["deltas"].get)
    assert [effect for _, effect in found.tokens] == pytest.approx(expected["token_deltas"][best], abs=1e-4)
    assert len(found.tokens) == len(case["target_tokens"])
    assert found.forwards == 16 == sum(chosen.passes.values())


def test_a_composite_of_which_one_side_was_found_is_that_side(models):
    case = CASES[0]
    one = replace(item(case), concepts=(("left lung", (20.0, 100.0, 120.0, 300.0)),))
    found = method("medfocus", protocol="published").attribute(models[case["model"]], [one])[0]
    effects = {name: effect for name, _, effect in found.concepts}
    assert effects["bilateral_lungs"] == effects["left lung"] and effects["bilateral_hilar"] == 0


def test_rise_draws_by_seed_and_takes_masks(models):
    case = CASES[0]
    lvlm, chosen = models[case["model"]], method("rise", protocol="published")
    kept = array(case, "rise_masks")
    given = chosen.attribute(lvlm, [item(case)], masks=kept)[0].grid
    assert np.array_equal(
        given, chosen.with_settings(masks=kept.reshape(-1, 8, 8)).attribute(lvlm, [item(case)])[0].grid
    )
    drawn = [chosen.attribute(lvlm, [item(case)], masks=4, seed=seed)[0].grid for seed in (1, 1, 2)]
    assert np.array_equal(drawn[0], drawn[1]) and not np.array_equal(drawn[1], drawn[2])
    with pytest.raises(MedgroundError, match=r"masks of rise are float64 \(3, 9\); expected"):
        chosen.attribute(lvlm, [item(case)], masks=np.zeros((3, 9)))


@pytest.mark.parametrize(
    ("text", "boxes"),
    [
        ("[[10, 20, 110, 120]]", [(10, 20, 110, 120)]), (" [(1.4, 2, 3.6, 4)]", [(1, 2, 4, 4)]), 
        ("[10, 20, 110, 120]", []),
        ("[[5, 5, 5, 9], [1, 1, 2, 2], 'x', [1, 2]]", [(1, 1, 2, 2)]), ("```json\n[[1, 2, 3, 4]]\n```", []),
        ("The box is [[1, 2, 3, 4]]", []), ("__import__('os').system('false')", []), ("{'a': 1}", []), ("", []),
        ("[[0, 0, 1e999, 1]]", []), ("[" * 500, []), ("[[230, 1, 300, 2]]", [(230, 1, 300, 2)]),
    ],
)  # fmt: skip
def test_printed_boxes_are_read_as_the_reference_reads_them(text, boxes):
    assert [box for box in map(published._numbers, published._list(text)) if box] == boxes


@pytest.mark.parametrize("name", ["prompting", "prompting_medsam"])
def test_prompting_asks_below_the_question_and_on_the_square(models, monkeypatch, name):
    case, asked = CASES[0], []
    lvlm = models[case["model"]]
    text = {"prompting": "[[10, 20, 110, 120]]", "prompting_medsam": '["left lung", " ", 3, "heart"]'}[name]

    def answer(films, prompts, **how):
        asked.extend([films, prompts, how])
        return [type("Answer", (), {"text": text})]

    monkeypatch.setattr(lvlm, "answer", answer)
    chosen = method(name, protocol="published")
    if name == "prompting_medsam":
        chosen = chosen.with_settings(
            detector="models/phantom-owlvit", segmenter=str(FOLDER / "models" / "phantom-sam"), threshold=0.0, top=2
        )
    found = chosen.attribute(lvlm, [item(case)])[0]
    films, prompts, how = asked
    request = {"prompting": published.ASK_BOXES, "prompting_medsam": published.ASK_REGIONS}[name]
    assert prompts == [case["prompt"] + "\n" + request] and how["protocol"] == "published"
    assert np.array_equal(films[0], array(case, "film_224"))
    letterbox = published.Letterbox.fit(*item(case).film.shape[::-1], 224)
    boxes = [[round(v) for v in letterbox.to_canvas(box)] for box in found.boxes]
    assert boxes == [[10, 20, 110, 120]] if name == "prompting" else len(boxes) == 4
    assert all(0 <= v <= 223 for box in boxes for v in box)


def test_the_checkpoints_are_those_of_the_reference():
    import json

    digests = json.loads((FOLDER / "cases.json").read_text())["checkpoints_sha256_of_model_safetensors"]
    for name, digest in digests.items():
        weights = (FOLDER / "models" / name / "model.safetensors").read_bytes()
        assert hashlib.sha256(weights).hexdigest() == digest


def upsampled(grid: np.ndarray) -> np.ndarray:
    """As the reference shows a grid: bilinear to 224, from 0 to 1."""
    shown = torch.nn.functional.interpolate(torch.from_numpy(grid).float()[None, None], (224, 224), mode="bilinear")
    shown = shown[0, 0].numpy()
    shown = shown - shown.min()
    return shown / (shown.max() + 1e-8)


def agreement(ours, theirs) -> float:
    """IoU of the unions of boxes: a rounded quantile can move a pixel."""
    masks = []
    for boxes in (ours, theirs):
        mask = np.zeros((224, 224), bool)
        for x1, y1, x2, y2 in np.asarray(boxes, int):
            mask[y1 : y2 + 1, x1 : x2 + 1] = True
        masks.append(mask)
    return (masks[0] & masks[1]).sum() / (masks[0] | masks[1]).sum()
