"""docs/how-to/data.md, every command of it run: a first clone that pushes, a second that pulls, and a folder elsewhere.

Takes the results that lie in the cache of the checkout; without them there is nothing to pass on.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

sys.path.insert(0, str(Path(__file__).parent))
import howto

ROOT = Path(os.environ.get("MEDGROUND_WORLD", howto.ROOT))  # the checkout whose results are passed on
PAGE = howto.ROOT / "docs/how-to/data.md"
REMOTE, ELSEWHERE, RESTRICTED = "/mnt/shared/medground", "https://example.org/medground.git", "/secure/medground"
#: the first word or two of each command of the page -> where it is run
PLACES = {
    "dvc remote add": "first", "git commit": "first", "dvc push": "first", "dvc pull": "second",
    "medground board": "second", "streamlit run": "second", "dvc get": "elsewhere", "dvc import": "elsewhere",
    "dvc metrics": "second", "dvc params": "second", "dvc plots": "second", "dvc exp": "second",
    "dvc remote modify": "second",
}  # fmt: skip
APP = """
from streamlit.testing.v1 import AppTest
app = AppTest.from_file("leaderboard/app.py", default_timeout=600).run()
assert not app.exception, app.exception
print("the app runs")
"""


def cached() -> bool:
    """Whether DVC's cache here holds what the lock names."""
    lock = yaml.safe_load((ROOT / "dvc.lock").read_text())["stages"]
    outs = [out["md5"] for stage in lock.values() for out in stage.get("outs", []) if out["path"].startswith("data/")]
    return all((ROOT / ".dvc/cache/files/md5" / md5[:2] / md5[2:]).exists() for md5 in outs[:20])


pytestmark = [pytest.mark.slow, pytest.mark.skipif(not cached(), reason="no results here: run `make demo` first")]


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """The three folders, and what stands for the addresses of the page."""
    base = tmp_path_factory.mktemp("passed-on")
    first = base / "first"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(first)], check=True)
    run(first, "git", "config", "user.name", "a")
    run(first, "git", "config", "user.email", "a@b")
    run(first, "git", "tag", "-f", "v0.1.0")
    run(first, "dvc", "cache", "dir", "--local", str(ROOT / ".dvc/cache"))
    run(
        first, "dvc", "checkout", "--force", may_fail=True
    )  # what was made with other settings has no lines in the lock
    elsewhere = base / "elsewhere"
    elsewhere.mkdir()
    run(elsewhere, "git", "init", "--quiet")
    run(elsewhere, "dvc", "init", "--quiet")
    return {"first": first, "second": base / "second", "elsewhere": elsewhere, "remote": base / "remote",
            "restricted": base / "restricted"}  # fmt: skip


def run(folder, *words, may_fail=False):
    """Run a command in a folder; what it printed."""
    programs = {"dvc": [sys.executable, "-m", "dvc"], "python": [sys.executable],
                "medground": [sys.executable, "-c", "from medground.cli import main; main()"]}  # fmt: skip
    words = [*programs.get(words[0], [words[0]]), *words[1:]]
    environment = os.environ | {"PYTHONPATH": str(howto.ROOT), "COLUMNS": "200", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True)
    assert may_fail or done.returncode == 0, f"{words}: {done.stdout[-2000:]}\n{done.stderr[-3000:]}"
    return done.stdout + done.stderr


def commands() -> list[str]:
    """The commands of the page, in its order, with what stands in its sentences and is a command of DVC or git."""
    return [line for kind, _, text in howto.blocks(PAGE) if kind == "bash" for line in text.splitlines() if line]


def test_every_command_does_what_the_page_says(places):
    said = {}
    for command in commands():
        start = next((start for start in sorted(PLACES, key=len, reverse=True) if command.startswith(start)), None)
        assert start, f"this test does not know where {command!r} is run; add it to PLACES"
        folder = places[PLACES[start]]
        if folder == places["second"] and not folder.exists():
            run(places["first"].parent, "git", "clone", "--quiet", str(places["first"]), str(folder))
        for shown, meant in ((REMOTE, "remote"), (ELSEWHERE, "first"), (RESTRICTED, "restricted")):
            command = command.replace(shown, str(places[meant]))
        words = shlex.split(command)
        if words[0] == "streamlit":
            words = ["python", "-W", "ignore", "-c", APP]
        if words[:2] == ["dvc", "import"] and (folder / "board").exists():
            run(folder, "git", "mv", "-k", "board", "got")
            (folder / "board").rename(folder / "got")
        said[command] = run(folder, *words)
    told = dict(zip(commands(), said.values(), strict=True))
    assert "pushed" in told["dvc push"] or "up to date" in told["dvc push"]
    assert "follows" in told["medground board --split test"].lower()
    assert "the app runs" in told["streamlit run leaderboard/app.py"]
    assert (places["elsewhere"] / "got/board.json").exists() and (places["elsewhere"] / "board/board.json").exists()
    assert "repo" in (places["elsewhere"] / "board.dvc").read_text()
    assert "cases_test" in told["dvc metrics show"]
    plots = (places["second"] / "dvc_plots/index.html").read_text()
    assert "localisation.svg" in plots and "//" not in plots.replace("file://", "")  # nothing comes from the network
    assert re.findall(r"Running stage '(.+?)'", told["dvc exp run -S rank.resamples=2000 rank"])[-1:] == ["rank"]
    changed = run(places["second"], "git", "diff", "HEAD", "--unified=0", "params.yaml").splitlines()
    kept, set_ = (next(line for line in changed if re.match(rf"\{sign}\s", line)) for sign in "-+")
    assert len(changed) == 7 and "resamples: 10000" in kept and "resamples: 2000" in set_, "one line, and no other form"


def test_what_was_pulled_is_what_was_pushed_and_nothing_is_left_to_do(places):
    second = places["first"].parent / "third"
    run(places["first"].parent, "git", "clone", "--quiet", str(places["first"]), str(second))
    run(second, "dvc", "pull")
    assert "up to date" in run(second, "dvc", "status")
    assert run(second, "git", "status", "--porcelain") == ""


def test_the_python_of_the_page_reads_the_board(places):
    (code,) = [text for kind, _, text in howto.blocks(PAGE) if kind == "python"]
    code = code.replace(ELSEWHERE, str(places["first"]))
    assert "medground" in run(places["elsewhere"], "python", "-c", f"{code}\nprint(board[:300])")
