"""What may be shown to everybody of the tables of a pipeline, where it is known what models answer from.

`verification.causes` keeps the causes of the test split back. A published dataset never has them; the app reads the
pipeline's own tables, in which they stand, or follow from what stands there. `Untold` leaves all of that out, so that
the app of a Space knows of the test split what a downloaded dataset tells.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import pyarrow as pa
import pyarrow.compute as pc

from .. import records
from ..cases import benchmarked
from ..scoring import METRICS
from ..verification.causes import KEPT_BACK, exported
from ..verification.gates import retention
from .data import WITHHELD, case

ALL = "all findings"  # in the counts of the filter that are told of all findings together


class Untold:
    """Takes out of tables what would tell the cause, or the control, of an answer to the test split.

    Nothing is taken out where no model was taught a cause: there is none to tell.
    """

    def __init__(self, cases: Iterable[Mapping]) -> None:
        """``cases`` are all rows of `records.CASES`."""
        self._cases = [dict(one) for one in cases]
        self.taught = {one["model"] for one in self._cases if one["control"] != "honest"}
        back = [one for one in self._cases if one["split"] == KEPT_BACK] if self.taught else []
        self._ids = pa.array([one["case_id"] for one in back], pa.string())
        self._samples = {(one["source"], one["index"]) for one in back}

    def table(self, folder: str, table: pa.Table) -> pa.Table:
        """A table of ``data/<folder>``; the same object where nothing was taken out.

        - cases: those that the dataset has, as `data.case` reads them. Which of the others passed the filter, or where
          they failed, is not told.
        - answers: those to the films. To edited films and to films without a part models answer by their cause.
        - scores: none that a cause goes into. Of faithfulness not even which cases were measured: honest ones are.
        - samples: no parts of films; one of them is the cause.
        """
        if not self._samples:
            return table
        names = table.schema.names
        if folder == "cases" and "control" in names:
            return records.as_table(self._told(), records.CASES)
        if folder == "answers":
            return table.filter(pc.or_(pc.equal(table["edit"], "original"), pc.invert(self._of_samples(table))))
        if folder == "scores" and "case_id" in names:
            back = pc.is_in(table["case_id"], self._ids)
            if "protocol" not in names:
                return table.filter(pc.invert(back))
            told = {"entry", "case_id", "protocol", "problem", *(one.name for one in METRICS.that_need("regions"))}
            return _emptied(table, [name for name in names if name not in told], back)
        if folder == "samples":
            columns = [name for name in ("parts", "marker") if name in names]
            return _emptied(table, columns, self._of_samples(table))
        return table

    def json(self, name: str, content: object) -> object | None:
        """The content of ``data/<name>``, a JSON file; None where it stays at home.

        The counts of the filter are told by finding and kind of cause on dev alone, else of all together; the paper's
        files are no part of the app.
        """
        if not self._samples or not name.startswith("cases/"):
            return content
        if name == "cases/retention.json":
            return retention(self._counted())
        if name == "cases/filter.json" and isinstance(content, dict):
            return {key: content[key] for key in ("by_control", "kept_of_right") if key in content}
        return None

    def _told(self) -> list[dict]:
        return [
            case(exported(one) | {"benchmark": benchmarked(one)}) if self._back(one) else one
            for one in self._cases
            if not self._back(one)
            or benchmarked(one)
            or (one["reason"] == "surplus" and one["model"] not in self.taught)
        ]

    def _counted(self) -> Iterator[dict]:
        """Each case with whether the filter kept it, drawn or not; on the test split of no finding of its own."""
        for one in self._cases:
            together = {"finding": ALL, "control": WITHHELD} if self._back(one) and one["model"] in self.taught else {}
            yield one | {"kept": one["reason"] in ("kept", "surplus")} | together

    def _back(self, one: Mapping) -> bool:
        return (one["source"], one["index"]) in self._samples

    def _of_samples(self, table: pa.Table) -> pa.Array:
        keys = zip(table["source"].to_pylist(), table["index"].to_pylist(), strict=True)
        return pa.array([key in self._samples for key in keys], pa.bool_())


def _emptied(table: pa.Table, names: Iterable[str], rows: pa.Array) -> pa.Table:
    """A table whose columns of these names are empty in some rows."""
    for name in names:
        place, field = table.schema.get_field_index(name), table.schema.field(name)
        table = table.set_column(place, field, pc.if_else(rows, pa.scalar(None, field.type), table[name]))
    return table
