"""Our time against the plain way, one table, with equal results: ``python -m benchmarks.speed``.

The plain way is that of the paper's public code: every masked film is drawn, preprocessed and tokenised again by the
processors of transformers and goes through the model alone, with logits for every position; every step of integrated
gradients, and every point of the curves of deletion and insertion, is a pass of its own; boxes come from a flood fill
in Python; concepts are carried over by dense transport, and MedSAM looks at the film for each anew. Films have the
size of the model's canvas, so that both ways see the same pixels; larger ones would only cost the plain way more. One
thread; the two ways take turns, and the least CPU time of each counts. *Memory* is what a way holds at most beyond
models and inputs. Other solvers of the transport are in ``benchmarks/anatomy.py``.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # one core on either side

import numpy as np
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter
from torch import Tensor
from transformers import AutoProcessor

from medground.anatomy import Locator, References
from medground.attribution import Item, candidates, method
from medground.attribution.faithfulness import asking
from medground.attribution.method import Method
from medground.geometry import box_of, fill
from medground.grounding.segmenter import MedSAM
from medground.lvlm import load_lvlm, prompts
from medground.lvlm.interventions import Intervention, intervene
from medground.scoring import boxes_from_heatmap
from medground.scoring.faithfulness import faithfulness

from .anatomy import plain_costs, plain_transfer, scaling

ROOT = Path(__file__).parents[1]
DATA = ROOT / "tests/data"
MODELS = ("phantom-gemma3", "phantom-qwen2_5_vl")
FINDING = "cardiomegaly"
ANSWERS = {"direct": "Yes.", "reasoning": "The heart is wide. Yes."}

Way = Callable[[], list[np.ndarray]]  # the work of one way; returns its results


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--films", type=int, default=4, help="of each model, each asked in both modes")
    parser.add_argument("--cells", type=int, default=8, help="a side of occlusion's grid")
    parser.add_argument("--steps", type=int, default=24, help="of integrated gradients")
    parser.add_argument("--shares", type=int, default=16, help="of the film that deletion and insertion exchange")
    parser.add_argument("--maps", type=int, default=60, help="stored ones, and as many random ones")
    parser.add_argument("--references", type=int, default=16, help="whose concepts are carried over to each film")
    parser.add_argument("--repeats", type=int, default=5, help="turns, of which the fastest counts")
    arguments = parser.parse_args(argv)
    torch.set_num_threads(1)
    print("| work on one core | model | plain | ours | times faster | memory, plain | ours | greatest difference |")
    print("|---|---|---|---|---|---|---|---|")
    for model in MODELS:
        lvlm = load_lvlm(ROOT / "models" / model, "cpu")
        for work, *ways in jobs(lvlm, Plain(lvlm, processor_of(model)), arguments):
            print(row(work, model, *ways, arguments.repeats), flush=True)
    work, *ways = localisation(arguments.films, arguments.references)
    print(row(work, "phantom-sam", *ways, arguments.repeats), flush=True)
    maps = heatmaps(arguments.maps)
    work = f"map to boxes, {len(maps)} maps of 224 x 224"
    print(row(work, "", lambda: plain_boxes(maps), lambda: our_boxes(maps), arguments.repeats))


def jobs(lvlm, plain: Plain, arguments: argparse.Namespace) -> list[tuple[str, Way, Way]]:
    """What a model is asked: its name, the plain way and ours."""
    cases, cells, steps = items(lvlm, arguments.films), arguments.cells, arguments.steps
    two = cases[:2]
    masks = len(region_masks(cases[0]))
    occlusion = method("occlusion").with_settings(cells=cells)
    gradients = method("integrated_gradients").with_settings(steps=steps)
    return [
        (f"interventions, {masks} masks, {len(cases)} cases",
         lambda: plain.removed(cases), lambda: removed(lvlm, cases)),
        (f"occlusion, {cells} x {cells}, {len(two)} cases",
         lambda: plain.occlusion(two, cells), lambda: grids(lvlm, two, occlusion)),
        (f"integrated gradients, {steps} steps, {len(two)} cases",
         lambda: plain.integrated_gradients(two, steps), lambda: grids(lvlm, two, gradients)),
        (f"deletion and insertion, {arguments.shares} shares, {len(two)} cases",
         lambda: plain.faithfulness(two, arguments.shares), lambda: faithful(lvlm, two, arguments.shares)),
    ]  # fmt: skip


def localisation(films: int, references: int) -> tuple[str, Way, Way]:
    """Where each concept is on a film, as published: from the reference that costs least, tightened by MedSAM."""
    drawn, masks, names = stored_films()
    pool = np.arange(references) % (len(drawn) - films) + films  # the films themselves are not among them
    normal = References(tuple(f"{k}" for k in range(references)), names, drawn[pool], masks[pool])
    locator = Locator(normal, "published", segmenter=MedSAM.load(str(ROOT / "models/phantom-sam")))
    plain = lambda: [plain_located(film, normal, locator.segmenter) for film in drawn[:films]]  # noqa: E731
    return f"concepts of {films} films, {references} references", plain, lambda: located(locator, drawn[:films])


def row(work: str, model: str, plain: Way, ours: Way, repeats: int) -> str:
    """A row of the table; raises AssertionError where the two ways do not say the same."""
    (slow, expected), (fast, got) = take_turns(plain, ours, repeats)
    difference = max(np.abs(a - b).max(initial=0.0) for a, b in zip(expected, got, strict=True))
    largest = max(np.abs(a).max(initial=0.0) for a in expected)
    assert difference < 1e-4, f"{work}, {model}: the two ways differ by {difference}"
    held = " | ".join(peak(way) for way in (plain, ours))
    times = f"{slow * 1e3:.0f} ms | {fast * 1e3:.0f} ms | {slow / fast:.1f}"
    return f"| {work} | {model} | {times} | {held} | {difference:.1g} of {largest:.3g} |"


def take_turns(plain: Way, ours: Way, repeats: int) -> list[tuple[float, list[np.ndarray]]]:
    """Least CPU seconds and results of both, one after the other, ``repeats`` times."""
    best, results = [float("inf")] * 2, [None] * 2
    for _ in range(repeats):
        for n, way in enumerate((plain, ours)):
            start = time.process_time()
            results[n] = way()
            best[n] = min(best[n], time.process_time() - start)
    return list(zip(best, results, strict=True))


def peak(way: Way) -> str:
    """What a way, which has run before, holds at most beyond what is there without it; known on Linux alone."""
    if sys.platform != "linux":
        return "?"

    def status(name: str) -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(name))  # KiB

    ctypes.CDLL(None).malloc_trim(0)  # what was freed goes back first, or it would be taken again unseen
    before = status("VmRSS:")
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    way()
    return f"{(status('VmHWM:') - before) * 1024 / 1e6:.0f} MB"


# --- what is asked ---------------------------------------------------------------------------------------------------


def items(lvlm, films: int) -> list[Item]:
    """Stored films at the size of the model's canvas, each asked in both modes, with the boxes of 11 concepts."""
    drawn, masks, names = stored_films()
    letterbox = lvlm.letterbox(*drawn.shape[:0:-1])
    found = []
    for n, (film, regions) in enumerate(zip(drawn[:films], masks[:films], strict=True)):
        boxes = tuple((name, letterbox.to_canvas(box_of(mask))) for name, mask in zip(names, regions, strict=True))
        for mode, answer in ANSWERS.items():
            question = prompts.prompt(prompts.question(FINDING), mode)
            found.append(Item(f"speed/{mode}/{n}", letterbox.apply(film), question, answer, FINDING, boxes))
    return found


