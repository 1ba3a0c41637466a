"""The expert regions of the test split, kept back where ``publish.hide_test_regions`` says so.

What that means is decided here, for the exported folder, the bundle of the Space and the app: `hidden` says of which
split, and `kept_back` takes out of a table of the pipeline everything that would tell where a region lies.
"""

from __future__ import annotations

from collections.abc import Iterable, Set

import pyarrow as pa
import pyarrow.compute as pc

from .. import records

Key = tuple[str, int]  # source and index of a sample


def hidden(split: str, hide_test_regions: bool) -> bool:
    """Whether the expert regions of a split, and all that would give them away, are kept back."""
    return hide_test_regions and split == "test"


def kept_back(folder: str, table: pa.Table, samples: Set[Key], cases: Set[str]) -> pa.Table:
    """A table of ``data/<folder>`` without what tells where the regions of the hidden ``samples`` and ``cases`` lie.

    - samples: no regions, and nothing that a sample need not have: the twin, the parts, the anatomy, the marker.
    - cases: no cause; that of an honest answer is the region.
    - edits: no counterfactual films; where one differs from the film, there is the region.
    - scores: no single scores; from many boxes and what each of them scored, a region follows.

    Any other table that has ``regions`` loses them.
    """
    if folder == "edits":
        return table.filter(pa.array([key not in samples for key in _keys(table)], pa.bool_()))
    if folder == "scores" and "case_id" in table.schema.names:
        return table.filter(pc.invert(pc.is_in(table["case_id"], pa.array(sorted(cases), pa.string()))))
    if folder == "cases" and "cause" in table.schema.names:
        secret = pc.is_in(table["case_id"], pa.array(sorted(cases), pa.string()))
        return _blank(table, ["cause"], secret)
    optional = {field.name for field in records.SAMPLES if field.nullable} if folder == "samples" else set()
    names = [name for name in table.schema.names if name in optional or name == "regions"]
    if not names:
        return table
    return _blank(table, names, pa.array([key in samples for key in _keys(table)], pa.bool_()))


def _blank(table: pa.Table, names: Iterable[str], secret: pa.Array) -> pa.Table:
    """Empty some columns in the rows that are secret."""
    for name in names:
        place, field = table.schema.get_field_index(name), table.schema.field(name)
        blank = pa.scalar(None if field.nullable else [], field.type)
        table = table.set_column(place, field, pc.if_else(secret, blank, table[name]))
    return table


def _keys(table: pa.Table) -> list[Key]:
    return list(zip(table["source"].to_pylist(), table["index"].to_pylist(), strict=True))
