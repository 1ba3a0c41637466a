"""The folder described in Croissant 1.0, with the responsible-AI fields that the Hub's own description lacks."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pyarrow as pa

from . import tables
from .facts import ADDRESS, YEAR, Facts

NAME = "medground"
PARQUET = "application/x-parquet"


def describe(facts: Facts, limits: str) -> dict:
    """The description as JSON-LD; ``limits`` is the card's section on them. Addresses of files are relative to it
    until the folder is published.

    Pictures in lists are left out: no reader takes them.
    """
    splits = [(config, split) for config, found in facts.shards.items() for split in found]
    return {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": NAME,
        "description": "Chest X-ray questions, models' right answers, and the regions proven to have caused them.",
        "version": f"1.0.0+{facts.version}",
        "url": ADDRESS,
        "creator": {"@type": "sc:Organization", "name": "The MedGround authors"},
        "datePublished": str(YEAR),
        "license": f"{ADDRESS}/blob/main/LICENSE.md",
        "citeAs": facts.citation,
        "isLiveDataset": False,
        "distribution": [
            *(_file(shard, facts.folder) for config, split in splits for shard in facts.shards[config][split]),
            *(_shards(config, split, facts) for config, split in splits if len(facts.shards[config][split]) > 1),
        ],
        "recordSet": [
            {
                "@type": "cr:RecordSet",
                "@id": f"{config}/{split}",
                "name": f"{config}/{split}",
                "description": tables.ABOUT[config],
                "field": [
                    _field(config, split, column, facts)
                    for column in tables.CONFIGS[config]
                    if column.type != pa.list_(tables.IMAGE)
                ],
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


def addressed(text: str, base: str) -> str:
    """A Croissant file whose addresses are relative, with those below ``base``."""
    said = json.loads(text)
    for file in said["distribution"]:
        if "contentUrl" in file:
            file["contentUrl"] = f"{base}/{file['contentUrl']}"
    return json.dumps(said, indent=1) + "\n"


CONTEXT = {  # as the format gives it, and nothing else
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
_DATA_TYPES = {
    "string": "sc:Text",
    "int64": "sc:Integer",
    "bool": "sc:Boolean",
    "double": "sc:Float",
    "float": "sc:Float",
}


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


def _shards(config: str, split: str, facts: Facts) -> dict:
    name = f"shards/{config}/{split}"
    inside = [{"@id": shard.relative_to(facts.folder).as_posix()} for shard in facts.shards[config][split]]
    return {
        "@type": "cr:FileSet",
        "@id": name,
        "name": name,
        "containedIn": inside,
        "includes": f"{config}/{split}-*.parquet",
        "encodingFormat": PARQUET,
    }


def _field(config: str, split: str, column: tables.Column, facts: Facts) -> dict:
    image, repeated, item = column.type == tables.IMAGE, pa.types.is_list(column.type), column.type
    repeated = repeated or pa.types.is_fixed_size_list(item)
    while pa.types.is_list(item) or pa.types.is_fixed_size_list(item):
        item = item.value_type
    shards = facts.shards[config][split]
    if len(shards) == 1:
        place = {"fileObject": {"@id": shards[0].relative_to(facts.folder).as_posix()}}
    else:
        place = {"fileSet": {"@id": f"shards/{config}/{split}"}}
    return {
        "@type": "cr:Field",
        "@id": f"{config}/{split}/{column.name}",
        "name": f"{config}/{split}/{column.name}",
        "description": column.help,
        "dataType": "sc:ImageObject" if image else _DATA_TYPES[str(item)],
        **({"repeated": True} if repeated else {}),
        "source": {
            **place,
            "extract": {"column": column.name},
            **({"transform": {"jsonPath": "bytes"}} if image else {}),
        },
    }
