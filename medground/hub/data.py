"""One name for the data, wherever it is: the pipeline's tables, a folder of the dataset, or its name on the Hub.

``tables("ORG/NAME@TAG")`` gives a folder of tables as the pipeline makes them, so that whatever reads those reads a
published dataset, too. The dataset is downloaded by `huggingface_hub` into its cache; its shards are turned into tables
once a version, below `cache`.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from .. import __version__, files, folders, params, records
from ..errors import MedgroundError
from ..evaluation.questions import TABLE as QUESTIONS_TABLE
from ..evaluation.tables import ASKED, EDITS, QUESTIONS, RESULTS
from ..lvlm.prompts import MODES
from ..scoring import METRICS
from .about import ABOUT
from .tables import read_shard

#: What may stand for the data; the text of the option ``--data``.
HELP = "The data: ORG/NAME or ORG/NAME@TAG on the Hub, a folder of that dataset, or the pipeline's tables"
WITHHELD = "kept back"  # in the column control of cases whose causes are not published
MODELS = "models.json"  # below the tables: {model: {"revision", "repository", "commit"}}
_COMMAND = "medground"
_NAME = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?")
_LIGHT = ("direct", "reasoning", "attributions", "results", "baselines", "models", "retention")
_HEAVY = ("questions", "films", "references")
_FORMAT = 1  # of what is unpacked; counted up when it changes
_UNKNOWN = 1 << 30  # width and height, in pixels, of a film whose size is not published: no box lies outside of it


def tables(name: str | Path, *, films: bool = False) -> Path:
    """A folder with the tables of the pipeline, for any of the names of `HELP`.

    With ``films`` films, their edits, the questions and the normal films are in it, too; without, only what it takes to
    check and score an entry is downloaded. What is not published (`WITHHELD`) is missing: expert regions that stay
    back are empty, and of the causes of the test split nothing is known.

    Raises MedgroundError, with the remedy, for a name that stands for nothing, a dataset that medground did not make,
    and where the Hub is out of reach or refuses.
    """
    folder = Path(name)
    for place in (folder, folder / "data"):  # of a repository, or of what `medground questions` made
        if (place / "cases" / "cases.parquet").is_file() or (place / QUESTIONS_TABLE).is_file():
            return place
    if not folder.is_dir():
        if not _NAME.fullmatch(str(name)):
            raise MedgroundError(_nothing(name))
        folder = _downloaded(str(name), films)
    if not any(folder.glob("direct/*.parquet")) and not any(folder.glob("reasoning/*.parquet")):
        raise MedgroundError(_nothing(name))
    return _unpacked(folder, films)


def cache() -> Path:
    """Where tables of datasets are kept: ``MEDGROUND_CACHE``, else ``~/.cache/medground``."""
    return Path(os.environ.get("MEDGROUND_CACHE") or "~/.cache/medground").expanduser()


def repository(name: str | Path) -> tuple[str, str | None] | None:
    """``ORG/NAME`` and the tag of a dataset on the Hub; None where the data lie in a folder."""
    if Path(name).is_dir() or not _NAME.fullmatch(str(name)):
        return None
    repo, _, tag = str(name).partition("@")
    return repo, tag or None


def asked(data: Path) -> dict:
    """How the models of the benchmark were asked (`evaluation.tables.ASKED`): as the dataset says, or ``params.yaml``
    beside the pipeline's tables."""
    if (data / ABOUT).is_file():
        return ASKED | files.read_json(data / ABOUT, dict)["asked"]
    if (data.parent / "params.yaml").is_file():
        p = params.load(data.parent / "params.yaml")
        return {
            "max_new_tokens": p.answer.max_new_tokens,
            "most_pixels": p.canvas.most_pixels,
            "protocol": p.answer.protocol,
        }
    return dict(ASKED)


def model(name: str, data: Path) -> tuple[str, str | None]:
    """Where a model is that a dataset names, and its commit: ``(repository, commit)``, or the name as it is."""
    pin = files.read_json(data / MODELS, dict).get(name, {}) if (data / MODELS).is_file() else {}
    if pin.get("repository") and not Path(name).is_dir():
        return pin["repository"], pin["commit"]
    return name, None


def _nothing(name: str | Path) -> str:
    return (
        f"{name} holds no data: {Path(name) / 'cases/cases.parquet'} is missing, and so are a dataset's shards. "
        "Give --data ORG/NAME for a dataset on the Hub, or the folder that it was downloaded to; in the repository, "
        "run `dvc repro` or `dvc pull`"
    )


