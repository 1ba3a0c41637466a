"""Strings from people and models: shown as text, never as markup or as a formula."""

from __future__ import annotations

import csv
import re

import pandas as pd

from medground.submission.schema import cell

_PUNCTUATION = re.compile(r"([!-/:-@\[-`{-~])")  # the ASCII punctuation that Markdown lets one escape


def plain(text: object) -> str:
    """A string that Markdown shows as it is, on one line."""
    return _PUNCTUATION.sub(r"\\\1", " ".join(str(text).split()))


def safe_csv(table: pd.DataFrame) -> bytes:
    """A table as CSV in which no string can be taken for a formula by a spreadsheet: such strings get a leading `'`.

    Numbers stay numbers (a negative number is no formula).
    """
    return table.map(cell).to_csv(index=False, quoting=csv.QUOTE_NONNUMERIC).encode()


def share(part: float, whole: float) -> str:
    """``part`` of ``whole`` in percent, or a dash where there is nothing to divide."""
    return f"{part / whole:.0%}".replace("%", " %") if whole else "–"
