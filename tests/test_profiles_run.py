"""The profiles for real data, end to end: providers' files in their layouts, RadEdit, a local model, and the board.

Every command of ``dvc.yaml`` is run, in its order and with its matrix, in this process.
"""

import importlib
import itertools
import json
import re
import sys
from pathlib import Path
from shutil import copytree

import pytest
import yaml

from medground import params, records
from medground.editing import EDITS

sys.path.insert(0, str(Path(__file__).parent))
import parts
import providers

REPOSITORY = Path(__file__).parents[1]
MODEL = REPOSITORY / "models" / "phantom-gemma3"
EYES = {"detector": REPOSITORY / "models" / "phantom-owlvit", "segmenter": REPOSITORY / "models" / "phantom-sam"}
METHODS = ["medfocus", "medfocus_published", "occlusion", "rollout", "prompting_medsam", "random", "whole_film"]
AS_PUBLISHED = ["medfocus_published", "rollout_published", "prompting_medsam_published", "random", "whole_film"]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not MODEL.is_dir(), reason="no phantom model in models/"),
]


@pytest.fixture(scope="module")
def films(ct_folder):
    """Eight films with findings and three normal ones, each of another patient."""
    from medground.phantom import FINDINGS, Phantom
    from medground.phantom.cohorts import patient_seed

    phantom = Phantom.open(ct_folder, REPOSITORY / ".cache" / "phantom")
    taken = []
    for number in range(11):
        wanted = [FINDINGS[number % len(FINDINGS)], FINDINGS[(number + 3) % len(FINDINGS)]] if number < 8 else []
        film = phantom.patient(patient_seed(7, "benchmark", number)).film(wanted, seed=number)
        boxes = {name: [box] for name, box in film.extents.items()}
        taken.append(providers.Film(film.image, boxes, film.anatomy))
    return taken


@pytest.fixture
def workplace(tmp_path, monkeypatch, films, ct_folder):
    """A repository of its own: stages and models of this one, films of the four providers, and a profile."""
    monkeypatch.setenv("MEDGROUND_DATA_ROOT", str(providers.build(tmp_path / "cxr", films)))
    monkeypatch.chdir(tmp_path)
    for model in (MODEL, *EYES.values()):
        copytree(model, tmp_path / "models" / model.name)
    (tmp_path / "submissions").mkdir()
    (tmp_path / "data" / "raw").mkdir(parents=True)
    (tmp_path / "data" / "raw" / "ct").symlink_to(ct_folder)
    return tmp_path


def activate(name, workplace):
    """The profile as it is shipped, but with small models, few steps and few methods."""
    values = yaml.safe_load((REPOSITORY / "profiles" / f"{name}.yaml").read_text())
    published = name == "published"
    assert not published or set(AS_PUBLISHED) <= set(values["methods"])
    values |= {"models": [MODEL.name], "methods": AS_PUBLISHED if published else METHODS}
    values["grounding"] = {role: f"models/{model.name}" for role, model in EYES.items()}
    values["engine"]["workers"] = 1
    values["phantom"]["references"] = 2
    values["answer"]["max_new_tokens"] = 32
    values["faithfulness"] = {"cases": 1, "steps": 2}
    values["rank"]["resamples"] = 50
    small = {"size": 112, "steps": 10, "skip_ratio": 0.8, "redraw": False}  # untrained parts redraw a film as noise
    values["edit"]["radedit"] |= {**parts.radedit(workplace / "parts"), **small}
    (workplace / "profiles").mkdir()
    (workplace / "profiles" / f"{name}.yaml").write_text(yaml.safe_dump(values))
    params.activate(name, workplace)
    return values


def run_all(values, monkeypatch):
    """Every stage of dvc.yaml."""
    for name, stage in yaml.safe_load((REPOSITORY / "dvc.yaml").read_text())["stages"].items():
        matrix = {key: values[re.fullmatch(r"\$\{(\w+)\}", over)[1]] for key, over in stage.get("matrix", {}).items()}
        for chosen in itertools.product(*matrix.values()):
            command = stage["cmd"]
            for key, value in zip(matrix, chosen, strict=True):
                command = command.replace(f"${{item.{key}}}", value)
            python, flag, module, *words = command.split()
            assert (python, flag) == ("python", "-m"), name
            monkeypatch.setattr(sys, "argv", [module, *words])
            importlib.import_module(module).main()


@pytest.mark.parametrize(("profile", "count"), [("paper", 3), ("open", 1), ("published", 3)])
def test_a_profile_runs_from_the_providers_files_to_the_board(profile, count, workplace, monkeypatch):
    values = activate(profile, workplace)
    assert len(values["sources"]) == count
    run_all(values, monkeypatch)
    asked = 0
    for source in values["sources"]:
        samples = records.read_rows(f"data/samples/{source}/samples.parquet", records.SAMPLES)
        edits = records.read_rows(f"data/edits/{source}/edits.parquet", records.EDITS)
        summary = json.loads(Path(f"data/samples/{source}/summary.json").read_text())
        assert summary["samples"] == len(samples) > 0
        assert len(edits) == len(samples) * len(EDITS) and {edit["editor"] for edit in edits} == {"radedit"}
        asked += len(samples)
    cases = records.read_rows("data/cases/cases.parquet", records.CASES)
    assert len(cases) == asked * len(values["modes"])
    assert sum(case["right"] for case in cases) > len(cases) / 2  # the films reach the model as it knows them
    assert any(case["kept"] for case in cases)
    board = records.read_rows("data/board/board.parquet", records.BOARD)
    assert {row["entry"] for row in board if row["track"] == "all"} >= set(values["methods"])
    assert Path("data/hub").is_dir()
    findings = {case["finding"] for case in cases if case["kept"] and case["split"] == "test"}
    assert len(list(Path("data/report").glob("*.png"))) == len(findings)
    one_more_method(values["methods"], monkeypatch)


def one_more_method(methods, monkeypatch):
    """A method that is put in or taken out of params.yaml costs its own work, and leaves the others' tables alone."""
    from stages import attribute

    def made():
        return {path.stem: path.read_bytes() for path in Path("data/attributions", MODEL.name).iterdir()}

    def work():  # what is kept of finished work, by table
        kept = [path for path in Path(".progress").rglob("*.parquet") if path.is_file()]
        return {path: path.stat().st_mtime_ns for path in kept if "attributions" in str(path)}

    before, worked = made(), work()
    values = yaml.safe_load(Path("params.yaml").read_text()) | {"methods": [*methods[1:], "gradcam"]}
    Path("params.yaml").write_text(yaml.safe_dump(values))
    monkeypatch.setattr(sys, "argv", ["attribute", "--model", MODEL.name])
    attribute.main()
    after = made()
    assert set(after) == {*methods[1:], "gradcam"}
    assert after.items() - before.items() == {("gradcam", after["gradcam"])}
    assert {path for path, when in work().items() if worked.get(path) != when and "gradcam" not in str(path)} == set()
