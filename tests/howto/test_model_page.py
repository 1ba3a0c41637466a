"""docs/how-to/model.md, followed word for word, and every method on the family that it adds."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from pydicom.data import get_testdata_file

from medground.images import read_film, write_film

sys.path.insert(0, str(Path(__file__).parent))
import howto

METHODS = """
import numpy as np
from medground import load_lvlm
from medground.attribution import Item, method
from medground.lvlm.prompts import prompt, question

lvlm = load_lvlm("tiny-llava")
film = np.random.default_rng(0).integers(0, 256, (120, 90)).astype(np.uint8)
asked = prompt(question("mass"), "direct")
for name in ("attention_head", "rollout", "lrp", "gradient_attention", "gradcam", "gradcampp", "integrated_gradients",
             "occlusion", "rise", "random", "center_box", "whole_film"):
    item = Item(case_id="x", film=film, prompt=asked, answer="No.", finding="mass")
    (found,) = method(name).attribute(lvlm, [item])
    assert found.boxes is not None or np.ptp(found.grid) > 0, name
    print(name, "works")
"""


@pytest.mark.slow
def test_a_third_family(tmp_path):
    write_film(tmp_path / "film.png", read_film(get_testdata_file("RG1_UNCR.dcm", download=False)))
    howto.follow("model.md", tmp_path)
    assert (tmp_path / "explained").is_dir() and any((tmp_path / "explained").iterdir())
    (tmp_path / "methods.py").write_text(METHODS)
    assert howto.run("python methods.py", tmp_path).count("works") == 12
    config = json.loads((tmp_path / "tiny-llava/config.json").read_text())
    assert config["model_type"] == "llava"
