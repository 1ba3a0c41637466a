"""What was found on one film, to look at: a page with the film beside the overlay, the verdict in words, the signed
effect of each region and the words that depend on the evidence; and the same as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from .. import folders
from ..geometry import Box, resample
from ..scoring import boxes_from_heatmap
from .film import Explained
from .method import Attribution

COMMAND = "medground attribute"
ACCENT = (255, 176, 0)
NOT_A_DIAGNOSIS = (
    "This page says what in the film a model's answer depends on. It does not say whether the answer is right, and it "
    "is no diagnosis."
)
LATERALITY = "On a frontal film as it is usually shown, the patient's right is on the left."
NOTHING = "No evidence found: no part of the film was found that carries this answer."
_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 68rem; margin: 2rem auto; padding: 0 1rem; color: #1d2b36 }
.films { display: flex; flex-wrap: wrap; gap: 1rem } figure { flex: 1 1 20rem; margin: 0 }
img { width: 100%; background: #000 } table { border-collapse: collapse }
th { text-align: left; font-weight: 600 } td, th { padding: .15rem .8rem .15rem 0 } td.number { text-align: right }
.effect { position: relative; width: 16rem; height: .9rem; background: #eef1f4 }
.effect div { position: absolute; top: 0; height: 100% } .effect .axis { left: 50%; width: 1px; background: #5d6b76 }
.for { background: #c77c00 } .against { background: #3d6ea5 } .token { padding: .1rem 0; white-space: pre-wrap }
.scale { height: .8rem; background: linear-gradient(90deg, rgba(255, 176, 0, 0), rgb(255, 176, 0));
  border: 1px solid #aab4bd }
.ends { display: flex; justify-content: space-between } figcaption, .quiet, .ends { color: #4e5b66; font-size: .9rem }
.verdict { font-size: 1.15rem; border-left: .3rem solid #c77c00; padding-left: .8rem }
.no { border-left-color: #4e5b66 } .doubt { border: 2px solid #b3261e; padding: .4rem .8rem }
"""


def write(explained: Explained, out: Path, against: Sequence[str] = ()) -> dict[str, Path]:
    """``film.png``, ``overlay.png``, ``report.html`` and ``attribution.json`` in the folder ``out``; their paths
    by what they are. ``against`` says why the film may not be what model and method are made for.

    Raises MedgroundError for an ``out`` that this did not make (`folders.check`).
    """
    names = {"film": "film.png", "overlay": "overlay.png", "report": "report.html", "data": "attribution.json"}
    with folders.rebuilt(out, COMMAND) as partial:
        Image.fromarray(explained.item.film).save(partial / names["film"])
        overlay(explained.item.film, explained.attribution).save(partial / names["overlay"])
        (partial / names["report"]).write_text(page(explained, against))
        (partial / names["data"]).write_text(json.dumps(data(explained) | {"against": list(against)}, indent=1) + "\n")
    return {what: out / name for what, name in names.items()}


def overlay(film: np.ndarray, found: Attribution) -> Image.Image:
    """The film with the map laid over it, stronger evidence more opaque, and the boxes drawn, the best one thickest."""
    picture = np.repeat(film[..., None], 3, -1).astype(np.float64)
    if found.grid is not None:
        heat = heatmap(film, found)
        share = 0.65 * np.clip(heat / heat.max(), 0, 1)[..., None] if heat.max() > 0 else 0.0
        picture = picture * (1 - share) + np.array(ACCENT) * share
    image = Image.fromarray(picture.round().astype(np.uint8))
    draw, thin = ImageDraw.Draw(image), max(1, round(max(film.shape) / 300))
    for rank, box in reversed(list(enumerate(boxes(film, found)))):
        x1, y1, x2, y2 = (round(value) for value in box)
        draw.rectangle((x1, y1, max(x1, x2 - 1), max(y1, y2 - 1)), outline=ACCENT, width=thin * (1 if rank else 3))
    return image


def heatmap(film: np.ndarray, found: Attribution) -> np.ndarray:
    """The grid of an attribution at every pixel of the film ``[H, W]``."""
    height, width = film.shape
    extent = found.extent or (0.0, 0.0, float(width), float(height))
    return resample(np.asarray(found.grid), extent, height, width)


def boxes(film: np.ndarray, found: Attribution) -> list[Box]:
    """The attribution's boxes, or those of its map; native pixels, best first."""
    return list(found.boxes) if found.boxes is not None else boxes_from_heatmap(heatmap(film, found))


def data(explained: Explained) -> dict:
    """Everything as JSON values; boxes are [x1, y1, x2, y2) in pixels of the film."""
    item, found = explained.item, explained.attribution
    height, width = item.film.shape
    return {
        "film": {"name": item.case_id, "width": width, "height": height},
        "model": explained.model,
        "revision": explained.revision,
        "method": explained.method.entry,
        "settings": dict(explained.method.settings),
        "prompt": item.prompt,
        "answer": item.answer,
        "verdict": explained.verdict,
        "margin": explained.margin,
        "boxes": [list(box) for box in boxes(item.film, found)],
        "grid": None if found.grid is None else np.asarray(found.grid, float).tolist(),
        "extent": found.extent and list(found.extent),
        "concepts": found.concepts and [{"concept": c, "box": list(b), "effect": e} for c, b, e in found.concepts],
        "tokens": found.tokens and [{"token": token, "effect": effect} for token, effect in found.tokens],
        "note": found.note,
        "seconds": found.seconds,
        "forwards": found.forwards,
    }


