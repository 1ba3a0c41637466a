"""What costs what, and what `dvc push` and `dvc pull` carry: asked of DVC, on the pipeline with hollow stages."""

from pathlib import Path
from shutil import copytree

import hollow
import pytest
import yaml

from medground import files
from medground.hub.models import note

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[1]
SCORED = {"score", "faithfulness", "sanity", "rank", "report", "export"}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = hollow.build(tmp_path_factory.mktemp("graph") / "medground")
    assert len(hollow.repro(root)) > 15
    hollow.commit(root, "Made")
    return root


@pytest.fixture
def repository(made, tmp_path):
    """A copy of the repository in which everything is made, cache and all."""
    copytree(made, tmp_path / "medground", symlinks=True)
    return tmp_path / "medground"


def rewrite(path, text):
    path.unlink(missing_ok=True)
    path.write_text(text)


def test_a_second_run_does_nothing_and_says_nothing_of_training(repository):
    said = hollow.run(repository, "dvc", "repro")
    assert "frozen" not in said and "train" not in said and "Running" not in said
    assert "up to date" in hollow.run(repository, "dvc", "status")
    assert hollow.run(repository, "git", "status", "--porcelain") == ""


def test_a_comment_costs_nothing_and_code_costs_the_stages_that_import_it(repository):
    prompts = repository / "medground/lvlm/prompts.py"
    text = prompts.read_text()
    rewrite(prompts, f"# A comment.\n{text}")
    assert hollow.repro(repository) == ["code"]
    rewrite(prompts, text.replace("Is there evidence of", "Do you see"))
    ran = set(hollow.repro(repository))
    assert {"ingest@phantom_causes_region", "verify"} <= ran and "edit@phantom_causes_region" in ran
    show = repository / "medground/ranking/show.py"
    rewrite(show, show.read_text() + "\nMORE = 1\n")
    assert set(hollow.repro(repository)) - SCORED == {"code"}


def test_another_model_costs_its_own_answers_and_maps(repository):
    copytree(repository / "models/phantom-gemma3-a", repository / "models/another")
    assert hollow.repro(repository) == ["checkpoints"]
    values = yaml.safe_load((repository / "params.yaml").read_text())
    hollow.use(repository, "phantom", models=[*values["models"], "another"])
    ran = set(hollow.repro(repository))
    assert "answer@another" in ran and not {"answer@phantom-gemma3-a", "ingest@phantom_causes_region", "anatomy"} & ran


def test_models_that_were_published_cost_the_export(repository):
    pins = repository / "models/published.json"
    assert not pins.exists()
    note(pins.parent, {"phantom-gemma3-a": {"repository": "somebody/phantom-gemma3-a", "commit": "1" * 40}})
    assert hollow.repro(repository) == ["checkpoints", "export"]
    assert files.read_json(repository / "data/checkpoints/published.json") == files.read_json(pins)


def test_a_models_tokenizer_costs_its_own_answers(repository):
    config = repository / "models/phantom-gemma3-a/preprocessor_config.json"
    rewrite(config, config.read_text().rstrip().removesuffix("}") + ', "note": 1}')
    ran = set(hollow.repro(repository))
    assert {"answer@phantom-gemma3-a", "attribute@phantom-gemma3-a"} <= ran
    assert not {"answer@phantom-qwen2_5_vl-a", "anatomy", "edit@phantom_causes_region"} & ran


def test_another_method_costs_no_answer(repository):
    values = yaml.safe_load((repository / "params.yaml").read_text())
    hollow.use(repository, "phantom", methods=[*values["methods"], "rise_published"])
    ran = set(hollow.repro(repository))
    assert ran - SCORED <= {"code"} | {f"attribute@{model}" for model in values["models"]}


def test_an_entry_costs_scores_and_no_map(repository):
    (repository / "submissions/mine").mkdir()
    (repository / "submissions/mine/entry.yaml").write_text("name: mine\n")
    assert set(hollow.repro(repository)) == SCORED


def test_fewer_cases_cost_no_answer(repository):
    values = yaml.safe_load((repository / "params.yaml").read_text())
    hollow.use(repository, "phantom", verify=values["verify"] | {"most": 2})
    assert not [
        stage for stage in hollow.repro(repository) if stage.startswith(("answer", "edit", "ingest", "anatomy"))
    ]


def test_a_second_clone_pulls_what_the_first_pushed_and_computes_nothing(repository, tmp_path):
    store, clone = tmp_path / "store", tmp_path / "clone"
    hollow.run(repository, "dvc", "remote", "add", "--default", "storage", str(store))
    hollow.run(repository, "dvc", "push")
    hollow.commit(repository, "A remote")
    hollow.run(tmp_path, "git", "clone", "--quiet", str(repository), str(clone))
    hollow.run(clone, "dvc", "pull")
    assert (clone / "data/board/board.parquet").read_bytes() == (repository / "data/board/board.parquet").read_bytes()
    assert "up to date" in hollow.run(clone, "dvc", "status")
    assert hollow.repro(clone) == [] and hollow.run(clone, "git", "status", "--porcelain") == ""


def held(store: Path) -> set[str]:
    """The outputs of which a file is in a remote, by the line that each hollow file begins with."""
    texts = [file.read_text() for file in store.rglob("*") if file.is_file() and "runs" not in file.parts]
    return {text.split("/")[1].split()[0] for text in texts if text.startswith("data/")}


FREE = {"scores", "sanity", "board", "results", "hub"}


@pytest.mark.parametrize("command", [["dvc", "push"], ["dvc", "push", "--run-cache"], ["dvc", "push", "-r", "storage"]])
def test_restricted_films_and_text_stay_on_this_machine(command, restricted, tmp_path):
    store = tmp_path / "store"
    hollow.run(restricted, "dvc", "remote", "add", "--default", "--force", "storage", str(store))
    hollow.run(restricted, *command)
    assert held(store) == FREE


def test_the_lab_may_keep_them_in_a_place_of_its_own(restricted, tmp_path):
    hollow.run(restricted, "dvc", "remote", "modify", "--local", "restricted", "url", str(tmp_path / "lab"))
    hollow.run(restricted, "dvc", "remote", "add", "--default", "--force", "storage", str(tmp_path / "store"))
    hollow.run(restricted, "dvc", "push")
    assert held(tmp_path / "lab") >= {"samples", "edits", "answers", "cases", "attributions", "report"}
    assert held(tmp_path / "store") == FREE


@pytest.fixture(scope="module")
def restricted(tmp_path_factory):
    """The profile of the paper's study, with the models of this repository, since its own are out of reach."""
    root = hollow.build(tmp_path_factory.mktemp("graph") / "restricted")
    values = yaml.safe_load((root / "profiles/paper.yaml").read_text())
    own = yaml.safe_load((root / "profiles/phantom.yaml").read_text())
    hollow.use(
        root, "paper", models=own["models"], grounding=own["grounding"], edit=own["edit"] | {"editor": "radedit"}
    )
    assert values["publish"]["remote"] == "restricted"
    hollow.repro(root)
    hollow.commit(root, "Made")
    return root
