"""What stages keep beside ``main``: what makes their work due again, what they choose, what they show."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from medground import params, records
from medground.errors import MedgroundError
from medground.images import write_film
from medground.phantom import trained
from stages import answer, checkpoints, report, verify

ROOT = Path(__file__).parents[1]


def question(film: str, **changed) -> tuple[str, dict, list[dict]]:
    """What a model is asked in direct mode about a film and its three edits."""
    sample = {
        "source": "s", "index": 4, "film": film, "question": "Is there evidence of mass in the image?", "answer": "Yes",
        "patient_id": "p", "regions": [(1.0, 2.0, 3.0, 4.0)],
    }  # fmt: skip
    edits = [{"edit": name, "seed": 0, "sha256": name[::-1], "path": f"{name}.png"} for name in ("removed", "normal")]
    return "direct", sample | changed, edits


def test_an_answer_is_due_again_when_what_is_asked_about_changes_and_not_otherwise(tmp_path):
    film = tmp_path / "film.png"
    write_film(film, np.zeros((4, 5), np.uint8))
    mode, sample, edits = question(str(film))
    before = answer._content((mode, sample, edits))
    assert answer._content(question(str(film), patient_id="another", regions=[])) == before
    other = [edits[0] | {"sha256": "another"}, edits[1]]
    changed = [
        answer._content(("reasoning", sample, edits)),
        answer._content(question(str(film), question="Is there evidence of effusion in the image?")),
        answer._content((mode, sample, other)),
        answer._content((mode, sample, edits[:1])),
    ]
    write_film(film, np.ones((4, 5), np.uint8))
    assert len({before, *changed, answer._content((mode, sample, edits))}) == 6


def test_questions_of_a_model_have_names_of_their_own_that_say_where_to_look():
    asked = [(m, mode, s, i) for m in "ab" for mode in ("direct", "reasoning") for s in "st" for i in (1, 11)]
    names = {answer._name(m, mode, {"source": s, "index": i, "film": f"data/{s}/{i}.png"}) for m, mode, s, i in asked}
    assert len(names) == len(asked) and "a/direct/s/11, film data/s/11.png" in names


def test_the_lists_of_checkpoints_name_every_model_that_the_params_name(tmp_path, monkeypatch):
    twin, edited = (params.load(ROOT / f"profiles/{name}.yaml") for name in ("phantom", "open"))
    known = checkpoints.models(twin)
    assert {name for name in known if name.startswith("lvlm/")} == {f"lvlm/{model}.json" for model in twin.models}
    assert known["detector.json"] == [twin.grounding.detector] and known["segmenter.json"] == [twin.grounding.segmenter]
    assert known["editor.json"] == []  # the twin is no model
    assert checkpoints.models(edited)["editor.json"] == [
        edited.edit.radedit.unet, edited.edit.radedit.vae, edited.edit.radedit.text_encoder
    ]  # fmt: skip


def test_lists_of_checkpoints_follow_the_files_and_go_with_the_model(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["checkpoints"])
    monkeypatch.setattr(checkpoints.params, "load", lambda: None)
    monkeypatch.setattr(checkpoints, "models", lambda p: {"lvlm/tiny.json": ["tiny"]})
    for name, content in (("weights", "1"), ("README.md", "about")):
        path = tmp_path / "models/tiny" / {"weights": "model.safetensors"}.get(name, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    listed = checkpoints.OUT / "lvlm/tiny.json"
    (checkpoints.OUT / "lvlm").mkdir(parents=True)
    (checkpoints.OUT / "lvlm/gone.json").write_text("{}")

    def run() -> tuple[str, bool]:
        """The list, and whether it was written."""
        checkpoints.main()
        return listed.read_text(), bool(capsys.readouterr().out)

    first, written = run()
    assert written and sorted(path.name for path in checkpoints.OUT.rglob("*.json")) == ["published.json", "tiny.json"]
    assert run() == (first, False)
    (tmp_path / "models/tiny/README.md").write_text("about, in other words")
    assert run() == (first, False)
    (tmp_path / "models/tiny/model.safetensors").write_text("2")
    again, written = run()
    assert written and again != first


def test_the_report_has_one_case_of_each_finding_and_goes_round_the_rest():
    models, modes, sources = ["a", "b"], ["direct", "reasoning"], ["s", "t"]
    cases = [
        {"finding": finding, "model": model, "mode": mode, "source": source}
        for finding in ("mass", "effusion", "nodule", "edema") for model in models for mode in modes
        for source in sources
    ]  # fmt: skip
    p = type("P", (), {"models": models, "modes": modes, "sources": sources})
    chosen = report.one_a_finding(cases, p)
    assert [case["finding"] for case in chosen] == ["edema", "effusion", "mass", "nodule"]
    for name in ("model", "mode", "source"):
        assert len({case[name] for case in chosen}) == 2
    only = [case for case in cases if case["model"] == "b" or case["finding"] != "mass"]
    assert [case["model"] for case in report.one_a_finding(only, p) if case["finding"] == "mass"] == ["b"]
    assert report.one_a_finding([], p) == []


def test_the_report_reads_maps_and_boxes_by_case(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [
        {"case_id": "m/direct/s/0", "grid": [0.0, 1, 2, 3, 4, 5], "grid_height": 2, "grid_width": 3, "forwards": 1},
        {"case_id": "m/direct/s/1", "boxes": [(1.0, 2.0, 3.0, 4.0)], "forwards": 1},
    ]
    records.write_table(rows, records.ATTRIBUTIONS, "data/attributions/m/occlusion.parquet")
    found = report.attributions("m", "occlusion")
    assert found["m/direct/s/0"].grid.tolist() == [[0, 1, 2], [3, 4, 5]] and found["m/direct/s/0"].boxes is None
    assert found["m/direct/s/1"].boxes == [(1, 2, 3, 4)] and found["m/direct/s/1"].grid is None


@pytest.mark.parametrize(("part", "whole"), [(0, 9), (9, 9), (3, 10), (70, 100)])
def test_the_interval_of_what_was_kept_is_wilsons(part, whole):
    """Both ends solve (share - x)^2 = z^2 x (1 - x) / n."""
    share, low, high = verify._share(part, whole)
    assert share == part / whole and low <= share <= high
    for end in (low, high):
        assert math.isclose((share - end) ** 2, 1.959964**2 * end * (1 - end) / whole, rel_tol=1e-5, abs_tol=1e-12)
    assert verify._share(0, 0) == (0, 0, 1)


# What the stages that train share


def test_training_stages_take_a_model_that_they_know_or_their_only_one(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)

    def asked(*words, known=("a", "b")):
        monkeypatch.setattr("sys.argv", ["train", *words])
        return trained.asked("Trains.", known, "phantom model")[0]

    threads = []
    monkeypatch.setattr(trained.torch, "set_num_threads", threads.append)
    assert asked("--model", "b") == "b" and threads == []
    assert asked("--model", "a", "--threads", "3") == "a" and threads == [3]
    with pytest.raises(MedgroundError, match=r"unknown phantom model 'c'; known: a, b"):
        asked("--model", "c")
    with pytest.raises(SystemExit):
        asked()
    assert asked(known=["editor"]) == asked("--model", "editor", known=["editor"]) == "editor"
    with pytest.raises(MedgroundError, match="unknown phantom model 'a'; known: editor"):
        asked("--model", "a", known=["editor"])


def test_a_trained_model_takes_the_place_of_the_old_one_whole(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    old = tmp_path / "models/m"
    old.mkdir(parents=True)
    (old / "old.txt").write_text("old")

    def save(folder: Path) -> None:
        folder.mkdir()
        (folder / "weights").write_text("new")
        assert (old / "old.txt").exists()

    def dies(folder: Path) -> None:
        save(folder)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained.put("m", dies, {})
    assert [path.name for path in old.iterdir()] == ["old.txt"]
    assert trained.put("m", save, {"seed": 3}) == Path("models/m")
    assert sorted(path.name for path in old.iterdir()) == ["medground.json", "weights"]
    assert [path.name for path in old.parent.iterdir()] == ["m"]
