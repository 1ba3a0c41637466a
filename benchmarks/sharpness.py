"""Can an edited region be told by its blur, and what does drawing all of the film change (``edit.radedit.redraw``)?

    python -m benchmarks.sharpness --patients 6     # in a repository with the phantom's models; some minutes

The phantom's RadEdit paints on a canvas smaller than the film, so that what it paints is softer. On dev films, each
edit is compared with the film that it was made of, on the canvas of each model: how much fine detail (what a Gaussian
of one pixel takes away) the region has, beside the rest of the film. ``told`` is the chance that this tells the edit
without the finding from the film (0.5: it does not). The exact twin says how much of that is the finding itself. Then
every model is asked, and the filter's gates are counted.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy.ndimage import gaussian_filter

from medground import editing, params
from medground.editing.radedit import RadEdit, Sheet
from medground.geometry import fill
from medground.images import read_film, write_film
from medground.lvlm import load_lvlm
from medground.params import Params
from medground.phantom import fetch_ct
from medground.phantom.source import PHANTOM

from . import editors

WAYS = {"twin": "the exact twin", "film": "RadEdit, keeps the film", "redrawn": "RadEdit, redraws the film"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patients", type=int, default=6, help="dev patients of each source")
    given, p = parser.parse_args(), params.load()
    torch.set_num_threads(1)
    fetch_ct(editors.CT)
    p.models, p.modes, p.verify.seeds, p.verify.agreement = editors.MODELS, ["direct"], 1, 1
    samples = editors.dev_samples(p, given.patients)
    edits = {way: edited(p, samples, way) for way in WAYS}
    films = {way: originals(p, samples, way) for way in WAYS}
    print(f"{len(samples)} dev samples of {len({s['patient_id'] for s in samples})} patients\n")
    print("| model | edit | detail of the region, of the film's | told |\n|---|---|---|---|")
    for model in p.models:
        lvlm = load_lvlm(model, "cpu", most_pixels=p.canvas.most_pixels)
        for way, name in WAYS.items():
            before = [detail(lvlm, path, sample["regions"]) for path, sample in zip(films[way], samples, strict=True)]
            removed = [row["path"] for row in edits[way] if row["edit"] == editing.EDITS[0]]
            after = [detail(lvlm, path, sample["regions"]) for path, sample in zip(removed, samples, strict=True)]
            share = np.exp(np.mean(np.subtract(after, before)))
            print(f"| {model} | {name} | {share:.2f} | {told(before, after):.2f} |")
    found = pd.concat([editors.verdicts(p, model, samples, edits) for model in p.models])
    print("\n| answers | edit | right | " + " | ".join([*editors.GATES.values(), "kept"]) + " |")
    print("|---" * (4 + len(editors.GATES)) + "|")
    for control, some in found.groupby("control"):
        for way, name in WAYS.items():
            passed = [int(some[f"{gate}_{way}"].sum()) for gate in (*editors.GATES, "kept")]
            print(f"| {control} | {name} | {len(some)} | {' | '.join(map(str, passed))} |")


def edited(p: Params, samples: list[dict], way: str) -> list[dict]:
    """Rows of ``records.EDITS``, in the order of the samples."""
    p = copy.deepcopy(p)
    p.edit.editor, p.edit.radedit.redraw = "twin" if way == "twin" else "radedit", way == "redrawn"
    rows = []
    for source in PHANTOM:
        some = [sample for sample in samples if sample["source"] == source]
        rows += map(editors.on_disk, editing.editor(p, some, editors.OUT / "sharpness" / way / source)(some))
    return rows


def originals(p: Params, samples: list[dict], way: str) -> list[str]:
    """The films that the edits are to be compared with: those that they keep."""
    if way != "redrawn":
        return [sample["film"] for sample in samples]
    model = RadEdit.of(p.edit.radedit.model_dump())
    paths = []
    for sample in samples:
        sheet = Sheet.of(read_film(sample["film"]), sample["regions"], p.edit.band, model.size)
        paths.append(str(editors.OUT / "sharpness" / "drawn" / f"{sample['source']}_{sample['index']}.png"))
        write_film(Path(paths[-1]), sheet.redrawn(model.redraw(sheet.canvas[None])[0]).film)
    return paths


def detail(lvlm, path: str, regions: Sequence) -> float:
    """Log of how much fine detail the regions have on the model's canvas, beside the rest of the film."""
    film = read_film(path)
    letterbox = lvlm.letterbox(film.shape[1], film.shape[0])
    canvas = lvlm.canvas([film])[0].double().numpy()
    fine = np.abs(canvas - gaussian_filter(canvas, 1))
    inside = fill([letterbox.to_canvas(box) for box in regions], *canvas.shape)
    whole = fill([letterbox.to_canvas((0, 0, film.shape[1], film.shape[0]))], *canvas.shape)
    return float(np.log(fine[inside].mean() / fine[whole & ~inside].mean()))


def told(before: Sequence[float], after: Sequence[float]) -> float:
    """The chance that of a film and an edit, drawn at random, the edit has less detail in its region."""
    return float(np.mean([[one > other for other in after] for one in before]))


if __name__ == "__main__":
    main()
