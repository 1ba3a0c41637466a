"""What the pages know: every table that the pipeline wrote, read once per version of its file.

Paths are relative to the repository that the environment variable ``MEDGROUND_ROOT`` names (default: the working
folder). Each reader is cached on the path and its modification time, so a page sees a new table at once and an old
one for free. Sessions share one table in memory (``st.cache_resource``) and get copies of the frame; change these
freely, but not the lists in their cells.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import streamlit as st
import yaml
from PIL import Image

from medground import engine, files, params, records, reproduced, scoring
from medground.cases import benchmarked
from medground.errors import MedgroundError
from medground.evaluation.results import published
from medground.evaluation.tables import RESULTS
from medground.hub.data import WITHHELD
from medground.hub.hidden import hidden as hub_hidden
from medground.hub.licences import Kind, may_leave
from medground.images import read_film
from medground.ranking import Resampling
from medground.scoring.tables import paired
from medground.submission import preview

Stamp = tuple[int, int]
#: Labels of the metrics that are on the board, by name.
ON_BOARD = {metric.name: metric.arrow for metric in scoring.METRICS.that_need("pair", "cause", "regions")}


def root() -> Path:
    """The repository whose tables are shown."""
    return Path(os.environ.get("MEDGROUND_ROOT", "."))


def settings():
    """The active ``params.yaml``, see `medground.params.load`."""
    return _settings(*_version("params.yaml"))


def hidden(split: str) -> bool:
    """True where the expert regions of a split, and all that would give them away, are kept back."""
    return hub_hidden(split, settings().publish.hide_test_regions)


def unhidden(cases: pd.DataFrame) -> pd.Series:
    """Which rows are of a split that is not `hidden`."""
    return ~cases.split.isin([split for split in cases.split.unique() if hidden(split)])


def untold(cases: pd.DataFrame) -> pd.Series:
    """Which cases are of those whose causes do not leave the pipeline's repository (`medground.hub.untold`)."""
    return cases.control == WITHHELD


def board() -> pd.DataFrame:
    """`records.BOARD`: one row per track, split and entry, with the seconds a case that were measured here.

    The table itself knows those that authors of submissions report: times are no function of the inputs.
    """
    took = sorted(root().glob(str(engine.duration("data/attributions/*/*.parquet"))))
    return _board(version_of_board(), tuple(_version(str(path.relative_to(root()))) for path in took)).copy()


def in_order(split: str, track: str = "all") -> list[str]:
    """The entries of a track and split: the ranked, best first, then the others by what orders the track."""
    rows = board()
    rows = rows[(rows.split == split) & (rows.track == track)]
    if rows.empty:
        return []
    return rows.sort_values(["rank", rows.order.iloc[0], "entry"], ascending=[True, False, True]).entry.tolist()


def cases() -> pd.DataFrame:
    """`records.CASES` with the film, size, regions and licence of each case's sample, in the order of the table."""
    versions = tuple(_version(path) for path in _sample_tables())
    return _cases(_version("data/cases/cases.parquet"), versions).copy()


def kept() -> list[dict]:
    """The cases of the benchmark as dicts, each with the width, height and regions of its film: what scoring and
    validation ask."""
    known = cases()
    optional = known[["pair", "cause"]].astype(object)
    known[["pair", "cause"]] = optional.where(optional.notna(), None)  # frames have NaN for what is not there
    return paired([case for case in known.to_dict("records") if benchmarked(case)])


def resampling() -> Resampling:
    """Resamples, level and seed of the board: what a preview has to use to say the same."""
    return preview.resampling(root() / "data/board/board.parquet")


def version_of_board() -> tuple[str, Stamp]:
    """What changes when the board does."""
    return _version("data/board/board.parquet")


def version_of_cases() -> tuple[str, Stamp]:
    """What changes when the cases do."""
    return _version("data/cases/cases.parquet")


def version_of_cards() -> tuple[tuple[str, Stamp], ...]:
    """What changes when what is known about submissions does: their cards and receipts."""
    paths = [path for name in ("entry.yaml", "receipt.json") for path in root().glob(f"submissions/*/{name}")]
    return tuple(_version(str(path.relative_to(root()))) for path in sorted(paths))


def samples() -> pd.DataFrame:
    """`records.SAMPLES` of all sources."""
    return pd.concat([_frame(*_version(path), "SAMPLES") for path in _sample_tables()], ignore_index=True)


