"""The pipeline as DVC sees it: what dvc.yaml says against what the code says."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from medground import params, sources
from medground.attribution import by_entry
from medground.engine import code
from medground.sources import EVERYTHING, SOURCES

ROOT = Path(__file__).parents[1]
PIPELINE = yaml.safe_load((ROOT / "dvc.yaml").read_text())
STAGES = PIPELINE["stages"]
TRAINING = yaml.safe_load((ROOT / "pipelines/phantom/dvc.yaml").read_text())["stages"]
PROFILES = sorted(path.stem for path in (ROOT / "profiles").glob("*.yaml"))
#: Keys of params.yaml that no result depends on.
HOW = {"profile", "engine.name", "engine.workers", "engine.batch_size", "engine.idle"}
#: Modules that import by a name that is not written there; what they look up, stages/code.py adds.
BY_NAME = {"medground.attribution.method", "medground.doors", "medground.editing", "medground.engine.run"} | {
    "medground.engine.warm"  # whose imports only save time
}


def ignored(path: str) -> bool:
    command = [sys.executable, "-m", "dvc", "check-ignore", "--quiet", path]
    return subprocess.run(command, cwd=ROOT, check=False, capture_output=True).returncode == 0


def outputs(stage: dict) -> dict[str, dict]:
    """The outputs and metrics of a stage with their flags."""
    found = {}
    for out in [*stage.get("outs", []), *stage.get("metrics", [])]:
        found |= out if isinstance(out, dict) else {out: {}}
    return found


def module(stage: dict) -> str:
    return re.search(r"python -m (stages\.\w+)", stage["cmd"])[1]


def test_running_a_stage_changes_none_of_its_dependencies():
    """Python compiles the modules that a stage imports into the folders that the stage depends on."""
    assert ignored("medground/lvlm/__pycache__/base.cpython-311.pyc")
    assert ignored("submissions/_incoming/entry/entry.yaml")
    assert not ignored("medground/lvlm/base.py") and not ignored("submissions/entry/entry.yaml")


def test_every_stage_depends_on_the_list_of_its_own_modules_and_on_no_other():
    for name, stage in STAGES.items():
        if name == "code":
            assert stage["deps"] == list(code.PACKAGES)
            continue
        lists = [dep for dep in stage["deps"] if dep.startswith("data/code/")]
        own = f"data/code/{name}/${{item.source}}.txt" if name == "ingest" else f"data/code/{name}.txt"
        assert lists == [own] and module(stage) == f"stages.{name}"
        assert not [dep for dep in stage["deps"] if dep.startswith(("medground", "stages", "models/"))]
    for name, stage in TRAINING.items():
        lists = [dep for dep in stage["deps"] if dep.startswith("../../data/code/")]
        assert lists == [f"../../data/code/{name}.txt"] and module(stage) == f"stages.{name}"


@pytest.mark.parametrize("profile", PROFILES)
def test_the_lists_hold_what_the_stages_import_and_what_params_choose(profile):
    from stages.code import lists

    p = params.load(ROOT / "profiles" / f"{profile}.yaml")
    made = lists(p)
    named = {dep.removeprefix("data/code/") for stage in STAGES.values() for dep in stage["deps"] if "/code/" in dep}
    named |= {dep.removeprefix("../../data/code/") for stage in TRAINING.values() for dep in stage["deps"]}
    wanted = {name.replace("${item.source}", source) for name in named for source in p.sources if name.endswith(".txt")}
    assert set(made) == wanted
    for name, modules in made.items():
        stage = f"stages.{name.removesuffix('.txt').split('/')[0]}"
        assert stage in modules
    providers = {sources.module(p, source) for source in p.sources}
    known = {type(source).__module__ for _, source in SOURCES.items()}
    for source in p.sources:
        listed = set(made[f"ingest/{source}.txt"]) & known
        assert listed == {sources.module(p, source)}, "one source does not depend on another's module"
    assert providers <= set(made["fetch.txt"])
    assert ("medground.editing.twin" in made["edit.txt"]) == (p.edit.editor == "twin")
    assert {by_entry(name).function.__module__ for name in p.methods} <= set(made["attribute.txt"])
    assert "medground.lvlm.prompts" in made["verify.txt"] and "medground.submission.validator" in made["score.txt"]


def test_nothing_is_imported_by_a_name_that_the_lists_cannot_know():
    found = set()
    for path in (ROOT / "medground").rglob("*.py"):
        for node in code._running(ast.parse(path.read_text())):
            called = isinstance(node, ast.Call) and getattr(node.func, "id", getattr(node.func, "attr", ""))
            if called in ("import_module", "__import__") and not isinstance(node.args[0], ast.Constant):
                found.add(".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"))
    assert found == BY_NAME


def test_every_key_of_params_is_a_dependency_of_a_stage_and_every_dependency_is_a_key():
    values = yaml.safe_load((ROOT / "params.yaml").read_text())
    keys = set()
    for key, value in values.items():
        nested = isinstance(value, dict) and value and key not in ("attribute",)
        keys |= {f"{key}.{inner}" for inner in value} if nested else {key}
    asked = set()
    for stage in (*STAGES.values(), *TRAINING.values()):
        for one in stage.get("params", []):
            asked |= set(one["../../params.yaml"]) if isinstance(one, dict) else {one}
    covered = {key for key in keys if key in asked or key.split(".")[0] in asked}
    assert keys - covered == HOW & keys
    assert {one for one in asked if one not in keys and not any(key.startswith(f"{one}.") for key in keys)} == set()


def test_stages_depend_on_one_model_and_not_on_the_folder_of_all():
    for name in ("answer", "attribute"):
        assert "data/checkpoints/lvlm/${item.model}.json" in STAGES[name]["deps"]
        assert "data/checkpoints/lvlm" not in STAGES[name]["deps"]
    assert [name for name, stage in STAGES.items() if "models" in stage["deps"]] == ["checkpoints"]


#: What may hold films, or text about them, and so goes where params.yaml says and nowhere else.
HELD = (
    "raw",
    "samples",
    "references",
    "edits",
    "answers",
    "cases",
    "anatomy",
    "attributions",
    "questions",
    "evaluations",
    "report",
)


def test_what_may_hold_films_or_text_goes_only_where_the_profile_says():
    for stage in STAGES.values():
        for out, flags in outputs(stage).items():
            held = out.split("/")[1] in HELD
            assert flags.get("remote") == ("${publish.remote}" if held else None), out


@pytest.mark.parametrize("profile", PROFILES)
def test_a_profile_with_restricted_sources_keeps_films_and_text_on_this_machine(profile):
    p = params.load(ROOT / "profiles" / f"{profile}.yaml")
    free = all(SOURCES.get(source).licence.may_leave == EVERYTHING for source in p.sources)
    assert p.publish.remote == ("" if free else "restricted")


def test_what_the_app_reads_stays_while_its_stage_runs_again():
    kept = {out: flags for stage in STAGES.values() for out, flags in outputs(stage).items() if flags.get("persist")}
    for out in ("data/board", "data/cases", "data/scores/scores.parquet", "data/scores/entries.json"):
        assert out in kept


def test_metrics_are_one_file():
    metrics = [out for stage in STAGES.values() for out in stage.get("metrics", [])]
    assert [next(iter(out)) for out in metrics] == ["data/metrics.json"]


def test_the_models_are_those_that_the_training_pipeline_made():
    lists = sorted((ROOT / "pipelines/phantom").glob("*.sha256"))
    made = [stage.get("matrix", {"model": ["phantom-radedit"]})["model"] for stage in TRAINING.values()]
    assert {path.stem for path in lists} == {model for models in made for model in models}
    for path in lists:
        files = {line.split(maxsplit=1)[1] for line in path.read_text().splitlines()}
        there = {str(file.relative_to(ROOT)) for file in (ROOT / "models" / path.stem).rglob("*") if file.is_file()}
        key = {f"models/{path.stem}.causes.json"} if (ROOT / "models" / f"{path.stem}.causes.json").exists() else set()
        assert files == there | key | {f"models/{path.stem}.accuracy.json"}
    check = subprocess.run(["sha256sum", "--quiet", "--check", *lists], cwd=ROOT, capture_output=True, text=True)
    assert check.returncode == 0, check.stdout


def test_training_is_no_part_of_the_main_pipeline():
    assert not any(stage.get("frozen") for stage in (*STAGES.values(), *TRAINING.values()))
    assert not any(module(stage).startswith("stages.train") for stage in STAGES.values())
    assert (ROOT / "pipelines/phantom/.dvc/config").is_file(), (
        "a project of its own: `dvc status` does not look into it"
    )


def test_training_depends_on_files_that_the_pipeline_makes():
    p = params.load(ROOT / "profiles/phantom.yaml")
    made = {f"../../data/raw/{name}.json" for name in (*p.sources, "references")}
    for name, stage in TRAINING.items():
        raw = {dep for dep in stage["deps"] if dep.startswith("../../data/raw/")}
        assert raw and raw <= made, name
