"""params.yaml: every profile is whole, every kind of mistake is named, and DVC's rewriting leaves the file as it is."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from dvc.utils.hydra import apply_overrides
from dvc.utils.serialize import modify_yaml

from medground import params
from medground.attribution import by_entry
from medground.errors import MedgroundError

ROOT = Path(__file__).parents[1]
PROFILES = ROOT / "profiles"
FILES = [ROOT / "params.yaml", *sorted(PROFILES.glob("*.yaml"))]
spec = importlib.util.spec_from_file_location("reliability_params", ROOT / "scripts/reliability_params.py")
reliability = importlib.util.module_from_spec(spec)
spec.loader.exec_module(reliability)


@pytest.fixture
def folder(tmp_path):
    """A folder with the repository's models."""
    (tmp_path / "models").symlink_to(ROOT / "models")
    return tmp_path


@pytest.fixture
def values():
    return yaml.safe_load((PROFILES / "phantom.yaml").read_text())


def write(folder, values):
    path = folder / "params.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


@pytest.mark.parametrize("profile", sorted(PROFILES.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_profile_is_whole(profile):
    assert params.load(profile).profile == profile.stem


def test_nested_access(values, folder):
    values["verify"]["seeds"] = 3
    assert params.load(write(folder, values)).verify.seeds == 3


@pytest.mark.parametrize(
    ("content", "named"), [pytest.param(content, named, id=name) for name, content, named in reliability.mutations()]
)
def test_nonsense_is_refused_by_name(content, named, folder):
    result, message = reliability.outcome(content, folder)
    assert result == "refused", message
    assert str(folder / "params.yaml") in message and named in message


@pytest.mark.parametrize(("key", "value"), reliability.CONTROLS)
def test_what_is_unusual_and_right_is_accepted(key, value, folder):
    assert reliability.outcome(reliability.changed(key, value), folder) == ("accepted", "")


def test_all_mistakes_are_listed_at_once_with_value_and_range(values, folder):
    values["verify"] |= {"agreement": 2}
    values["rank"]["level"] = 95
    values["attribute"]["rise"]["masks"] = -3
    values["models"].append("nobody")
    del values["seed"]
    with pytest.raises(MedgroundError) as caught:
        params.load(write(folder, values))
    head, *lines = str(caught.value).split("\n- ")
    assert head == f"{folder / 'params.yaml'}: 5 problems"
    assert lines[:2] == [
        "seed is missing; it must be a whole number from 0 to 4294967295",
        "rank.level is 95; it must be a number at least 0.5 and below 1",
    ]
    assert lines[2].startswith("models[4] is 'nobody'; known: phantom-gemma3")
    assert lines[3:] == [
        "attribute.rise.masks is -3; it must be a whole number from 1 to 100000",
        "verify.agreement is 2; it must be at most verify.seeds, 1",
    ]


def test_an_address_that_is_none_is_named_with_an_example(values, folder):
    values["publish"]["repository"] = "http://github.com/org/name"
    with pytest.raises(MedgroundError) as caught:
        params.load(write(folder, values))
    assert str(caught.value) == (
        f"{folder / 'params.yaml'}: publish.repository is 'http://github.com/org/name'; "
        "it must be an address such as https://github.com/ORG/NAME, or empty"
    )


def test_missing_and_unreadable_files(tmp_path):
    with pytest.raises(MedgroundError, match="is missing"):
        params.load(tmp_path / "params.yaml")
    (tmp_path / "params.yaml").mkdir()
    with pytest.raises(MedgroundError, match="cannot be read"):
        params.load(tmp_path / "params.yaml")


@pytest.mark.parametrize("name", ["papers", "../params", ""])
def test_unknown_profile_lists_the_known(name, tmp_path):
    (tmp_path / "profiles").mkdir()
    shutil.copyfile(PROFILES / "phantom.yaml", tmp_path / "params.yaml")
    with pytest.raises(MedgroundError, match=r"no profile .*; profiles/ is in a clone of the repository"):
        params.activate(name, tmp_path)
    assert (tmp_path / "params.yaml").exists()


def test_settings_reach_the_method(values, folder):
    values["seed"] = 9
    values["attribute"]["rise"] = {"masks": 7, "keep": 0.25}
    p = params.load(write(folder, values))
    settings = by_entry("rise").configured(p).settings
    assert (settings["masks"], settings["keep"], settings["seed"]) == (7, 0.25, 9)
    assert by_entry("rise_published").configured(p).settings["masks"] != 7, "the other protocol has its own"


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.stem)
def test_dvc_rewrites_the_file_to_the_same_bytes(file, tmp_path):
    """Read for an update and written, as DVC does it, and with a value set to what it is, as -S does it."""
    path = tmp_path / "params.yaml"
    shutil.copyfile(file, path)
    with modify_yaml(path):
        pass
    assert path.read_bytes() == file.read_bytes()
    apply_overrides(path, ["seed=1"])
    assert path.read_bytes() == file.read_bytes()


def test_dvc_sweeps_a_setting_of_a_method_in_one_line(tmp_path):
    path = tmp_path / "params.yaml"
    shutil.copyfile(PROFILES / "phantom.yaml", path)
    apply_overrides(path, ["attribute.rise.masks=128", "+attribute.rise.keep=0.25", "methods=[rise,random]"])
    old, new = (PROFILES / "phantom.yaml").read_text().splitlines(), path.read_text().splitlines()
    assert set(new) - set(old) == {"    masks: 128", "    keep: 0.25"}
    assert [line for line in new if "#" in line] == [line for line in old if "#" in line], "comments are kept"
    p = params.load(path)
    assert p.methods == ["rise", "random"] and p.attribute["rise"] == {"cells": 8, "masks": 128, "keep": 0.25}


def test_checking_the_default_profile_does_not_import_torch():
    code = "import sys; from medground import params; params.load(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
