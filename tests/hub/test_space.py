"""The folder of the Space: what it installs is what the app imports, and only what may be shown goes into it."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import runpy
import shutil
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from medground.errors import MedgroundError

ROOT = Path(__file__).parents[2]
assemble = runpy.run_path(str(ROOT / "space/assemble.py"))["assemble"]
start = runpy.run_path(str(ROOT / "space/start.py"))


def test_requirements_are_what_the_app_imports():
    distributions = importlib.metadata.packages_distributions()
    imported = {
        distribution.lower()
        for name in _imported(ROOT / "leaderboard") - set(sys.stdlib_module_names) - {"medground", "leaderboard"}
        for distribution in distributions[name]
    }
    listed = {re.match(r"[\w.-]+", line)[0].lower() for line in _lines(ROOT / "space/requirements.txt")}
    assert imported <= listed
    assert "torch" not in listed
    assert all(importlib.metadata.version(name) for name in listed)


def _imported(package: Path) -> set[str]:
    """Top-level names imported when the app runs: by its files, and by the medground modules that they reach."""
    seen, todo, names = set(), list(package.glob("*.py")), set()
    while todo:
        path = todo.pop()
        if path in seen:
            continue
        seen.add(path)
        for name in _modules(path):
            names.add(name.split(".")[0])
            todo += [place for place in _places(name) if place.is_file()]
    return names


def _modules(path: Path):
    """Absolute names that a file of the app imports, or that one of the library imports when it is itself imported."""
    package = list(path.relative_to(ROOT).parts[:-1])
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree) if package == ["leaderboard"] else tree.body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = (
                [*package[: len(package) - node.level + 1], *(node.module or "").split(".")]
                if node.level
                else [node.module]
            )
            base = ".".join(filter(None, base))
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def _places(name: str):
    parts = name.split(".")
    if parts[0] in ("medground", "leaderboard"):
        for length in range(1, len(parts) + 1):
            yield ROOT.joinpath(*parts[:length], "__init__.py")
        yield ROOT.joinpath(*parts).with_suffix(".py")


def test_front_matter_and_dockerfile_agree():
    front = yaml.safe_load((ROOT / "space/README.md").read_text().split("---\n")[1])
    assert front["sdk"] == "docker"
    dockerfile = (ROOT / "space/Dockerfile").read_text()
    assert f"EXPOSE {front['app_port']}" in dockerfile
    assert start["PORT"] == str(front["app_port"])
    assert len(front["short_description"]) <= 60


def test_assembles_what_the_dockerfile_copies(phantom_tree, tmp_path):
    repository = _repository(phantom_tree, tmp_path / "repository")
    (repository / ".streamlit/secrets.toml").write_text("cookie_secret = 'x'")
    assemble(repository, tmp_path / "space")
    files = {path.relative_to(tmp_path / "space").as_posix() for path in (tmp_path / "space").rglob("*")}
    assert {"Dockerfile", "README.md", "space/requirements.txt", "space/start.py", "leaderboard/app.py"} <= files
    assert {"data/board/board.parquet", "data/cases/cases.parquet", "params.yaml", "medground/records.py"} <= files
    assert not any("secrets" in name or "__pycache__" in name for name in files)


def test_its_card_says_where_the_code_is_where_params_yaml_does(phantom_tree, tmp_path):
    repository = _repository(phantom_tree, tmp_path / "repository")
    assemble(repository, tmp_path / "silent")
    settings = yaml.safe_load((repository / "params.yaml").read_text())
    settings["publish"]["repository"] = "https://github.com/somebody/medground"
    (repository / "params.yaml").write_text(yaml.safe_dump(settings))
    assemble(repository, tmp_path / "space")
    _, front, text = (tmp_path / "space/README.md").read_text().split("---\n", 2)
    assert yaml.safe_load(front)["sdk"] == "docker"
    assert text.strip().splitlines()[2] == "Code: <https://github.com/somebody/medground>"
    silent = "".join((tmp_path / f"{name}/README.md").read_text() for name in ("silent", "repository/space"))
    assert "Code:" not in silent and "Leaderboard:" not in silent


def test_refuses_tables_of_restricted_sources(tree, tmp_path):
    with pytest.raises(MedgroundError, match="imagenome, padchest_gr, vindr_cxr, which may not be shown to everybody"):
        assemble(_repository(tree, tmp_path / "repository"), tmp_path / "space")
    assert not (tmp_path / "space").exists()


def test_a_private_folder_holds_restricted_tables(tree, tmp_path):
    repository = _repository(tree, tmp_path / "repository")
    shutil.copytree(tree / "raw", repository / "raw")
    assemble(repository, tmp_path / "space", private=True)
    assert (tmp_path / "space/data/samples/imagenome/samples.parquet").is_file()


def test_a_folder_of_somebody_is_left_alone(phantom_tree, tmp_path):
    repository = _repository(phantom_tree, tmp_path / "repository")
    (tmp_path / "space").mkdir()
    (tmp_path / "space/thesis.txt").write_text("mine")
    with pytest.raises(MedgroundError, match=r"did not make .thesis\.txt"):
        assemble(repository, tmp_path / "space")
    assert [path.name for path in (tmp_path / "space").iterdir()] == ["thesis.txt"]


def test_missing_tables_are_named(phantom_tree, tmp_path):
    repository = _repository(phantom_tree, tmp_path / "repository")
    shutil.rmtree(repository / "data/scores")
    with pytest.raises(MedgroundError, match="data/scores is missing"):
        assemble(repository, tmp_path / "space")


def _repository(tree: Path, root: Path) -> Path:
    shutil.copytree(tree / "data", root / "data")
    for name in ("medground", "leaderboard", "space"):
        shutil.copytree(ROOT / name, root / name)
    for name in (".streamlit/config.toml", "params.yaml"):
        (root / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, root / name)
    (root / "submissions").mkdir()
    return root


def test_sign_in_of_a_space():
    environment = {
        "OAUTH_CLIENT_ID": "id", "OAUTH_CLIENT_SECRET": 'se"cret', "OPENID_PROVIDER_URL": "https://huggingface.co",
        "SPACE_HOST": "org-name.hf.space", "MEDGROUND_MAINTAINERS": "a@b.c, d@e.f",
    }  # fmt: skip
    written = tomllib.loads(start["sign_in"](environment))
    assert written["auth"]["redirect_uri"] == "https://org-name.hf.space/oauth2callback"
    assert written["auth"]["client_secret"] == 'se"cret'
    assert written["maintain"]["emails"] == ["a@b.c", "d@e.f"]
    assert len(written["auth"]["cookie_secret"]) >= 32
    assert start["sign_in"]({"STREAMLIT_SECRETS": "[auth]\n", **environment}) == "[auth]\n"
    assert start["sign_in"]({"SPACE_HOST": "x"}) is None


def test_submissions_move_to_persistent_storage_once(tmp_path):
    here, place = tmp_path / "submissions", tmp_path / "disk/submissions"
    (here / "theirs").mkdir(parents=True)
    (here / "theirs/entry.yaml").write_text("shipped")
    (place / "theirs").mkdir(parents=True)
    (place / "theirs/entry.yaml").write_text("reviewed")
    start["_keep"](here, place)
    assert here.is_symlink()
    assert (here / "theirs/entry.yaml").read_text() == "reviewed"
    start["_keep"](here, place)
    assert (here / "theirs/entry.yaml").read_text() == "reviewed"


def _lines(path: Path) -> list[str]:
    return [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
