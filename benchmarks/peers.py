"""Our time beside packages that one would pick instead, used well, results equal: ``python -m benchmarks.peers``.

``benchmarks.speed`` compares with the plain way of the paper's public code. Here stand Captum with many perturbations
an evaluation and logits for the answer alone, scikit-learn's average precision, components by cc3d, CheXlocalize's way
of comparing segmentations (run-length codes decoded in the film's own size by pycocotools), SciPy's bootstrap, and
pydicom. POT stands in ``benchmarks.anatomy``. One thread; both take turns, and the least CPU time of each counts. What
is not installed is named and left out: ``make bench`` installs `peers.txt` into ``.cache/peers``.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # one core on either side

import numpy as np
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter
from torch import Tensor

from medground import films, images
from medground.attribution import Item, method
from medground.lvlm import load_lvlm
from medground.ranking.bootstrap import interval, resample_patients
from medground.scoring import box_metrics, boxes_from_heatmap
from medground.scoring.agreement import map_metrics
from medground.scoring.boxes import MAX_BOXES, MIN_AREA, QUANTILE

from .speed import MODELS, ROOT, items, take_turns, text, tiles

NATIVE = 3056, 2544  # rows and columns of a film
SIDE = 224  # of a map
TOGETHER = 16  # perturbations an evaluation, steps a batch

Way = Callable[[], list[np.ndarray]]
Job = tuple[str, str, str, Callable[[], tuple[Way, Way]], float]  # work, peer, module, both ways, and what may differ


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5, help="turns, of which the fastest counts")
    parser.add_argument("--maps", type=int, default=30)
    parser.add_argument("--cases", type=int, default=3940, help="of the bootstrap")
    arguments = parser.parse_args(argv)
    torch.set_num_threads(1)
    sys.path.append(str(ROOT / ".cache/peers"))  # last: it adds packages and replaces none
    print("| work on one core | peer | its time | ours | ours of its | greatest difference |")
    print("|---|---|---|---|---|---|")
    for work, peer, module, ways, tolerance in jobs(arguments):
        if find_spec(module) is None:
            print(f"| {work} | {peer} | not installed: `make bench` installs it | | | |")
            continue
        print(row(work, peer, *ways(), tolerance, arguments.repeats), flush=True)


def row(work: str, peer: str, theirs: Way, ours: Way, tolerance: float, repeats: int) -> str:
    """A row of the table; raises AssertionError where the results differ by more than may be."""
    (slow, expected), (fast, got) = take_turns(theirs, ours, repeats)
    difference = max(np.abs(a - b).max(initial=0.0) for a, b in zip(expected, got, strict=True))
    largest = max(np.abs(a).max(initial=0.0) for a in expected)
    assert difference <= tolerance * max(largest, 1), f"{work}: {peer} differs by {difference} of {largest}"
    told = f"{slow * 1e3:.1f} ms | {fast * 1e3:.1f} ms | {fast / slow:.2f} | {difference:.1g} of {largest:.3g}"
    return f"| {work} | {peer} | {told} |"


def jobs(arguments: argparse.Namespace) -> Iterator[Job]:
    """What is compared, in the order of the table."""
    for model in MODELS:
        lvlm = load_lvlm(ROOT / "models" / model, "cpu")
        two = items(lvlm, 1)
        for work, ways in (("occlusion, 8 x 8", occlusion), ("integrated gradients, 24 steps", gradients)):
            yield f"{work}, 2 cases, {model}", f"Captum, {TOGETHER} at once", "captum", partial(ways, lvlm, two), 1e-4
    maps, inside = heat(arguments.maps)
    count = f"{len(maps)} maps of {SIDE} x {SIDE}"
    yield f"average precision, {count}", "scikit-learn", "sklearn", lambda: precision(maps, inside), 1e-9
    yield f"map to boxes, {count}", "numpy and cc3d", "cc3d", lambda: to_boxes(maps), 1e-9
    size = f"{NATIVE[1]} x {NATIVE[0]}"
    yield f"IoU of ten boxes and two, {size}", "pycocotools, as CheXlocalize", "pycocotools", segmentations, 1e-9
    work = f"paired intervals over patients, {arguments.cases:,} cases, 16 entries"
    yield work, "scipy.stats.bootstrap", "scipy", lambda: bootstrap(arguments.cases), 0.002  # each has its own draws
    yield f"a JPEG 2000 film of {size}, read again", "pydicom", "pydicom", decoding, 0.0


# --- methods ---------------------------------------------------------------------------------------------------------


def occlusion(lvlm, cases: Sequence[Item]) -> tuple[Way, Way]:
    """The drop of the answer's probability with each tile blacked out."""
    from captum.attr import FeatureAblation

    def theirs() -> list[np.ndarray]:
        found = []
        for item in cases:
            cell = torch.from_numpy(tiles(item, 8).argmax(0))[None]
            ablation = FeatureAblation(lambda canvas, item=item: answered(lvlm, canvas, item).exp().mean(-1))
            with torch.inference_mode():
                canvas = lvlm.canvas([item.film])
                dropped = ablation.attribute(canvas, 0.0, feature_mask=cell, perturbations_per_eval=TOGETHER)
            first = np.unique(cell[0].numpy(), return_index=True)[1]  # a pixel of each tile: all have its value
            found.append(dropped[0].numpy().ravel()[first].reshape(8, 8))
        return found

    chosen = method("occlusion").with_settings(cells=8)
    return theirs, lambda: [np.asarray(one.grid) for one in chosen.attribute(lvlm, cases)]


