"""The Croissant file, read back by `mlcroissant`: every record set has the rows of its shards."""

from __future__ import annotations

import io
import logging
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from medground.hub import folder, tables

mlcroissant = pytest.importorskip("mlcroissant")


@pytest.fixture(scope="module")
def hub(tree, tmp_path_factory):
    out = tmp_path_factory.mktemp("croissant") / "hub"
    folder.build(tree / "data", out, normal="phantom_region")
    return out


@pytest.fixture(scope="module")
def dataset(hub, tmp_path_factory):
    logging.disable(logging.NOTSET)
    return mlcroissant.Dataset(str(hub / "croissant.json"))


def test_it_is_valid_and_its_context_is_that_of_the_format(dataset):
    issues = dataset.metadata.ctx.issues
    assert not issues.errors
    assert not issues.warnings, issues.warnings


@pytest.mark.parametrize("config", tables.CONFIGS)
def test_every_record_set_is_read_as_it_was_written(dataset, hub, config):
    for shard in sorted((hub / config).glob("*.parquet")):
        split = shard.name.split("-")[0]
        found = list(dataset.records(f"{config}/{split}"))
        rows = pq.read_table(shard).to_pylist()
        assert len(found) == len(rows) > 0
        for record, row in zip(found, rows, strict=True):
            for column in tables.CONFIGS[config]:
                if column.type != tables.IMAGE and "list" not in str(column.type):
                    value = record[f"{config}/{split}/{column.name}"]
                    value = value.decode() if isinstance(value, bytes) else value
                    empty = value is None or value != value
                    assert (None if empty else value) == row[column.name], column.name
        for column in [column.name for column in tables.CONFIGS[config] if column.type == tables.IMAGE]:
            pictures = [(r[f"{config}/{split}/{column}"], row[column]) for r, row in zip(found, rows, strict=True)]
            assert [picture is None or picture != picture for picture, _ in pictures] == [not c for _, c in pictures]
            for picture, content in pictures:
                if content:
                    assert np.array_equal(np.asarray(picture), np.asarray(Image.open(io.BytesIO(content["bytes"]))))


def test_it_is_read_from_an_address_too(hub):
    handler = partial(SimpleHTTPRequestHandler, directory=str(hub))
    handler.log_message = lambda *_: None
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        import json

        said = json.loads((hub / "croissant.json").read_text())
        address = f"http://127.0.0.1:{server.server_port}"
        for file in said["distribution"]:  # as `publish` writes them
            file["contentUrl"] = f"{address}/{file['contentUrl']}"
        found = list(mlcroissant.Dataset(said).records("questions/dev"))
        assert len(found) == pq.read_metadata(next((hub / "questions").glob("dev-*"))).num_rows
    finally:
        server.shutdown()