def kinds() -> pd.Series:
    """What caused each answer of the benchmark, by case: ``finding``, the name of a mark, ``several`` parts of the
    film, or ``no region``. Cases whose cause is not known, or is kept back, are not there."""
    versions = tuple(_version(path) for path in _sample_tables())
    return _kinds(_version("data/cases/cases.parquet"), versions).copy()


def pairs() -> pd.DataFrame:
    """The pairs whose causes may be shown: a row each, with the case of either model (``first``, ``second``)."""
    known = cases()
    known = known[known.pair.notna() & known.cause.notna()]
    known = known[unhidden(known)]
    known = known.assign(other=known.case_id.map(kinds()) != "finding")  # an answer from the finding comes first
    order = ["split", "mode", "finding", "pair", "other", "model"]
    known = known.sort_values(order, ascending=[False, *[True] * 5])
    both = known.groupby("pair", sort=False).case_id.agg(list)
    both = both[both.map(len) == 2]
    return pd.DataFrame({"first": both.str[0], "second": both.str[1]}).rename_axis("pair").reset_index()


def pair_titles(pairs: pd.DataFrame, cases: pd.DataFrame) -> list[str]:
    """What pairs are called in lists and addresses: finding, both causes, and the name. ``cases`` are by id."""
    of = kinds()
    told = cases.loc[pairs["first"], ["finding", "split", "mode"]].assign(
        first=of[pairs["first"]].array, second=of[pairs["second"]].array, pair=pairs.pair.array
    )
    return [f"{row.finding}: {row.first} or {row.second} ({row.split}, {row.mode}, {row.pair})"
            for row in told.itertuples()]  # fmt: skip


def by_control() -> dict[str, dict]:
    """What the filter did to the answers of each kind of cause (`medground.verification.causes.by_control`)."""
    path = "data/cases/filter.json"
    return _json(*_version(path)).get("by_control", {}) if exists(path) else {}


def retention() -> pd.DataFrame:
    """What the filter kept: model, mode, source, finding, control, asked, right, flipped, stayed, kept."""
    return pd.DataFrame(_json(*_version("data/cases/retention.json")))


def results() -> pd.DataFrame:
    """The board of models (`medground.evaluation.tables.RESULTS`) as anybody may see it; empty where the pipeline has
    not made it here."""
    path = "data/results/results.parquet"
    if not exists(path):
        return RESULTS.empty_table().to_pandas()
    controls = retention()
    return _results(*_version(path), frozenset(controls[controls["control"] != "honest"]["model"]))


@st.cache_data(show_spinner=False, max_entries=2)
def _results(path: str, stamp: Stamp, taught: frozenset[str]) -> pd.DataFrame:
    rows = published(records.read_rows(path, RESULTS), taught)
    return pd.DataFrame(rows, columns=RESULTS.names)


def versions() -> list[dict]:
    """When the board's tables changed and how, the latest first: ``date``, ``what``. From git, where the repository is
    here; else from ``data/board/history.json``, which `space/assemble.py` writes from it."""
    if exists("data/board/history.json"):
        return _json(*_version("data/board/history.json"))
    return _history(*_version("dvc.lock")) if exists("dvc.lock") else []


@st.cache_data(show_spinner=False, max_entries=2)
def _history(lock: str, stamp: Stamp) -> list[dict]:
    return reproduced.versions(Path(lock).parent)


def made_by(path: str) -> dict:
    """What a table's metadata says about how it was made."""
    return records.made_by(root() / path)


def may_show(source: str, kind: Kind) -> bool:
    """Whether a source's licence lets this kind of information be shown to anyone.

    Where all who can reach the app have signed the sources' agreements, say so with ``MEDGROUND_PRIVATE=1``.
    """
    return os.environ.get("MEDGROUND_PRIVATE") == "1" or may_leave(source, kind)


def edits(case: pd.Series) -> pd.DataFrame:
    """`records.EDITS` of a case's sample; empty where the source's edits are not here."""
    path = f"data/edits/{case.source}/edits.parquet"
    if not (root() / path).exists():
        return records.EDITS.empty_table().to_pandas()
    table = _frame(*_version(path), "EDITS")
    return table[table["index"] == case["index"]]


def answers(case: pd.Series) -> pd.DataFrame:
    """`records.ANSWERS` that the case's model gave to the film and its edits."""
    table = _frame(*_version(f"data/answers/{case.model}.parquet"), "ANSWERS")
    return table[(table["mode"] == case["mode"]) & (table.source == case.source) & (table["index"] == case["index"])]