def gradients(lvlm, cases: Sequence[Item]) -> tuple[Way, Way]:
    """Gradients of the answer's log-likelihood from a black film, added up by image token, and what is missing to the
    change of the log-likelihood: Captum's convergence delta, in ours' note."""
    from captum.attr import IntegratedGradients

    def theirs() -> list[np.ndarray]:
        found = []
        for item in cases:
            path = IntegratedGradients(lambda canvas, item=item: answered(lvlm, canvas, item).sum(-1))
            evidence, delta = path.attribute(
                lvlm.canvas([item.film]), 0.0, n_steps=24, method="riemann_middle", internal_batch_size=TOGETHER,
                return_convergence_delta=True,
            )  # fmt: skip
            rows, columns = lvlm.grid(*item.film.shape[::-1])
            by_token = evidence[0].unflatten(1, (columns, -1)).sum(-1).unflatten(0, (rows, -1)).sum(1)
            found.append(torch.cat([by_token.ravel(), delta]).detach().numpy())
        return found

    chosen = method("integrated_gradients").with_settings(steps=24)
    return theirs, lambda: [np.append(one.grid, one.note["delta"]) for one in chosen.attribute(lvlm, cases)]


def answered(lvlm, canvas: Tensor, item: Item) -> Tensor:
    """Log-probabilities of the answer's tokens ``[B, T]`` by the model of transformers, logits for them alone."""
    asked = text(lvlm, item)
    logits = lvlm.model(
        input_ids=asked.input_ids.expand(len(canvas), -1), use_cache=False, logits_to_keep=asked.rows,
        **lvlm.expand(asked.inputs, len(canvas)), **lvlm.pixel_inputs(canvas),
    ).logits  # fmt: skip
    targets = asked.input_ids[0, asked.answer].expand(len(canvas), -1)
    return logits.float().log_softmax(-1).gather(-1, targets[..., None])[..., 0]


# --- scoring ---------------------------------------------------------------------------------------------------------


