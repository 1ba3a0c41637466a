"""Pull requests that add entries, and those that pretend to: in real git repositories."""

from __future__ import annotations

import os
import runpy
import subprocess
from pathlib import Path

import pytest
import yaml

from medground.errors import MedgroundError
from tests.leaderboard import fixture

REPOSITORY = Path(__file__).parents[2]
script = runpy.run_path(str(REPOSITORY / "scripts/check_entry.py"))
additions, extract = script["additions"], script["extract"]


class Clone:
    """A repository with an entry on its board, and a branch of somebody."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir()
        self.git("init", "-q", "-b", "main")
        self.write("submissions/victim/entry.yaml", "method: Victim\n" * 20)
        self.write("submissions/victim/attributions.parquet", "PAR1 victim " * 50)
        self.write("medground/code.py", "print('code')\n" * 20)
        self.write("README.md", "read me\n" * 20)
        self.base = self.commit()
        self.git("switch", "-q", "-c", "proposal")

    def git(self, *words: str) -> str:
        identity = ["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
        return subprocess.run(
            ["git", *identity, *words], cwd=self.root, check=True, capture_output=True, text=True
        ).stdout.strip()

    def write(self, name: str, text: str = "x") -> None:
        (self.root / name).parent.mkdir(parents=True, exist_ok=True)
        (self.root / name).write_text(text)

    def entry(self, name: str = "mine") -> None:
        self.write(f"submissions/{name}/entry.yaml", f"method: {name}\n")
        self.write(f"submissions/{name}/attributions.parquet", f"PAR1 {name}")

    def commit(self) -> str:
        self.git("add", "-A", "-f")
        self.git("commit", "-q", "-m", "change")
        return self.git("rev-parse", "HEAD")


@pytest.fixture
def clone(tmp_path):
    return Clone(tmp_path / "clone")


def test_an_entry_passes_and_comes_out_as_it_is(clone, tmp_path):
    clone.entry("mine")
    clone.entry("mine-2")
    found = additions(clone.base, clone.commit(), clone.root)
    clone.git("switch", "-q", "main")  # nothing of the proposal is checked out
    made = extract(found, tmp_path / "out", clone.root)
    assert [path.name for path in made] == ["mine", "mine-2"]
    assert (made[0] / "entry.yaml").read_text() == "method: mine\n"
    assert sorted(path.name for path in made[1].iterdir()) == ["attributions.parquet", "entry.yaml"]


def rename_victim(clone):
    clone.git("mv", "submissions/victim", "submissions/evil")


def rename_any_file(clone):
    clone.entry()
    clone.git("mv", "README.md", "submissions/mine/attributions.parquet", "-f")


def link(target: str):
    def make(clone):
        clone.entry()
        (clone.root / "submissions/mine/entry.yaml").unlink()
        (clone.root / "submissions/mine/entry.yaml").symlink_to(target)

    return make


def executable(clone):
    clone.entry()
    (clone.root / "submissions/mine/entry.yaml").chmod(0o755)


def submodule(clone):
    clone.entry()
    (clone.root / "submissions/mine/entry.yaml").unlink()
    clone.git("update-index", "--add", "--cacheinfo", f"160000,{clone.base},submissions/mine/entry.yaml")


def writes(name: str):
    def make(clone):
        clone.entry()
        clone.write(name)

    return make


def removes(name: str):
    def make(clone):
        clone.entry()
        (clone.root / name).unlink()

    return make


def reverts_the_base(clone):
    """Somebody merges the base and takes the other's entry back in the merge."""
    clone.entry()
    clone.commit()
    clone.git("switch", "-q", "main")
    clone.entry("later")
    clone.base = clone.commit()
    clone.git("switch", "-q", "proposal")
    clone.git("merge", "-q", "-s", "ours", "--no-edit", "main")


def conflicts(clone):
    clone.entry()
    clone.commit()
    clone.git("switch", "-q", "main")
    clone.write("submissions/mine/entry.yaml", "method: another\n")
    clone.base = clone.commit()
    clone.git("switch", "-q", "proposal")


def many(clone):
    for number in range(6):
        clone.entry(f"mine-{number}")


