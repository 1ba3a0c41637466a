"""`medground evaluate` from end to end, on a small model of the phantom and on answers in a file."""

from __future__ import annotations

import json
import os
import re
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from huggingface_hub import parse_eval_result_entries
from typer.testing import CliRunner

from medground import cli, records
from medground.errors import MedgroundError
from medground.evaluation import audit, judging
from medground.evaluation.tables import EDITS, QUESTIONS, RESULTS, VERDICTS
from medground.evaluation.verdicts import verdicts
from medground.images import write_film
from medground.lvlm.base import Answer
from medground.lvlm.verdict import parse_verdict

ROOT = Path(__file__).parents[2]


def chest(seed: int) -> np.ndarray:
    """A picture with the outline of a chest, so that nothing is refused."""
    from medground.anatomy.domain import _sketch

    rng = np.random.default_rng(seed)
    cells = np.kron(_sketch(0.9, 0.0, 0.0), np.ones((8, 8)))
    return np.clip(255 * cells + rng.normal(0, 6, cells.shape), 0, 255).astype(np.uint8)


@pytest.fixture
def data(tmp_path) -> Path:
    """Tables with six questions: a film each, three findings that are there and three that are not."""
    rows = []
    for index in range(6):
        paths = {}
        for name in ("film", *(EDITS if index < 3 else ())):
            path = tmp_path / f"data/films/{index}-{name}.png"
            write_film(path, chest(index))
            paths[name] = path.relative_to(tmp_path).as_posix()
        rows.append(
            {
                "source": "table", "index": index, "patient_id": str(index), "split": "test", "finding": "cardiomegaly",
                "question": "Is there evidence of cardiomegaly in the image?", "answer": "Yes" if index < 3 else "No",
                "width": 256, "height": 256, "regions": [[20.0, 20.0, 90.0, 90.0]] if index < 3 else [],
                "licence": "mine", **dict.fromkeys((*EDITS, "editor", "recipe")), **paths,
            }
        )  # fmt: skip
    records.write_table(rows, QUESTIONS, tmp_path / "data/questions/questions.parquet")
    return tmp_path / "data"


def answers(tmp_path: Path, rows: list[tuple]) -> Path:
    path = tmp_path / "answers.csv"
    pd.DataFrame(rows, columns=["source", "index", "mode", "edit", "text"]).to_csv(path, index=False)
    return path


GROUNDED = [(0, "original", "Yes."), (0, EDITS[0], "No."), (0, EDITS[1], "Yes."), (0, EDITS[2], "Yes, it is.")]
SHORTCUT = [(1, edit, "Yes.") for edit in ("original", *EDITS)]
WRONG = [(2, "original", "No."), (3, "original", "No."), (4, "original", "Yes"), (5, "original", "I cannot tell.")]


def test_answers_in_a_file_become_verdicts_a_page_and_what_the_hub_shows(data, tmp_path):
    path = answers(
        tmp_path, [("table", index, "direct", edit, text) for index, edit, text in GROUNDED + SHORTCUT + WRONG]
    )
    done = audit.evaluate("mine", data, modes=["direct"], answers=path, resamples=200)
    (row,) = [row for row in done.results if row["finding"] is None]
    counts = {name: row[name] for name in ("asked", "right", "flipped", "kept", "absent", "right_absent", "unparsable")}
    assert counts == {"asked": 3, "right": 2, "flipped": 1, "kept": 1, "absent": 3, "right_absent": 1, "unparsable": 1}
    told = done.write(tmp_path / "out", "org/data", "v1")
    page = told["report"].read_text()
    assert "grounded accuracy 0.333" in page and "1 of these for the right reason" in page
    assert page.count("<figure>") == 4 + 4 + 1  # a grounded example, a shortcut, a yes where there is nothing
    assert "http" not in re.sub(r"data:image[^']*", "", page), "the page asks nobody"
    (entry,) = parse_eval_result_entries(yaml.safe_load(told["for the model's repository"].read_text()))
    assert (entry.dataset_id, entry.task_id, entry.value) == ("org/data", "grounded_direct", 33.3)
    assert (entry.dataset_revision, entry.source_url) == ("v1", "https://huggingface.co/datasets/org/data")
    assert len(records.read_rows(told["verdicts"], VERDICTS)) == 6
    assert records.read_rows(told["results"], RESULTS) == done.results


def test_what_was_not_answered_counts_as_neither_yes_nor_no(data, tmp_path):
    path = answers(tmp_path, [("table", 0, "direct", "original", "Yes.")])
    done = audit.evaluate("mine", data, modes=["direct"], answers=path, resamples=50)
    row = done.results[0]
    assert (row["right"], row["kept"], row["unparsable"]) == (1, 0, 5)
    assert done.notes == ["8 answers are missing from answers.csv; they count as neither yes nor no"]


def test_answers_that_fit_nothing_are_listed(data, tmp_path):
    path = answers(tmp_path, [("table", 0, "direct", "removed", "Yes."), ("table", 9, "direct", "original", "Yes.")])
    with pytest.raises(MedgroundError, match=r"row 2: edit is 'removed'; write one of original, region_removed"):
        audit.evaluate("mine", data, modes=["direct"], answers=path)
    path = answers(tmp_path, [("table", 9, "direct", "original", "Yes.")])
    with pytest.raises(MedgroundError, match="answers no question of this dataset"):
        audit.evaluate("mine", data, modes=["direct"], answers=path)


