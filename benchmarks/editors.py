"""Does the filter say the same with a generative editor as with the exact one?

On dev samples of the phantom every film has its healthy twin, so the verdict of the three-step filter is known. This
repeats the filter with the phantom's RadEdit (`edit.radedit` in params.yaml) and compares, gate by gate, in the world
that this RadEdit and two of the models were trained in: the first, of eight findings and a letter. `--settings`
compares settings of RadEdit on validation patients instead, `--sheet FILE` draws an edit of each finding. See
editors.md.
"""

from __future__ import annotations

import argparse
import copy
import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from medground import editing, files, params
from medground.editing import EDITS
from medground.geometry import Letterbox, fill
from medground.images import read_film, write_film
from medground.lvlm.prompts import question
from medground.params import Params
from medground.phantom import FINDINGS, fetch_ct
from medground.phantom.editor import REGIONS, examples
from medground.phantom.source import PHANTOM, Films, World
from medground.verification.asking import AnswerTask
from medground.verification.causes import controls
from medground.verification.gates import verify

CT, OUT = Path("data/raw/ct"), Path(".cache/editors")
GATES = {"flipped": "flips", "stayed_removed": "stays, finding removed", "stayed_normal": "stays, normal film"}
KEY = ["model", "mode", "source", "index"]
MODELS = ["phantom-gemma3", "phantom-qwen2_5_vl"]  # of the first world, as the films here
SEEN = 120  # side in pixels at which the phantom models look at a film


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patients", type=int, default=20, help="dev patients of each source")
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--modes", nargs="+", default=["direct"])
    parser.add_argument("--seeds", type=int, default=1, help="edits of each kind")
    parser.add_argument("--agreement", type=int, default=1, help="how many of them must pass")
    parser.add_argument("--settings", action="store_true", help="compare settings of RadEdit on validation patients")
    parser.add_argument("--sheet", type=Path, help="only draw an edit of each finding into this file")
    given, p = parser.parse_args(), params.load()
    torch.set_num_threads(1)
    fetch_ct(CT)
    p.verify.seeds, p.verify.agreement, p.models, p.modes = given.seeds, given.agreement, given.models, given.modes
    if given.settings:
        return settings(p)
    samples = dev_samples(p, given.patients)
    if given.sheet:
        return sheet(p, samples, given.sheet)
    edits = {name: edited(p, samples, name) for name in ("twin", "radedit")}
    both = pd.concat([verdicts(p, model, samples, edits) for model in p.models])
    patients = len({sample["patient_id"] for sample in samples})
    print(f"{len(samples)} dev samples of {patients} patients, {len(both)} right answers\n")
    report(both)


def dev_samples(p: Params, patients: int) -> list[dict]:
    """The samples of the first dev patients of each source, rendered as the pipeline renders them."""
    rows, f = [], p.phantom
    for source in PHANTOM:
        films = Films(
            source,
            World(),
            p.seed,
            p.seed,
            f.films_per_patient,
            f.test_share,
            f.marker_share,
            CT,
            OUT / "samples" / source,
        )
        numbers = iter(range(PHANTOM.index(source), f.patients, len(PHANTOM)))
        found = (films([number]) for number in numbers)
        dev = (some for some in found if some and some[0]["split"] == "dev")
        rows += itertools.chain.from_iterable(itertools.islice(dev, patients))
    return [on_disk(row | {"parts": []}) for row in rows]  # their known causes are not asked for


def validation_samples(p: Params, patients: int) -> list[dict]:
    """Samples of validation patients, for choosing settings: what the benchmark is made of stays unseen."""
    rows = []
    for number, example in enumerate(examples(p.seed, patients, CT)):
        paths = {kind: str(OUT / "validation" / kind / f"{number}.png") for kind in ("film", "twin")}
        write_film(Path(paths["film"]), example.film.image)
        write_film(Path(paths["twin"]), example.film.twin)
        about = {"index": number, "patient_id": str(number), "split": "dev", "finding": example.finding}
        asked = {"question": question(example.finding), "answer": "Yes"}
        source = number // 2 % 2  # half of the films with one kind of region, half with the other
        rows.append({"source": REGIONS[source], "regions": [example.regions[source]], **about, **asked, **paths})
    return rows


