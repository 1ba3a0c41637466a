"""What a model made of the questions, as a page to read: in words, numbers and films. It needs no other file."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from ..thumbnail import thumbnail
from .tables import EDITS

if TYPE_CHECKING:
    from .audit import Evaluation

EXAMPLES = 3  # of a kind
SIDE = 260  # pixels of a film on the page
CAPTIONS = dict(
    zip(("film", *EDITS), ("the film", "without the finding", "all the rest edited", "on another body"), strict=True)
)
LOWER_BOUND = (
    "Grounded accuracy is the share of questions about findings on the film that were answered rightly, and for the "
    "finding: the answer turns to no when it is edited out of the expert's region, and stays yes when all the rest is "
    "edited. It is a lower bound: an answer that rests on region and background together is not counted."
)
RESEARCH = "For research only. Nothing here says that a model may be used for diagnosis or care."
_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 68rem; margin: 2rem auto; padding: 0 1rem; color: #1d2b36 }
table { border-collapse: collapse; margin: .5rem 0 1.5rem } th { text-align: left; font-weight: 600 }
th, td { padding: .2rem .9rem .2rem 0; border-bottom: 1px solid #dde3e8; vertical-align: top }
td.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap }
.quiet, figcaption { color: #4e5b66; font-size: .9rem } .films { display: flex; flex-wrap: wrap; gap: .8rem }
figure { margin: 0; width: 15rem } figure img { width: 100%; background: #000; display: block }
.bar { position: relative; height: 1rem; width: 18rem; background: #eef1f4 }
.bar div { position: absolute; top: 0; height: 100% } .right { background: #a9c3dd } .kept { background: #1f5c99 }
.verdict { font-size: 1.15rem; border-left: .3rem solid #1f5c99; padding-left: .8rem }
.doubt { border-left: .3rem solid #c77c00; padding-left: .8rem } .scroll { overflow-x: auto }
"""


def page(told: Evaluation, dataset: str = "") -> str:
    """The page as HTML."""
    overall = [row for row in told.results if row["finding"] is None]
    parts = [
        "<!doctype html><html lang='en'><head><meta charset='utf-8'><meta name='viewport' content='width=device-width'>"
        f"<title>{escape(told.model)}: right, and for the right reason?</title><style>{_STYLE}</style></head><body>",
        f"<h1>{escape(told.model)}</h1>",
        f"<p class='quiet'>Asked {len(told.questions):,} questions{' of ' + escape(dataset) if dataset else ''}; "
        f"weights {escape(told.revision or 'not recorded')}. {RESEARCH}</p>",
        *(f"<p class='verdict'>{escape(sentence(row))}</p>" for row in overall),
        *(f"<p class='doubt'>{escape(note)}</p>" for note in told.notes),
        "<h2>In numbers</h2>",
        f"<p class='quiet'>{LOWER_BOUND} Shares with 95 % intervals over patients.</p>",
        _numbers(overall),
        "<h2>The gates</h2><p class='quiet'>How many answers about findings on the film are left after each.</p>",
        _gates(overall),
        "<h2>By finding</h2><p class='quiet'>Light: answered rightly, of the questions about it on films that show it. "
        "Dark: for the right reason.</p>",
        _findings([row for row in told.results if row["finding"] is not None]),
    ]
    for kind, (title, text, which) in KINDS.items():
        chosen = [row for row in told.verdicts if which(row)][:EXAMPLES]
        parts.append(f"<h2 id='{kind}'>{title}</h2><p class='quiet'>{text}</p>")
        parts += [_example(row, told.questions) for row in chosen] or ["<p>There is none.</p>"]
    return "\n".join([*parts, f"<p class='quiet'>{RESEARCH}</p></body></html>"]) + "\n"


def _unlike(edit: str):
    return lambda row: row["answer"] == "Yes" and row["right"] and not row["kept"] and _first_failed(row) == edit


def _first_failed(row: Mapping) -> str | None:
    """The first gate that an answer fails."""
    wanted = dict(zip(EDITS, ("no", "yes", "yes"), strict=True))
    return next((edit for edit in EDITS if row[edit] != wanted[edit]), None)


#: Kinds of examples: title, what they show, and which verdicts they are.
KINDS = {
    "grounded": (
        "Right for the right reason",
        "The answer turns to no without the finding, and stays yes without all the rest.",
        lambda row: bool(row["kept"]),
    ),
    "shortcut": (
        "Right, and not for the finding",
        "The answer stays yes although the finding is gone: it comes from something else on the film, or from nothing.",
        _unlike("region_removed"),
    ),
    "background": (
        "Right, and not for the finding alone",
        "The answer turns to no when all but the finding is edited: it needs something besides the finding.",
        lambda row: _unlike("background_removed")(row) or _unlike("background_normal")(row),
    ),
    "absent": (
        "Yes where there is nothing",
        "The film does not show the finding.",
        lambda row: row["answer"] == "No" and row["verdict"] == "yes",
    ),
}