def stored_films() -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Films uint8 ``[N, 224, 224]``, masks of concepts bool ``[N, C, 224, 224]`` and the concepts' names."""
    with np.load(DATA / "uot.npz") as stored:
        films, masks = stored["images"], np.unpackbits(stored["masks"], axis=-1).astype(bool)
    return films, masks, tuple(json.loads((DATA / "uot.json").read_text())["concepts"])


def region_masks(item: Item) -> np.ndarray:
    """What MedFocus takes away: bool ``[15, h, w]``, the 11 concepts and 4 pairs."""
    return np.stack([fill(boxes, *item.film.shape) for _, boxes in candidates.regions(item.concepts)])


def tiles(item: Item, cells: int) -> np.ndarray:
    """Bool ``[cells * cells, h, w]``: the tiles of occlusion, every pixel in the one that holds its centre."""
    down, across = (((np.arange(size) + 0.5) * cells / size).astype(int) for size in item.film.shape)
    return down[:, None] * cells + across == np.arange(cells * cells)[:, None, None]


def ranked(item: Item) -> np.ndarray:
    """A smooth map of the film's size, ``[h, w]``: the ranks of its pixels, so that no two are alike."""
    smooth = gaussian_filter(np.random.default_rng(0).random(item.film.shape), 12)
    return smooth.ravel().argsort().argsort().reshape(smooth.shape).astype(np.float32)


