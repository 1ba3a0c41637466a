"""Addresses of the code and the board, on what is published: where they are given, and only there."""

from __future__ import annotations

import ast
import json
import re
import runpy
from pathlib import Path

import pytest
from huggingface_hub import DatasetCard
from packaging.requirements import Requirement

from medground import params
from medground.hub import folder, models
from medground.hub.links import NOTEBOOK, badge, links, requirement

ROOT = Path(__file__).parents[2]
GIVEN = {"repository": "https://github.com/somebody/medground", "space": "https://huggingface.co/spaces/somebody/board"}
notebook = runpy.run_path(str(ROOT / "scripts/notebook.py"))["notebook"]


def opened(text: str) -> str:
    """The file of the repository that a badge opens in Colab."""
    (address,) = re.findall(r"\]\((https://colab\.research\.google\.com/github/[^)]*)\)", text)
    owner, repository, kind, branch, path = address.split("/github/")[1].split("/", 4)
    assert (owner, repository, kind, branch) == ("somebody", "medground", "blob", "main")
    return path


def test_the_notebook_is_what_params_yaml_makes_it():
    text = (ROOT / NOTEBOOK).read_text()
    assert notebook(text, links(params.load(ROOT / "params.yaml"))) == text, "run scripts/notebook.py"


def test_a_notebook_on_github_opens_in_colab_and_installs_from_there():
    bare = notebook((ROOT / NOTEBOOK).read_text(), {})
    made = notebook(bare, GIVEN)
    first, *rest = json.loads(made)["cells"]
    assert first["cell_type"] == "markdown" and (ROOT / opened("".join(first["source"]))).is_file()
    assert set(first) == {"cell_type", "id", "metadata", "source"}, "what nbformat 4.5 wants of a markdown cell"
    first, *code = ["".join(cell["source"]) for cell in rest if cell["cell_type"] == "code"]
    ast.parse(first.replace("%pip", "pass #"))
    told = Requirement(re.search(r"'(.*)'", first)[1])
    assert (told.name, told.extras, told.url) == ("medground", {"run", "hub"}, f"git+{GIVEN['repository']}")
    assert notebook(made, GIVEN) == made, "once is enough"
    assert notebook(made, {}) == bare, "and it can be taken back"
    assert ["".join(cell["source"]) for cell in json.loads(bare)["cells"] if cell["cell_type"] == "code"][1:] == code


@pytest.mark.parametrize("address", ["", "https://gitlab.com/somebody/medground", "https://github.com/somebody"])
def test_colab_reads_notebooks_from_github_alone(address):
    assert badge({"repository": address}) == ""


@pytest.mark.parametrize(
    "address", ["https://github.com/somebody/medground.git", "https://github.com/somebody/medground/"]
)
def test_an_address_as_git_gives_it_opens_the_same(address):
    assert opened(badge({"repository": address})) == NOTEBOOK
    assert Requirement(requirement("hub", {"repository": address}).strip("'")).name == "medground"


def test_cards_say_where_code_and_board_are(tree, tmp_path):
    folder.build(tree / "data", tmp_path / "with", links=GIVEN)
    folder.build(tree / "data", tmp_path / "without", links={})
    said, silent = (DatasetCard.load(tmp_path / name / "README.md").text for name in ("with", "without"))
    model = ROOT / "models/phantom-gemma3-a"
    for address in GIVEN.values():
        assert f"<{address}>" in said and f"<{address}>" in models.card(model, links=GIVEN)
    assert opened(said) == NOTEBOOK
    assert f"pip install 'medground[hub] @ git+{GIVEN['repository']}'" in said
    assert "pip install 'medground[hub]'" in silent
    for text in (silent, models.card(model)):
        assert "colab" not in text and "Code:" not in text and "Leaderboard:" not in text
