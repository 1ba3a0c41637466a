"""What was found on one film, to look at: an overlay, a page with ranked concepts and coloured tokens, and JSON."""

from __future__ import annotations

import json
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
_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #1d2b36 }
img { max-width: 100%; max-height: 34rem } table { border-collapse: collapse }
td { padding: .15rem .6rem .15rem 0 } td:last-child { min-width: 12rem }
.bar { background: #ffb000; height: .8rem } .token { padding: .1rem 0; white-space: pre-wrap }
figcaption, .quiet { color: #5d6b76; font-size: .9rem }
"""


def write(explained: Explained, out: Path) -> dict[str, Path]:
    """``overlay.png``, ``report.html`` and ``attribution.json`` in the folder ``out``; their paths by what they are.

    Raises MedgroundError for an ``out`` that this did not make (`folders.check`).
    """
    names = {"overlay": "overlay.png", "report": "report.html", "data": "attribution.json"}
    with folders.rebuilt(out, COMMAND) as partial:
        overlay(explained.item.film, explained.attribution).save(partial / names["overlay"])
        (partial / names["report"]).write_text(page(explained))
        (partial / names["data"]).write_text(json.dumps(data(explained), indent=1) + "\n")
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
    return resample(np.asarray(found.grid), found.extent, *film.shape)


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


def page(explained: Explained) -> str:
    """A self-contained page; the overlay is expected beside it."""
    item, found, chosen = explained.item, explained.attribution, explained.method
    parts = [
        f"<!doctype html><html lang='en'><meta charset='utf-8'><meta name='viewport' content='width=device-width'>"
        f"<title>{escape(item.case_id)}: {escape(chosen.entry)}</title><style>{_STYLE}</style>",
        f"<h1>{escape(chosen.entry)}</h1><p class='quiet'>{escape(explained.model)} · {escape(chosen.paper)}</p>",
        f"<p>{escape(item.prompt)}</p>",
        f"<p><strong>{_tokens(found) or escape(item.answer)}</strong></p>",
        f"<p class='quiet'>Verdict {escape(explained.verdict)}, log p(Yes) - log p(No) = {explained.margin:.2f}. "
        + ("A token is the darker the more it loses without the region.</p>" if found.tokens else "</p>"),
        "<figure><img src='overlay.png' alt='The film with the evidence marked'>"
        f"<figcaption>{escape(_caption(found))}</figcaption></figure>",
    ]
    if found.concepts:
        said = "<p class='quiet'>Best explanation first, with the effect of each.</p>"
        parts.append(f"<h2>Regions</h2>{said}<table>{_rows(found)}</table>")
    return "\n".join(parts) + "</html>\n"


def _caption(found: Attribution) -> str:
    region = (found.note or {}).get("region")
    where = f"Best region: {region}. " if region else ""
    return f"{where}{found.forwards} forward passes, {found.seconds:.1f} s."


def _tokens(found: Attribution) -> str:
    if not found.tokens:
        return ""
    most = max(effect for _, effect in found.tokens) or 1.0
    return "".join(
        f"<span class='token' style='background: rgba{(*ACCENT, round(max(0.0, effect) / most, 3))}' "
        f"title='{effect:.3f} nats'>{escape(token)}</span>"
        for token, effect in found.tokens
    )


def _rows(found: Attribution) -> str:
    most = max(effect for *_, effect in found.concepts) or 1.0
    return "".join(
        f"<tr><td>{escape(name)}</td><td>{effect:.3f}</td>"
        f"<td><div class='bar' style='width: {100 * max(0.0, effect) / most:.1f}%'></div></td></tr>"
        for name, _, effect in found.concepts
    )
