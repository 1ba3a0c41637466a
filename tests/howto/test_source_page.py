"""docs/how-to/source.md, followed word for word, and what the check says about sources that are wrong."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from medground import sources
from medground.sources import SOURCES, Licence, LicenceError, Source, register_source
from medground.testing import check_source

sys.path.insert(0, str(Path(__file__).parent))
import howto


def test_a_source_of_ones_own(tmp_path):
    howto.follow("source.md", tmp_path)


@pytest.fixture
def hospital(tmp_path, monkeypatch):
    """The page's source, imported here and forgotten afterwards."""
    monkeypatch.setattr(SOURCES, "_known", dict(SOURCES.items()))
    for _, name, text in howto.blocks(howto.ROOT / "docs/how-to/source.md"):
        if name and name.startswith(("cxr", "hospital")):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
    for name in ("one", "two"):
        Image.fromarray(np.zeros((120, 100), np.uint8)).save(tmp_path / f"cxr/hospital/{name}.png")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "hospital_source", raising=False)
    return importlib.import_module("hospital_source").Hospital, tmp_path / "cxr"


def test_what_is_wrong_is_found(hospital):
    kind, root = hospital
    check_source(kind(), root)

    class Careless(kind):
        def samples(self, root, params=None):
            rows, dropped = super().samples(root)
            rows[1] |= {"index": 0, "split": "train"}
            rows[0]["regions"] = [(0, 0, 500, 500)]
            return rows, dropped

        def films(self, root):
            return []

    with pytest.raises(AssertionError) as caught:
        check_source(Careless(), root)
    message = str(caught.value)
    assert "fails 3 of 7 checks" in message
    assert "registration: its name is another's" in message or "samples: an index stands for two samples" in message
    assert "films: films() leaves out" in message


def test_a_source_without_terms_is_refused_where_it_registers_and_before_a_gpu_is_used(hospital):
    kind, _ = hospital
    with pytest.raises(LicenceError, match="'bare' declares no licence; give it `licence = Licence"):
        register_source(type("Bare", (kind,), {"name": "bare", "licence": None}))
    strange = Licence("x", "x", "x", "x", may_leave=frozenset({"everything"}))
    with pytest.raises(LicenceError, match=r"lets .*everything.* leave; the kinds are"):
        register_source(type("Strange", (kind,), {"name": "strange", "licence": strange}))
    assert "bare" not in SOURCES and "strange" not in SOURCES
    with pytest.raises(LicenceError, match="'bare' does not declare what may leave"):
        sources.licence_of("bare")
    assert issubclass(kind, Source)


UNKNOWN = (
    "sources[0] is 'clinic'; known: imagenome, nih_cxr, padchest_gr, phantom_causes_lesion, phantom_causes_region, "
    "phantom_lesion, phantom_region, table, vindr_cxr\n"
)


@pytest.mark.parametrize(
    ("stage", "words", "chosen", "message"),
    [
        ("edit", ["--source", "clinic"], "phantom_region", "'clinic' does not declare what may leave"),
        ("edit", ["--source", "clinic"], "clinic", UNKNOWN),
        ("answer", ["--model", "phantom-gemma3"], "clinic", UNKNOWN),
    ],
)
def test_edit_and_answer_refuse_films_of_unknown_terms(stage, words, chosen, message, tmp_path, monkeypatch, capsys):
    """A name that nothing registers is refused by params.yaml, and films that bear one by the stage."""
    values = yaml.safe_load((howto.ROOT / "profiles/phantom.yaml").read_text()) | {"sources": [chosen]}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(values))
    (tmp_path / "models").symlink_to(howto.ROOT / "models")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [stage, *words])
    with pytest.raises(SystemExit):
        importlib.import_module(f"stages.{stage}").main()
    assert message in capsys.readouterr().err
