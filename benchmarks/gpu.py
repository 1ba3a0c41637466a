"""The published architectures on a GPU, at their true sizes with random weights: ``python -m benchmarks.gpu``.

Prints, for each model, mode and method of the registry: seconds a case, peak memory, FLOPs and the share that they are
of the chip's own matrix rate; then answers and RadEdit's edits a second. ``--rates FILE`` keeps the numbers for
`benchmarks.cost`. Films are noise of 2544 x 3056; a fixed answer is teacher-forced, and since random weights babble,
written answers end after ``--tokens``. The segmenters of ``prompting_medsam`` are timed by themselves, on five regions
a film: babble names none.

``--small`` runs the same code on a CPU, with models of a million parameters; its numbers say nothing.
"""

from __future__ import annotations

import argparse
import gc
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from medground.attribution import Item, by_entry, entries
from medground.errors import MedgroundError, friendly
from medground.lvlm import prompts
from medground.phantom import CONCEPTS

from . import flops, true_sizes

FINDING = "cardiomegaly"
ANSWERS = {"direct": "Yes.", "reasoning": "The heart is wide. Yes."}
REGIONS = ["left lung", "right lung", "heart", "left hilum", "right hilum"]


@friendly
def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="*", default=list(true_sizes.TEXT), choices=list(true_sizes.TEXT))
    asking = [name for name, known in entries().items() if "model" in known.needs]
    parser.add_argument("--methods", nargs="*", default=asking)
    parser.add_argument("--cases", type=int, default=8, help="cases a batch")
    parser.add_argument("--tokens", type=int, default=16, help="of an answer that a model writes")
    parser.add_argument("--steps", type=int, default=200, help="of RadEdit's schedule, of which 30 %% are skipped")
    parser.add_argument("--rates", type=Path, help="where to write the numbers, as JSON")
    parser.add_argument("--small", action="store_true", help="small models on a CPU: tries the code")
    arguments = parser.parse_args(argv)
    if not arguments.small and not torch.cuda.is_available():
        raise MedgroundError("there is no CUDA device; run this on a machine with one, or --small to try the code")
    bench = Bench("cpu" if arguments.small else "cuda", arguments.small, arguments.cases, arguments.tokens)
    print(f"{bench.name}, torch {torch.__version__}, bf16 matrices at {bench.rate / 1e12:.3g} TFLOP/s\n")
    rates = {"device": bench.name, "tflops": bench.rate / 1e12, "cases": {}, "answers": {}}
    print("| model | mode | method | s a case | peak GiB | batch | TFLOP | of the matrix rate |")
    print("|---|---|---|---|---|---|---|---|")
    for name in arguments.models:
        rates["cases"][name], rates["answers"][name] = bench.model(name, arguments.methods)
        gc.collect()  # a model has cycles; the next one needs its memory
    rates["edit"] = bench.edits(arguments.steps)
    if arguments.rates:
        arguments.rates.write_text(json.dumps(rates, indent=1))