def healthy(item: Item) -> np.ndarray:
    """What deleted pixels are exchanged for: another film, here the mirrored one."""
    return np.ascontiguousarray(item.film[:, ::-1])


def heatmaps(count: int) -> list[np.ndarray]:
    """Maps with known boxes, and random ones, rough and smooth: ``[224, 224]``."""
    rng = np.random.default_rng(0)
    random = [gaussian_filter(rng.random((224, 224)), sigma) for sigma in rng.uniform(0, 12, count)]
    with np.load(DATA / "heatmap_boxes.npz") as stored:
        return [*(stored[name] for name in stored.files[:count]), *random]


# --- ours ------------------------------------------------------------------------------------------------------------


def removed(lvlm, cases: Sequence[Item]) -> list[np.ndarray]:
    """Log-probabilities of the answers' tokens, untouched first: ``[16, T]`` a case."""
    asked = [Intervention(lvlm.canvas([item.film])[0], text(lvlm, item), region_masks(item), "black") for item in cases]
    return [np.concatenate([original[None], masked]) for original, masked in intervene(lvlm, asked)]


def text(lvlm, item: Item):
    return lvlm.text(item.prompt, item.answer, *item.film.shape[::-1])


def grids(lvlm, cases: Sequence[Item], chosen: Method) -> list[np.ndarray]:
    return [found.grid for found in chosen.attribute(lvlm, cases)]


def faithful(lvlm, cases: Sequence[Item], steps: int) -> list[np.ndarray]:
    """Deletion and insertion, ``[2]`` a case."""
    found = []
    for item in cases:
        heat, (height, width) = ranked(item), item.film.shape
        row = {"grid": heat, "grid_height": height, "grid_width": width}
        ask = asking(lvlm, item.film, lambda item=item: healthy(item), item.prompt, item.answer)
        (score,) = faithfulness(ask, lvlm.letterbox(width, height), [row], steps)
        found.append(np.array([score["deletion"], score["insertion"]]))
    return found


def located(locator: Locator, films: Sequence[np.ndarray]) -> list[np.ndarray]:
    found = locator.tightened(films, [locator.transferred(film) for film in films])
    return [np.array([box for _, box, *_ in some]) for some in found]


def our_boxes(maps: Sequence[np.ndarray]) -> list[np.ndarray]:
    return [np.array(boxes_from_heatmap(heat, "published")) for heat in maps]


# --- the plain way ---------------------------------------------------------------------------------------------------


def processor_of(model: str):
    """What transformers loads for a checkpoint without torchvision: Gemma's processor, Qwen's image processor."""
    if "gemma" in model:
        return AutoProcessor.from_pretrained(ROOT / "models" / model)
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    return Qwen2VLImageProcessorPil.from_pretrained(ROOT / "models" / model)


