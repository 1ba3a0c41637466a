"""Which rows of the cases table count for what."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa
import pyarrow.compute as pc


def benchmarked(case: Mapping) -> bool:
    """Is a case one that every entry explains: kept by the filter, or one of a pair?"""
    return bool(case["kept"]) or case.get("pair") is not None


def of_benchmark(cases: pa.Table) -> pa.ChunkedArray:
    """`benchmarked` of every row of a table of cases: bool."""
    return pc.or_(cases["kept"], pc.is_valid(cases["pair"]))


def localised(case: Mapping) -> bool:
    """Is a case one whose answer comes from the expert's region: kept by the filter, of a model that looks there?"""
    return bool(case.get("kept", True)) and case["control"] == "honest"
