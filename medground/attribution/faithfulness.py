"""Deletion and insertion of entries, measured with the models that they explain; what was measured once is kept.

`medground.scoring.faithfulness` says what is measured; here are the films, the models and the normal films that take
the place of what is deleted.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from .. import engine, records
from ..images import read_film
from ..lvlm.checkpoints import revision
from ..params import Params
from ..scoring.entries import Entry
from ..scoring.faithfulness import SPLIT, Ask, faithfulness, measured_cases
from ..scoring.tables import dataset_version, read_attributions
from .items import REFERENCES

if TYPE_CHECKING:
    from ..lvlm import LVLM

BATCH = 4  # cases; one takes some hundred forwards, so few share out evenly


def measure(
    entries: Sequence[Entry],
    cases: Sequence[dict],
    params: Params,
    out: Path | str,
    root: Path = Path("."),
    most: int | None = None,
    split: str = SPLIT,
    cache: Path = Path(".progress/faithfulness"),
) -> None:
    """Write `records.FAITHFULNESS` of all entries on their `measured_cases`, resumably, with progress.

    ``params.faithfulness`` says how many cases and steps; ``most`` overrides the cases. ``root`` is where the films'
    paths begin. An entry whose tables, cases and models are as before comes from ``cache``: one more costs only itself.
    """
    chosen = measured_cases(cases, params.faithfulness.cases if most is None else most, params.seed, split)
    models = {model: revision(model) for model in sorted({case["model"] for case in chosen})}
    settings = {"models": models, "steps": params.faithfulness.steps, "seed": params.seed}
    settings |= {"most_pixels": params.canvas.most_pixels}
    found = [records.FAITHFULNESS.empty_table()]
    for entry in entries if chosen else ():
        if entry.check:
            entry.check()
        about = engine.options(params, entry.tables, dataset=dataset_version(chosen), entry=entry.name, **settings)
        stored = cache / f"{entry.name}-{about['fingerprint'][:16]}.parquet"
        steps, most_pixels = params.faithfulness.steps, params.canvas.most_pixels
        work = Measure(entry.name, entry.tables, steps, params.seed, root, most_pixels)
        if not stored.exists():
            options = {**about, "batch_size": BATCH}
            engine.map(work, chosen, key=_case_id, out=stored, schema=records.FAITHFULNESS, **options)
        found.append(records.read_table(stored, records.FAITHFULNESS))
    table = pa.concat_tables([table.replace_schema_metadata() for table in found])
    records.write_table(table, records.FAITHFULNESS, out, settings=settings)


@dataclass
class Measure:
    """The work of `engine.map`: cases in, rows of `records.FAITHFULNESS` of an entry out.

    ``tables`` are its attributions; ``root`` is where the films' paths begin.
    """

    entry: str
    tables: Sequence[Path]
    steps: int
    seed: int
    root: Path = Path(".")
    most_pixels: int = 0  # of `LVLM`

    def __call__(self, cases: list[dict]) -> list[dict]:
        found = _found(self.tables, cases)
        return [row for case in cases for row in self._rows(case, found[case["case_id"]])]

    def _rows(self, case: dict, found: list[dict]) -> Iterator[dict]:
        seed = [self.seed, zlib.crc32(case["case_id"].encode())]
        film, lvlm = read_film(self.root / case["film"]), _loaded(case["model"], self.most_pixels)
        letterbox = lvlm.letterbox(film.shape[1], film.shape[0])
        ask = _asking(lvlm, film, lambda: self._normal.draw(film), case["question"], case["answer"])
        (score,) = faithfulness(ask, letterbox, [found[0] if len(found) == 1 else None], self.steps, seed)
        again = {"problem": "given more than once"} if len(found) > 1 else {}
        yield {"entry": self.entry, "case_id": case["case_id"], **score, **again}

    @cached_property
    def _normal(self):
        from ..anatomy import Locator, References  # a table of invalid maps starts without them
        from ..anatomy.normal import Normal

        return Normal(Locator(References.read(self.root / REFERENCES, self.root)))


def _asking(lvlm: LVLM, film: np.ndarray, normal: Callable[[], np.ndarray], prompt: str, answer: str) -> Ask:
    """What the model says of its answer when parts of the film are exchanged for a normal one."""

    def ask(masks: np.ndarray) -> tuple[float, np.ndarray]:
        from ..lvlm.interventions import Intervention, intervene  # imports torch: only in the worker that asks

        canvas, fill = lvlm.canvas([film])[0], lvlm.canvas([normal()])[0]
        text = lvlm.text(prompt, answer, film.shape[1], film.shape[0])
        whole, masked = intervene(lvlm, [Intervention(canvas, text, masks, fill)])[0]
        return float(np.exp(whole.mean())), np.exp(masked.mean(1))

    return ask


def _case_id(case: Mapping) -> str:
    return case["case_id"]


def _found(tables: Iterable[Path], cases: Iterable[Mapping]) -> dict[str, list[dict]]:
    """The attributions of each case, of which there should be one."""
    found: dict[str, list[dict]] = {case["case_id"]: [] for case in cases}
    for table in tables:
        if found.keys().isdisjoint(row["case_id"] for row in read_attributions(table, ["case_id"])):
            continue  # of another model: its maps need not be decoded
        for row in read_attributions(table):
            if row["case_id"] in found:
                found[row["case_id"]].append(row)
    return found


@lru_cache(maxsize=1)
def _loaded(model: str, most_pixels: int):
    from ..lvlm import load_lvlm  # imports torch too

    return load_lvlm(model, most_pixels=most_pixels)