@dataclass(frozen=True)
class Plain:
    """One film a forward, everything made anew for each; nothing of medground's but the loaded model."""

    lvlm: object  # its model and tokenizer alone
    processor: object

    def removed(self, cases: Sequence[Item]) -> list[np.ndarray]:
        return [
            np.stack([self.log_probs(item, film) for film in (item.film, *hidden(item.film, region_masks(item)))])
            for item in cases
        ]

    def occlusion(self, cases: Sequence[Item], cells: int) -> list[np.ndarray]:
        found = []
        for item in cases:
            original = np.exp(self.log_probs(item, item.film)).mean()
            masked = [np.exp(self.log_probs(item, film)).mean() for film in hidden(item.film, tiles(item, cells))]
            found.append((original - np.array(masked)).reshape(cells, cells))
        return found

    def integrated_gradients(self, cases: Sequence[Item], steps: int) -> list[np.ndarray]:
        """By image token, from a black film, by the midpoint rule."""
        found = []
        for item in cases:
            inputs, targets = self.inputs(item, item.film)
            end = inputs["pixel_values"]
            start = self.inputs(item, np.zeros_like(item.film))[0]["pixel_values"]
            slope = torch.zeros_like(end)
            for step in range(steps):
                pixels = (start + (end - start) * ((step + 0.5) / steps)).requires_grad_()
                gain = picked(self.lvlm.model(**{**inputs, "pixel_values": pixels}).logits, targets).sum()
                slope += torch.autograd.grad(gain, pixels)[0]
            found.append(self.by_token(slope / steps * (end - start)))
        return found

    def faithfulness(self, cases: Sequence[Item], steps: int) -> list[np.ndarray]:
        """Both curves of RISE, a film a point, and the areas under them as its authors sum them."""
        found = []
        for item in cases:
            order, other = np.argsort(-ranked(item), axis=None), healthy(item)
            curves = []
            for first, second in ((item.film, other), (other, item.film)):
                film, curve = first.copy(), []
                for step in range(steps + 1):
                    some = order[: round(step * order.size / steps)]
                    film.flat[some] = second.flat[some]
                    curve.append(np.exp(self.log_probs(item, film).mean()))
                curves.append((sum(curve) - curve[0] / 2 - curve[-1] / 2) / steps)
            found.append(np.array(curves))
        return found

    def log_probs(self, item: Item, film: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            inputs, targets = self.inputs(item, film)
            return picked(self.lvlm.model(**inputs).logits, targets).double().numpy()

    def inputs(self, item: Item, film: np.ndarray) -> tuple[dict[str, Tensor], Tensor]:
        """The arguments of a forward with the answer behind the prompt, and the answer's tokens ``[T]``."""
        tokenizer, drawn = self.lvlm.tokenizer, Image.fromarray(film).convert("RGB")
        content = [{"type": "image"}, {"type": "text", "text": item.prompt}]
        chat = tokenizer.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
        )
        if "gemma" in self.lvlm.key:
            made = self.processor(images=drawn, text=chat + item.answer, add_special_tokens=False, return_tensors="pt")
            inputs = {name: made[name] for name in ("input_ids", "pixel_values", "token_type_ids", "attention_mask")}
        else:
            inputs = dict(self.processor(drawn, return_tensors="pt"))
            cells = int(inputs["image_grid_thw"].prod()) // self.processor.merge_size**2
            words = chat.replace("<|image_pad|>", "<|image_pad|>" * cells) + item.answer
            inputs |= dict(tokenizer(words, add_special_tokens=False, return_tensors="pt"))
            inputs["mm_token_type_ids"] = (inputs["input_ids"] == self.lvlm.model.config.image_token_id).int()
            inputs = {name: value for name, value in inputs.items() if name != "token_type_ids"}
        count = len(tokenizer(item.answer, add_special_tokens=False).input_ids)
        return inputs, inputs["input_ids"][0, -count:]

    def by_token(self, evidence: Tensor) -> np.ndarray:
        """Evidence of pixel values, added up by image token."""
        if "gemma" in self.lvlm.key:
            side = int(self.lvlm.model.config.mm_tokens_per_image**0.5)
            return evidence[0].sum(0).unflatten(0, (side, -1)).sum(1).unflatten(1, (side, -1)).sum(2).numpy()
        cells = evidence.sum(1).unflatten(0, (-1, self.processor.merge_size**2)).sum(1)
        side = int(len(cells) ** 0.5)
        return cells.view(side, side).numpy()


