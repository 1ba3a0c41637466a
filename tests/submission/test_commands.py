"""The commands, on a small benchmark on disk."""

import json
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from medground import files, records, submission
from medground.cli import app, main
from medground.errors import MedgroundError
from medground.images import write_film
from medground.ranking import Results
from medground.scoring import score_entry
from medground.scoring.entries import Entry, method_entry, score_entries, summarise
from medground.scoring.tables import dataset_version, load_cases
from medground.submission.preview import NAME, against_board, preview
from medground.submission.writer import write_rows

pytestmark = pytest.mark.usefixtures("in_process")
ROOT = Path(__file__).parents[2]


@pytest.fixture
def data(tmp_path, cases):
    """The tables of the benchmark, and the scores of one method."""
    root = tmp_path / "data"
    samples = [
        {
            "source": "s", "index": index, "patient_id": f"p{index}", "split": "dev" if index % 2 else "test",
            "film": "film.png", "twin": None, "width": 320, "height": 256, "finding": "effusion",
            "question": "Is there evidence of effusion in the image?", "answer": "Yes",
            "regions": [[40.0, 64.0, 120.0, 160.0]], "licence": "MIT", "marker": None,
        }
        for index in range(4)
    ]  # fmt: skip
    records.write_table(samples, records.SAMPLES, root / "samples" / "s" / "samples.parquet")
    counts = dict.fromkeys(("seeds", "flipped", "stayed_removed", "stayed_normal", "passed"), 1)
    rows = [
        {
            **{name: case[name] for name in case if name not in ("width", "height", "regions")}, **counts,
            "index": int(case["case_id"][-1]), "question": "?", "answer": "Yes.", "right": True, "kept": True,
            "reason": "kept",
        }
        for case in cases
    ]  # fmt: skip
    rows.append({**rows[0], "case_id": "a/reasoning/s/0", "mode": "reasoning", "kept": False, "reason": "wrong"})
    records.write_table(rows, records.CASES, root / "cases" / "cases.parquet")
    whole = [{"case_id": case["case_id"], "boxes": [[0.0, 0, 320, 256]], "seconds": 0.5} for case in cases]
    for model in "ab":
        (root / "attributions" / model).mkdir(parents=True)
        own = [row for row in whole if row["case_id"].startswith(model)]
        write_rows(own, root / "attributions" / model / "whole_film.parquet")
    entry = method_entry("whole_film", ["a", "b"], root / "attributions", {"whole_film"})
    scores = score_entries([entry], load_cases(root), tmp_path / "cache")
    records.write_table(scores, records.SCORES, root / "scores" / "scores.parquet")
    (root / "scores" / "entries.json").write_text(json.dumps([entry.facts()]))
    return root


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "200"})


def test_kept_cases_come_with_their_samples(data, cases):
    loaded = load_cases(data)
    assert [case["case_id"] for case in loaded] == [case["case_id"] for case in cases]
    assert (loaded[0]["width"], loaded[0]["regions"]) == (320, [[40.0, 64.0, 120.0, 160.0]])
    assert dataset_version(loaded) == dataset_version(load_cases(data)) != dataset_version(loaded[1:])
    (data / "samples" / "s" / "samples.parquet").unlink()
    with pytest.raises(MedgroundError, match="case a/direct/s/0 has no sample"):
        load_cases(data)


def test_only_what_changed_is_scored_again(data, cases, tmp_path, monkeypatch):
    loaded, scored = load_cases(data), []
    monkeypatch.setattr(
        "medground.scoring.score.score_entry", lambda name, *rest: scored.append(name) or score_entry(name, *rest)
    )
    entry = method_entry("whole_film", ["a", "b"], data / "attributions", {"whole_film"})
    assert entry.facts() == {"entry": "whole_film", "kind": "floor", "seconds": 0.5, "claimed": None}
    first = score_entries([entry], loaded, tmp_path / "cache")
    assert scored == []  # the fixture scored it
    write_rows(
        [{"case_id": "a/direct/s/0", "boxes": [[0.0, 0, 9, 9]]}], data / "attributions" / "a" / "whole_film.parquet"
    )
    second = score_entries([entry], loaded, tmp_path / "cache")
    assert scored == ["whole_film"] and not first.equals(second)
    assert score_entries([entry], loaded, tmp_path / "cache").equals(second) and len(scored) == 1