def sentence(row: Mapping) -> str:
    """A row of `tables.RESULTS` in words."""
    if row["grounded"] is None:
        return f"{row['mode']}, {row['split']}: asked about no finding that a film shows."
    text = (
        f"{row['mode']}, {row['split']}: of {row['asked']} findings on the films it sees {row['right']}, and at least "
        f"{row['kept']} of these for the right reason: grounded accuracy {_share(row, 'grounded')}."
    )
    if row["absent"]:
        text += f" Of {row['absent']} that are not there it denies {row['right_absent']}. {_lean(row)}"
    return text


def _lean(row: Mapping) -> str:
    """How often it says yes, against how often that would be right."""
    told, due = row["says_yes"], row["asked"] / (row["asked"] + row["absent"])
    return f"It says yes to {told:.0%} of all questions; {due:.0%} would be right."


def _share(row: Mapping, name: str) -> str:
    if row[name] is None:
        return "-"
    return f"{row[name]:.3f} [{row[f'{name}_low']:.3f}, {row[f'{name}_high']:.3f}]"


def _numbers(rows: Sequence[Mapping]) -> str:
    heads = {
        "accuracy": "accuracy",
        "sensitivity": "right where it is there",
        "specificity": "right where it is not",
        "says_yes": "says yes",
        "grounded": "grounded accuracy",
    }
    return _table(
        ["mode", "split", "patients", *heads.values(), "neither yes nor no"],
        [
            [
                row["mode"],
                row["split"],
                row["patients"],
                *(_share(row, name) for name in heads),
                row["unparsable"],
            ]
            for row in rows
        ],
    )


def _gates(rows: Sequence[Mapping]) -> str:
    heads = ["mode", "split", "asked", "right", "no without the finding", "yes without the rest: kept"]
    names = ("mode", "split", "asked", "right", "flipped", "kept")
    return _table(heads, [[row[name] for name in names] for row in rows])


def _findings(rows: Iterable[Mapping]) -> str:
    lines = []
    for row in rows:
        if row["asked"]:
            right, kept = (100 * row[name] / row["asked"] for name in ("right", "kept"))
            bar = (
                f"<div class='bar'><div class='right' style='width: {right:.1f}%'></div>"
                f"<div class='kept' style='width: {kept:.1f}%'></div></div>"
            )
            counts = f"{row['right']} of {row['asked']} right, {row['kept']} grounded"
            wrong = f"{row['absent'] - row['right_absent']} of {row['absent']}" if row["absent"] else "-"
            cells = [row["finding"], row["mode"], row["split"]]
            lines.append([*cells, _Html(bar), counts, _share(row, "grounded"), wrong])
    heads = ["finding", "mode", "split", "", "", "grounded accuracy", "wrong where it is not there"]
    return _table(heads, lines)


class _Html(str):
    """Text that is HTML already."""


def _table(heads: Sequence[str], rows: Iterable[Sequence]) -> str:
    head = "".join(f"<th scope='col'>{escape(text)}</th>" for text in heads)
    body = "".join("<tr>" + "".join(_cell(value) for value in row) + "</tr>" for row in rows)
    return f"<div class='scroll'><table><tr>{head}</tr>{body}</table></div>"


def _cell(value: object) -> str:
    if isinstance(value, _Html):
        return f"<td>{value}</td>"
    number = isinstance(value, int) or str(value)[:2] in ("0.", "1.")
    return f"<td{' class=number' if number else ''}>{escape(str(value))}</td>"


def _example(row: Mapping, questions: Sequence[Mapping]) -> str:
    question = next(q for q in questions if (q["source"], q["index"]) == (row["source"], row["index"]))
    said = {"film": row["verdict"], **{edit: row[edit] for edit in EDITS}}
    films = "".join(
        f"<figure><img src='{_picture(question[name], question['regions'] if name == 'film' else [])}' "
        f"alt='{escape(caption)}: {said[name] or 'not asked'}'>"
        f"<figcaption>{escape(caption)}: <strong>{escape(said[name] or 'not asked')}</strong></figcaption></figure>"
        for name, caption in CAPTIONS.items()
        if question[name]
    )
    return (
        f"<h3>{escape(row['finding'])}, {escape(row['mode'])}</h3><p>{escape(question['question'])}<br>"
        f"<strong>{escape(row['text'] or '(nothing)')}</strong></p><div class='films'>{films}</div>"
        f"<p class='quiet'>{escape(row['source'])} {row['index']}, {escape(Path(question['film']).name)}</p>"
    )


def _picture(path: str, regions: Iterable) -> str:
    """A film as a data address."""
    return "data:image/jpeg;base64," + base64.b64encode(thumbnail(path, regions, SIDE)).decode()