def picked(logits: Tensor, targets: Tensor) -> Tensor:
    """Log-probabilities of the last tokens of a text, ``[T]``, from the logits ``[1, L, V]`` of all of them."""
    return logits.float().log_softmax(-1)[0, -len(targets) - 1 : -1].gather(-1, targets[:, None])[:, 0]


def hidden(film: np.ndarray, masks: np.ndarray) -> list[np.ndarray]:
    """The film with each mask blacked out."""
    return [np.where(mask, 0, film).astype(np.uint8) for mask in masks]


def plain_located(film: np.ndarray, references: References, segmenter: MedSAM) -> np.ndarray:
    """Boxes ``[C, 4]`` of the concepts on a film of 224 x 224, whole pixels."""
    best = int(np.argmin(plain_costs(references.films, film, scaling)))
    carried = plain_transfer(references.films[best], references.masks[best], film, scaling)
    last = film.shape[0] - 1
    return np.array([plain_tight(film, [min(round(value), last) for value in box], segmenter) for box in carried])


@torch.no_grad()
def plain_tight(film: np.ndarray, box: list[int], segmenter: MedSAM) -> tuple[float, ...]:
    """The tight box of the mask that SAM believes in most of its three, as the model's own example asks for it."""
    inputs = segmenter.processor(Image.fromarray(film).convert("RGB"), return_tensors="pt")
    size, padded = film.shape, inputs["reshaped_input_sizes"]
    prompt = torch.tensor([[box]], dtype=torch.float32) * (padded[0, 0] / size[0])
    said = segmenter.model(pixel_values=inputs["pixel_values"], input_boxes=prompt, multimask_output=True)
    masks = segmenter.processor.post_process_masks(said.pred_masks.sigmoid(), [size], padded, binarize=False)[0][0]
    tight = box_of((masks[said.iou_scores[0, 0].argmax()] > 0.5).numpy()) or box
    return tuple(float(min(value, size[0] - 1)) for value in tight)


def plain_boxes(maps: Sequence[np.ndarray]) -> list[np.ndarray]:
    return [np.array(flood_fill(heat)) for heat in maps]


def flood_fill(heat: np.ndarray) -> list[tuple]:
    """The paper's boxes of a map, its components found pixel by pixel."""
    heat = heat.astype(np.float32)
    heat = heat - heat.min()
    heat = heat / (heat.max() + 1e-8)
    positive = heat[heat > 0]
    kept = heat >= (float(np.quantile(positive, 0.9)) if positive.size else 0.0)
    height, width = heat.shape
    seen, found = np.zeros_like(kept), []
    for row in range(height):
        for column in range(width):
            if not kept[row, column] or seen[row, column]:
                continue
            seen[row, column], queue, members = True, deque([(row, column)]), []
            while queue:
                y, x = queue.popleft()
                members.append((y, x))
                for dy in (-1, 0, 1):
                    for dx in (-1, 0, 1):
                        v, u = y + dy, x + dx
                        if 0 <= v < height and 0 <= u < width and kept[v, u] and not seen[v, u]:
                            seen[v, u] = True
                            queue.append((v, u))
            if len(members) >= 16:
                ys, xs = zip(*members, strict=True)
                score = float(np.mean([heat[y, x] for y, x in members], dtype=np.float64))
                found.append((score, (float(min(xs)), float(min(ys)), float(max(xs)), float(max(ys)))))
    return [box for _, box in sorted(found, key=lambda entry: -entry[0])[:10]]


if __name__ == "__main__":
    main()