def test_films_that_are_no_chest_are_refused_by_name(data, tmp_path):
    write_film(data / "films/0-film.png", np.zeros((256, 256), np.uint8))
    path = answers(tmp_path, [("table", 0, "direct", "original", "Yes.")])
    with pytest.raises(MedgroundError, match=r"1 of 6 films .*\n.*0-film.png: it is blank"):
        audit.evaluate("mine", data, modes=["direct"], answers=path)
    done = audit.evaluate("mine", data, modes=["direct"], answers=path, anyway=True, resamples=50)
    assert any("0-film.png: it is blank" in note for note in done.notes)


def test_a_split_without_films_says_so(data):
    with pytest.raises(MedgroundError, match="none of 0 questions of the split 'dev' can be asked"):
        audit.evaluate("mine", data, split="dev")


class Yes:
    """A model that says yes to everything, and is stopped when it has answered so often."""

    def __init__(self, stop: int = -1) -> None:
        self.asked, self.stop = 0, stop

    looking_once = nullcontext

    def answer(self, films, prompts, **how) -> list[Answer]:
        if self.asked == self.stop:
            raise KeyboardInterrupt
        self.asked += len(films)
        return [Answer("Yes.", "yes", 1.0) for _ in films]


def test_a_run_that_was_stopped_goes_on_where_it_was(data, tmp_path, monkeypatch):
    """One question a batch: three have their edits, so 4 answers each, and three have none. Stopped in the second."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(audit, "_BATCH", 1)
    monkeypatch.setattr("medground.lvlm.checkpoints.revision", lambda where: "c0ffee")
    for model, answers in ((Yes(stop=4), 4), (Yes(), 11), (Yes(), 0)):
        monkeypatch.setattr(judging.JudgeTask, "_lvlm", model)
        with nullcontext() if model.stop < 0 else pytest.raises(KeyboardInterrupt):
            done = audit.evaluate("mine", data, modes=["direct"], where="somewhere", resamples=50)
        assert model.asked == answers
    assert [row["right"] for row in done.verdicts] == [True] * 3 + [False] * 3
    assert {row["model"] for row in done.verdicts} == {"mine"} and done.revision == "c0ffee"
    write_film(data / "films/0-film.png", chest(7))
    monkeypatch.setattr(judging.JudgeTask, "_lvlm", other := Yes())
    audit.evaluate("mine", data, modes=["direct"], where="somewhere", resamples=50)
    assert other.asked == 4  # another film is another question


def test_what_is_known_is_not_asked_again(data):
    rows = records.read_rows(data / "questions/questions.parquet", QUESTIONS)
    said = [
        {"model": "mine", "mode": "direct", "source": "table", "index": index, "edit": edit, "seed": -1 if edit ==
         "original" else 0, "text": text, "verdict": parse_verdict(text), "margin": 0.0}
        for index, edit, text in GROUNDED + SHORTCUT
    ]  # fmt: skip
    items = [("direct", row, [a for a in said if a["index"] == row["index"]]) for row in rows[:2]]
    task = judging.JudgeTask("no such model", 48, 8)
    assert task(items) == verdicts(rows, said) and [row["kept"] for row in task(items)] == [True, False]


@pytest.mark.slow
def test_one_command_from_a_checkpoint_to_the_page(data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = os.path.relpath(ROOT / "models/phantom-gemma3-a", tmp_path)
    words = ["evaluate", model, "--data", str(data), "--mode", "direct", "--out", "out"]
    done = CliRunner().invoke(cli.app, words)
    assert done.exit_code == 0, done.output
    assert "direct, test: of 3 findings on the films it sees" in done.output
    rows = records.read_rows(tmp_path / "out/verdicts.parquet", VERDICTS)
    assert len(rows) == 6 and all(row["text"] for row in rows)
    assert (tmp_path / "out/report.html").is_file() and not (tmp_path / "out/.eval_results").exists()


@pytest.mark.slow
def test_a_table_of_own_films_and_a_checkpoint_to_the_page_in_two_commands(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for index in range(2):
        write_film(tmp_path / f"films/{index}.png", chest(index))
    table = pd.DataFrame(
        {"image": ["0.png", "1.png"], "patient": ["a", "b"], "finding": ["cardiomegaly", "mass"],
         "x1": [60, 50], "y1": [70, 60], "x2": [150, 120], "y2": [180, 140]}
    )  # fmt: skip
    table.to_csv(tmp_path / "films.csv", index=False)
    words = ["questions", "films.csv", "--images", "films", "--out", "mine", "--editor",
             str(ROOT / "models/phantom-radedit"), "--steps", "4"]  # fmt: skip
    done = CliRunner().invoke(cli.app, words)
    assert done.exit_code == 0, done.output
    assert "mine: 2 questions with their edits" in done.output
    words = ["evaluate", str(ROOT / "models/phantom-gemma3-a"), "--data", "mine", "--split", "all", "--out", "out"]
    done = CliRunner().invoke(cli.app, words)
    assert done.exit_code == 0, done.output
    rows = records.read_rows(tmp_path / "out/verdicts.parquet", VERDICTS)
    assert sorted((row["mode"], row["finding"]) for row in rows) == sorted(
        (mode, finding) for mode in ("direct", "reasoning") for finding in ("cardiomegaly", "mass")
    )
    assert json.loads((tmp_path / "mine/.medground").read_text())["made_by"] == "medground questions"
