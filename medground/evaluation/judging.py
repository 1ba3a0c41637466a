"""Ask a model about questions and judge what it says: in batches, resumed where it stopped."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..verification.asking import AnswerTask
from .tables import EDITS
from .verdicts import verdicts

#: A mode, a row of `tables.QUESTIONS`, and what the model answered to it before (rows of `records.ANSWERS`); None: the
#: model is asked.
Item = tuple[str, dict, list[dict] | None]


@dataclass
class JudgeTask(AnswerTask):
    """Items in, rows of `tables.VERDICTS` out, one for each. A model that has answered everything is not loaded."""

    def __call__(self, items: Sequence[Item]) -> list[dict]:
        said = [answer for _, _, known in items for answer in known or []]
        if unasked := [(mode, question, _edits(question)) for mode, question, known in items if known is None]:
            said += super().__call__(unasked)
        return verdicts([question for _, question, _ in items], said)


def name(item: Item) -> str:
    """An item as people find it."""
    mode, question, _ = item
    return f"{mode}/{question['source']}/{question['index']}, film {question['film']}"


def content(item: Item) -> str:
    """A digest of what the verdict on an item depends on, besides the model: the question, its films, the answers."""
    mode, question, known = item
    digest = hashlib.sha256(json.dumps([mode, question, known], sort_keys=True).encode())
    for path in (question["film"], *(edit["path"] for edit in _edits(question))) if known is None else ():
        digest.update(Path(path).read_bytes() if Path(path).is_file() else b"")
    return digest.hexdigest()


def _edits(question: Mapping) -> list[dict]:
    return [{"edit": edit, "seed": 0, "path": question[edit]} for edit in EDITS if question[edit]]
