"""From tables to items to rows, on a small repository with an untrained model."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import yaml
from references import write_masks

from medground import params, records
from medground.attribution import method
from medground.attribution.explain import AttributeTask, _loaded
from medground.attribution.items import Items, kept_cases
from medground.attribution.sanity import SanityTask
from medground.errors import MedgroundError
from medground.images import write_film
from medground.phantom.lvlms.architecture import build
from stages import attribute
from stages.sanity import again

ROOT = Path(__file__).parents[2]

QUESTION = "Is there evidence of cardiomegaly in the image? Answer directly with yes or no without any explanation."


def case(index, kept=True, model="tiny", answer="Yes.", mode="direct"):
    return {
        "case_id": records.case_id(model, mode, "s", index), "model": model, "mode": mode, "source": "s",
        "index": index, "patient_id": "p", "split": "dev", "finding": "cardiomegaly", "control": "honest",
        "question": QUESTION, "answer": answer, "right": True, "seeds": 1, "flipped": 1, "stayed_removed": 1,
        "stayed_normal": 1, "passed": int(kept), "kept": kept, "reason": "kept" if kept else "not flipped",
    }  # fmt: skip


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """Four cases, three of them kept, in the tables' real layout; the working directory."""
    rng, samples, concepts = np.random.default_rng(0), [], []
    for index in range(4):
        film = f"data/samples/s/films/{index}.png"
        write_film(tmp_path / film, rng.integers(0, 255, (60, 50), dtype=np.uint8))
        samples.append({
            "source": "s", "index": index, "patient_id": "p", "split": "dev", "film": film, "width": 50, "height": 60,
            "finding": "cardiomegaly", "question": "q", "answer": "Yes", "regions": [(1, 2, 3, 4)], "licence": "l",
        })  # fmt: skip
        for name, box in (("left lung", (25, 0, 50, 60)), ("right lung", (0, 0, 25, 60))):
            concepts.append({
                "source": "s", "index": index, "concept": name, "box": box, "reference": "r", "cost": 0.0,
            })  # fmt: skip
    cases = [case(3), case(0), case(1, kept=False), case(2, answer="No."), case(0, model="other")]
    records.write_table(samples, records.SAMPLES, tmp_path / "data/samples/s/samples.parquet")
    records.write_table(concepts, records.CONCEPTS, tmp_path / "data/anatomy/concepts.parquet")
    records.write_table(cases, records.CASES, tmp_path / "data/cases/cases.parquet")
    masks = {name: np.zeros((60, 50), bool) for name in ("left lung", "right lung")}
    masks["left lung"][10:50, 27:45] = masks["right lung"][10:50, 5:23] = True
    written = [mask | {"path": f"masks/{Path(mask['path']).name}"} for mask in write_masks(tmp_path / "masks", masks)]
    rows = [{"reference": str(n), "film": f"data/samples/s/films/{n}.png", "masks": written} for n in (1, 3)]
    records.write_table(rows, records.REFERENCES, tmp_path / "data/references/references.parquet")
    build("gemma3", [QUESTION, "Yes."], seed=0).save(tmp_path / "models/tiny")
    monkeypatch.chdir(tmp_path)
    _loaded.cache_clear()
    return tmp_path


def test_kept_cases_of_one_finding_and_film_stand_together(repository):
    assert [row["case_id"] for row in kept_cases("tiny")] == ["tiny/direct/s/0", "tiny/direct/s/2", "tiny/direct/s/3"]
    other = [case(0, mode="reasoning") | {"question": "q"}, case(1) | {"finding": "a finding before"}]
    table = repository / "data/cases/cases.parquet"
    records.write_table([*records.read_rows(table, records.CASES), *other], records.CASES, table)
    modes = [(row["index"], row["mode"]) for row in kept_cases("tiny")]
    assert modes == [(1, "direct"), (0, "direct"), (0, "reasoning"), (2, "direct"), (3, "direct")]
    with pytest.raises(MedgroundError, match=r"no case of model 'nosuch'; it has: other, tiny"):
        kept_cases("nosuch")


def test_items_carry_film_words_and_concepts(repository):
    item = Items(Path("."), "concepts")(kept_cases("tiny")[0])
    assert item.film.shape == (60, 50) and item.film.dtype == np.uint8
    assert (item.prompt, item.answer, item.finding) == (QUESTION, "Yes.", "cardiomegaly")
    assert item.concepts == (("left lung", (25, 0, 50, 60)), ("right lung", (0, 0, 25, 60)))
    plain = Items(Path("."))(kept_cases("tiny")[0])
    assert plain.concepts == () and plain.normal is None and item.normal is None
    assert Items(Path("."), normal=True)(kept_cases("tiny")[0]).normal.shape == (60, 50)


