"""The folder described in Croissant 1.0, with the responsible-AI fields that the Hub's own description lacks."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pyarrow as pa

from . import licences, tables
from .facts import Facts

NAME = "medground"
PARQUET = "application/vnd.apache.parquet"


def describe(facts: Facts, limits: str) -> dict:
    """The description as JSON-LD; ``limits`` is the card's section on them."""
    splits = [(config, split) for config, found in facts.shards.items() for split in found]
    files = [shard for config, split in splits for shard in facts.shards[config][split]]
    return {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": ["http://mlcommons.org/croissant/1.0", "http://mlcommons.org/croissant/RAI/1.0"],
        "name": NAME,
        "description": "Chest X-ray questions, models' right answers, and the regions proven to have caused them.",
        "version": f"1.0.0+{facts.version}",
        "license": sorted({licences.source(name).url for name in facts.sources}),
        "citeAs": facts.citation,
        "isLiveDataset": False,
        "distribution": [*(_file(file, facts.folder) for file in files), *(_shards(*split) for split in splits)],
        "recordSet": [
            {
                "@type": "cr:RecordSet",
                "@id": f"{config}/{split}",
                "name": f"{config}/{split}",
                "field": [_field(config, split, column) for column in tables.CONFIGS[config]],
            }
            for config, split in splits
        ],
        "rai:dataCollection": "Films, findings and boxes are those of the sources; answers are greedily decoded.",
        "rai:dataAnnotationProtocol": (
            "Three-step filter: right on the original film, flips when the region is edited, stays when the rest is."
        ),
        "rai:dataUseCases": "Comparing visual attribution methods on answers whose cause is known. Not for diagnosis.",
        "rai:dataLimitations": limits.split("\n", 2)[2],
        "rai:dataBiases": "Only right answers about findings that are present; those that a model reads well dominate.",
        "rai:personalSensitiveInformation": (
            "No names or dates; patients are pseudonyms of the sources. Films that may not be shared are given by key "
            "and hash only."
            if facts.restricted
            else "No names or dates; patients are pseudonyms of the sources."
        ),
    }


CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "recordSet": "cr:recordSet",
    "repeated": "cr:repeated",
    "source": "cr:source",
}
_DATA_TYPES = {"string": "sc:Text", "int64": "sc:Integer", "bool": "sc:Boolean", "double": "sc:Float"}


def _file(path: Path, folder: Path) -> dict:
    name = path.relative_to(folder).as_posix()
    with open(path, "rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return {
        "@type": "cr:FileObject",
        "@id": name,
        "name": name,
        "contentUrl": name,
        "contentSize": f"{path.stat().st_size} B",
        "encodingFormat": PARQUET,
        "sha256": digest,
    }


def _shards(config: str, split: str) -> dict:
    name = f"shards/{config}/{split}"
    pattern = f"{config}/{split}-*.parquet"
    return {"@type": "cr:FileSet", "@id": name, "name": name, "includes": pattern, "encodingFormat": PARQUET}


def _field(config: str, split: str, column: tables.Column) -> dict:
    image, nested = column.type == tables.IMAGE, pa.types.is_list(column.type)
    return {
        "@type": "cr:Field",
        "@id": f"{config}/{split}/{column.name}",
        "name": f"{config}/{split}/{column.name}",
        "dataType": "sc:ImageObject" if image else _DATA_TYPES["double" if nested else str(column.type)],
        **({"repeated": True} if nested else {}),
        "source": {"fileSet": {"@id": f"shards/{config}/{split}"}, "extract": {"column": column.name}},
    }
