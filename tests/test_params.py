"""params.yaml: every profile is whole, and every kind of mistake is named."""

from pathlib import Path

import pytest
import yaml

from medground import params
from medground.errors import MedgroundError

PROFILES = Path(__file__).parents[1] / "profiles"


@pytest.fixture
def values():
    return yaml.safe_load((PROFILES / "phantom.yaml").read_text())


def write(path, values):
    path.write_text(yaml.safe_dump(values))
    return path


@pytest.mark.parametrize("profile", sorted(PROFILES.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_profile_is_whole(profile):
    assert params.load(profile).profile == profile.stem


def test_nested_access(values, tmp_path):
    values["verify"]["seeds"] = 3
    assert params.load(write(tmp_path / "params.yaml", values)).verify.seeds == 3


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda v: v.pop("seed"), "seed is missing"),
        (lambda v: v["verify"].pop("seeds"), "verify.seeds is missing"),
        (lambda v: v["verify"].update(seed=1), "verify.seed is unknown"),
        (lambda v: v["verify"].update(seeds="three"), "verify.seeds is 'three'"),
        (lambda v: v["verify"].update(seeds=True), "verify.seeds is True"),
        (lambda v: v.update(modes=["directly"]), "modes is 'directly'"),
        (lambda v: v.update(models=[]), "models is []"),
        (lambda v: v.update(engine="ray"), "engine must be a section"),
    ],
)
def test_mistakes_are_named(values, tmp_path, change, named):
    change(values)
    with pytest.raises(MedgroundError, match=named.replace("[", r"\[")):
        params.load(write(tmp_path / "params.yaml", values))


def test_missing_and_broken_files(tmp_path):
    with pytest.raises(MedgroundError, match="is missing"):
        params.load(tmp_path / "params.yaml")
    (tmp_path / "params.yaml").write_text("a: [")
    with pytest.raises(MedgroundError, match="not valid YAML"):
        params.load(tmp_path / "params.yaml")


def test_unknown_profile_lists_the_known(tmp_path):
    (tmp_path / "profiles").mkdir()
    with pytest.raises(MedgroundError, match="no profile 'papers'"):
        params.activate("papers", tmp_path)
    assert not (tmp_path / "params.yaml").exists()