def test_missing_rows_are_named(repository):
    with pytest.raises(MedgroundError, match="case tiny/direct/s/9 is not in data/samples/s"):
        Items(Path("."))(case(9))
    rows = records.read_rows("data/anatomy/concepts.parquet", records.CONCEPTS)
    records.write_table([r for r in rows if r["index"]], records.CONCEPTS, "data/anatomy/concepts.parquet")
    with pytest.raises(MedgroundError, match="case tiny/direct/s/0 is not in data/anatomy"):
        Items(Path("."), "concepts")(case(0))


@pytest.mark.parametrize("name", ["medfocus", "rollout", "whole_film"])
def test_rows_of_kept_cases(name, repository):
    chosen, cases = method(name), kept_cases("tiny")
    methods = {name: (chosen, Items.of(chosen))}
    jobs = [(name, case) for case in cases]
    rows = AttributeTask("tiny", methods)(jobs)
    assert all(row.pop("seconds") >= 0 for row in rows)  # the engine puts them elsewhere
    records.write_table(rows, records.ATTRIBUTIONS, "out.parquet")
    back = records.read_rows("out.parquet", records.ATTRIBUTIONS)
    assert [row["case_id"] for row in back] == [row["case_id"] for row in cases]
    assert all((row["grid"] is None) != (row["boxes"] is None) for row in back)
    again = AttributeTask("tiny", methods)(jobs)
    assert [{**row, "seconds": 0, "grid": None} for row in rows] == [{**r, "seconds": 0, "grid": None} for r in again]


def test_a_floor_loads_no_model(repository):
    methods = {name: (method(name), Items(Path("."))) for name in ("random", "center_box")}
    jobs = [(name, case) for name in methods for case in kept_cases("tiny")]
    rows = AttributeTask("no such model", methods)(jobs)
    assert [row["case_id"] for row in rows] == [case["case_id"] for _, case in jobs]
    assert rows[0]["boxes"] != rows[3]["boxes"]


def test_another_method_or_setting_costs_its_own_work_alone(repository, monkeypatch):
    """The stage, three times: what was made of the same is not made again, and what is no longer asked for goes."""
    values = yaml.safe_load((ROOT / "profiles/phantom.yaml").read_text())
    values |= {"models": ["tiny"], "attribute": {"occlusion": {"cells": 2}}}
    values["engine"]["workers"] = 1
    explained = []

    def explain(task, jobs):
        explained.extend(name for name, _ in jobs)
        return real(task, jobs)

    real = AttributeTask.__call__
    monkeypatch.setattr(AttributeTask, "__call__", explain)
    monkeypatch.setattr("sys.argv", ["attribute", "--model", "tiny"])
    for methods, cells, expected in (
        (["random", "occlusion"], 2, {"random": 3, "occlusion": 3}),
        (["random", "occlusion", "whole_film"], 2, {"whole_film": 3}),
        (["occlusion", "whole_film"], 3, {"occlusion": 3}),
    ):
        values |= {"methods": methods}
        values["attribute"]["occlusion"]["cells"] = cells
        Path("params.yaml").write_text(yaml.safe_dump(values))
        explained.clear()
        attribute.main()
        assert Counter(explained) == expected
        assert {path.stem for path in Path("data/attributions/tiny").iterdir()} == set(methods)
    rows = records.read_rows("data/attributions/tiny/occlusion.parquet", records.ATTRIBUTIONS)
    assert [row["grid_width"] for row in rows] == [3, 3, 3]


def test_sanity_asks_only_methods_that_ask_the_model_once_for_each_change_and_case(repository, monkeypatch):
    values = yaml.safe_load((ROOT / "profiles/phantom.yaml").read_text())
    values |= {"models": ["tiny"], "methods": ["random", "occlusion"], "attribute": {"occlusion": {"cells": 2}}}
    values["engine"]["workers"] = 1
    Path("params.yaml").write_text(yaml.safe_dump(values))
    asked = []

    def explain(task, jobs):
        asked.extend((change, name, case["index"]) for change, name, case in jobs)
        return real(task, jobs)

    real = SanityTask.__call__
    monkeypatch.setattr(SanityTask, "__call__", explain)
    chosen = {"tiny": kept_cases("tiny")[:2]}
    for expected in ([(change, "occlusion", index) for change in ("decoder:1", "noise") for index in (0, 2)], []):
        found = again(params.load(), "tiny", chosen, ["decoder:1", "noise"])
        assert sorted(asked) == expected and set(found) == {("decoder:1", "occlusion"), ("noise", "occlusion")}
        asked.clear()
    for path in found.values():
        rows = records.read_rows(path, records.ATTRIBUTIONS)
        assert [row["case_id"] for row in rows] == [case["case_id"] for case in chosen["tiny"]]
    assert again(params.load(), "another", chosen, ["noise"]) == {}
