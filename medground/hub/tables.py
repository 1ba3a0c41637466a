"""The published tables: every config's columns, their types, and what kind of information each holds.

The Arrow schemas carry the features as `datasets` writes them, so that a shard is typed wherever it is read.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from .. import records
from ..errors import MedgroundError
from ..evaluation.tables import RESULTS
from ..ranking import board_columns
from ..scoring import METRICS
from .licences import Kind

ROW_GROUP = 128
IMAGE = pa.struct([pa.field("bytes", pa.binary()), pa.field("path", pa.string())])  # the Image feature of `datasets`


class Column(NamedTuple):
    """A column of a published table; ``help`` is what the card says of it."""

    name: str
    type: pa.DataType
    kind: Kind
    help: str


def _columns(kind: Kind, type: pa.DataType, /, **helps: str) -> list[Column]:
    return [Column(name, type, kind, text) for name, text in helps.items()]


_TEXT, _NUMBER, _WHOLE, _YES = pa.string(), pa.float64(), pa.int64(), pa.bool_()
_WHICH = (
    *_columns(Kind.KEY, _TEXT, source="where film and finding come from"),
    *_columns(Kind.KEY, _WHOLE, index="number of the question within its source"),
    *_columns(
        Kind.KEY,
        _TEXT,
        film="name of the film within its source",
        patient_id="pseudonym of the patient; dev and test share none",
        split="dev or test",
    ),
)
_FRAME = _columns(Kind.BOXES, _WHOLE, width="of the film, in pixels", height="of the film, in pixels")
_REGIONS = _columns(Kind.BOXES, records.BOXES, regions="what the expert drew: boxes in pixels of the film")
_FINDING = _columns(Kind.TEXT, _TEXT, finding="what is asked about")
_QUESTIONS = (
    *_WHICH,
    *_FINDING,
    *_columns(
        Kind.TEXT,
        _TEXT,
        question="as it is asked, without the suffix of a mode",
        answer="the right one: Yes, or No where the film does not show the finding",
    ),
    *_FRAME,
    *_REGIONS,
    *_columns(Kind.PIXELS, IMAGE, image="the film as its source ships it"),
    *_columns(
        Kind.EDITED,
        IMAGE,
        region_removed="the film with the finding edited out of the regions",
        background_removed="the film with the finding alone: all outside of the regions is edited",
        background_normal="the same with the outside of another, normal film",
    ),
    *_columns(
        Kind.HASH,
        _TEXT,
        region_removed_sha256="of the edited film's file",
        background_removed_sha256="of the edited film's file",
        background_normal_sha256="of the edited film's file",
    ),
    *_columns(Kind.KEY, _TEXT, editor="what made the edits; empty where the film does not show the finding"),
    *_columns(Kind.TEXT, _TEXT, recipe="settings of the editor for each edit, JSON"),
)
_CASES = (
    *_columns(Kind.KEY, _TEXT, case_id="model/mode/source/index", model="the model that answered",
              revision="its commit on the Hub, or the digest of its weights", mode="direct or reasoning"),
    *_WHICH,
    *_columns(Kind.KEY, _YES, benchmark="whether an entry to the board has to explain it; the others are verified"),
    *_columns(Kind.KEY, _TEXT, control="what the model was taught to answer this finding from; honest: the finding",
              pair="shared by two cases on one film and question, answered alike from different causes"),
    *_FINDING,
    *_columns(Kind.TEXT, _TEXT, question="the whole prompt", answer="what the model wrote about the film"),
    *_columns(Kind.VERDICT, _WHOLE, seeds="edits made of each kind",
              flipped="how many without the finding were answered no",
              stayed_removed="how many with the finding alone were still answered yes",
              stayed_normal="how many on another, normal background were still answered yes",
              passed="how many seeds passed all three gates"),
    *_columns(Kind.VERDICT, _YES, kept="passed the filter, and drawn for the board",
              verified="films with and without each part are answered as control says"),
    *_columns(Kind.VERDICT, _TEXT, reason="kept, surplus (passed the filter, not drawn), or the gate that it failed"),
    *_FRAME,
    *_REGIONS,
    *_columns(Kind.BOXES, records.BOXES, cause="what the answer was shown to depend on: boxes in pixels of the film"),
    *_columns(Kind.PIXELS, IMAGE, preview="the film, small, with the regions outlined; `films` has it in full"),
)  # fmt: skip
_FILMS = (
    *_columns(Kind.KEY, _TEXT, source="where it comes from", film="its name there", split="dev or test"),
    *_columns(Kind.HASH, _TEXT, sha256="of the provider's file"),
    *_columns(Kind.KEY, _TEXT, licence="its terms", obtain="how to get it"),
    *_FRAME,
    *_columns(Kind.PIXELS, IMAGE, image="the film as its source ships it"),
)
_SCORED = [metric for metric in METRICS.values() if metric.needs != "model"]
_ATTRIBUTIONS = (
    *_columns(Kind.KEY, _TEXT, entry="the method", kind="method, or floor: one that looks at no model",
              case_id="the case that it explains", model="whose answer it explains", mode="direct or reasoning",
              source="of the film", split="dev or test"),
    *_columns(Kind.PIXELS, pa.list_(pa.float32()), grid="the map, row by row; larger is more evidence; or boxes"),
    *_columns(Kind.BOXES, _WHOLE, grid_height="rows of the map", grid_width="columns of the map"),
    *_columns(Kind.BOXES, records.BOX, extent="box in pixels of the film that the map covers; empty: all of it"),
    *_columns(Kind.BOXES, records.BOXES, boxes="instead of a map: boxes in pixels of the film, best first"),
    *(Column(metric.name, _NUMBER, Kind.VERDICT, metric.help) for metric in _SCORED),
    *_columns(Kind.VERDICT, _NUMBER, iou_published="the IoU under the paper's scorer"),
    *_columns(Kind.VERDICT, _TEXT, problem="why the case scored the worst value; empty where nothing is wrong"),
)  # fmt: skip
_RETENTION = (
    *_columns(Kind.KEY, _TEXT, model="the model", mode="direct or reasoning", source="of the questions"),
    *_FINDING,
    *_columns(Kind.KEY, _TEXT, control="what the model was taught to answer this finding from"),
    *_columns(Kind.VERDICT, _WHOLE, patients="whose films were asked about", asked="questions",
              right="answered rightly", flipped="of these, no longer yes without the finding",
              stayed="of these, still yes after both edits of all the rest", kept="passed the filter"),
)  # fmt: skip
_HELPS = {
    "model": "the model", "revision": "its commit on the Hub, or the digest of its weights",
    "mode": "direct or reasoning", "split": "dev or test", "finding": "empty: all findings together",
    "patients": "whose films were asked about", "asked": "questions about findings that the film shows",
    "right": "of these, answered rightly", "flipped": "of these, no longer yes without the finding",
    "stayed": "of these, still yes after both edits of all the rest", "kept": "the same: passed the filter",
    "absent": "questions about findings that the film does not show", "right_absent": "of these, answered rightly",
    "unparsable": "answers that say neither yes nor no", "accuracy": "right answers of all",
    "sensitivity": "right of asked", "specificity": "right_absent of absent",
    "says_yes": "answers that say yes, of all",
    "grounded": "kept of asked: at least so often the model is right for the right reason",
}  # fmt: skip
_RESULTS = tuple(
    Column(field.name, field.type, Kind.AGGREGATE, _HELPS.get(field.name, "end of its interval over patients"))
    for field in RESULTS
)
_MODELS = tuple(
    Column(name, _TEXT, Kind.KEY, text)
    for name, text in {
        "model": "as the tables call it",
        "revision": "the digest of its weights, or its commit on the Hub",
        "repository": "where it is on the Hub; empty: not published",
        "commit": "of that repository, which is the one that was asked",
    }.items()
)
_REFERENCES = (
    *_columns(Kind.KEY, _TEXT, source="where it comes from", reference="name of the normal film"),
    *_columns(Kind.PIXELS, IMAGE, image="the film"),
    *_columns(Kind.KEY, pa.list_(_TEXT), concepts="names of the anatomical regions"),
    *_columns(Kind.PIXELS, pa.list_(IMAGE), masks="where each of them is: a picture, white inside"),
)
_BOARD_HELPS = {
    "track": "all, or one mode, model, source or finding", "split": "dev or test", "entry": "the method",
    "kind": "method, or floor: one that looks at no model", "cases": "how many are localised",
    "coverage": "share of the cases with a valid map or boxes", "ranked": "or listed apart",
    "reason": "why it is not ranked", "order": "the metric that the order rests on",
    "follows_from": "where follows was measured", "pairs": "how many", "rank": "place among the ranked ones",
    "over_floor": "localisation at equal area, less the best floor's",
    "tie": "entries that share a letter cannot be told apart", "seconds": "a case, where an author says so",
    "iou_published": "mean IoU under the paper's scorer", "sanity": "pass, or the checks that it fails",
}  # fmt: skip


def _board_help(name: str) -> str:
    stem = name.removesuffix("_models").removesuffix("_low").removesuffix("_high")
    if stem != name:
        return f"end of the interval of {stem}" + (" when the models are drawn again, too" if "_models" in name else "")
    return METRICS[name].help if name in METRICS else _BOARD_HELPS[name]


_BASELINES = tuple(Column(field.name, field.type, Kind.AGGREGATE, _board_help(field.name)) for field in board_columns())

#: The configs of the dataset, each with its columns and what it holds.
CONFIGS: dict[str, tuple[Column, ...]] = {
    "direct": _CASES,
    "reasoning": _CASES,
    "questions": _QUESTIONS,
    "films": _FILMS,
    "attributions": _ATTRIBUTIONS,
    "retention": _RETENTION,
    "results": _RESULTS,
    "baselines": _BASELINES,
    "models": _MODELS,
    "references": _REFERENCES,
}
ABOUT = {
    "direct": "verified cases: answers that are asked for at once",
    "reasoning": "verified cases: answers after thinking aloud",
    "questions": "what every model is asked, with the edited films: for evaluating a model of your own",
    "films": "the radiographs, one row each",
    "attributions": "maps, boxes and scores of every method that was run",
    "retention": "what the filter kept, in counts",
    "results": "the board of models: accuracy, and how much of it is for the right reason",
    "baselines": "the board of methods, with intervals",
    "models": "the models whose answers are explained, and where they are",
    "references": "normal films with masks of anatomical regions, which some methods need",
}


def schema(config: str) -> pa.Schema:
    """The Arrow schema of a config, with the features in the metadata key ``huggingface``."""
    features = {column.name: _feature(column.type) for column in CONFIGS[config]}
    return pa.schema(
        [pa.field(column.name, column.type) for column in CONFIGS[config]],
        metadata={"huggingface": json.dumps({"info": {"features": features}})},
    )


def write_rows(rows: Iterable[Mapping], config: str, where) -> None:
    """Write rows of a config as a shard, to a path or file object, with a row group of them held at once.

    Each page has its checksum; the same rows give the same bytes, by which `guard` knows a shard.
    """
    columns, rows = schema(config), iter(rows)
    with pq.ParquetWriter(where, columns, compression="zstd", write_page_checksum=True) as writer:
        some = list(islice(rows, ROW_GROUP))
        writer.write_table(pa.Table.from_pylist(some, columns))  # a shard without rows has an empty row group
        while some := list(islice(rows, ROW_GROUP)):
            writer.write_table(pa.Table.from_pylist(some, columns))


def read_shard(path: Path | str, columns: Sequence[str] | None = None) -> pa.Table:
    """A shard, or some columns of it. Raises MedgroundError naming a file that is damaged."""
    try:
        return pq.read_table(path, columns=columns, page_checksum_verification=True)
    except (pa.ArrowException, OSError, ValueError) as error:
        said = " ".join(str(error).split())
        raise MedgroundError(f"{path} is not a readable Parquet file ({said}); download or export it again") from None


def card_features(config: str) -> list[dict]:
    """The features as a dataset card states them under ``dataset_info``."""
    return [{"name": column.name, **_card_feature(column.type)} for column in CONFIGS[config]]


def _feature(type: pa.DataType) -> dict:
    if type == IMAGE:
        return {"_type": "Image"}
    if pa.types.is_fixed_size_list(type):
        return {"feature": _feature(type.value_type), "length": type.list_size, "_type": "List"}
    if pa.types.is_list(type):
        return {"feature": _feature(type.value_type), "_type": "List"}
    return {"dtype": _dtype(type), "_type": "Value"}


def _card_feature(type: pa.DataType) -> dict:
    if type == IMAGE:
        return {"dtype": "image"}
    if not pa.types.is_nested(type):
        return {"dtype": _dtype(type)}
    item = _card_feature(type.value_type)
    feature = {"list": item.get("dtype", item)}
    if pa.types.is_fixed_size_list(type):
        feature["length"] = type.list_size
    return feature


def _dtype(type: pa.DataType) -> str:
    return {"double": "float64", "float": "float32"}.get(str(type), str(type))
