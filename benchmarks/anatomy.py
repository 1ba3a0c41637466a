"""Concept transfer: our time against the plain way, and what each part of the localisation is worth.

    python benchmarks/anatomy.py            both tables
    python benchmarks/anatomy.py --speed    the first only, in seconds

The second table renders virtual patients that neither the pipeline nor the choice of the settings has seen, so it
needs the phantom's CT (it is downloaded where it is missing) and about two minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # one core on either side

import numpy as np
import ot
from scipy.ndimage import zoom
from scipy.spatial.distance import cdist

from medground.anatomy import Locator, References, Registration, published
from medground.anatomy.references import outline
from medground.anatomy.registration import SIDE, Template
from medground.anatomy.sinkhorn import Cost, Problem, sinkhorn, squares
from medground.anatomy.transfer import mapped_boxes
from medground.geometry import Letterbox, box_of
from medground.grounding.segmenter import MedSAM
from medground.scoring import box_metrics

ROOT = Path(__file__).parents[1]
CT = ROOT / "data/raw/ct"
SEED, REFERENCES, PATIENTS = 7, 32, range(40, 80)  # patients 0 to 39 of this seed served to choose the settings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--speed", action="store_true", help="only the table of times")
    only_speed = parser.parse_args().speed
    speed()
    if not only_speed:
        ablation()


# --- speed -----------------------------------------------------------------------------------------------------------


def speed() -> None:
    """The published transfer three ways, on one core in one run, with equal results."""
    told = json.loads((ROOT / "tests/data/uot.json").read_text())
    with np.load(ROOT / "tests/data/uot.npz") as stored:
        films, masks = stored["images"], np.unpackbits(stored["masks"], axis=-1).astype(bool)
    pair = told["pairs"][0]
    job = films[pair["source"]], masks[pair["source"]], films[pair["target"]]
    pool = films[np.arange(REFERENCES) % len(films)]
    ways = {
        "ours, separable": (lambda: published.transfer(*job), lambda: published.costs(pool, job[2])),
        "dense, numpy": (lambda: plain_transfer(*job, scaling), lambda: plain_costs(pool, job[2], scaling)),
        "dense, POT": (lambda: plain_transfer(*job, pot), lambda: plain_costs(pool, job[2], pot)),
    }
    expected = [tuple(pair["boxes"][concept]) for concept in told["concepts"]]
    results = {}
    for way, (transfer, costs) in ways.items():
        many = 50 if way.startswith("ours") else 5
        results[way] = seconds(transfer, many), seconds(costs, many)
        assert transfer() == expected, f"{way}: boxes differ from the published code's"
        np.testing.assert_allclose(costs(), published.costs(pool, job[2]), rtol=1e-6)
    ours = results["ours, separable"]
    head = ("published transfer, one core", "11 masks, 56x56", "ratio", f"{REFERENCES} references, 14x14", "ratio")
    print(f"| {' | '.join((*head, 'film', 'ratio'))} |")
    print("|---|---|---|---|---|---|---|")
    for way, (transfer, costs) in results.items():
        times = zip((transfer, costs, transfer + costs), (*ours, sum(ours)), strict=True)
        cells = [f"{mine * 1e3:.1f} ms | {mine / best:.1f}" for mine, best in times]
        print(f"| {way} | {' | '.join(cells)} |")
    locator = Locator(References(tuple("abcdefg"), tuple(told["concepts"]), films, masks))
    first = seconds(lambda: locator.atlas, 1)
    print(f"\nmedground protocol: {seconds(lambda: locator(job[2]), 20) * 1e3:.1f} ms a film, "
          f"{first:.2f} s once for the atlas of {len(films)} references\n")  # fmt: skip


def seconds(work: Callable, repeats: int) -> float:
    """CPU time of the fastest of several runs; all of this runs on one core, and others may use the machine."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times)


def plain_transfer(reference: np.ndarray, masks: np.ndarray, target: np.ndarray, solve: Callable) -> list[tuple]:
    """The published transfer with the whole cost matrix and plan in memory."""
    a, b = (published.intensity(film, published.FINE) for film in (reference, target))
    plan, _, _ = plain_plan(a, b, solve)
    points, boxes = np.argwhere(b > 0), []
    for mask in masks:
        inside = (zoom(mask.astype(np.float32), published.FINE / SIDE, order=0) > 0.5)[a > 0]
        mass = plan[inside].sum(0)
        order = np.argsort(mass)[::-1]
        kept = points[order[: np.searchsorted(np.cumsum(mass[order]), published.CORE * mass.sum()) + 1]] * 4
        (top, left), (bottom, right) = kept.min(0), kept.max(0)
        boxes.append((float(left), float(top), float(right + 1), float(bottom + 1)))
    return boxes


