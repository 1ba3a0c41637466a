"""What scoring reads: the cases of the benchmark with their regions, and tables of attributions as streams."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from .. import records
from ..cases import of_benchmark
from ..errors import MedgroundError
from ..files import replacing

_OF_SAMPLE = ("film", "width", "height", "regions")
BATCH = 16  # rows held at once: 64 MB of 1024 x 1024 maps
COLUMNS = ("case_id", "grid", "grid_height", "grid_width", "extent", "boxes", "seconds")


def load_cases(data: Path | str = "data") -> list[dict]:
    """The cases of the benchmark, those that the filter kept and those of pairs, in the order of their table.

    Each has ``film``, ``width``, ``height``, ``regions`` of its sample and, in a pair, ``other``: the other's cause.

    Raises MedgroundError where there is none, or a case has no sample.
    ``data`` is the folder of the pipeline's tables.
    """
    data = Path(data)
    path = data / "cases" / "cases.parquet"
    table = records.read_table(path, records.CASES)
    chosen = table.filter(of_benchmark(table)).to_pylist()
    if not chosen:
        raise MedgroundError(f"{path} has no kept case, so there is nothing to score; see retention.json beside it")
    wanted = {(case["source"], case["index"]) for case in chosen}
    samples = {
        (sample["source"], sample["index"]): sample
        for samples_path in sorted(data.glob("samples/*/samples.parquet"))
        for sample in records.iter_rows(samples_path, records.SAMPLES, ("source", "index", *_OF_SAMPLE))
        if (sample["source"], sample["index"]) in wanted
    }
    for case in chosen:
        sample = samples.get((case["source"], case["index"]))
        if sample is None:
            raise MedgroundError(f"{path}: case {case['case_id']} has no sample under {data}/samples; run `dvc repro`")
        case.update({name: sample[name] for name in _OF_SAMPLE})
    return paired(chosen)


def paired(cases: list[dict]) -> list[dict]:
    """The same cases; those that share a ``pair`` get ``other``: the cause of the other one, native boxes."""
    partners: dict[str, list[dict]] = {}
    for case in cases:
        if case.get("pair") is not None:
            partners.setdefault(case["pair"], []).append(case)
    for name, both in partners.items():
        if len(both) != 2:
            raise MedgroundError(f"the pair {name} has {len(both)} cases, not two; run `dvc repro verify`")
        both[0]["other"], both[1]["other"] = both[1].get("cause"), both[0].get("cause")
    return cases


def dataset_version(cases: Sequence[Mapping]) -> str:
    """Twelve hex digits that change with the cases, their films' sizes or their regions."""
    content = [[case[name] for name in ("case_id", "split", "width", "height", "regions")] for case in cases]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:12]


def read_attributions(
    path: Path | str, columns: Sequence[str] = COLUMNS, only: Collection[str] | None = None
) -> Iterator[dict]:
    """The rows of a table of attributions, their grids as flat float arrays, without ever holding many.

    ``columns`` are those to read, where the table has them; ``only`` the cases whose rows are read, all if it is not
    given. Row groups without any of these are not decoded.

    Raises MedgroundError where the file is not Parquet.
    ``path`` is that of a Parquet file.
    """
    try:
        with pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20, page_checksum_verification=True) as file:
            present = [name for name in columns if name in file.schema_arrow.names]
            groups = None if only is None else _groups(file, only)
            for batch in file.iter_batches(BATCH, columns=present, row_groups=groups, use_threads=False):
                yield from _rows(batch if only is None else _of_cases(batch, only))
    except (pa.ArrowException, OSError) as error:
        raise MedgroundError(f"{path} is not a readable Parquet file ({error}); write it again") from None


def take_attributions(path: Path | str, cases: Collection[str], out: Path) -> None:
    """Write the rows of ``cases`` in a table of attributions as another one, in its order, each as a row group.

    ``path`` is read once, ``out`` written whole or not at all. Raises MedgroundError as `read_attributions` does.
    """
    try:
        with pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20, page_checksum_verification=True) as file:
            present = [name for name in COLUMNS if name in file.schema_arrow.names]
            schema = pa.schema([file.schema_arrow.field(name) for name in present])
            with replacing(out) as partial, pq.ParquetWriter(partial, schema, write_page_checksum=True) as writer:
                for batch in file.iter_batches(BATCH, columns=present, use_threads=False):
                    if found := _of_cases(batch, cases):
                        writer.write_table(pa.table(found.select(present)), row_group_size=1)
    except (pa.ArrowException, OSError) as error:
        raise MedgroundError(f"{path} is not a readable Parquet file ({error}); write it again") from None


def _groups(file: pq.ParquetFile, cases: Collection[str]) -> list[int]:
    """The row groups that have a row of one of the cases."""
    known = _is_of(file.read(["case_id"], use_threads=False)["case_id"], cases).to_numpy()
    sizes = [file.metadata.row_group(number).num_rows for number in range(file.num_row_groups)]
    ends = np.cumsum([0, *sizes])
    return [number for number in range(len(sizes)) if known[ends[number] : ends[number + 1]].any()]


def _of_cases(batch: pa.RecordBatch, cases: Collection[str]) -> pa.RecordBatch:
    return batch.filter(_is_of(batch["case_id"], cases))


def _is_of(column: pa.Array | pa.ChunkedArray, cases: Collection[str]) -> pa.Array | pa.ChunkedArray:
    return pc.is_in(column, pa.array(list(cases), column.type))


def _rows(batch: pa.RecordBatch) -> Iterator[dict]:
    grids = batch["grid"] if "grid" in batch.schema.names else pa.nulls(len(batch), pa.list_(pa.float32()))
    others = batch.select([name for name in batch.schema.names if name != "grid"]).to_pylist()
    for row, grid in zip(others, grids, strict=True):
        yield {**row, "grid": grid.values.to_numpy(zero_copy_only=False) if grid.is_valid else None}