def test_summary_is_by_model_and_mode(data, cases):
    scores = records.read_table(data / "scores" / "scores.parquet", records.SCORES)
    found = summarise(scores, load_cases(data))["whole_film"]
    share = 80 * 96 / (320 * 256)
    assert found["iou"] == round(share, 6) and found["hit"] == 0  # the middle of the film is not in the region
    means = {"iou": found["iou"], "hit": found["hit"]}
    assert found == {**means, "a": {"direct": means}, "b": {"direct": means}}


def test_names_and_tables_of_entries(data, tmp_path):
    with pytest.raises(MedgroundError, match=r"rise\.parquet is missing; run `dvc repro`"):
        method_entry("rise", ["a"], data / "attributions", ())
    twice = [Entry("same", "method", ()), Entry("same", "submission", ())]
    with pytest.raises(MedgroundError, match="two entries are named same"):
        score_entries(twice, load_cases(data), tmp_path)


def test_validate_score_submit_accept(data, entry, tmp_path):
    root = tmp_path / "submissions"
    assert run("validate", entry, "--data", data).output == "no problems\n"
    scored = run("score", entry, "--data", data, "--split", "dev")
    assert (
        scored.exit_code == 0 and NAME in scored.output and "whole_film" in scored.output and "4 cases" in scored.output
    )
    submitted = run("submit", entry, "--data", data, "--out", root)
    assert submitted.exit_code == 0 and "commit it and open a pull request" in submitted.output
    (folder,) = root.iterdir()
    assert run("validate", folder, "--data", data).exit_code == 0
    receipt = submission.receive(entry, load_cases(data), tmp_path / "received", "me")
    listed = run("entries", "--root", tmp_path / "received").output
    assert "quarantined" in listed and receipt.id in listed
    assert "is accepted" in run("accept", receipt.id, "--root", tmp_path / "received").output
    again = run("reject", receipt.id, "--reason", "late", "--root", tmp_path / "received")
    assert isinstance(again.exception, MedgroundError) and "it is accepted" in str(again.exception)


def test_score_with_faithfulness(data, entry, tmp_path, monkeypatch):
    """Only the models that the card names are run; cases of the others have the worst value, as on the board."""
    from medground.attribution import faithfulness
    from medground.geometry import Letterbox

    class Model:
        def letterbox(self, width, height):
            return Letterbox.fit(width, height, 64)

    monkeypatch.chdir(tmp_path)
    profile = Path(__file__).parents[2] / "profiles/phantom.yaml"
    Path("params.yaml").write_text(
        profile.read_text().replace("workers: 0", "workers: 1").replace("cases: 0 #", "cases: 6 #")
    )
    write_film(tmp_path / "film.png", np.full((256, 320), 9, np.uint8))
    monkeypatch.setattr(faithfulness, "revision", lambda model: "1")
    monkeypatch.setattr(faithfulness, "_loaded", lambda model, most_pixels: {"a": Model()}[model])
    asked = []

    def answered(ask, letterbox, attributions, steps, seed):
        asked.append((letterbox.film_height, letterbox.film_width, steps, len(attributions[0]["grid"])))
        return [{"deletion": 0.25, "insertion": 0.75, "problem": None}]

    monkeypatch.setattr(faithfulness, "faithfulness", answered)
    card = yaml.safe_load((entry / "entry.yaml").read_text())
    (entry / "entry.yaml").write_text(yaml.safe_dump(card | {"models": ["a"]}))
    out = tmp_path / "values.parquet"
    arguments = "score", entry, "--data", data, "--split", "test", "--faithfulness", "--out", out
    done = run(*arguments)
    assert done.exit_code == 0, done.exception
    assert asked == [(256, 320, 8, 80)] * 2
    rows = records.read_rows(out, records.FAITHFULNESS)
    assert [(row["case_id"], row["deletion"], row["problem"]) for row in rows] == [
        ("a/direct/s/0", 0.25, None), ("a/direct/s/2", 0.25, None),
        ("b/direct/s/0", 1.0, "missing"), ("b/direct/s/2", 1.0, "missing"),
    ]  # fmt: skip
    assert "deletion and insertion of 4 cases; deletion 0.625, insertion 0.375" in done.output
    assert len(run(*arguments, "--most", 1).output) and len(records.read_rows(out, records.FAITHFULNESS)) == 2
    (entry / "entry.yaml").write_text(yaml.safe_dump(card | {"models": ["z"]}))
    assert "names no model of the benchmark" in str(run(*arguments).exception)
    assert "deletion" not in run("score", entry, "--data", data).output
    (entry / "entry.yaml").write_text(yaml.safe_dump(card | {"models": ["a"]}))
    Path("params.yaml").write_text(profile.read_text())  # which measures no case
    refused = run(*arguments)
    assert isinstance(refused.exception, MedgroundError) and "no case would be measured" in str(refused.exception)