def plain_costs(references: np.ndarray, target: np.ndarray, solve: Callable) -> list[float]:
    """The published costs, one reference after the other."""
    b, total = published.intensity(target, published.COARSE), []
    for film in references:
        plan, distance, unit = plain_plan(published.intensity(film, published.COARSE), b, solve)
        total.append((plan * distance).sum() * unit * 16**2)
    return total


def plain_plan(a: np.ndarray, b: np.ndarray, solve: Callable) -> tuple[np.ndarray, np.ndarray, float]:
    distance = cdist(np.argwhere(a > 0), np.argwhere(b > 0), "sqeuclidean")
    unit = np.percentile(distance, 90)
    return solve(a[a > 0], b[b > 0], distance / unit), distance / unit, unit


def scaling(a: np.ndarray, b: np.ndarray, cost: np.ndarray) -> np.ndarray:
    """Sinkhorn with the dense kernel."""
    kernel = np.exp(-cost / published.EPSILON)
    power = published.RELAXATION / (published.RELAXATION + published.EPSILON)
    u, v = np.ones_like(a), np.ones_like(b)
    for _ in range(500):
        before = u
        u = (a / (kernel @ v)) ** power
        v = (b / (kernel.T @ u)) ** power
        if np.abs(u - before).sum() < 1e-6:
            break
    return u[:, None] * kernel * v


def pot(a: np.ndarray, b: np.ndarray, cost: np.ndarray) -> np.ndarray:
    return ot.unbalanced.sinkhorn_unbalanced(
        a, b, cost, published.EPSILON, published.RELAXATION, c=np.ones_like(cost), stopThr=1e-9, numItermax=500
    )


# --- ablation --------------------------------------------------------------------------------------------------------


def ablation() -> None:
    """Mean IoU with the true concept boxes on unseen virtual patients, with and without each part."""
    references, truth, films = patients()
    letterbox = Letterbox.fit(films[0].shape[1], films[0].shape[0], SIDE)

    def native(square: Sequence[Sequence]) -> list[list]:
        return [[box and letterbox.to_native(box) for box in boxes] for boxes in square]

    copied = np.array([[box_of(mask) for mask in masks] for masks in references.masks])
    small = [letterbox.apply(film) for film in films]
    cheapest = [int(published.costs(references.films, film).argmin()) for film in small]
    print("| localisation | mean | " + " | ".join(references.concepts) + " |")
    print("|---|" + "---|" * (len(references.concepts) + 1))

    def show(name: str, boxes: Sequence[Sequence]) -> None:
        fit = np.array([[box_metrics([box], [true])["iou"] if box else 0.0 for box, true in zip(*pair, strict=True)]
                        for pair in zip(boxes, truth, strict=True)]).mean(0)  # fmt: skip
        print(f"| {name} | {fit.mean():.3f} | " + " | ".join(f"{value:.2f}" for value in fit) + " |", flush=True)

    def locate(name: str, protocol: str = "medground", segmenter: MedSAM | None = None, **how) -> None:
        locator = Locator(references, protocol, Registration(**how), segmenter)
        located = locator.tightened(films, [locator.transferred(film) for film in films])
        found = [{concept: box for concept, box, *_ in some} for some in located]
        show(name, [[boxes.get(concept) for concept in references.concepts] for boxes in found])

    show("copy: the reference that the paper's rule picks", native(copied[cheapest].tolist()))
    show(f"copy: mean of {REFERENCES} references", native([copied.mean(0).tolist()] * len(films)))
    medsam = MedSAM.load(str(ROOT / "models/phantom-sam"))
    locate("published", "published")
    locate("published, boxes tightened by `phantom-sam`", "published", medsam)
    bary = [barycentric(references, best, film) for best, film in zip(cheapest, small, strict=True)]
    show("brightness as mass, epsilon 0.002, barycentric map", native(bary))
    single, nearest, vote = one_by_one(references, small, cheapest)
    show("lifted: the reference that the paper's rule picks", native(single))
    show("lifted: the reference of least divergence", native(nearest))
    show(f"lifted: {REFERENCES} references vote (as many registrations)", native(vote))
    locate("**medground: their atlas, one registration**")
    locate("boxes tightened by `phantom-sam`", segmenter=medsam)
    locate("only from near by", rounds=Registration().rounds[4:])
    locate("without debiasing", debiased=False)
    locate("without contrast (position only)", tolerance=1e3)
    locate("contrast against the whole film", neighbourhood=448.0)
    locate("nearly balanced", relaxation=1e3)
    locate("affine only", rounds=tuple((sigma, 1) for sigma, _ in Registration().rounds))
    locate("without narrowing the kernel", rounds=tuple((16.0, degree) for _, degree in Registration().rounds))


