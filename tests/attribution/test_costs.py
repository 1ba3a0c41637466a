"""What a method's table depends on: its own module with what that imports, the family, what makes its items."""

from __future__ import annotations

from pathlib import Path

import pytest

from medground import params
from medground.attribution import by_entry
from medground.engine import code
from stages import attribute

METHODS = "medground.attribution.builtin."


def modules(name, model="phantom-gemma3"):
    return code.closure(attribute._modules(by_entry(name), attribute._family(model)))


@pytest.fixture(scope="module")
def shipped():
    return params.load("params.yaml")


def test_a_method_depends_on_its_own_module_and_on_no_other_method():
    for name, own in {
        "occlusion": "perturbation",
        "lrp": "gradient",
        "medfocus": "medfocus",
        "random": "floors",
    }.items():
        assert {module for module in modules(name) if module.startswith(METHODS)} == {METHODS + own}, name


def test_a_method_depends_on_what_its_functions_import_and_on_the_family_of_the_model():
    assert {"medground.attribution.autograd", "medground.lvlm.families.gemma3"} <= set(modules("lrp"))
    assert "medground.lvlm.families.qwen2_5_vl" not in modules("lrp")
    assert "medground.lvlm.families.qwen2_5_vl" in modules("lrp", "phantom-qwen2_5_vl")
    assert "medground.grounding.segmenter" in modules("prompting_medsam")
    assert not [module for module in modules("random") if module.startswith("medground.lvlm.families")]


def test_pages_and_pictures_are_no_part_of_a_method():
    pages = {"medground.attribution.report", "medground.attribution.sheet", "medground.params"}
    for name in ("medfocus", "rise", "prompting"):
        assert not pages & set(modules(name))


def test_only_methods_that_ask_the_model_depend_on_its_files(shipped):
    assert attribute._checkpoints(by_entry("random"), "phantom-gemma3") == []
    asked = by_entry("prompting_medsam").configured(shipped)
    assert attribute._checkpoints(asked, "m") == ["m", shipped.grounding.detector, shipped.grounding.segmenter]


def test_the_page_states_the_passes_that_medfocus_declares(shipped):
    passes = by_entry("medfocus").configured(shipped).passes
    assert passes.keys() == {"forward", "attention"}  # the second is a backward pass
    page = Path("docs/reproduce.md").read_text()
    assert f"MedFocus {passes['forward']} and {passes['attention']} B at most" in page


def test_a_comment_changes_no_digest_and_a_statement_does():
    before = code.meaning("def f(x):\n    return x\n")
    assert code.meaning('def f(x):\n    "What f does."\n    return x  # the same\n') == before
    assert code.meaning("def f(x):\n    return -x\n") != before
