"""The tables of the board of models. They are written and read by `medground.records`, with its checks.

A *question* is about a film and a finding, whatever model is asked. Where the finding is on the film it comes with its
three edits; questions about absent findings have none. A *verdict* is what one model made of one question. A *result*
sums verdicts up, with intervals over patients.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from ..records import BOXES

EDITS = ("region_removed", "background_removed", "background_normal")
#: How a model is asked where nothing else is said: the longest answer in tokens, the largest film in pixels (0: as each
#: model takes), and whose rules.
ASKED: dict[str, Any] = {"max_new_tokens": 48, "most_pixels": 0, "protocol": "medground"}

_QUESTION = [
    pa.field("source", pa.string(), False),
    pa.field("index", pa.int64(), False),  # of the sample; those of absent findings are numbered on after the samples
    pa.field("patient_id", pa.string(), False),
    pa.field("split", pa.string(), False),  # dev | test
    pa.field("finding", pa.string(), False),
]
QUESTIONS = pa.schema(
    [
        *_QUESTION,
        pa.field("question", pa.string(), False),  # without the suffix of a mode
        pa.field("answer", pa.string(), False),  # the right one: Yes, or No where the finding is absent
        pa.field("film", pa.string(), False),  # path from the repository's root
        pa.field("width", pa.int64(), False),
        pa.field("height", pa.int64(), False),
        pa.field("regions", BOXES, False),  # expert boxes, native pixels; none of an absent finding
        pa.field("licence", pa.string(), False),
        *(pa.field(edit, pa.string()) for edit in EDITS),  # paths of the edited films; null of an absent finding
        pa.field("editor", pa.string()),  # what made them
        pa.field("recipe", pa.string()),  # and how: its settings by edit, JSON
    ]
)
VERDICTS = pa.schema(
    [
        pa.field("model", pa.string(), False),
        pa.field("mode", pa.string(), False),  # direct | reasoning
        *_QUESTION,
        pa.field("answer", pa.string(), False),  # the right one
        pa.field("text", pa.string(), False),  # what the model wrote about the film
        pa.field("verdict", pa.string(), False),  # yes | no | unparsable
        pa.field("right", pa.bool_(), False),
        *(pa.field(edit, pa.string()) for edit in EDITS),  # verdicts; null where the edit was not asked about
        pa.field("kept", pa.bool_()),  # right, and all three gates hold; null of an absent finding
    ]
)
SHARES = ("accuracy", "sensitivity", "specificity", "says_yes", "grounded")
RESULTS = pa.schema(
    [
        pa.field("model", pa.string(), False),
        pa.field("revision", pa.string()),  # commit on the Hub, or digest of the weights; null: not recorded
        pa.field("mode", pa.string(), False),
        pa.field("split", pa.string(), False),  # dev | test
        pa.field("finding", pa.string()),  # null: all findings together
        pa.field("patients", pa.int64(), False),
        # counts of questions, and of answers
        pa.field("asked", pa.int64(), False),  # about findings that are on the film; what follows is of these
        pa.field("right", pa.int64(), False),
        pa.field("flipped", pa.int64(), False),  # of the right ones: no longer yes without the finding
        pa.field("stayed", pa.int64(), False),  # of the flipped ones: still yes after both edits of all the rest
        pa.field("kept", pa.int64(), False),  # passed the filter: stayed
        pa.field("absent", pa.int64(), False),  # asked about findings that are not on the film
        pa.field("right_absent", pa.int64(), False),
        pa.field("unparsable", pa.int64(), False),  # of all answers
        # shares with the ends of their intervals, null where there is nothing to divide by:
        # accuracy: right of all; sensitivity: right of asked; specificity: right_absent of absent; says_yes: of all
        # answers; grounded: kept of asked, a lower bound of how often a model is right for the right reason
        *(pa.field(name + end, pa.float64()) for name in SHARES for end in ("", "_low", "_high")),
    ]
)
