"""What the full study costs, and how it grows: ``python -m benchmarks.cost``.

With S samples (a film and a finding), n edits of a kind, M models, D modes, C verified cases and K of the editor's
steps left after skipping:

- edit: S n (K + 3 x 2 K) passes of the UNet; K invert the film, and each of three edits takes 2 K, with the prompt and
  without. They depend on neither models nor modes.
- answer: S M D (1 + 3 n) generations at most; the edits are only asked about where the first answer is right. A model
  looks at a film once for all modes: S M (1 + 3 n) passes of its vision tower.
- attribute: C x the passes of a method (which it declares), where C = retention x S M D.

Each is linear in S, and so is the whole. FLOPs are counted on the true sizes (`benchmarks.flops`). Time comes from the
measured rates that ``python -m benchmarks.gpu --rates FILE`` keeps, or, only computed, from a chip's matrix rate and
the share of it that you believe in: ``--tflops 400 --share 0.3``.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from medground import params
from medground.attribution import by_entry
from medground.attribution.method import PASSES, Method
from medground.errors import MedgroundError, friendly
from medground.lvlm import prompts
from medground.params import Params
from medground.verification.released import DATASETS, DIRECT, TOTALS

from . import flops

ROOT = Path(__file__).parents[1]
#: The largest index of each source in the released files, and one: at least so many samples were asked about.
SAMPLES = dict(zip(DATASETS, (1405, 2108, 2648), strict=True))
TOKENS = {"direct": 3, "reasoning": 256}  # of an answer, at most: "Yes." and its end; the limit of the paper
SIZES = {"medgemma_4b": "gemma3_4b", "medgemma1_5_4b": "gemma3_4b"}  # whose sizes a model has, if not its own
FINDING = "pleural effusion"
RETENTION = {"1.5 %": 0.015, "released": None, "20 %": 0.2}  # None: as many as the paper released

Cases = Mapping[tuple[str, str], float]  # (model, mode): verified cases


@dataclass(frozen=True)
class Study:
    """A run of the pipeline: the films, and the settings of a profile."""

    samples: int
    params: Params

    @property
    def kept_steps(self) -> int:
        settings = self.params.edit.radedit
        return settings.steps - int(settings.steps * settings.skip_ratio)

    @property
    def unet_passes(self) -> int:
        return self.samples * self.params.verify.seeds * self.kept_steps * 7

    @property
    def edits(self) -> int:
        return 3 * self.samples * self.params.verify.seeds

    @property
    def pairs(self) -> list[tuple[str, str]]:
        return [(model, mode) for model in self.params.models for mode in self.params.modes]

    @property
    def answers(self) -> int:
        """Of one model in one mode, where every first answer is right."""
        return self.samples * (1 + 3 * self.params.verify.seeds)

    def cases(self, retention: float | None) -> Cases:
        """Verified cases by model and mode: a share of the samples; or the released ones, of which those in reasoning
        mode are only known in sum and are shared out as those in direct mode."""
        if retention is not None:
            return {pair: retention * self.samples for pair in self.pairs}
        grown = self.samples / sum(SAMPLES.values())
        return {
            (model, mode): sum(DIRECT[model]) * TOTALS[mode] / TOTALS["direct"] * grown for model, mode in self.pairs
        }

    def methods(self) -> list[Method]:
        """Those that ask a model and declare their passes."""
        return [by_entry(name) for name in self.params.methods if by_entry(name).passes]

    def undeclared(self) -> list[str]:
        return [name for name in self.params.methods if by_entry(name).passes is None]


@friendly
def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=sum(SAMPLES.values()), help="a film and a finding each")
    parser.add_argument("--profile", type=Path, default=ROOT / "profiles/paper.yaml")
    parser.add_argument("--rates", type=Path, help="seconds measured by benchmarks.gpu")
    parser.add_argument("--tflops", type=float, help="a chip's matrix rate, TFLOP/s; with --share")
    parser.add_argument("--share", type=float, help="of the matrix rate that is reached, 0..1; an assumption")
    arguments = parser.parse_args(argv)
    if (arguments.tflops is None) != (arguments.share is None):
        raise MedgroundError("--tflops and --share belong together: a matrix rate, and the share of it that is reached")
    study = Study(arguments.samples, params.load(arguments.profile))
    print(table(study, "passes", counted(study)))
    if unknown := study.undeclared():
        print(f"\nNot counted, for they do not declare their passes: {', '.join(unknown)}")
    work = worked(study)
    print("\n" + table(study, "PFLOP", work))
    if arguments.rates:
        rates = json.loads(arguments.rates.read_text())
        print("\n" + table(study, f"GPU hours, at rates measured on {rates['device']}", timed(study, rates)))
    if arguments.tflops:
        speed = arguments.tflops * 1e12 * arguments.share * 3600 / 1e15  # PFLOP an hour
        title = f"GPU hours, computed and not measured: {arguments.tflops:g} TFLOP/s x {arguments.share:g}"
        print(
            "\n" + table(study, title, {row: [value / speed for value in row_] for row, row_ in worked(study).items()})
        )


def table(study: Study, unit: str, rows: Mapping[str, list[float]]) -> str:
    """Markdown: each row at each retention, and their sum."""
    sums = [sum(column) for column in zip(*rows.values(), strict=True)]
    total = {} if unit == "passes" else {"**all**": sums}  # a pass of a UNet and one of a model do not add up
    names = [f"{name}: {sum(study.cases(share).values()):,.0f} cases" for name, share in RETENTION.items()]
    lines = [f"| {unit} | {' | '.join(names)} |", "|---|" + "---|" * len(names)]
    lines += [
        f"| {row} | {' | '.join(_told(value) for value in values)} |" for row, values in {**rows, **total}.items()
    ]
    return "\n".join(lines)


def counted(study: Study) -> dict[str, list[float]]:
    """Passes and generations by stage and method, at each retention."""
    rows = {
        "edit: passes of the UNet": [study.unet_passes] * len(RETENTION),
        "answer: generations, at most": [study.answers * len(study.pairs)] * len(RETENTION),
    }
    for chosen in study.methods():
        kinds = chosen.passes
        told = " + ".join(f"{count} {_KINDS[kind]}" for kind, count in kinds.items())
        rows[f"{chosen.entry}: {told} a case"] = [
            sum(kinds.values()) * sum(study.cases(share).values()) for share in RETENTION.values()
        ]
    return rows


_KINDS = dict.fromkeys(PASSES, "with a gradient") | {"forward": "forward", "generation": "generation"}


def worked(study: Study) -> dict[str, list[float]]:
    """PFLOP by stage and method, at each retention."""
    rows = {
        "edit": [study.unet_passes * flops.unet_flops() / 1e15] * len(RETENTION),
        "answer, at most": [answer_flops(study) / 1e15] * len(RETENTION),
    }
    for chosen in study.methods():

        def cost(model: str, mode: str, chosen=chosen) -> float:
            return flops.case_flops(chosen, SIZES.get(model, model), _prompt(model, mode), TOKENS[mode])

        rows[chosen.entry] = [_over(study.cases(share), cost) / 1e15 for share in RETENTION.values()]
    return rows


def timed(study: Study, rates: Mapping) -> dict[str, list[float]]:
    """GPU hours by stage and method, at each retention, from measured rates; MedgroundError names what was not."""
    rows = {"edit": [study.edits * rates["edit"] / 3600] * len(RETENTION)}

    def answer(model: str, mode: str, tokens: int | None = None) -> float:
        told = rates["answers"][SIZES.get(model, model)][mode]
        return told["first"] + ((tokens or TOKENS[mode]) - 1) * told["next"]

    try:
        rows["answer, at most"] = [_over(dict.fromkeys(study.pairs, study.answers), answer) / 3600] * len(RETENTION)
        for chosen in study.methods():

            def cost(model: str, mode: str, chosen=chosen) -> float:
                if written := chosen.settings.get("max_new_tokens"):
                    return answer(model, mode, written)
                return rates["cases"][SIZES.get(model, model)][mode][chosen.entry]

            rows[chosen.entry] = [_over(study.cases(share), cost) / 3600 for share in RETENTION.values()]
    except KeyError as missing:
        raise MedgroundError(f"the rates have nothing about {missing}; run benchmarks.gpu on it, too") from None
    return rows


def answer_flops(study: Study) -> float:
    """FLOPs of all answers, the vision tower's once a film for all modes (`medground.lvlm.sight`)."""
    again = study.answers * (len(study.params.modes) - 1)
    seen = sum(again * flops.vision_flops(SIZES.get(model, model)) for model in study.params.models)
    return _over(dict.fromkeys(study.pairs, study.answers), _one_answer) - seen


def _over(cases: Cases, cost: Callable[[str, str], float]) -> float:
    return sum(count * cost(model, mode) for (model, mode), count in cases.items())


def _one_answer(model: str, mode: str) -> float:
    return flops.pass_flops(SIZES.get(model, model), "forward", _prompt(model, mode), TOKENS[mode])


def _prompt(model: str, mode: str) -> int:
    return flops.prompt_tokens(SIZES.get(model, model), prompts.prompt(prompts.question(FINDING), mode))


def _told(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


if __name__ == "__main__":
    main()