def test_broken_entries_fail_with_the_list(data, entry):
    (entry / "entry.yaml").write_text("method: x")
    broken = run("validate", entry, "--data", data)
    assert broken.exit_code == 1 and "entry.yaml version: is missing" in broken.output
    assert run("score", entry, "--data", data).exit_code == 0  # its maps are fine
    (entry / "attributions.parquet").write_bytes(b"")
    unreadable = run("score", entry, "--data", data)
    assert isinstance(unreadable.exception, MedgroundError) and "cannot be scored" in str(unreadable.exception)


def test_preview_scores_public_regions_only(data, entry, cases):
    hidden = [{**case, "regions": [] if case["split"] == "test" else case["regions"]} for case in cases]
    report = submission.validate(entry, hidden)
    (row,) = preview(entry, report, hidden, split="all")
    assert row["cases"] == 4 and row["kind"] == "submission" and row["coverage"] == 1
    with pytest.raises(MedgroundError, match="no case of the split 'test' has public regions"):
        preview(entry, report, hidden, split="test")


def test_preview_equals_the_board(data, entry):
    loaded = load_cases(data)
    (row,) = preview(entry, submission.validate(entry, loaded), loaded, split="all")
    own = Entry("x", "submission", (entry / "attributions.parquet",))
    results = Results.of(score_entries([own], loaded, data / "cache"), loaded)
    assert row["iou"] == pytest.approx(np.mean(results.values["iou"]))


def test_score_says_what_the_board_says_to_the_last_digit(data, entry, card, maps, tmp_path, monkeypatch):
    """The stages put the entry on a board of other draws than the defaults; beforehand, `score` says the same of it."""
    values = yaml.safe_load((ROOT / "profiles/phantom.yaml").read_text())
    values |= {"models": ["a", "b"], "methods": ["whole_film"], "seed": 7}
    values["rank"] |= {"resamples": 173, "level": 0.8}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(values))
    for model in "ab":
        files.write_json({"model_type": "none"}, tmp_path / "models" / model / "config.json")
    files.write_json({}, data / "sanity/sanity.json")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["stage"])
    for _ in range(2):  # without the entry, then with it
        import_module("stages.score").main()
        import_module("stages.rank").main()
        if not Path("submissions").exists():
            said = {split: run("score", entry, "--split", split) for split in ("dev", "test", "all")}
            foreseen = {split: against_board(entry, data, split)[1] for split in said}
            prepared = submission.prepare(entry, load_cases(data), Path("submissions"))
    board = records.read_rows("data/board/board.parquet", records.BOARD)
    for split, rows in foreseen.items():
        assert said[split].exit_code == 0
        stands = {row["entry"]: row for row in board if (row["track"], row["split"]) == ("all", split)}
        assert set(stands) == {"whole_film", prepared.name}
        for row in rows:
            name = prepared.name if row["entry"] == NAME else row["entry"]
            other = {"entry", "seconds", "sanity"}  # what an author says, and what is not measured here
            assert {key: row[key] for key in set(row) - other} == {key: stands[name][key] for key in set(row) - other}
        shown = run("board", "--split", split).output
        line = next(line for line in shown.splitlines() if prepared.name in line)
        assert line.replace(prepared.name, NAME).split() in [line.split() for line in said[split].output.splitlines()]


