"""Ask a model all questions and their edits, or take answers from a file, and write what came of it.

`evaluate` is the whole way: from a model's name and the folder of the tables to verdicts, results, a page to read, and
what the Hub shows of a model.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Unpack

import yaml

from .. import engine, folders, records
from ..anatomy.domain import doubts
from ..engine import code
from ..engine.run import PROGRESS
from ..errors import MedgroundError
from ..lvlm.prompts import MODES
from ..ranking.bootstrap import Resampling
from . import answers as answer_files
from . import judging
from . import questions as asked_about
from .report import page
from .results import results
from .tables import ASKED, EDITS, RESULTS, VERDICTS
from .verdicts import verdicts

COMMAND = "medground evaluate"
HUB_RESULTS = Path(".eval_results/medground.yaml")
SPLITS = ("dev", "test")
NOTED = 3  # doubts about films that are told one by one
_BATCH = 64  # questions that are asked together, and kept


@dataclass(frozen=True)
class Evaluation:
    """What a model made of the questions of a dataset."""

    model: str
    revision: str | None
    questions: list[dict]  # rows of `tables.QUESTIONS`, films as paths that can be opened
    verdicts: list[dict]  # rows of `tables.VERDICTS`
    results: list[dict]  # rows of `tables.RESULTS`
    notes: list[str]  # what was left out, and which films are not what a model is made for

    def write(self, out: Path | str, dataset: str = "", tag: str | None = None) -> dict[str, Path]:
        """Write the folder ``out``: ``report.html``, ``verdicts.parquet``, ``results.parquet`` and, where ``dataset``
        names one on the Hub, `HUB_RESULTS` for the model's repository. Returns the paths by what they are.

        Raises MedgroundError for an ``out`` that this did not make (`folders.check`).
        """
        names = {"report": Path("report.html"), "verdicts": Path("verdicts.parquet"),
                 "results": Path("results.parquet")}  # fmt: skip
        with folders.rebuilt(out, COMMAND) as partial:
            (partial / names["report"]).write_text(page(self, dataset))
            records.write_table(self.verdicts, VERDICTS, partial / names["verdicts"])
            records.write_table(self.results, RESULTS, partial / names["results"])
            if dataset and (told := hub_results(self.results, dataset, tag)):
                names["for the model's repository"] = HUB_RESULTS
                (partial / HUB_RESULTS).parent.mkdir()
                (partial / HUB_RESULTS).write_text(told)
        return {what: Path(out) / name for what, name in names.items()}


def evaluate(
    model: str,
    data: Path,
    *,
    modes: Sequence[str] = tuple(MODES),
    split: str = "test",
    asked: Mapping | None = None,
    where: str | None = None,
    answers: Path | None = None,
    anyway: bool = False,
    workers: int = 1,
    **how: Unpack[Resampling],
) -> Evaluation:
    """Evaluate ``model`` on the questions below the folder of tables ``data``, of a split or ``all``.

    The model is loaded from ``where`` (its name, if not given) and asked as ``asked`` says (max_new_tokens,
    most_pixels, protocol) by so many ``workers`` (0: one a GPU, else one a core), or its ``answers`` are read from a
    file (`answers.read`). ``how`` are the resamples, level and seed of the intervals.

    Questions whose films or edits are not there are left out, and said. Raises MedgroundError where none is left, for
    films on which nothing can be right (`anatomy.domain`) unless ``anyway``, and as `load_lvlm` does.
    """
    if unknown := [mode for mode in modes if mode not in MODES]:
        raise MedgroundError(f"unknown mode {unknown[0]!r}; known: {', '.join(MODES)}")
    if split not in (*SPLITS, "all"):
        raise MedgroundError(f"unknown split {split!r}; known: {', '.join(SPLITS)}, all")
    rows, notes = _at_hand(asked_about.read(data), data.parent, split)
    notes += _checked(rows, anyway)
    revision = None
    if answers is not None:
        said, lacking = answer_files.read(answers, model, rows, modes)
        notes += lacking
        found = verdicts(rows, said)
    else:
        found, revision = _ask(model, where or model, rows, modes, asked or {}, workers)
    return Evaluation(model, revision, rows, found, results(found, {model: revision}, **how), notes)


def hub_results(rows: Sequence[Mapping], dataset: str, tag: str | None = None) -> str:
    """The content of `HUB_RESULTS`: the grounded accuracy on the test split, in per cent, for each mode; empty where
    nothing was asked there."""
    from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml

    entries = []
    for row in rows:
        if row["split"] == "test" and row["finding"] is None and row["grounded"] is not None:
            low, high = (100 * row[f"grounded_{end}"] for end in ("low", "high"))
            notes = f"{row['mode']}; 95 % interval over patients {low:.1f} to {high:.1f}"
            if row["accuracy"] is not None:
                notes += f"; accuracy {100 * row['accuracy']:.1f}"
            entry = EvalResultEntry(
                dataset_id=dataset,
                task_id=f"grounded_{row['mode']}",
                value=round(100 * row["grounded"], 1),
                dataset_revision=tag,
                source_url=f"https://huggingface.co/datasets/{dataset}",
                source_name="MedGround",
                notes=notes,
            )
            entries.append(entry)
    return yaml.safe_dump(eval_result_entries_to_yaml(entries), sort_keys=False) if entries else ""


def _at_hand(rows: list[dict], root: Path, split: str) -> tuple[list[dict], list[str]]:
    """The questions of a split that can be asked, with paths from here, and how many could not, and why."""
    chosen = [row for row in rows if split in ("all", row["split"])]
    found = []
    for row in chosen:
        paths = {name: str(root / row[name]) if row[name] else None for name in ("film", *EDITS)}
        needed = [path for name, path in paths.items() if row["answer"] == "Yes" or name == "film"]
        if row["finding"] and all(path and Path(path).is_file() for path in needed):
            found.append(row | paths)
    if not found:
        raise MedgroundError(
            f"none of {len(chosen)} questions of the split {split!r} can be asked: their films, or the edited ones, "
            "are not published; `medground films` joins films from a copy of your own, in the repository `dvc repro` "
            "makes the edits"
        )
    left = len(chosen) - len(found)
    return found, [f"{left} of {len(chosen)} questions were left out: their films or edits are not here"] * bool(left)


def _checked(rows: Sequence[Mapping], anyway: bool) -> list[str]:
    """What speaks against the films."""
    found = {film: doubts(film) for film in dict.fromkeys(row["film"] for row in rows)}
    bad = {film: told for film, told in found.items() if any(doubt.refuses for doubt in told)}
    if bad and not anyway:
        listed = "\n  ".join(f"{film}: {told[0].text}" for film, told in list(bad.items())[:10])
        raise MedgroundError(
            f"{len(bad)} of {len(found)} films are not what this is made for, so that no answer about them can be "
            f"right:\n  {listed}\nleave them out, or ask all the same with --anyway"
        )
    notes = [f"{Path(film).name}: {doubt.text}" for film, told in found.items() for doubt in told]
    more = len(notes) - NOTED
    return notes[:NOTED] + ([f"and {more} more of {len(found)} films with such a note"] if more > 0 else [])


def _ask(
    model: str, where: str, rows: list[dict], modes: Sequence[str], asked: Mapping, workers: int
) -> tuple[list[dict], str]:
    """Rows of `tables.VERDICTS` of ``model``, and what identifies its weights. What was asked is kept under
    ``.progress/``, so that a run that was stopped goes on where it was."""
    from ..lvlm.checkpoints import revision  # imports transformers

    weights = revision(where)
    told = ASKED | dict(asked)
    read = code.digest(code.closure([judging.__name__, *code.below("medground.lvlm.families")]))
    name = f"{re.sub(r'[^A-Za-z0-9.-]+', '_', model)}-{hashlib.sha256(model.encode()).hexdigest()[:8]}"
    out = PROGRESS / "evaluated" / f"{name}.parquet"
    engine.map(
        judging.JudgeTask(where, told["max_new_tokens"], _BATCH, told["protocol"], told["most_pixels"]),
        [(mode, row, None) for mode in modes for row in rows],
        key=judging.name,
        content=judging.content,
        out=out,
        schema=VERDICTS,
        workers=workers,
        batch_size=_BATCH,
        fingerprint=json.dumps([weights, told, read], sort_keys=True),
    )
    return [row | {"model": model} for row in records.read_rows(out, VERDICTS)], weights
