"""The shipped segmenter and detector on films of a patient that they have not seen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from medground.attribution import Item, method
from medground.attribution.evidence import parse_names
from medground.geometry import hull
from medground.grounding.detector import Detector
from medground.grounding.segmenter import MedSAM
from medground.lvlm import load_lvlm, prompts
from medground.phantom import CONCEPTS, Phantom
from medground.phantom.cohorts import patient_seed
from medground.phantom.grounding.evaluate import best, fits, iou

ROOT = Path(__file__).parents[2]
MODELS = ROOT / "models"
pytestmark = pytest.mark.slow
SHIFT = 24  # pixels


@pytest.fixture(scope="module")
def shots(ct_folder):
    torch.set_num_threads(1)
    phantom = Phantom.open(ct_folder, ROOT / ".cache" / "phantom")
    findings = (["left pleural effusion"], ["cardiomegaly"], [])
    patients = [phantom.patient(patient_seed(5, "validation", number)) for number in range(2)]
    return [patient.film(wanted, seed=k) for patient in patients for k, wanted in enumerate(findings)]


@pytest.fixture(scope="module")
def medsam():
    return MedSAM.load(str(MODELS / "phantom-sam"))


@pytest.fixture(scope="module")
def detector():
    return Detector.load(str(MODELS / "phantom-owlvit"))


def rough(film, seed=0):
    """Boxes of the concepts, each side moved by a tenth of the box."""
    true = np.array([film.anatomy[concept] for concept in CONCEPTS])
    size = np.tile(true[:, 2:] - true[:, :2], 2)
    return list(map(tuple, (true + np.random.default_rng(seed).normal(0, 0.1, true.shape) * size).tolist()))


def shifted(film):
    """The film moved to the right; what comes in is black."""
    moved = np.zeros_like(film)
    moved[:, SHIFT:] = film[:, :-SHIFT]
    return moved


def test_the_segmenter_improves_rough_boxes(shots, medsam):
    true = [list(film.anatomy.values()) for film in shots]
    asked = [rough(film, k) for k, film in enumerate(shots)]
    refined = fits(medsam.refine([film.image for film in shots], asked), true)
    assert refined.mean() > 0.72 and refined.mean() > fits(asked, true).mean()


def test_the_segmenter_finds_what_is_in_a_box_much_too_large(shots, medsam):
    film = shots[0]
    for concept, least in (("right lung", 0.6), ("cardiac silhouette", 0.4)):
        x1, y1, x2, y2 = film.anatomy[concept]
        wide, high = (x2 - x1) / 4, (y2 - y1) / 4
        large = (x1 - wide, y1 - high, x2 + wide, y2 + high)
        tight = medsam.refine([film.image], [[large]])[0][0]
        assert iou(tight, film.anatomy[concept]) > max(least, iou(large, film.anatomy[concept]))


def test_the_detector_finds_concepts(shots, detector):
    found = detector.find([film.image for film in shots], [CONCEPTS] * len(shots), 0.1, 5)
    scores = [iou(best(some).get(concept), film.anatomy[concept])
              for some, film in zip(found, shots, strict=True) for concept in CONCEPTS]  # fmt: skip
    assert np.mean(scores) > 0.6 and np.mean(np.array(scores) > 0.5) > 0.75


def test_a_phrase_chooses_its_region(shots, detector):
    film = shots[0]
    for phrase in ("left lung", "right lung", "both lungs"):
        box = best(detector.find([film.image], [[phrase]], 0.1, 5)[0])[phrase]
        truth = {name: film.anatomy[name] for name in ("left lung", "right lung")}
        truth["both lungs"] = hull(truth.values())
        fit = {name: iou(box, other) for name, other in truth.items()}
        assert max(fit, key=fit.get) == phrase


def test_boxes_move_with_the_film(shots, medsam, detector):
    """In the median over films and concepts: a stray pixel of a mask can carry the side of a single tight box away."""
    films, names = [film.image for film in shots], ["right lung", "cardiac silhouette", "left clavicle"]
    moved = [shifted(film) for film in films]
    before, after = (
        [[best(some)[name] for name in names] for some in detector.find(those, [names] * len(those), 0.1, 5)]
        for those in (films, moved)
    )
    _moved(before, after)
    asked = [[film.anatomy[name] for name in names] for film in shots]
    _moved(medsam.refine(films, asked), medsam.refine(moved, [_right(boxes) for boxes in asked]))


def _moved(before, after):
    by = np.median(np.subtract(after, before), axis=(0, 1))
    assert by == pytest.approx([SHIFT, 0, SHIFT, 0], abs=0.2 * SHIFT)
    assert np.median(fits(after, [_right(boxes) for boxes in before])) > 0.8


def _right(boxes):
    return [(x1 + SHIFT, y1, x2 + SHIFT, y2) for x1, y1, x2, y2 in boxes]


def test_prompting_medsam_runs_on_a_phantom_model(shots):
    """The model names regions, the detector finds them, the segmenter tightens them: near the named regions."""
    lvlm = load_lvlm(str(MODELS / "phantom-qwen2_5_vl"))
    chosen = method("prompting_medsam").with_settings(
        detector=str(MODELS / "phantom-owlvit"), segmenter=str(MODELS / "phantom-sam"), max_new_tokens=32
    )
    some = [(film, finding) for film in shots for finding in film.extents]
    items = [
        Item(str(n), film.image, prompts.prompt(prompts.question(finding), "direct"), "Yes.", finding)
        for n, (film, finding) in enumerate(some)
    ]
    results = chosen.attribute(lvlm, items)
    scores = []
    for (film, _), result in zip(some, results, strict=True):
        named = parse_names(result.note["text"])
        assert named and set(named) <= set(CONCEPTS)
        concepts = {name: box for name, box, _ in result.concepts}
        assert set(concepts) <= set(named) and set(concepts.values()) <= set(result.boxes)
        scores += [iou(concepts.get(name), film.anatomy[name]) for name in named]
    assert np.mean(scores) > 0.55