def attribution(entry: str, case: pd.Series) -> dict | None:
    """The row of `records.ATTRIBUTIONS` in which an entry explains a case, or None where it has none."""
    places = ("submissions", "submissions/_quarantine") if entry else ()
    for path in (*(f"{place}/{entry}/attributions.parquet" for place in places),
                 f"data/attributions/{case.model}/{entry}.parquet"):  # fmt: skip
        if (root() / path).exists():
            return _attribution(*_version(path), case.case_id)
    return None


def receipt(entry: str) -> dict:
    """The receipt of a submission; nothing for what the pipeline ran, or came by pull request."""
    path = f"submissions/{entry}/receipt.json"
    found = _json(*_version(path)) if exists(path) else {}
    return found if isinstance(found, dict) else {}


def card(entry: str) -> dict | None:
    """What the authors of a submission say about it in its ``entry.yaml``; None for what the pipeline ran."""
    path = f"submissions/{entry}/entry.yaml"
    return _yaml(*_version(path)) if exists(path) else None


def facts() -> dict[str, dict]:
    """What scoring noted about each entry: kind, seconds a case, claimed IoU."""
    path = "data/scores/entries.json"
    return {row["entry"]: row for row in _json(*_version(path))} if exists(path) else {}


def scores(entries: tuple[str, ...], cases: Iterable[str] | None = None) -> pd.DataFrame:
    """`records.SCORES` of some entries, on some cases or on all, under the protocol that ranks."""
    found = _scores(*_version("data/scores/scores.parquet"), tuple(entries), _sorted(cases))
    return found.filter(pc.equal(found["protocol"], "medground")).to_pandas()


def metric_by_case(metric: str, entries: tuple[str, ...], cases: Iterable[str] | None = None) -> pd.DataFrame:
    """What `scores` says of one metric: a row for each case, a column for each entry, NaN where there is no score."""
    stored = _version("data/scores/scores.parquet")
    found = _scores(*stored, tuple(entries), _sorted(cases), ("case_id", "entry", "protocol", metric))
    found = found.filter(pc.equal(found["protocol"], "medground")).to_pandas()
    return found.pivot(index="case_id", columns="entry", values=metric).reindex(columns=list(entries))


def score_table(entries: tuple[str, ...]) -> pa.Table:
    """`records.SCORES` of some entries, as a table."""
    return _scores(*_version("data/scores/scores.parquet"), tuple(entries))


def film(path: str, side: int = 720) -> tuple[np.ndarray, float]:
    """A film as uint8 ``[h, w]``, its longer side at most ``side``, and the shown pixels per native pixel."""
    return _film(*_version(path), side)


def exists(path: str) -> bool:
    """Whether a file of the repository is here (restricted films need not be)."""
    return (root() / path).is_file()


def _sample_tables() -> list[str]:
    return sorted(str(path.relative_to(root())) for path in root().glob("data/samples/*/samples.parquet"))


def stamped(file: Path) -> tuple[str, Stamp]:
    """A file, and what changes when it does."""
    status = file.stat()
    return str(file), (status.st_mtime_ns, status.st_size)


def _version(path: str) -> tuple[str, Stamp]:
    try:
        return stamped(root() / path)
    except FileNotFoundError:
        raise MedgroundError(f"{path} is missing; {files.remedy(path)}") from None


@st.cache_resource(show_spinner=False, max_entries=4)
def _settings(path: str, stamp: Stamp):
    return params.load(path)


def _frame(path: str, stamp: Stamp, schema: str) -> pd.DataFrame:
    return _read(path, stamp, schema).copy()


@st.cache_resource(show_spinner="Reading tables", max_entries=32)
def _read(path: str, stamp: Stamp, schema: str) -> pd.DataFrame:
    return records.read_table(path, getattr(records, schema)).to_pandas()


@st.cache_resource(show_spinner=False, max_entries=2)
def _board(stored: tuple[str, Stamp], durations: tuple[tuple[str, Stamp], ...]) -> pd.DataFrame:
    """The board with the mean seconds a case of each method that was timed here, over the models."""
    board = _frame(*stored, "BOARD")
    took = pd.DataFrame([{"entry": Path(path).stem, **files.read_json(path, dict)} for path, _ in durations],
                        columns=["entry", "seconds", "rows"]).groupby("entry").sum()  # fmt: skip
    took = took[took["rows"] > 0]
    board["seconds"] = board.entry.map(took.seconds / took["rows"]).fillna(board.seconds.astype(float))
    return board.copy()  # in one piece, which is copied sooner