def edited(p: Params, samples: list[dict], name: str) -> list[dict]:
    """The edits of all samples by the editor called ``name``."""
    p = copy.deepcopy(p)
    p.edit.editor = name
    rows = []
    for source in PHANTOM:
        some = [sample for sample in samples if sample["source"] == source]
        rows += map(on_disk, editing.editor(p, some, OUT / name / source)(some))
    return rows


def on_disk(row: dict) -> dict:
    """A row whose films are files that were written, as the engine leaves them."""
    for file in (value for value in row.values() if isinstance(value, files.File)):
        files.write(file.content, file.path)
    return {name: value.path if isinstance(value, files.File) else value for name, value in row.items()}


def verdicts(p: Params, model: str, samples: list[dict], edits: dict[str, list[dict]]) -> pd.DataFrame:
    """Whether each right answer passes each gate and is kept, bool columns ``<what>_<editor>``."""
    ask, found = AnswerTask(model, p.answer.max_new_tokens, p.answer.batch_size), []
    for editor, rows in edits.items():
        own = {key: list(some) for key, some in itertools.groupby(rows, lambda row: (row["source"], row["index"]))}
        answers = itertools.chain.from_iterable(
            ask([(mode, sample, own[sample["source"], sample["index"]]) for sample in samples]) for mode in p.modes
        )
        cases = list(
            verify(samples, answers, {model: controls(model)}, seeds=p.verify.seeds, agreement=p.verify.agreement)
        )
        table = pd.DataFrame(cases).query("right").set_index(["control", "finding", "patient_id", *KEY])
        passed = table[list(GATES)] >= p.verify.agreement
        found.append(passed.assign(kept=table["kept"]).add_suffix(f"_{editor}"))
    return pd.concat(found, axis=1).reset_index()


def report(both: pd.DataFrame) -> None:
    """The tables, as Markdown."""
    print("| answers | gate | right | both | twin only | RadEdit only | neither | agreement | kappa |")
    print("|---|---|---|---|---|---|---|---|---|")
    for control, some in both.groupby("control"):
        for gate, name in (GATES | {"kept": "**kept**"}).items():
            twin, other = some[f"{gate}_twin"], some[f"{gate}_radedit"]
            cells = [(twin & other).sum(), (twin & ~other).sum(), (~twin & other).sum(), (~twin & ~other).sum()]
            same = interval(some, lambda t, gate=gate: agreement(t, gate))
            print(f"| {control} | {name} | {len(some)} | {' | '.join(map(str, cells))} | {same} | "
                  f"{interval(some, lambda t, gate=gate: kappa(t, gate), signed=True)} |")  # fmt: skip
    for columns in (["control", "model", "mode"], ["control", "finding"], ["control", "source"]):
        print(f"\n| {' | '.join(columns)} | right | kept, twin | kept, RadEdit | flips agree | stays agree | "
              "kept agree |\n" + "|---" * (len(columns) + 6) + "|")  # fmt: skip
        for key, some in both.groupby(columns):
            stays = np.mean([agreement(some, gate) for gate in GATES if gate.startswith("stayed")])
            shares = some["kept_twin"].mean(), some["kept_radedit"].mean(), agreement(some, "flipped"), stays
            print(f"| {' | '.join(key)} | {len(some)} | {' | '.join(f'{share:.3f}' for share in shares)} | "
                  f"{interval(some, lambda t: agreement(t, 'kept'))} |")  # fmt: skip


def agreement(table: pd.DataFrame, gate: str) -> float:
    return float((table[f"{gate}_twin"] == table[f"{gate}_radedit"]).mean())


def kappa(table: pd.DataFrame, gate: str) -> float:
    """Cohen's kappa; NaN where both editors always say the same one thing."""
    twin, other = table[f"{gate}_twin"].mean(), table[f"{gate}_radedit"].mean()
    chance = twin * other + (1 - twin) * (1 - other)
    return float((agreement(table, gate) - chance) / (1 - chance)) if chance < 1 else float("nan")


def interval(table: pd.DataFrame, value: Callable[[pd.DataFrame], float], signed: bool = False) -> str:
    """A value with its 95 % interval from 500 resamples of the patients; those without a value are left out."""
    if np.isnan(value(table)):
        return "–"
    rng = np.random.default_rng(0)
    groups = list(table.groupby("patient_id").indices.values())
    drawn = [
        value(table.iloc[np.concatenate([groups[k] for k in rng.integers(len(groups), size=len(groups))])])
        for _ in range(500)
    ]
    low, high = np.nanquantile(drawn, [0.025, 0.975])
    return f"{value(table):.2f} [{low:.2f}, {high:.2f}]" if signed else f"{value(table):.3f} [{low:.3f}, {high:.3f}]"