def _downloaded(name: str, films: bool) -> Path:
    from huggingface_hub import snapshot_download  # not needed for a folder

    from .push import explained

    repo, _, tag = name.partition("@")
    wanted = [f"{config}/*.parquet" for config in (*_LIGHT, *(_HEAVY if films else ()))]
    with explained(repo, needs_token=False):
        return Path(snapshot_download(repo, repo_type="dataset", revision=tag or None, allow_patterns=[ABOUT, *wanted]))


def _unpacked(folder: Path, films: bool) -> Path:
    """The tables of a folder of the dataset, made where they are not there yet."""
    configs = (*_LIGHT, *(_HEAVY if films else ()))
    used = [folder / ABOUT, *(shard for config in configs for shard in sorted(folder.glob(f"{config}/*.parquet")))]
    digest = hashlib.sha256(f"{__version__} {_FORMAT}".encode())
    for path in used:
        if path.is_file():
            digest.update(path.relative_to(folder).as_posix().encode() + path.read_bytes())
    place = cache() / "tables" / digest.hexdigest()[:16]
    if not (place / "data" / "cases" / "cases.parquet").is_file():
        with folders.rebuilt(place, _COMMAND) as partial:
            _unpack(folder, partial / "data", films)
    return place / "data"


def _unpack(folder: Path, data: Path, films: bool) -> None:
    def rows(config: str) -> list[dict]:
        shards = sorted(folder.glob(f"{config}/*.parquet"))
        return [_plain(row, shard) for shard in shards for row in read_shard(shard).to_pylist()]

    about = files.read_json(folder / ABOUT, dict) if (folder / ABOUT).is_file() else {}
    files.write_json(about or {"asked": ASKED}, data / ABOUT)
    cases = [row for mode in MODES for row in rows(mode)]
    order = {model: number for number, model in enumerate(dict.fromkeys(row["model"] for row in cases))}
    cases.sort(key=lambda row: order[row["model"]])  # the pipeline's order: models, then modes
    settings = {"settings": {"verify": about.get("filter", {})}}
    records.write_table([case(row) for row in cases], records.CASES, data / "cases/cases.parquet", **settings)
    named = _films(rows("films"), data) if films else {}
    samples = {(row["source"], row["index"]): _sample(row, named) for row in cases}
    if films:
        questions = [_question(row, named, data) for row in rows("questions")]
        records.write_table(questions, QUESTIONS, data / QUESTIONS_TABLE)
        samples |= {(row["source"], row["index"]): _sample(row, named) for row in questions if row["answer"] == "Yes"}
        _references(rows("references"), data)
    for source in sorted({source for source, _ in samples}):
        own = [sample for _, sample in sorted(samples.items()) if sample["source"] == source]
        records.write_table(own, records.SAMPLES, data / f"samples/{source}/samples.parquet")
    board = rows("baselines")
    how = {"settings": about.get("resampling", {})}
    records.write_table(board, records.BOARD, data / "board/board.parquet", **how)
    records.write_table(rows("results"), RESULTS, data / "results/results.parquet", **how)
    _attributions(rows("attributions"), board, data)
    pins = {row.pop("model"): row for row in rows("models")}
    files.write_json(pins, data / MODELS)


def _plain(row: dict, shard: Path) -> dict:
    """The row, whose names can be those of files and folders. Raises MedgroundError where one leads elsewhere."""
    for name in ("source", "film", "model", "entry", "reference"):
        if row.get(name) is not None and not re.fullmatch(r"\w[\w.-]*", row[name]):
            raise MedgroundError(f"{shard}: {name} is {row[name]!r}, which is no plain name; this dataset is not ours")
    return row


def case(row: Mapping) -> dict:
    """A row of `records.CASES` of one of the dataset's configs ``direct`` and ``reasoning``. What is not published
    counts as kept where the board asks for it, of a cause that nobody names, so that an entry has to explain it and no
    local score is made of it."""
    told = row["kept"] is not None
    empty = {"finding": "", "question": "", "answer": "", "control": WITHHELD}
    counts = ("seeds", "flipped", "stayed_removed", "stayed_normal", "passed")
    return {
        **{name: row[name] for name in ("case_id", "model", "mode", "source", "index", "patient_id", "split")},
        **{name: row[name] or instead for name, instead in empty.items()},
        **{name: row[name] or 0 for name in counts},
        **{name: row[name] for name in ("pair", "cause", "verified")},
        "right": True,
        "kept": row["kept"] if told else row["benchmark"],
        "reason": row["reason"] or ("kept" if row["benchmark"] else "surplus"),
    }