@st.cache_resource(show_spinner="Reading cases", max_entries=2)
def _cases(cases: tuple[str, Stamp], tables: tuple[tuple[str, Stamp], ...]) -> pd.DataFrame:
    columns = ["source", "index", "film", "width", "height", "regions", "licence", "question"]
    samples = [_frame(*table, "SAMPLES")[columns].rename(columns={"question": "asked"}) for table in tables]
    if not samples:
        raise MedgroundError(f"data/samples is empty; {files.remedy('data/samples')}")
    merged = _frame(*cases, "CASES").merge(pd.concat(samples), on=["source", "index"], how="left", validate="m:1")
    orphans = merged.case_id[merged.film.isna()]
    if len(orphans):
        raise MedgroundError(f"data/cases/cases.parquet: {orphans.iloc[0]} has no sample; run `dvc repro`")
    return merged


@st.cache_resource(show_spinner=False, max_entries=2)
def _kinds(cases: tuple[str, Stamp], tables: tuple[tuple[str, Stamp], ...]) -> pd.Series:
    parts = {
        (row.source, row.index_): [] if row.parts is None else list(row.parts)
        for table in tables
        for row in _frame(*table, "SAMPLES").rename(columns={"index": "index_"}).itertuples()
    }
    known = _frame(*cases, "CASES")
    known = known[known.cause.notna()]
    return pd.Series(
        [_kind(row.finding, row.cause, parts[row.source, row.index_])
         for row in known.rename(columns={"index": "index_"}).itertuples()],
        index=known.case_id, dtype=object,
    )  # fmt: skip


def _kind(finding: str, cause: np.ndarray, parts: list[dict]) -> str:
    if not len(cause):
        return "no region"
    boxes = sorted(tuple(box) for box in cause)
    for part in parts:
        if sorted(tuple(box) for box in part["boxes"]) == boxes:
            return "finding" if part["name"] == finding else part["name"]
    return "several"


@st.cache_data(show_spinner=False, max_entries=8)
def _json(path: str, stamp: Stamp) -> list[dict]:
    return files.read_json(path, object)


@st.cache_data(show_spinner=False, max_entries=64)
def _yaml(path: str, stamp: Stamp) -> dict:
    return yaml.safe_load(Path(path).read_text())


@st.cache_data(show_spinner="Reading maps", max_entries=256)
def _attribution(path: str, stamp: Stamp, case_id: str) -> dict | None:
    """The row of a case; of a table of large maps only the row group that holds it is read, some rows at a time."""
    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        for group in range(file.num_row_groups):
            if case_id not in file.read_row_group(group, columns=["case_id"])["case_id"].to_pylist():
                continue
            for batch in file.iter_batches(16, row_groups=[group]):
                names = batch["case_id"].to_pylist()
                if case_id in names:
                    row = batch.slice(names.index(case_id), 1).to_pylist()[0]
                    return dict.fromkeys(records.ATTRIBUTIONS.names) | row
    return None


@st.cache_resource(show_spinner="Reading scores", max_entries=16)
def _scores(
    path: str,
    stamp: Stamp,
    entries: tuple[str, ...],
    cases: tuple[str, ...] | None = None,
    columns: tuple[str, ...] | None = None,
) -> pa.Table:
    wanted = ds.field("entry").isin(pa.array(entries, pa.string()))
    if cases is not None:
        wanted &= ds.field("case_id").isin(pa.array(cases, pa.string()))
    stored = ds.dataset(path)
    known = records.with_metrics(records.SCORES, stored.schema.names).names
    return stored.to_table(columns=list(columns or known), filter=wanted)


def _sorted(names: Iterable[str] | None) -> tuple[str, ...] | None:
    return None if names is None else tuple(sorted(names))


@st.cache_data(show_spinner=False, max_entries=128)
def _film(path: str, stamp: Stamp, side: int) -> tuple[np.ndarray, float]:
    film = read_film(path)
    scale = side / max(film.shape)
    size = max(1, round(film.shape[1] * scale)), max(1, round(film.shape[0] * scale))
    return np.asarray(Image.fromarray(film).resize(size, Image.Resampling.LANCZOS)), scale