@pytest.mark.parametrize(
    ("attack", "message"),
    [
        (rename_victim, "'submissions/victim/entry.yaml' is deleted"),
        (rename_any_file, "'README.md' is deleted"),
        (link("/dev/zero"), "is no plain file .mode 120000"),
        (link("../victim/entry.yaml"), "is no plain file .mode 120000"),
        (executable, "is no plain file .mode 100755"),
        (submodule, "is no plain file .mode 160000"),
        (writes("submissions/victim/entry.yaml"), "'submissions/victim/entry.yaml' is changed"),
        (writes("medground/code.py"), "'medground/code.py' is changed"),
        (removes("submissions/victim/entry.yaml"), "'submissions/victim/entry.yaml' is deleted"),
        (writes("submissions/victim/receipt.json"), "does not belong to an entry"),
        (writes("submissions/mine/receipt.json"), "does not belong to an entry"),
        (writes("submissions/mine/more/entry.yaml"), "does not belong to an entry"),
        (writes("submissions/_quarantine/entry.yaml"), "does not belong to an entry"),
        (writes("submissions/Mine/entry.yaml"), "does not belong to an entry"),
        (writes("submissions/mine/.gitattributes"), "does not belong to an entry"),
        (writes("submissions/a\nb/entry.yaml"), "does not belong to an entry"),
        (writes("submissions/$(id)/entry.yaml"), "does not belong to an entry"),
        (writes("submissions/half/entry.yaml"), "submissions/half has no attributions.parquet"),
        (writes(".github/workflows/evil.yml"), "does not belong to an entry"),
        (reverts_the_base, "'submissions/later/entry.yaml' is deleted"),
        (conflicts, "does not merge"),
        (many, "6 entries in one pull request"),
        (lambda clone: clone.git("commit", "-q", "--allow-empty", "-m", "nothing"), "adds no entry"),
    ],
)
def test_everything_else_is_refused(clone, attack, message):
    attack(clone)
    if attack is not submodule:
        clone.git("add", "-A", "-f")
    clone.git("commit", "-q", "--allow-empty", "-m", "attack")
    with pytest.raises(MedgroundError, match=message):
        additions(clone.base, clone.git("rev-parse", "HEAD"), clone.root)


def test_a_file_added_to_an_entry_that_is_there_is_refused(clone):
    """The base has half an entry: the other half is not somebody else's to give."""
    clone.git("switch", "-q", "main")
    clone.write("submissions/half/entry.yaml")
    clone.base = clone.commit()
    clone.git("switch", "-q", "proposal")
    clone.write("submissions/half/attributions.parquet")
    with pytest.raises(MedgroundError, match="is added to an entry that is there already"):
        additions(clone.base, clone.commit(), clone.root)


def test_a_large_card_is_refused_before_it_is_taken_out(clone):
    clone.entry()
    clone.write("submissions/mine/entry.yaml", "x" * 70_000)
    with pytest.raises(MedgroundError, match="has 70,000 bytes; at most 65,536"):
        additions(clone.base, clone.commit(), clone.root)


def test_what_an_entry_says_is_text_in_the_report(monkeypatch, tmp_path):
    from medground.submission import Problem, Report, preview

    report = Report(None, [Problem("entry.yaml", "</pre><script>x</script>```", "is odd", "correct it")])
    monkeypatch.setattr(preview, "against_board", lambda *_: (report, []))
    valid, text = script["judged"](tmp_path / "mine", tmp_path)
    assert not valid and "<script>" not in text and text.count("</pre>") == 1


@pytest.fixture(scope="module")
def board(tmp_path_factory):
    """A repository's tables, with floors and entries that are not ranked on the board."""
    return fixture.build(tmp_path_factory.mktemp("board"))


def test_a_valid_entry_is_scored_among_all_entries_those_without_a_rank_too(board, tmp_path):
    valid, text = script["judged"](fixture.write_entry(tmp_path / "mine", board), board / "data")
    assert valid and text.startswith("## mine\n\n<pre>\n")
    for entry in ("this entry", *fixture.METHODS):
        assert f" {entry} " in text
    assert "split dev" in text and "random: looks at no model" in text


def test_a_wrong_entry_is_scored_as_far_as_it_can_be_and_refused(board, tmp_path):
    valid, text = script["judged"](fixture.write_entry(tmp_path / "mine", board, first=float("nan")), board / "data")
    assert not valid and "grid: has NaN" in text and " this entry " in text


def test_the_workflow_runs_this_script_with_pinned_actions_and_no_rebuild():
    for path in (REPOSITORY / ".github/workflows").glob("*.yml"):
        for job in yaml.safe_load(path.read_text())["jobs"].values():
            for step in job["steps"]:
                if "uses" in step:
                    assert len(step["uses"].split("@")[1]) == 40 and int(step["uses"].split("@")[1], 16)
    text = (REPOSITORY / ".github/workflows/entry.yml").read_text()
    entry = yaml.safe_load(text)
    assert entry[True] == {"pull_request": {"paths": ["submissions/**"]}} and entry["permissions"] == {
        "contents": "read"
    }
    commands = "\n".join(step.get("run", "") for step in entry["jobs"]["score"]["steps"])
    assert "scripts/check_entry.py" in commands and "git checkout" not in commands and "dvc repro" not in commands
    assert "${{" not in commands  # nothing that a stranger can name is put into a script
    assert os.access(REPOSITORY / "scripts/install", os.X_OK)
