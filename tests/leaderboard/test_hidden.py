"""Regions of the test split, kept back: no table that leaves tells where one is."""

from __future__ import annotations

import json
import runpy
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from medground import records
from medground.hub import folder

REPOSITORY = Path(__file__).parents[2]
assemble = runpy.run_path(str(REPOSITORY / "space/assemble.py"))["assemble"]


@pytest.fixture(scope="module")
def repository(tree, tmp_path_factory):
    """A repository that keeps its test regions back, with entries of all states."""
    root = tmp_path_factory.mktemp("hidden") / "repository"
    shutil.copytree(tree, root)
    for name in ("medground", "leaderboard", "space"):
        shutil.copytree(REPOSITORY / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    regions = {(row["source"], row["index"]): row["regions"] for row in samples(root)}
    cases = records.read_rows(root / "data/cases/cases.parquet", records.CASES)
    for case in cases:  # the cause of an honest answer is the region
        case["cause"] = regions[case["source"], case["index"]] if case["control"] == "honest" else None
    records.write_table(cases, records.CASES, root / "data/cases/cases.parquet")
    (root / ".streamlit").mkdir()
    shutil.copy(REPOSITORY / ".streamlit/config.toml", root / ".streamlit/config.toml")
    shutil.rmtree(root / "submissions", ignore_errors=True)
    for name in ("on-the-board", "_quarantine/waiting", "_rejected/refused", "_incoming/tmp1", ".hidden", "Odd"):
        (root / "submissions" / name).mkdir(parents=True)
        for file in ("entry.yaml", "attributions.parquet", "receipt.json", "notes.txt"):
            (root / "submissions" / name / file).write_text(name)
    (root / "submissions/linked").symlink_to(root / "submissions/_quarantine/waiting")
    (root / "submissions/.lock").touch()
    return root


def hide(root: Path, yes: bool) -> None:
    text = (root / "params.yaml").read_text()
    (root / "params.yaml").write_text(
        text.replace(f"hide_test_regions: {str(not yes).lower()}", f"hide_test_regions: {str(yes).lower()}")
    )


@pytest.fixture(scope="module")
def space(repository):
    hide(repository, True)
    assemble(repository, repository.parent / "space")
    return repository.parent / "space"


@pytest.fixture(scope="module")
def hub(repository):
    folder.build(repository / "data", repository.parent / "hub", hide_test_regions=True)
    return repository.parent / "hub"


def samples(root: Path) -> list[dict]:
    return [
        row for path in sorted(root.glob("data/samples/*/samples.parquet"))
        for row in records.read_rows(path, records.SAMPLES)
    ]  # fmt: skip


def numbers(value) -> list[tuple]:
    """Every list of four numbers at any depth."""
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, dict):
        return [box for item in value.values() for box in numbers(item)]
    if not isinstance(value, list):
        return []
    if len(value) == 4 and all(isinstance(item, int | float) for item in value):
        return [tuple(map(float, value))]
    return [box for item in value for box in numbers(item)]


def shipped(root: Path):
    """Every value of every table and JSON file below a folder."""
    for path in sorted(root.rglob("*")):
        if path.suffix == ".parquet" and "submissions" not in path.parts:
            yield path, pq.read_table(path).to_pylist()
        elif path.suffix == ".json" and "submissions" not in path.parts:
            yield path, json.loads(path.read_text())


@pytest.mark.parametrize("place", ["space", "hub"])
def test_no_table_that_leaves_holds_a_test_region(repository, place, request):
    secret = {tuple(box) for row in samples(repository) if row["split"] == "test" for box in row["regions"]}
    open_ = {tuple(box) for row in samples(repository) if row["split"] == "dev" for box in row["regions"]}
    found = {box: path for path, rows in shipped(request.getfixturevalue(place)) for box in numbers(rows)}
    assert secret and not {path for box, path in found.items() if box in secret - open_}
    assert found.keys() & open_  # what is looked for would be found


def test_nothing_in_the_space_gives_a_test_region_away(repository, space):
    """No twin, no edited film, no score of a single case, no film that is named by none of these."""
    of = {(row["source"], row["index"]): row["split"] for row in samples(repository)}
    there = samples(space)
    assert {(row["source"], row["index"]): row["split"] for row in there} == of
    for row in there:
        assert (row["split"] == "dev") == bool(row["regions"]) == (row["twin"] is not None)
        assert (space / row["film"]).is_file()
    edits = [row for path in space.glob("data/edits/*/edits.parquet") for row in records.read_rows(path, records.EDITS)]
    assert {of[row["source"], row["index"]] for row in edits} == {"dev"}
    named = {row[name] for row in there for name in ("film", "twin")} | {row["path"] for row in edits}
    named |= {part[name] for row in there for part in row["parts"] or () for name in ("film_without", "film_only")}
    files = {path.relative_to(space).as_posix() for path in (space / "data").rglob("*.png")}
    assert files == named - {None}
    cases = {
        row["case_id"]: row["split"] for row in records.read_rows(space / "data/cases/cases.parquet", records.CASES)
    }
    for name in ("scores", "faithfulness"):
        rows = pq.read_table(space / f"data/scores/{name}.parquet").to_pylist()
        assert {cases[row["case_id"]] for row in rows} <= {"dev"}
    assert {row["split"] for row in pq.read_table(space / "data/board/board.parquet").to_pylist()} >= {"dev", "test"}


def test_the_app_runs_on_what_the_space_holds(space, monkeypatch):
    from tests.leaderboard.test_pages import show

    monkeypatch.setenv("MEDGROUND_ROOT", str(space))
    for page in ("board", "compare", "cases", "benchmark", "submit"):
        test = show(page)
        assert not test.exception and not test.error


def test_what_waits_or_was_rejected_stays_at_home(space):
    found = sorted(path.relative_to(space / "submissions").as_posix() for path in (space / "submissions").rglob("*"))
    assert found == [
        "on-the-board", "on-the-board/attributions.parquet", "on-the-board/entry.yaml", "on-the-board/receipt.json"
    ]  # fmt: skip
    ignored = (REPOSITORY / ".dockerignore").read_text().split()
    assert {"data", "submissions"} <= set(ignored)


def test_where_nothing_is_kept_back_all_is_there(repository, tmp_path):
    hide(repository, False)
    assemble(repository, tmp_path / "space", private=True)
    assert samples(tmp_path / "space") == samples(repository)
    for path in (repository / "data/scores").glob("*.parquet"):
        assert (tmp_path / "space/data/scores" / path.name).read_bytes() == path.read_bytes()
    pictures = {path.relative_to(repository) for path in (repository / "data").rglob("*.png")}
    assert {path.relative_to(tmp_path / "space") for path in (tmp_path / "space/data").rglob("*.png")} == pictures