def patients() -> tuple[References, list[list], list[np.ndarray]]:
    """References, true boxes and films of virtual patients who vary, two films each, most with a finding."""
    from medground.phantom import CONCEPTS, fetch_ct
    from medground.phantom.causes.findings import FINDINGS
    from medground.phantom.causes.marks import draw_marks
    from medground.phantom.causes.patient import VariedPhantom
    from medground.phantom.cohorts import patient_seed

    fetch_ct(CT)
    phantom = VariedPhantom.open(CT)
    normal = [phantom.patient(patient_seed(SEED, "reference", n)).film((), seed=n) for n in range(REFERENCES)]
    letterbox = Letterbox.fit(normal[0].image.shape[1], normal[0].image.shape[0], SIDE)
    references = References(
        tuple(f"normal{n:02d}" for n in range(REFERENCES)), tuple(CONCEPTS),
        np.stack([letterbox.apply(film.image) for film in normal]),
        np.array([[letterbox.apply(film.masks[c].astype(np.uint8) * 255) > 127 for c in CONCEPTS] for film in normal]),
    )  # fmt: skip
    films, truth = [], []
    for number in PATIENTS:
        rng = np.random.default_rng(number)
        patient = phantom.patient(patient_seed(SEED, "validation", number))
        for k in range(2):
            sick = k == 1 or rng.random() < 0.8
            findings = [str(f) for f in rng.choice(FINDINGS, 1 + (rng.random() < 0.25), replace=False)] if sick else []
            film = patient.film(findings, seed=int(rng.integers(10**9)), marks=draw_marks(rng))
            films.append(film.image)
            truth.append([film.anatomy[concept] for concept in CONCEPTS])
    return references, truth, films


def barycentric(references: References, best: int, target: np.ndarray) -> list:
    """The published masses with a narrow kernel and fixed unit; a mask's cells go where their mass goes on average."""
    n = published.FINE
    a, b = (published.intensity(film, n) for film in (references.films[best], target))
    axis = squares(n, 1 / n)
    plan = sinkhorn(Problem(a[None], b[None], Cost(axis, axis), 0.002, 0.1))
    place = np.arange(n) + 0.5
    mass, down, right = (plan.pull(value)[0] for value in (np.ones(n), place[:, None], place))
    boxes = []
    for cells in published.sampled(references.masks[best]) > 0:
        cells &= mass > 0
        y, x = (axis[cells] / mass[cells] * (SIDE / n) for axis in (down, right))
        half = SIDE / n / 2
        boxes.append((x.min() - half, y.min() - half, x.max() + half, y.max() + half))
    return boxes


def one_by_one(references: References, films: Sequence[np.ndarray], cheapest: Sequence[int]) -> tuple[list, list, list]:
    """Every reference registered to every film: boxes by the paper's choice, by least divergence, and by vote."""
    how = Registration()
    templates = [Template(how.lifted(how.contrast(film)), how) for film in references.films]
    outlines = [[outline(mask) for mask in masks] for masks in references.masks]
    single, nearest, vote = [], [], []
    for film, best in zip(films, cheapest, strict=True):
        target = how.contrast(film)
        warps = [template.register(target) for template in templates]
        boxes = [mapped_boxes(warp, some) for warp, some in zip(warps, outlines, strict=True)]
        far = [template.distance(target, warp) for template, warp in zip(templates, warps, strict=True)]
        single.append(boxes[best])
        nearest.append(boxes[int(np.argmin(far))])
        vote.append(np.mean(boxes, axis=0).tolist())
    return single, nearest, vote


if __name__ == "__main__":
    main()
