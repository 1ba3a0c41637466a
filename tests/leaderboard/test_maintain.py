"""The commands behind the buttons of Maintain: the real ones, on a copy of the tree and a Hub on loopback."""

import shutil
import subprocess
import sys
import threading

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
READ = ("data/board/board.parquet", "data/scores/scores.parquet", "data/scores/entries.json")  # by the app, of these


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
    (folder / "dvc.yaml").write_text("stages: {}")
    for words in (["init", "-q"], ["add", "params.yaml"], ["commit", "-q", "-m", "A board"]):
        subprocess.run([*git, *words], cwd=folder, check=True)
    return folder / "data/hub"


@pytest.fixture
def hub(monkeypatch, tmp_path):
    with HubServer() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
        monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
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


def pipeline(folder, command: str) -> None:
    """The pipeline's last stages as one, whose outputs DVC keeps where those of dvc.yaml are kept."""
    stages = yaml.safe_load((REPOSITORY / "dvc.yaml").read_text())["stages"]
    outs = [out for name in ("score", "rank") for out in stages[name]["outs"]]
    (folder / ".dvc").mkdir()
    (folder / ".dvc/config").write_text("[core]\n    no_scm = true\n    analytics = false\n")
    stage = {"cmd": command, "deps": ["submissions"], "outs": outs}
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"export": stage}}))


def test_score_and_rank_again_puts_what_was_accepted_on_the_board_which_stays_up(folder, tree, tmp_path):
    """With the stages of the pipeline, reduced to those whose inputs the tree has. DVC deletes the outputs of a stage
    before it runs, unless they persist: a visitor looks at the board all the while."""
    pipeline(folder, f"{sys.executable} -m stages.score && {sys.executable} -m stages.rank && sleep 1")
    entry = write_entry(tmp_path / "entry", tree)
    received = submission.receive(entry, tables.kept(), folder / "submissions", "a@example.org")
    submission.accept(received.id, folder / "submissions")
    gone, longest, stop = dict.fromkeys(READ, 0), dict.fromkeys(READ, 0), threading.Event()

    def watch() -> None:
        while not stop.wait(0.02):
            for name in READ:
                gone[name] = 0 if (folder / name).is_file() else gone[name] + 1
                longest[name] = max(longest[name], gone[name])

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        label, said = press("Score and rank again")
    finally:
        stop.set()
        watcher.join()
    assert label == "`dvc repro export` is done" and received.id in said
    assert max(longest.values()) <= 10, longest  # a moment, in which DVC links what it stored; a page waits for it
    assert received.id in show("board").dataframe[0].value["Id"].tolist()


def test_nothing_that_the_app_reads_goes_away_while_the_board_is_made_again():
    """What depends on the entries, directly or not, persists: all of it, in the pipeline as it is."""
    stages = yaml.safe_load((REPOSITORY / "dvc.yaml").read_text())["stages"]
    changed, outs = {"submissions"}, []
    for name in ("score", "faithfulness", "sanity", "rank"):
        assert changed & set(stages[name]["deps"]), name
        for out in stages[name]["outs"] + stages[name].get("metrics", []):
            ((path, how),) = out.items()
            assert how["persist"], path
            changed.add(path)
            outs.append(path)
    assert all(any(name == path or name.startswith(f"{path}/") for path in outs) for name in READ)


def test_a_pipeline_that_fails_says_why_and_keeps_it_in_view(folder):
    pipeline(folder, "echo the disk is full; exit 3")
    (folder / "submissions").mkdir()
    label, said = press("Score and rank again")
    assert label == "`dvc repro export` failed" and "the disk is full" in said
    test = show("maintain")
    next(button for button in test.button if button.label == "Score and rank again").click()
    assert test.run(timeout=120).status[0].proto.expanded


def test_without_dvc_the_stages_rank_by_themselves(folder, tree, tmp_path):
    """As on a Space."""
    (folder / "stages").mkdir()
    for name in ("__init__.py", "score.py", "rank.py"):
        shutil.copy(REPOSITORY / "stages" / name, folder / "stages")
    entry = write_entry(tmp_path / "entry", tree)
    received = submission.receive(entry, tables.kept(), folder / "submissions", "a@example.org")
    submission.accept(received.id, folder / "submissions")
    label, said = press("Score and rank again")
    assert label == "`score and rank` is done" and received.id in said
    assert received.id in show("board").dataframe[0].value["Id"].tolist()


def test_what_cannot_work_here_is_not_offered(folder):
    """Neither pipeline nor folder for the Hub."""
    test = show("maintain")
    labels = {button.label for button in test.button}
    assert "Score and rank again" not in labels and "Publish" not in labels
    assert "cannot be made again here" in texts(test)


def test_publish_shows_the_difference_first_and_then_sends_it(exported, hub):
    label, said = press("Show what would change", REPO)
    assert label == "`medground publish --dry-run` is done" and "README.md" in said and not hub.repos
    label, said = press("Publish", REPO)
    assert label == "`medground publish` is done" and "verified" in said, said
    repository = hub.repos[REPO]
    card = (exported / "README.md").read_text().replace("ORG/NAME", REPO)  # the name that it is published under
    assert repository.commits[repository.branches["main"]]["README.md"].decode() == card


def test_publishing_without_a_token_says_what_to_do(exported, hub, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    label, said = press("Publish", REPO)
    assert label == "`medground publish` failed" and "HF_TOKEN" in said and not hub.repos


def test_nothing_is_published_to_what_is_no_name(exported):
    for name in ("", "medground", "org/med ground", "--repo/x", "org/medground; rm -rf ."):
        test = show("maintain")
        widget(test.text_input, "Dataset on the Hub").set_value(name)
        disabled = {button.label: button.disabled for button in test.run().button}
        assert disabled["Publish"] and disabled["Show what would change"], name
    assert "Signed in as boss@example.org" in texts(test).replace("\\", "")