def test_a_pull_request_on_the_hub(data, entry, tmp_path, monkeypatch):
    from types import SimpleNamespace

    from medground.hub import pull_request

    sent = {}

    class Api:
        def create_commit(self, repo, operations, **options):
            sent.update(options, repo=repo, paths=[operation.path_in_repo for operation in operations])
            return SimpleNamespace(pr_url="https://hub/discussions/1")

    monkeypatch.setattr(pull_request, "HfApi", Api)
    monkeypatch.setattr(pull_request, "pixels_may_leave", lambda source: source == "s")
    monkeypatch.setattr("medground.hub.push.get_token", lambda: "hf_token")
    done = run("submit", entry, "--data", data, "--out", tmp_path / "s", "--hub", "org/bench")
    assert done.exit_code == 0, done.exception
    (folder,) = (tmp_path / "s").iterdir()
    assert done.output.endswith("https://hub/discussions/1\n") and sent["create_pr"] and sent["repo"] == "org/bench"
    assert sent["paths"] == [f"submissions/{folder.name}/{name}" for name in ("attributions.parquet", "entry.yaml")]


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("file", "file is not a folder; entries go into a folder of their own"),
        ("/proc/entries", "/proc/entries cannot be written"),
        ("precious", "precious holds thesis.txt, which is no entry"),
        (".", ". holds dangling, which is no entry"),
        ("file/below", "file/below cannot be written (Not a directory)"),
        ("dangling", "dangling is not a folder"),
    ],
)
def test_submit_adds_to_a_folder_of_entries_only(data, entry, tmp_path, monkeypatch, out, message):
    work = tmp_path / "work"
    (work / "precious").mkdir(parents=True)
    for name in ("file", "precious/thesis.txt"):
        (work / name).write_text("years of work")
    (work / "dangling").symlink_to(work / "nowhere")
    monkeypatch.chdir(work)
    before = sorted(work.rglob("*"))
    result = run("submit", entry, "--out", out, "--data", data)
    assert result.exit_code == 1 and isinstance(result.exception, MedgroundError), result.exception
    assert message in str(result.exception)
    assert sorted(work.rglob("*")) == before and (work / "precious/thesis.txt").read_text() == "years of work"


def test_submit_adds_to_entries_that_are_there(data, entry, card, maps, tmp_path):
    root = tmp_path / "submissions"
    root.mkdir()
    (root / "README.md").write_text("# Entries")
    (root / "_quarantine").mkdir()
    assert run("submit", entry, "--out", root, "--data", data).exit_code == 0
    second = submission.write(tmp_path / "second", maps=maps, **{**card, "method": "Second"})
    assert run("submit", second, "--out", root, "--data", data).exit_code == 0
    assert len([path for path in root.iterdir() if (path / "entry.yaml").is_file()]) == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["accept", "x-0", "--root", "/proc/entries"], "/proc/entries cannot be written"),
        (["reject", "x-0", "--root", "/proc/entries", "--reason", "no"], "/proc/entries cannot be written"),
        (["accept", "x-0", "--root", "file"], "file cannot be written"),
        (["entries", "--root", "file"], ""),
        (["export", "--out", "file"], "file is not a folder"),
        (["export", "--out", "."], ". is the working folder"),
        (["attribute", "film.png", "--question", "?", "--model", "m", "--out", "file"], "file is not a folder"),
        (["attribute", "film.png", "--question", "?", "--model", "m", "--out", "."], ". is the working folder"),
        (["validate", "file", "--data", "file"], "file/"),
        (["import-released", "deep.json"], "deep.json is not JSON"),
        (
            ["films", "--source", "imagenome", "--data-root", "file", "--dataset", "file"],
            "'file' is not the name of a dataset",
        ),
        (["score", "file", "--data", "/proc/self/mem"], "is missing"),
    ],
)
def test_commands_end_with_a_message(tmp_path, monkeypatch, capsys, words, message):
    """Through the program's own entry point: exit code 1 and one line, or 0; never a traceback."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("mine")
    (tmp_path / "deep.json").write_text("[" * 100_000)
    monkeypatch.setattr("sys.argv", ["medground", *words])
    with pytest.raises(SystemExit) as done:
        main()
    said = capsys.readouterr().err
    assert done.value.code in ((1,) if message else (0,)) and message in said and said.count("\n") == bool(message)
    assert (tmp_path / "file").read_text() == "mine"
