"""The commands of the pages in order, in one clean clone with small tables, as somebody who reads from top to bottom.

Every command of the pages below is run, or stands in `ELSEWHERE` with what it would need. The pages of methods, models,
sources, metrics and data have tests of their own beside this one; docs/cluster.md needs a cluster.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "leaderboard"))
import fixture
import howto
from howto import ROOT

from medground import records, submission
from medground.images import write_film
from medground.scoring.tables import load_cases

PAGES = (
    "docs/tutorial.md", "docs/how-to/submit.md", "README.md", "docs/how-to/maintain.md", "docs/how-to/evaluate.md",
    "docs/how-to/your-own-data.md", "docs/how-to/publish.md", "space/README.md", "docs/reproduce.md",
)  # fmt: skip
#: words of the pages -> what stands for them here
SAID = {
    "ORG/NAME": "data/hub", "FILM.png": "film.png", "MODEL": "models/phantom-gemma3-a", "ID": "ID",
    "my-films --split all": "my-films --split all --anyway",  # drawn, not taken
    "medground evaluate models/phantom-gemma3-a --data data/hub": (
        "medground evaluate models/phantom-gemma3-a --data data/hub --mode direct --anyway"),
    "--out my-films": "--out my-films --editor models/phantom-radedit --steps 4",  # the published one is on the Hub
    "make profile P=paper": "medground profile paper",
    "--model phantom-gemma3-a --method": "--model models/phantom-gemma3-a --anyway --method",
}  # fmt: skip
#: what is not run here -> why
ELSEWHERE = {
    "make demo": "takes ten minutes; `.ci/reproduce` runs it",
    "make test": "runs this",
    "medground publish": "tests/hub/test_push.py, against a Hub on loopback",
    "docker": "no docker",
    "hf": "an account on the Hub",
    "export": "the providers' films",
    "medground wanted-films": "the providers' annotation files: tests/sources",
    "wget": "an account with the provider",
    "dvc repro": "all films and models: tests/test_profiles_run.py runs it on small ones",
    "medground import-released": "the released files: tests/verification",
    "python -m stages": "all models: tests/test_profiles_run.py",
}  # fmt: skip
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def clone(tmp_path_factory) -> Path:
    """A clone with the tables of the app's tests, as a dataset folder too, two entries that wait, and own films."""
    place = tmp_path_factory.mktemp("read") / "clone"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(place)], check=True)
    subprocess.run(["git", "clean", "-fdxq", "data"], cwd=place, check=True)
    params = (place / "params.yaml").read_text()
    fixture.build(place, patients=8)
    (place / "params.yaml").write_text(params)
    cases = load_cases(place / "data")
    for number in range(2):
        rng = np.random.default_rng(number)
        submission.write(
            place / f"sent-{number}", maps={case["case_id"]: rng.random((8, 8)) for case in cases}, version="1",
            method=f"Sent {number}", authors=["A. Author"], licence="CC0-1.0", hardware="none",
            models=sorted({case["model"] for case in cases}), modes=["direct", "reasoning"], used_test_regions=False,
            trained_on_sources=False,
        )  # fmt: skip
        submission.receive(place / f"sent-{number}", cases, place / "submissions", "somebody")
    film = next(place.glob("data/samples/*/films/*.png"))
    Image.open(film).save(place / "film.png")
    table = {
        "image": ["film.png"],
        "patient": ["a"],
        "finding": ["cardiomegaly"],
        "x1": [40],
        "y1": [90],
        "x2": [120],
        "y2": [150],
    }
    pd.DataFrame(table).to_csv(place / "films.csv", index=False)
    case = next(case for case in cases if case["split"] == "test")
    said = {"source": case["source"], "index": case["index"], "mode": "direct", "edit": "original", "text": "Yes."}
    pd.DataFrame([said]).to_csv(place / "answers.csv", index=False)
    _references(place, sorted(place.glob("data/samples/*/twins/*.png"))[:4])
    howto.run("medground export", place, at=place)
    return place


def _references(place: Path, films: list[Path]) -> None:
    """Normal films with the anatomy that the drawn ones have."""
    rows = []
    for number, film in enumerate(films):
        masks = []
        for concept, (left, top, right, bottom) in fixture.CONCEPTS.items():
            inside = np.zeros((fixture.HEIGHT, fixture.WIDTH), np.uint8)
            inside[round(top * fixture.HEIGHT) : round(bottom * fixture.HEIGHT),
                   round(left * fixture.WIDTH) : round(right * fixture.WIDTH)] = 255  # fmt: skip
            path = Path(f"data/references/masks/{number}/{concept}.png")
            write_film(place / path, inside)
            masks.append({"concept": concept, "path": str(path)})
        rows.append({"reference": f"normal{number}", "film": str(film.relative_to(place)), "masks": masks})
    records.write_table(rows, records.REFERENCES, place / "data/references/references.parquet")


def given(page: str) -> list[str]:
    """The commands of a page, and its Python, in order."""
    found = []
    for kind, _, text in howto.blocks(ROOT / page):
        found += [text] if kind == "python" else howto.commands(text) if kind == "bash" else []
    return found


def elsewhere(command: str) -> bool:
    return any(command.startswith(start) for start in ELSEWHERE)


@pytest.mark.parametrize("page", PAGES)
def test_a_page_can_be_followed(clone, page):
    for path in clone.glob("submissions/gradient-*"):  # the README hands the example in, too
        shutil.rmtree(path)
    waiting = [one.id for one in submission.receipts(clone / "submissions") if one.status == "quarantined"]
    python: list[str] = []
    for command in given(page):
        if "\n" in command:
            python.append(command)
        elif not elsewhere(command):
            for word, other in SAID.items():
                command = command.replace(
                    word, waiting.pop() if word == "ID" and re.search(r"\bID\b", command) else other
                )
            howto.run(command, clone, at=clone)
    if python:
        howto.run(shlex.join(["python", "-c", "\n".join(python)]), clone, at=clone)


def test_what_is_not_run_is_on_a_page():
    commands = [command for page in PAGES for command in given(page)]
    unused = [start for start in ELSEWHERE if not any(command.startswith(start) for command in commands)]
    assert not unused