def heat(count: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Random maps, rough and smooth, and the mask of a region."""
    rng = np.random.default_rng(0)
    inside = np.zeros((SIDE, SIDE), bool)
    inside[60:120, 40:110] = True
    return [gaussian_filter(rng.random((SIDE, SIDE)), sigma) for sigma in rng.uniform(1, 12, count)], inside


def precision(maps: Sequence[np.ndarray], inside: np.ndarray) -> tuple[Way, Way]:
    from sklearn.metrics import average_precision_score

    labels = inside.ravel()
    return (
        lambda: [np.array([average_precision_score(labels, one.ravel()) for one in maps])],
        lambda: [np.array([map_metrics(one, inside)["average_precision"] for one in maps])],
    )


def to_boxes(maps: Sequence[np.ndarray]) -> tuple[Way, Way]:
    import cc3d

    def boxes(one: np.ndarray) -> np.ndarray:
        kept = one >= np.quantile(one[one > one.min()], QUANTILE)
        labels = cc3d.connected_components(kept, connectivity=8)
        about = cc3d.statistics(labels)
        means = np.bincount(labels.ravel(), one.ravel()) / about["voxel_counts"]
        large = [k for k in np.argsort(-means, kind="stable") if k and about["voxel_counts"][k] >= MIN_AREA]
        extents = [about["bounding_boxes"][k] for k in large[:MAX_BOXES]]
        return np.array([(x.start, y.start, x.stop, y.stop) for y, x, *_ in extents], float)

    return lambda: [boxes(one) for one in maps], lambda: [np.array(boxes_from_heatmap(one)) for one in maps]


def segmentations() -> tuple[Way, Way]:
    """A case: CheXlocalize stores masks of the film's size as run-length codes, and compares them decoded."""
    from pycocotools import mask

    rng = np.random.default_rng(0)

    def some(count: int) -> list[tuple[float, ...]]:
        corners, sizes = rng.integers(100, 1500, (count, 2)), rng.integers(100, 900, (count, 2))
        return [tuple(map(float, row)) for row in np.concatenate([corners, corners + sizes], 1)]

    def encoded(boxes: list[tuple[float, ...]]) -> dict:
        drawn = np.zeros(NATIVE, np.uint8, order="F")
        for x1, y1, x2, y2 in boxes:
            drawn[int(y1) : int(y2), int(x1) : int(x2)] = 1
        return mask.encode(drawn)

    predicted, expert = some(10), some(2)
    codes = encoded(predicted), encoded(expert)

    def theirs() -> list[np.ndarray]:
        first, second = (mask.decode(code) for code in codes)
        return [np.array([np.logical_and(first, second).sum() / np.logical_or(first, second).sum()])]

    return theirs, lambda: [np.array([box_metrics(predicted, expert)["iou"]])]


def bootstrap(cases: int) -> tuple[Way, Way]:
    """Percentile intervals of 16 means over cases, patients drawn again, all entries on the same draws."""
    from scipy import stats

    rng = np.random.default_rng(0)
    values, patients = rng.random((16, cases)), rng.integers(0, max(2, cases * 3 // 8), cases)
    _, place = np.unique(patients, return_inverse=True)
    sums = np.stack([np.bincount(place, row) for row in values])
    sizes = np.bincount(place)

    def theirs() -> list[np.ndarray]:
        def mean(*rows: np.ndarray, axis: int) -> np.ndarray:
            return np.stack([row.sum(axis) / rows[-1].sum(axis) for row in rows[:-1]])

        found = stats.bootstrap(
            (*sums, sizes), mean, paired=True, vectorized=True, n_resamples=1000, method="percentile", rng=1
        )
        return [found.confidence_interval.low, found.confidence_interval.high]

    def ours() -> list[np.ndarray]:
        means, count = resample_patients(values, patients, 1000, np.random.default_rng(1))
        return list(interval(means, count, 0.95))

    return theirs, ours


# --- films -----------------------------------------------------------------------------------------------------------


def decoding() -> tuple[Way, Way]:
    """What a second process does with a film of which a first one has kept the pixels."""
    folder = tempfile.TemporaryDirectory()  # as long as the two ways are there
    films.STORE = Path(folder.name) / "store"
    rng = np.random.default_rng(0)
    noisy = gaussian_filter(rng.random(NATIVE), 20)
    noisy = (noisy - noisy.min()) / np.ptp(noisy) * 4000 + rng.normal(0, 12, NATIVE)
    path = Path(folder.name) / "film.dicom"
    _jpeg_2000(noisy.clip(0, 4095).astype(np.uint16), path)
    films.Films().read(path)
    return lambda: [images.read_film(path)], lambda folder=folder: [films.Films().read(path)]


def _jpeg_2000(pixels: np.ndarray, path: Path) -> None:
    """Write 12 bits as a film of lossless JPEG 2000."""
    from io import BytesIO

    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.encaps import encapsulate
    from pydicom.uid import JPEG2000Lossless

    stream = BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG2000", irreversible=False, no_jp2=True)
    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPInstanceUID = JPEG2000Lossless, "1.2.3"
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.1.1"
    data = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    data.Rows, data.Columns = pixels.shape
    data.SamplesPerPixel, data.PixelRepresentation, data.PhotometricInterpretation = 1, 0, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit = 16, 16, 15
    data.WindowCenter, data.WindowWidth = 2048, 4096
    data.PixelData = encapsulate([stream.getvalue()])
    data["PixelData"].is_undefined_length = True
    data.save_as(path, enforce_file_format=True)


if __name__ == "__main__":
    main()