def page(explained: Explained, against: Sequence[str] = ()) -> str:
    """A page of its own; the film and the overlay are expected beside it. ``against`` is shown above the verdict."""
    item, found, chosen = explained.item, explained.attribution, explained.method
    says = sentence(item.film, found)
    words = "The darker a word of the answer, the more it loses without the evidence. " if found.tokens else ""
    parts = [
        f"<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        f"<meta name='viewport' content='width=device-width'><title>{escape(item.case_id)}: {escape(chosen.entry)}"
        f"</title><style>{_STYLE}</style></head><body>",
        f"<h1>What the answer depends on</h1><p class='quiet'>{escape(item.case_id)}, asked of "
        f"{escape(explained.model)}, explained by {escape(chosen.entry)} ({escape(chosen.paper)})</p>",
        f"<p>{escape(item.prompt)}</p><p><strong>{_tokens(found) or escape(item.answer)}</strong></p>",
        f"<p class='quiet'>{words}Read as {escape(explained.verdict)}; log p(Yes) - log p(No) = "
        f"{explained.margin:.2f}.</p>",
        *(f"<p class='doubt'>{escape(text[:1].upper() + text[1:])}.</p>" for text in against),
        f"<p class='verdict{' no' if says == NOTHING else ''}'>{escape(says)}</p>",
        "<div class='films'><figure><img src='film.png' alt='The film'><figcaption>The film. "
        f"{LATERALITY}</figcaption></figure>"
        f"<figure><img src='overlay.png' alt='{escape(says, quote=True)}'>{_scale(found)}</figure></div>",
    ]
    if found.concepts:
        parts.append(
            "<h2>Regions</h2><p class='quiet'>What the answer loses without the region, in nats. Right of the line: it "
            "becomes less likely; left of it: likelier. A full bar is the most that was found."
            "</p><table><tr><th scope='col'>region</th><th scope='col'>effect"
            f"</th><th></th></tr>{_rows(found)}</table>"
        )
    spent = f"{found.forwards} forward passes, {found.seconds:.1f} s."
    return "\n".join([*parts, f"<p class='quiet'>{NOT_A_DIAGNOSIS} {spent}</p></body></html>"]) + "\n"


def sentence(film: np.ndarray, found: Attribution) -> str:
    """What was found, in words; `NOTHING` where no evidence was."""
    note, places = found.note or {}, boxes(film, found)
    verdict = note.get("verdict")
    if verdict == "not local" or not places:
        return NOTHING
    where = " and ".join(dict.fromkeys(_place(film, box) for box in places[:3]))
    if note.get("region"):
        return f"The answer depends on the {note['region']}, most of all in the {_place(film, places[0])} of the film."
    if verdict == "several" and len(note["parts"]) == 1:
        return f"The answer depends on a part in the {where} of the film, which does not carry it alone."
    if verdict == "several":
        how = "neither alone carries it" if note.get("together") else "each alone carries it"
        return f"The answer depends on several parts, in the {where} of the film; {how}."
    if verdict == "elsewhere":
        return f"The answer depends on a part in the {where} of the film, and on no anatomical region."
    return f"The method points at the {where} of the film."


def _place(film: np.ndarray, box: Box) -> str:
    """The ninth of the film that the middle of a box lies in, as it is looked at."""
    height, width = film.shape
    across = ("left", "middle", "right")[min(2, int(1.5 * (box[0] + box[2]) / width))]
    down = ("upper", "middle", "lower")[min(2, int(1.5 * (box[1] + box[3]) / height))]
    return "middle" if across == down == "middle" else f"{down} {across}"


def _scale(found: Attribution) -> str:
    if found.grid is None:
        return "<figcaption>Outlined: what the answer depends on; the thickest outline is the strongest.</figcaption>"
    low, high = float(np.min(found.grid)), float(np.max(found.grid))
    return (
        "<figcaption>The map over the film; outlined, its strongest parts.<div class='scale'></div>"
        f"<div class='ends'><span>none (lowest {low:.3g})</span><span>most ({high:.3g})</span></div></figcaption>"
    )


def _tokens(found: Attribution) -> str:
    if not found.tokens:
        return ""
    most = max(max(effect for _, effect in found.tokens), 1e-12)
    return "".join(
        f"<span class='token' style='background: rgba{(*ACCENT, round(max(0.0, effect) / most, 3))}' "
        f"title='{effect:.3f} nats'>{escape(token)}</span>"
        for token, effect in found.tokens
    )


def _rows(found: Attribution) -> str:
    """A row a region, the strongest first; bars grow from the middle, to the side of the sign."""
    concepts = found.concepts or []
    most = max([(found.note or {}).get("most", 0.0), *(abs(effect) for *_, effect in concepts)]) or 1.0
    rows = []
    for name, _, effect in concepts:
        share, side = 50 * abs(effect) / most, "for" if effect > 0 else "against"
        start = 50 if effect > 0 else 50 - share
        rows.append(
            f"<tr><td>{escape(name)}</td><td class='number'>{effect:+.3f}</td><td><div class='effect'>"
            f"<div class='{side}' style='left: {start:.1f}%; width: {share:.1f}%'></div><div class='axis'></div></div>"
            "</td></tr>"
        )
    return "".join(rows)
