"""What an entry is: a folder with ``entry.yaml`` (its card) and ``attributions.parquet``, and the limits of both."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import asdict, dataclass

import pyarrow as pa

from .. import records
from ..scoring.score import MAX_BOXES, MAX_CELLS  # noqa: F401  the limits of one attribution hold wherever it is scored

CARD, TABLE, RECEIPT = "entry.yaml", "attributions.parquet", "receipt.json"

MAX_CARD_BYTES = MAX_RECEIPT_BYTES = 64 << 10
MAX_TABLE_BYTES = 1 << 30
MAX_EXPANDED_BYTES = 4 << 30  # 3,940 maps of 224 x 224 in double precision are 1.6 GB
MAX_VALUES = 1 << 29
MAX_ROWS = 100_000
MAX_TEXT = 2000
OUTSIDE = 1.0  # native pixels by which a box may leave the film: rounding, not another coordinate system

# The columns of an entry: `records.ATTRIBUTIONS`, of which only the case's id must have a value, and the seconds that
# a case took where the author says so.
COLUMNS = pa.schema(
    [field.with_nullable(field.name != "case_id") for field in records.ATTRIBUTIONS]
    + [pa.field("seconds", pa.float64())]
)


@dataclass(frozen=True)
class Problem:
    """What is wrong, where, and what to do.

    ``where`` is a file with a key, column or row, ``value`` the offending value as text. A ``fatal`` problem is one of
    the table as a whole, which then cannot be scored; the others cost the case that they name.
    """

    where: str
    value: str
    message: str
    remedy: str
    fatal: bool = False

    def __str__(self) -> str:
        value = f" ({self.value})" if self.value else ""
        return f"{self.where}: {self.message}{value}; {self.remedy}"

    def as_dict(self) -> dict:
        """As JSON values."""
        return asdict(self)


# Key of the card: type, whether it must be there, and what it means.
FIELDS: dict[str, tuple[str, bool, str]] = {
    "method": ("text", True, "the name of the method, at most 80 characters"),
    "version": ("text", True, "its version, such as 1.0"),
    "authors": ("texts", True, "a list of names"),
    "licence": ("text", True, "of the maps, such as CC-BY-4.0"),
    "models": ("texts", True, "the benchmark's models that it explains"),
    "modes": ("texts", True, "direct, reasoning or both"),
    "hardware": ("text", True, "what it ran on, such as 1x A100"),
    "used_test_regions": ("yes/no", True, "true if the expert regions of the test split were used in any way"),
    "trained_on_sources": ("yes/no", True, "true if anything was trained on films or labels of the sources"),
    "link": ("link", False, "an https address of the paper or the code"),
    "settings": ("settings", False, "a mapping from names to text, numbers or true/false"),
    "claimed_iou": ("share", False, "the mean IoU that you measured, 0 to 1"),
}


def card_problems(card: object, models: set[str], modes: set[str]) -> list[Problem]:
    """Everything that is wrong with the content of ``entry.yaml``; ``models`` and ``modes`` are the benchmark's."""
    if not isinstance(card, dict):
        return [Problem(CARD, shown(card), "is not a mapping", f"write one key a line: {', '.join(FIELDS)}")]
    problems = []
    for key in card:
        if key not in FIELDS:
            problems.append(Problem(f"{CARD} {shown(key)}", "", "unknown key", f"known keys: {', '.join(FIELDS)}"))
    for key, (kind, required, meaning) in FIELDS.items():
        if key not in card:
            if required:
                problems.append(Problem(f"{CARD} {key}", "", "is missing", f"add it: {meaning}"))
        elif wrong := _CHECKS[kind](card[key]):
            problems.append(Problem(f"{CARD} {key}", shown(card[key]), wrong, f"give {meaning}"))
    for key, known in (("models", models), ("modes", modes)):
        for value in card[key] if isinstance(card.get(key), list) else ():
            if isinstance(value, str) and value not in known:
                remedy = f"the benchmark has {', '.join(sorted(known))}"
                problems.append(Problem(f"{CARD} {key}", shown(value), "is unknown", remedy))
    return problems


def shown(value: object, limit: int = 80) -> str:
    """A foreign value as one line of plain text: control characters escaped, cut at ``limit``."""
    text = value if isinstance(value, str) else repr(value) if isinstance(value, int | float | bool) else _brief(value)
    text = "".join(c if plain(c) else c.encode("unicode_escape", "replace").decode() for c in text[: limit + 1])
    return text if len(text) <= limit else text[: limit - 1] + "…"


def plain(text: str) -> bool:
    """Whether a text has no control, surrogate, private or direction-changing characters."""
    return not any(unicodedata.category(c) in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp") for c in text)


def cell(value: object) -> object:
    """A value for a downloaded table: a text that a spreadsheet would run as a formula is quoted (OWASP)."""
    formula = isinstance(value, str) and (value[:1] in ("\t", "\r", "\n") or value.strip()[:1] in tuple("=+-@|%"))
    return f"'{value}" if formula else value


def _brief(value: object) -> str:
    return f"{type(value).__name__} of {len(value)}" if isinstance(value, dict | list | tuple) else str(value)


def _text(value: object, limit: int = 80) -> str | None:
    if not isinstance(value, str) or not value.strip():
        return "is not a text"
    if len(value) > limit:
        return f"has {len(value)} characters, more than {limit}"
    return None if plain(value) else "has control characters"


def _texts(value: object) -> str | None:
    if not isinstance(value, list) or not 1 <= len(value) <= 100:
        return "is not a list of 1 to 100 texts"
    return next((f"an item {wrong}" for item in value if (wrong := _text(item))), None)


def _yes_no(value: object) -> str | None:
    return None if isinstance(value, bool) else "is neither true nor false"


def _link(value: object) -> str | None:
    wrong = _text(value, 500)
    return wrong or (None if re.fullmatch(r"https?://[^\s<>\"'`\\]+", str(value)) else "is not an http address")


def _settings(value: object) -> str | None:
    if not isinstance(value, dict) or len(value) > 100:
        return "is not a mapping of at most 100 names"
    for name, setting in value.items():
        if wrong := _text(name):
            return f"a name {wrong}"
        if isinstance(setting, str) and len(setting) <= 500 and plain(setting):
            continue
        if not isinstance(setting, bool | int | float):
            return f"{shown(name)} is neither a text, a number nor true/false"
    return None


def _share(value: object) -> str | None:
    is_share = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1
    return None if is_share else "is not a number from 0 to 1"


_CHECKS = {"text": _text, "texts": _texts, "yes/no": _yes_no, "link": _link, "settings": _settings, "share": _share}
