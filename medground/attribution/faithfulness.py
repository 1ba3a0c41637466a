"""Deletion and insertion of entries, measured with the models that they explain; what was measured once is kept.

`medground.scoring.faithfulness` says what is measured; here are the films, the models and the normal films that take
the place of what is deleted.
"""

from __future__ import annotations

import shutil
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from .. import engine, films, records
from ..lvlm.checkpoints import revision
from ..params import Params
from ..scoring.entries import Entry
from ..scoring.faithfulness import SPLIT, Ask, faithfulness, measured_cases
from ..scoring.tables import dataset_version, read_attributions, take_attributions
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
    Of each table, what it says about these cases is taken out once, so that a batch of them reads its own rows alone.
    """
    chosen = measured_cases(cases, params.faithfulness.cases if most is None else most, params.seed, split)
    models = {model: revision(model) for model in sorted({case["model"] for case in chosen})}
    settings: dict[str, Any] = {"models": models, "steps": params.faithfulness.steps, "seed": params.seed}
    settings |= {"most_pixels": params.canvas.most_pixels}
    steps, most_pixels = params.faithfulness.steps, params.canvas.most_pixels
    stored, tables, maps = [], [], {}
    for entry in entries if chosen else ():
        if entry.check:
            entry.check()
        about = engine.about(params, entry.tables, dataset=dataset_version(chosen), entry=entry.name, **settings)
        stored.append(cache / f"{entry.name}-{about['fingerprint'][:16]}.parquet")
        if not stored[-1].exists():
            maps[entry.name] = _taken(entry.tables, chosen, stored[-1].with_suffix(""))
            jobs = [(entry.name, case) for case in chosen]
            tables.append(
                engine.Table(stored[-1], jobs, _case_id, records.FAITHFULNESS, **about | {"batch_size": BATCH})
            )
    work = Measure(maps, steps, params.seed, root, most_pixels)
    engine.map_tables(work, tables, **engine.where(params))
    for folder in [path for path in cache.glob("*") if path.is_dir()]:  # of this run, and of one that never ended
        shutil.rmtree(folder)
    found = [records.read_table(path, records.FAITHFULNESS).replace_schema_metadata() for path in stored]
    table = pa.concat_tables([records.FAITHFULNESS.empty_table().replace_schema_metadata(), *found])
    records.write_table(table, records.FAITHFULNESS, out, settings=settings)


@dataclass
class Measure:
    """The work of `engine.map`: pairs of an entry's name and a case in, rows of `records.FAITHFULNESS` out.

    ``maps`` are the tables of each entry's attributions; ``root`` is where the films' paths begin.
    """

    maps: Mapping[str, Sequence[Path]]
    steps: int
    seed: int
    root: Path = Path(".")
    most_pixels: int = 0  # of `LVLM`

    def __call__(self, jobs: list[tuple[str, dict]]) -> list[dict]:
        return [
            row
            for entry, some in groupby(jobs, lambda job: job[0])
            for row in self._of_entry(entry, [case for _, case in some])
        ]

    def _of_entry(self, entry: str, cases: list[dict]) -> Iterator[dict]:
        found: dict[str, list[dict]] = {case["case_id"]: [] for case in cases}  # of each case there should be one
        for table in self.maps[entry]:
            for row in read_attributions(table, only=found):
                found[row["case_id"]].append(row)
        for case in cases:
            yield self._row(entry, case, found[case["case_id"]])

    def _row(self, entry: str, case: dict, found: list[dict]) -> dict:
        seed = [self.seed, zlib.crc32(case["case_id"].encode())]
        film, lvlm = films.read(self.root / case["film"]), _loaded(case["model"], self.most_pixels)
        letterbox = lvlm.letterbox(film.shape[1], film.shape[0])
        ask = asking(lvlm, film, lambda: films.drawn(film, self._normal.draw), case["question"], case["answer"])
        (score,) = faithfulness(ask, letterbox, [found[0] if len(found) == 1 else None], self.steps, seed)
        again = {"problem": "given more than once"} if len(found) > 1 else {}
        return {"entry": entry, "case_id": case["case_id"], **score, **again}

    @cached_property
    def _normal(self):
        from ..anatomy import Locator, References  # a table of invalid maps starts without them
        from ..anatomy.normal import Normal

        return Normal(Locator(References.read(self.root / REFERENCES, self.root)))


def asking(lvlm: LVLM, film: np.ndarray, normal: Callable[[], np.ndarray], prompt: str, answer: str) -> Ask:
    """What the model says of its answer when parts of the film are exchanged for a normal one.

    ``film`` and what ``normal`` gives are uint8 ``[H, W]``. What comes back takes masks, bool ``[M, h, w]`` on the
    model's canvas, and gives the mean probability of the answer's tokens: on the film, and ``[M]`` with each mask
    exchanged.
    """

    def ask(masks: np.ndarray) -> tuple[float, np.ndarray]:
        from ..lvlm.interventions import Intervention, intervene  # imports torch: only in the worker that asks

        canvas, fill = lvlm.canvas([film])[0], lvlm.canvas([normal()])[0]
        text = lvlm.text(prompt, answer, film.shape[1], film.shape[0])
        whole, masked = intervene(lvlm, [Intervention(canvas, text, masks, fill)])[0]
        return float(np.exp(whole.mean())), np.exp(masked.mean(1))

    return ask


def _case_id(job: tuple[str, Mapping]) -> str:
    return job[1]["case_id"]


def _taken(tables: Sequence[Path], cases: Sequence[Mapping], folder: Path) -> list[Path]:
    """What tables say about the cases, a table each in ``folder``; made where it is not there yet."""
    taken = [folder / f"{number}.parquet" for number in range(len(tables))]
    for table, own in zip(tables, taken, strict=True):
        if not own.exists():
            take_attributions(table, {case["case_id"] for case in cases}, own)
    return taken


@lru_cache(maxsize=1)
def _loaded(model: str, most_pixels: int):
    from ..lvlm import load_lvlm  # imports torch too

    return load_lvlm(model, most_pixels=most_pixels)