def settings(p: Params) -> None:
    """Agreement with the twin on validation patients under several settings of RadEdit."""
    samples = validation_samples(p, 24)
    twin = edited(p, samples, "twin")
    print("| steps | skipped | guidance | distance inside | outside | " + " | ".join(GATES.values()) + " | kept |")
    print("|---" * (6 + len(GATES)) + "|")
    films = [
        {**edit, "path": sample["film"]} for sample in samples for edit in twin if edit["index"] == sample["index"]
    ]
    inside, outside = distance(samples, films)
    print(f"| the film itself | | | {inside:.1f} | {outside:.1f} |" + " |" * (1 + len(GATES)))
    for steps, skip, guidance in itertools.product((25,), (0.1, 0.3), (1.5, 3.0, 5.0, 7.5, 10.0)):
        changed = {"steps": steps, "skip_ratio": skip, "guidance": guidance}
        p.edit.radedit = p.edit.radedit.model_copy(update=changed)
        own = edited(p, samples, "radedit")
        both = pd.concat([verdicts(p, model, samples, {"twin": twin, "radedit": own}) for model in p.models])
        same = " | ".join(f"{agreement(both, gate):.3f}" for gate in (*GATES, "kept"))
        inside, outside = distance(samples, own)
        print(f"| {steps} | {skip} | {guidance} | {inside:.1f} | {outside:.1f} | {same} |", flush=True)


def distance(samples: list[dict], edits: list[dict]) -> tuple[float, float]:
    """Mean absolute difference from the twin in gray levels, as seen by the models: of ``region_removed`` inside the
    regions, and of ``background_removed`` outside."""
    paths = {(edit["source"], edit["index"], edit["edit"]): edit["path"] for edit in edits if edit["seed"] == 0}
    inside, outside = [], []
    for sample in samples:
        twin, region = read_film(sample["twin"]), fill(sample["regions"], *read_film(sample["twin"]).shape)
        letterbox = Letterbox.fit(*twin.shape[::-1], SEEN)
        removed, background, true = (
            letterbox.apply(film).astype(float)
            for film in (*(read_film(paths[sample["source"], sample["index"], kind]) for kind in EDITS[:2]), twin)
        )
        within, paper = (letterbox.apply(mask.astype(np.uint8) * 255) > 127 for mask in (region, np.ones_like(region)))
        inside.append(np.abs(removed - true)[within].mean())
        outside.append(np.abs(background - true)[paper & ~within].mean())
    return float(np.mean(inside)), float(np.mean(outside))


def sheet(p: Params, samples: list[dict], path: Path) -> None:
    """A sample of each finding: the film with its region, and the three edits by the twin and by RadEdit."""
    import matplotlib.pyplot as plt
    from matplotlib.patches import Rectangle

    found = {sample["finding"]: sample for sample in reversed(samples) if sample["source"] == PHANTOM[0]}
    shown = [found[finding] for finding in FINDINGS if finding in found]
    names = {"twin": "exact twin", "radedit": "RadEdit"}
    edits = {
        (name, edit["index"], edit["edit"]): edit["path"]
        for name in names
        for edit in edited(p, shown, name)
        if edit["seed"] == 0
    }
    columns = [(kind, name) for kind in EDITS for name in names]
    figure, axes = plt.subplots(
        len(shown), 1 + len(columns), figsize=(13, 2.2 * len(shown)), facecolor="black", squeeze=False
    )
    for row, sample in zip(axes, shown, strict=True):
        row[0].imshow(read_film(sample["film"]), cmap="gray", vmin=0, vmax=255)
        for x1, y1, x2, y2 in sample["regions"]:
            row[0].add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor="#39d353", linewidth=1.4))
        row[0].set_title(sample["finding"], color="white", fontsize=10)
        for axis, (kind, name) in zip(row[1:], columns, strict=True):
            axis.imshow(read_film(edits[name, sample["index"], kind]), cmap="gray", vmin=0, vmax=255)
            axis.set_title(f"{kind.replace('_', ' ')}\n{names[name]}", color="#b8b8b8", fontsize=9)
    for axis in axes.flat:
        axis.set_axis_off()
    figure.tight_layout(pad=0.4)
    figure.savefig(path, dpi=75, facecolor="black")
    plt.close(figure)


if __name__ == "__main__":
    main()
