"""Arrow's own writer, which shards that are written row group by row group are held against."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq

from medground.hub.tables import ROW_GROUP


def write_shard(table: pa.Table, where) -> None:
    """Write a whole table to a path or file object, as the export writes its rows."""
    pq.write_table(table, where, compression="zstd", row_group_size=ROW_GROUP, write_page_checksum=True)
