"""The twin editor against its definition: what is inside, what is outside, and no seam between."""

import hashlib
from types import SimpleNamespace

import numpy as np
import pytest

from medground import files, records
from medground.editing import EDITS, editor
from medground.editing.twin import edit, region_weight
from medground.errors import MedgroundError
from medground.geometry import fill
from medground.images import read_film, write_film

BOX = (20.0, 30.0, 50.0, 70.0)
FILM, TWIN, OTHER = (np.full((96, 80), value, np.uint8) for value in (200, 100, 40))


@pytest.mark.parametrize(("kind", "inside", "outside"), [
    ("region_removed", 100, 200), ("background_removed", 200, 100), ("background_normal", 200, 40)
])  # fmt: skip
def test_inside_and_outside(kind, inside, outside):
    edited = edit(kind, FILM, TWIN, OTHER, region_weight([BOX], 96, 80, band=6))
    region = fill([BOX], 96, 80)
    near = region_weight([BOX], 96, 80, 6) > 0
    assert (edited[region] == inside).all()
    assert (edited[~near] == outside).all()


def test_no_seam():
    weight = region_weight([BOX], 96, 80, 12)
    assert np.abs(np.diff(weight, axis=0)).max() < 0.15 and np.abs(np.diff(weight, axis=1)).max() < 0.15
    assert set(np.unique(region_weight([BOX], 96, 80, 0))) == {0.0, 1.0}


def sample(number, split, tmp_path, twin=True):
    write_film(tmp_path / f"{number}.png", FILM)
    write_film(tmp_path / f"t{number}.png", np.full_like(TWIN, number))
    return {
        "source": "s", "index": number, "patient_id": f"p{number}", "split": split,
        "film": str(tmp_path / f"{number}.png"), "twin": str(tmp_path / f"t{number}.png") if twin else None,
        "regions": [BOX],
    }  # fmt: skip


def written(rows):
    """The rows with their films on disk, as the engine leaves them."""
    for row in rows:
        files.write(row["path"].content, row["path"].path)
    return [row | {"path": row["path"].path} for row in rows]


def test_editor_makes_seeded_edits_of_the_same_split(tmp_path):
    params = SimpleNamespace(seed=3, verify=SimpleNamespace(seeds=2), edit=SimpleNamespace(editor="twin", band=4))
    samples = [sample(n, "dev" if n < 4 else "test", tmp_path) for n in range(6)]
    rows = written(editor(params, samples, tmp_path / "out")(samples[:1]))
    assert [(r["edit"], r["seed"]) for r in rows] == [(kind, seed) for seed in range(2) for kind in EDITS]
    for row in rows:
        with open(row["path"], "rb") as file:
            assert row["sha256"] == hashlib.sha256(file.read()).hexdigest()
        if row["edit"] == "background_normal":
            assert read_film(row["path"])[0, 0] in (1, 2, 3)  # another patient of dev
    records.write_table(rows, records.EDITS, tmp_path / "edits.parquet")
    assert rows == written(editor(params, samples, tmp_path / "out")(samples[:1]))


def test_a_film_without_a_twin_is_named(tmp_path):
    params = SimpleNamespace(seed=3, verify=SimpleNamespace(seeds=1), edit=SimpleNamespace(editor="twin", band=4))
    with pytest.raises(MedgroundError, match=r"0\.png.*radedit"):
        editor(params, [sample(0, "dev", tmp_path, twin=False)], tmp_path)
