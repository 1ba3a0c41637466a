"""README and docs say what is there: links lead somewhere, commands can be given as they stand, the site builds."""

from __future__ import annotations

import importlib.util
import re
import shlex
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import typer
import yaml
from dvc.cli.parser import get_main_parser

from medground.cli import app

sys.path.insert(0, str(Path(__file__).parent / "howto"))
import howto

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    {ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "submissions/README.md", *ROOT.glob("docs/**/*.md")}
)
MADE = re.compile(r"^reference/")  # pages of the site that are made from the code
COMMANDS = typer.main.get_command(app).commands


def blocks(page: Path, *languages: str) -> list[str]:
    """The fenced blocks of a page in these languages."""
    return re.findall(rf"^```(?:{'|'.join(languages)})[^\n]*\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)


def lines(page: Path) -> list[str]:
    """The shell commands of a page."""
    return [command for block in blocks(page, "bash", "console") for command in howto.commands(block)]


GIVEN = [
    pytest.param(page, line, id=f"{page.relative_to(ROOT)}: {line[:60]}") for page in PAGES for line in lines(page)
]


@pytest.mark.parametrize(("page", "line"), GIVEN)
def test_a_command_can_be_given_as_it_stands(page: Path, line: str):
    words = shlex.split(line.split(" > ")[0], comments=True)
    if words[:1] == ["medground"]:
        _medground(words[1:])
    elif words[:1] == ["dvc"]:
        get_main_parser().parse_args(words[1:])  # argparse ends the process at an unknown command or option
        for change in (after for before, after in pairwise(words) if before in ("-S", "--set-param")):
            values = yaml.safe_load((ROOT / "params.yaml").read_text())
            for key in change.partition("=")[0].split("."):
                values = values[key]
    elif words[:1] == ["make"]:
        targets = re.findall(r"^([\w./]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert {word for word in words[1:] if "=" not in word} <= set(targets)
    elif words[:2] == ["python", "-m"]:
        assert importlib.util.find_spec(words[2]), words[2]
    elif words[:1] == ["python"] and words[1].startswith(("examples/", "scripts/", "benchmarks/")):
        assert (ROOT / words[1]).is_file(), words[1]


def _medground(words: list[str]) -> None:
    """Parse a command without running it: no unknown command or option, none that is required is missing."""
    command = COMMANDS[words[0]]
    context = command.context_class(command, info_name=words[0])
    given, left, _ = command.make_parser(context).parse_args(args=words[1:])
    assert not left, left
    assert {parameter.name for parameter in command.params if parameter.required} <= set(given)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path):
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(("http", "#", "mailto:")):
            continue
        place = page.parent / target.split("#")[0]
        made = page.is_relative_to(ROOT / "docs") and MADE.match(target.removeprefix("../"))
        assert made or place.exists(), f"{page}: {target}"


def test_the_readme_can_be_finished():
    words = [word for word in (ROOT / "README.md").read_text().split() if any(map(str.isalnum, word))]
    assert len(words) <= 1200, f"{len(words)} words"


@pytest.mark.slow
def test_the_site_builds_strictly_and_asks_nobody_else(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", tmp_path / "site"],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for page in (tmp_path / "site").rglob("*.html"):
        loaded = re.findall(
            r'<(?:script|img|iframe|link[^>]+rel="stylesheet")[^>]+(?:src|href)="(http[^"]+)"', page.read_text()
        )
        assert not loaded, (page, loaded)
    assert (tmp_path / "site/reference/metrics/index.html").is_file()


def test_the_map_in_contributing_names_what_is_there():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    named = set(
        re.findall(r"`((?:medground|docs|examples|stages|tests|leaderboard|space|benchmarks|profiles)/[\w./]*)`", text)
    )
    assert len(named) > 20 and not [path for path in named if not (ROOT / path).exists()]