def _film(row: Mapping, named: Mapping[tuple[str, str], str]) -> str:
    return named.get((row["source"], row["film"])) or f"data/films/{row['source']}/{row['film']}.png"


def _sample(row: Mapping, named: Mapping[tuple[str, str], str]) -> dict:
    """A row of `records.SAMPLES` from a case or a question."""
    question = row["question"] or ""
    for suffix in MODES.values():
        question = question.removesuffix(suffix)
    return {
        **{name: row[name] for name in ("source", "index", "patient_id", "split")},
        "film": row["film"] if "/" in row["film"] else _film(row, named),
        "width": row["width"] or _UNKNOWN,
        "height": row["height"] or _UNKNOWN,
        "finding": row["finding"] or "",
        "question": question,
        "answer": "Yes",
        "regions": row["regions"] or [],
        "licence": row.get("licence", ""),
    }


def _films(rows: Iterable[Mapping], data: Path) -> dict[tuple[str, str], str]:
    """Write the films that are there; their paths by source and name."""
    named = {}
    for row in rows:
        if row["image"]:
            path = f"films/{row['source']}/{Path(row['image']['path']).name}"
            files.write(row["image"]["bytes"], data / path)
            named[row["source"], row["film"]] = f"data/{path}"
    return named


def _question(row: Mapping, named: Mapping[tuple[str, str], str], data: Path) -> dict:
    paths: dict[str, str | None] = {}
    for edit in EDITS:
        paths[edit] = None
        if row[edit]:
            path = f"edits/{row['source']}/{edit}/{row['index']:06d}{Path(row[edit]['path']).suffix}"
            files.write(row[edit]["bytes"], data / path)
            paths[edit] = f"data/{path}"
    return {
        **{name: row[name] for name in ("source", "index", "patient_id", "split", "editor", "recipe")},
        **{name: row[name] or "" for name in ("finding", "question")},
        "answer": row["answer"] or "Yes",  # absent findings are asked about where everything may leave
        "film": _film(row, named),
        "width": row["width"] or _UNKNOWN,
        "height": row["height"] or _UNKNOWN,
        "regions": row["regions"] or [],
        "licence": "",
        **paths,
    }


def _references(rows: Iterable[Mapping], data: Path) -> None:
    """The normal films with their masks, as `records.REFERENCES`."""
    table = []
    for row in rows:
        film, masks = f"references/films/{row['reference']}.png", []
        files.write(row["image"]["bytes"], data / film)
        for number, (concept, mask) in enumerate(zip(row["concepts"], row["masks"], strict=True)):
            path = f"references/masks/{row['reference']}/{number:02d}.png"
            files.write(mask["bytes"], data / path)
            masks.append({"concept": concept, "path": f"data/{path}"})
        table.append({"reference": row["reference"], "film": f"data/{film}", "masks": masks})
    if table:
        records.write_table(table, records.REFERENCES, data / "references/references.parquet")


def _attributions(rows: list[dict], board: Iterable[Mapping], data: Path) -> None:
    """What the published methods say, and their scores as far as they are told."""
    maps: dict[tuple[str, str], list[dict]] = {}
    scores = []
    for row in rows:
        found = {name: row[name] for name in ("case_id", "grid", "grid_height", "grid_width", "extent", "boxes")}
        maps.setdefault((row["model"], row["entry"]), []).append(found | {"forwards": 0})
        measured = {name: row[name] for name in METRICS if row.get(name) is not None}
        if measured:
            which = {"entry": row["entry"], "case_id": row["case_id"], "problem": row["problem"]}
            scores.append({**which, "protocol": "medground", **measured})
            scores.append({**which, "protocol": "published", "iou": row["iou_published"]})
    for (model, entry), own in maps.items():
        records.write_table(own, records.ATTRIBUTIONS, data / f"attributions/{model}/{entry}.parquet")
    if not scores:
        return
    records.write_table(scores, records.SCORES, data / "scores/scores.parquet")
    seconds = {row["entry"]: row["seconds"] for row in board if row["track"] == "all"}
    kinds = {row["entry"]: row["kind"] for row in rows}
    facts = [
        {"entry": entry, "kind": kind, "seconds": seconds.get(entry), "claimed": None} for entry, kind in kinds.items()
    ]
    files.write_json(facts, data / "scores/entries.json")
