"""The commands behind the buttons of Maintain: the real ones, on a copy of the tree and a Hub on loopback."""

import subprocess
import sys

import pytest
import yaml

from leaderboard import tables
from medground import submission
from medground.hub import folder as hub_folder
from tests.hub.server import HubServer
from tests.leaderboard.conftest import REPOSITORY
from tests.leaderboard.fixture import write_entry
from tests.leaderboard.test_pages import copy, show, texts, widget
from tests.leaderboard.test_submit import signed_in

REPO = "org/medground"


@pytest.fixture
def folder(tree, tmp_path, monkeypatch):
    """A repository that may be written to, with a maintainer before it; its commands run the code of this one."""
    signed_in(monkeypatch, "boss@example.org", ("boss@example.org",))
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    return copy(tree, tmp_path, monkeypatch)


@pytest.fixture
def exported(folder):
    """The same with a folder for the Hub, and a commit that names the version."""
    hub_folder.build(folder / "data", folder / "data/hub")
    git = ["git", "-c", "user.name=boss", "-c", "user.email=boss@example.org"]
    for words in (["init", "-q"], ["add", "params.yaml"], ["commit", "-q", "-m", "A board"]):
        subprocess.run([*git, *words], cwd=folder, check=True)
    return folder / "data/hub"


@pytest.fixture
def hub(monkeypatch, tmp_path):
    with HubServer() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
        monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
        monkeypatch.setenv("HF_TOKEN", "hf_owner")
        yield server


def press(label: str, repository: str = ""):
    """The page after a press on a button, its words, and what the command said."""
    test = show("maintain")
    if repository:
        widget(test.text_input, "Dataset on the Hub").set_value(repository)
        test.run()
    next(button for button in test.button if button.label == label).click()
    test = test.run(timeout=120)
    assert not test.exception
    return test.status[0].label, "\n".join(code.value for code in test.status[0].code)


def test_score_and_rank_again_puts_what_was_accepted_on_the_board(folder, tree, tmp_path):
    """With the stages of the pipeline, reduced to those whose inputs the tree has."""
    (folder / ".dvc").mkdir()
    (folder / ".dvc/config").write_text("[core]\n    no_scm = true\n    analytics = false\n")
    command = f"{sys.executable} -m stages.score && {sys.executable} -m stages.rank"
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"export": {"cmd": command, "deps": ["submissions"]}}}))
    entry = write_entry(tmp_path / "entry", tree)
    received = submission.receive(entry, tables.kept(), folder / "submissions", "a@example.org")
    submission.accept(received.id, folder / "submissions")
    label, said = press("Score and rank again")
    assert label == "`dvc repro export` is done" and received.id in said
    assert received.id in show("board").dataframe[0].value["Entry"].tolist()


def test_a_pipeline_that_fails_says_why(folder):
    label, said = press("Score and rank again")
    assert label == "`dvc repro export` failed" and "not inside of a DVC repository" in said


def test_publish_shows_the_difference_first_and_then_sends_it(exported, hub):
    label, said = press("Show what would change", REPO)
    assert label == "`medground publish --dry-run` is done" and "README.md" in said and not hub.repos
    label, said = press("Publish", REPO)
    assert label == "`medground publish` is done" and "verified" in said, said
    repository = hub.repos[REPO]
    assert repository.commits[repository.branches["main"]]["README.md"] == (exported / "README.md").read_bytes()


def test_publishing_without_a_token_says_what_to_do(exported, hub, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    label, said = press("Publish", REPO)
    assert label == "`medground publish` failed" and "HF_TOKEN" in said and not hub.repos


def test_nothing_is_published_to_what_is_no_name(folder):
    for name in ("", "medground", "org/med ground", "--repo/x", "org/medground; rm -rf ."):
        test = show("maintain")
        widget(test.text_input, "Dataset on the Hub").set_value(name)
        disabled = {button.label: button.disabled for button in test.run().button}
        assert disabled["Publish"] and disabled["Show what would change"], name
    assert "Signed in as boss@example.org" in texts(test).replace("\\", "")
