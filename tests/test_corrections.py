"""docs/corrections.md names a test or a setting for every correction, and these exist."""

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "corrections.md").read_text()
ROWS = [line.split("|") for line in TEXT.split("## By how much")[0].splitlines() if line.startswith("| ")][1:]


@pytest.mark.parametrize("row", ROWS, ids=[row[1].strip() for row in ROWS])
def test_each_correction_is_held_by_the_code(row):
    named = re.fullmatch(r"`(.+)`", row[5].strip())[1]
    if named.startswith("tests/"):
        file, _, test = named.partition("::")
        assert f"def {test}" in (ROOT / file).read_text()
        return
    value = yaml.safe_load((ROOT / "profiles" / "paper.yaml").read_text())
    for key in named.split("."):
        assert key in value, named
        value = value[key]


def test_every_published_method_is_listed_by_its_table():
    from medground.attribution import entries

    names = {known.name for known in entries().values() if known.protocol == "published"}
    table = TEXT.split("## By how much")[1]
    assert names - {"prompting_medsam"} <= set(re.findall(r"^\| (\w+) \|", table, re.MULTILINE))