class Bench:
    """What is measured, on one device."""

    def __init__(self, device: str, small: bool, cases: int, tokens: int):
        self.device, self.small, self.cases, self.tokens = device, small, cases, tokens
        self.name = torch.cuda.get_device_name() if device == "cuda" else "CPU, small models"
        rng = np.random.default_rng(0)
        self.films = [rng.integers(0, 256, true_sizes.FILM, dtype=np.uint8) for _ in range(cases)]
        self.rate = self._matrix_rate(256 if small else 8192)

    def model(self, name: str, chosen: list[str]) -> tuple[dict, dict]:
        """Print a model's rows; its seconds a case by mode and method, and an answer's first and later tokens."""
        lvlm = true_sizes.lvlm(name, self.device, self.small)
        cases, answers = {}, {}
        for mode, answer in ANSWERS.items():
            question = prompts.prompt(prompts.question(FINDING), mode)
            items = [self._item(n, question, answer) for n in range(self.cases)]
            sizes = flops.prompt_tokens(name, question, self.small), len(lvlm.tokenizer(answer).input_ids)
            cases[mode] = {}
            for method in (by_entry(known) for known in chosen):
                if method.group == "prompting":
                    method = method.with_settings(max_new_tokens=self.tokens)
                if method.name == "prompting_medsam":
                    continue
                lvlm.fits = None  # a method that ran out of memory has left less
                seconds, peak = self._timed(lambda method=method, items=items: method.attribute(lvlm, items))
                work = flops.case_flops(method, name, *sizes, self.small)
                cases[mode][method.entry] = seconds
                self._row(name, mode, method.entry, seconds, peak, lvlm.fits or lvlm.batch_size, work)
            answers[mode] = self._answers(lvlm, name, mode, question, sizes[0])
        if "prompting_medsam" in chosen:
            self._segmenters(lvlm.tokenizer)
        return cases, answers

    def edits(self, steps: int) -> float:
        """Seconds of one edited film: three of each go through the editor at once, as the pipeline does it."""
        editor = true_sizes.radedit(self.device, self.small, steps=steps)
        side, films = editor.size, min(4, self.cases)
        change = np.zeros((films, 3, side, side), bool)
        change[:, 0, side // 4 : side // 2, side // 4 : side // 2] = True
        change[:, 1:] = ~change[:, :1]
        words = [["No cardiomegaly", "No cardiomegaly", "No abnormality"]] * films
        canvases = np.stack([film[:side, :side] for film in self.films[:films]])
        many = 3 * films
        seconds, peak = self._timed(lambda: editor.edit(canvases, words, change, ~change, list(range(films))), many)
        kept = len(editor.timesteps)
        work = kept * (1 + 3 * 2) / 3 * flops.unet_flops(self.small)
        self._row("RadEdit", f"{steps} steps", "edit", seconds, peak, films, work)
        print(f"\n{1 / seconds:.3g} edited films a second")
        return seconds

    def _item(self, number: int, question: str, answer: str) -> Item:
        """A case on its own film, with boxes for all concepts and the next film as the normal one."""
        height, width = true_sizes.FILM
        rng = np.random.default_rng(number)
        corners = rng.uniform(0, 0.6, (len(CONCEPTS), 2)) * (width, height)
        boxes = [(float(x), float(y), float(x + 0.3 * width), float(y + 0.3 * height)) for x, y in corners]
        film, normal = self.films[number], self.films[(number + 1) % self.cases]
        concepts = tuple(zip(CONCEPTS, boxes, strict=True))
        return Item(f"gpu/{number}", film, question, answer, FINDING, concepts, normal)

    def _answers(self, lvlm, name: str, mode: str, question: str, prompt: int) -> dict[str, float]:
        """Seconds of an answer's first token and of each later one, in batches."""

        def write(tokens: int) -> tuple[float, float]:
            ask = [question] * self.cases
            return self._timed(lambda: lvlm.answer(self.films, ask, max_new_tokens=tokens, batch_size=self.cases))

        (first, _), (all_, peak) = write(1), write(self.tokens)
        work = flops.pass_flops(name, "forward", prompt, self.tokens, self.small)
        self._row(name, mode, f"answer, {self.tokens} tokens", all_, peak, self.cases, work)
        return {"first": first, "next": max(0.0, all_ - first) / max(1, self.tokens - 1)}

    def _segmenters(self, tokenizer) -> None:
        detector, medsam = true_sizes.segmenters(tokenizer, self.device, self.small)
        height, width = true_sizes.FILM
        box = 0.3 * width, 0.3 * height, 0.6 * width, 0.6 * height

        def work():
            detector.find(self.films, [REGIONS] * self.cases, 0.0, 5)
            medsam.refine(self.films, [[box] * len(REGIONS)] * self.cases)

        seconds, peak = self._timed(work)
        self._row("OWL-ViT, MedSAM", "", "prompting_medsam's regions", seconds, peak, 8, None)

    def _timed(self, work: Callable, many: int | None = None) -> tuple[float, float]:
        """Seconds for one of ``many`` (the cases), after a run to warm up, and the peak of memory in GiB."""
        work()
        self._reset()
        start = time.perf_counter()
        work()
        if self.device == "cuda":
            torch.cuda.synchronize()
        seconds = (time.perf_counter() - start) / (many or self.cases)
        return seconds, torch.cuda.max_memory_allocated() / 2**30 if self.device == "cuda" else 0.0

    def _reset(self) -> None:
        if self.device == "cuda":
            torch.cuda.synchronize()
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()

    def _matrix_rate(self, side: int, repeats: int = 20) -> float:
        """FLOPs a second of a product of square matrices in bfloat16 (float32 on a CPU)."""
        dtype = torch.bfloat16 if self.device == "cuda" else torch.float32
        a, b = (torch.randn(side, side, device=self.device, dtype=dtype) for _ in range(2))

        def work():
            for _ in range(repeats):
                a @ b

        return 2 * side**3 * repeats / self._timed(work, 1)[0]

    def _row(self, model, mode, method, seconds: float, peak: float, batch: int, work: float | None) -> None:
        memory = f"{peak:.1f}" if self.device == "cuda" else ""
        told = f"{work / 1e12:.3g} | {work / seconds / self.rate:.1%}" if work else " | "
        print(f"| {model} | {mode} | {method} | {seconds:.3g} | {memory} | {batch} | {told} |", flush=True)


if __name__ == "__main__":
    main()
