"""A package from outside, examples/plugin, brings a method, a model family, a source and a metric into a pipeline."""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from shutil import copytree

import pytest
import yaml
from PIL import Image

from medground import records

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent / "howto"))
import howto
import parts

ROOT = Path(__file__).parents[1]
MODEL = ROOT / "models/phantom-gemma3"
SMALL = {"detector": ROOT / "models/phantom-owlvit", "segmenter": ROOT / "models/phantom-sam"}
METHODS = ["center_surround", "occlusion", "center_box", "random"]
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not MODEL.is_dir(), reason="no phantom model in models/")]


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder with the package, as pip installs it."""
    target, source = tmp_path_factory.mktemp("installed"), tmp_path_factory.mktemp("source")
    copytree(ROOT / "examples/plugin", source / "plugin")
    done = subprocess.run(
        [sys.executable, "-m", "pip", "--quiet", "install", "--no-deps", "--target", target, source / "plugin"],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return target


@pytest.fixture(scope="module")
def workplace(tmp_path_factory, ct_folder, installed):
    """Eight films of the clinic, a phantom model that reads them, a LLaVA of random weights, and a small profile."""
    from medground.phantom import FINDINGS, Phantom
    from medground.phantom.cohorts import patient_seed

    root = tmp_path_factory.mktemp("workplace")
    clinic = root / "cxr/clinic"
    clinic.mkdir(parents=True)
    phantom = Phantom.open(ct_folder, ROOT / ".cache/phantom")
    lines = []
    for number in range(8):
        wanted = [FINDINGS[number % len(FINDINGS)], FINDINGS[(number + 3) % len(FINDINGS)]]
        film = phantom.patient(patient_seed(7, "benchmark", number)).film(wanted, seed=number)
        height, width = film.image.shape
        Image.fromarray(film.image).save(clinic / f"{number}.png")
        boxes = {
            n: [[x1 / width, y1 / height, x2 / width, y2 / height]] for n, (x1, y1, x2, y2) in film.extents.items()
        }
        lines.append(json.dumps({"file": f"{number}.png", "patient": f"p{number}", "findings": boxes}))
    (clinic / "films.jsonl").write_text("\n".join(lines) + "\n")
    for model in (MODEL, *SMALL.values()):
        copytree(model, root / "models" / model.name)
    for kind, name, text in howto.blocks(ROOT / "docs/how-to/model.md"):
        if name == "tiny_llava.py":
            assert kind == "python"
            (root / name).write_text(text)
    run(root, installed, "tiny_llava.py")
    (root / "tiny-llava").rename(root / "models/tiny-llava")
    (root / "submissions").mkdir()
    (root / "data/raw").mkdir(parents=True)
    (root / "data/raw/ct").symlink_to(ct_folder)
    values = yaml.safe_load((ROOT / "profiles/open.yaml").read_text())
    values |= {"sources": ["clinic"], "models": [MODEL.name, "tiny-llava"], "methods": METHODS, "modes": ["direct"]}
    values["grounding"] = {role: f"models/{model.name}" for role, model in SMALL.items()}
    values["engine"]["workers"] = 1
    values["phantom"]["references"] = 2
    values["answer"]["max_new_tokens"] = 16
    values["faithfulness"] = {"cases": 1, "steps": 2}
    values["rank"]["resamples"] = 50
    values["edit"]["radedit"] |= {**parts.radedit(root / "parts"), "size": 112, "steps": 10, "skip_ratio": 0.8}
    (root / "params.yaml").write_text(yaml.safe_dump(values))
    return root


def run(folder, installed, *words):
    """Run Python as somebody would who installed both packages."""
    path = os.pathsep.join(map(str, (installed, ROOT)))
    environment = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "MEDGROUND_DATA_ROOT": str(folder / "cxr")}
    done = subprocess.run([sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{words}\n{done.stdout[-3000:]}\n{done.stderr[-5000:]}"
    return done.stdout


def test_the_pipeline_runs_with_one_of_each(workplace, installed):
    values = yaml.safe_load((workplace / "params.yaml").read_text())
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    wanted = list(stages)
    for name in wanted[: wanted.index("rank") + 1]:
        matrix = {k: values[re.fullmatch(r"\$\{(\w+)\}", v)[1]] for k, v in stages[name].get("matrix", {}).items()}
        for chosen in itertools.product(*matrix.values()):
            command = stages[name]["cmd"]
            for key, value in zip(matrix, chosen, strict=True):
                command = command.replace(f"${{item.{key}}}", value)
            run(workplace, installed, *command.split()[1:])
    data = workplace / "data"
    samples = records.read_rows(data / "samples/clinic/samples.parquet", records.SAMPLES)
    assert len(samples) >= 8 and {row["licence"] for row in samples} == {"CC0-1.0"}
    answers = records.read_rows(data / "answers/tiny-llava.parquet", records.ANSWERS)
    assert len(answers) >= len(samples) and all(row["text"] for row in answers)
    found = records.read_rows(data / f"attributions/{MODEL.name}/center_surround.parquet", records.ATTRIBUTIONS)
    assert found and all(row["grid_height"] == 52 for row in found)
    board = run(
        workplace, installed, "-c",
        "from medground import records\n"
        "rows = [r for r in records.read_rows('data/board/board.parquet', records.BOARD) if r['track'] == 'all']\n"
        "print(sorted({r['entry'] for r in rows}), all(0 <= r['outside_share'] <= 1 for r in rows))",
    )  # fmt: skip
    assert board.split("] ")[1].strip() == "True" and "center_surround" in board


def test_its_model_family_and_source_conform(workplace, installed):
    said = run(
        workplace, installed, "-c",
        "from transformers import AutoProcessor\n"
        "from medground import load_lvlm\n"
        "from medground.testing import check_lvlm, check_source\n"
        "check_source('clinic', 'cxr')\n"
        "lvlm = load_lvlm('tiny-llava')\n"
        "check_lvlm(lvlm, processor=AutoProcessor.from_pretrained('models/tiny-llava'))\n"
        "print(type(lvlm).__module__)",
    )  # fmt: skip
    assert said.strip() == "medground_example.family"
