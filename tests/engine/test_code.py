"""Import closures, on a package that is made for the purpose, and against what Python itself imports."""

import importlib
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from medground.engine import code

ROOT = Path(__file__).parents[2]
MODULES = {
    "__init__": '"""A package."""\n',
    "a": "from . import b\nfrom .deep import c as other\n",
    "b": """
        def late():
            import toy.late
        """,
    "late": "VALUE = 1\n",
    "deep/__init__": """
        LAZY = {"wanted": ".wanted"}
        def __getattr__(name):
            from importlib import import_module
            return getattr(import_module(LAZY[name], __name__), name)
        """,
    "deep/c": "from ..hints import nothing\n",
    "deep/wanted": "wanted = 1\n",
    "hints": """
        from typing import TYPE_CHECKING
        nothing = None
        if TYPE_CHECKING:
            from .types import Kind
        else:
            from . import running
        """,
    "types": "class Kind: pass\n",
    "running": "",
    "asks": "from .deep import wanted\n",
    "alone": "",
}


@pytest.fixture
def toy(tmp_path, monkeypatch):
    for name, text in MODULES.items():
        path = tmp_path / "toy" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(code, "PACKAGES", ("toy",))
    forget()
    yield tmp_path / "toy"
    forget()


def forget():
    importlib.invalidate_caches()
    for function in (code.imports, code._source, code._tree, code._meaning):
        function.cache_clear()


def test_a_closure_follows_imports_in_functions_and_leaves_out_annotations_and_what_nobody_asks_for(toy):
    needed = ["toy", "toy.a", "toy.b", "toy.deep", "toy.deep.c", "toy.hints", "toy.late", "toy.running"]
    assert code.closure(["toy.a"]) == needed
    assert code.closure(["toy.a"], without={"toy.late", "toy.hints"}) == [
        "toy",
        "toy.a",
        "toy.b",
        "toy.deep",
        "toy.deep.c",
    ]


def test_a_name_that_a_package_hands_out_on_demand_brings_its_module(toy):
    assert code.closure(["toy.asks"]) == ["toy", "toy.asks", "toy.deep", "toy.deep.wanted"]


def test_a_module_that_is_not_there_is_named(toy):
    with pytest.raises(ModuleNotFoundError, match=r"toy\.nowhere"):
        code.closure(["toy.nowhere"])


@pytest.mark.parametrize(
    ("before", "after", "same"),
    [
        ("x = 1\n", "x = 1  # one\n", True),
        ("x = 1\n", "# one\n\nx   =   (1)\n", True),
        ('"""Doc."""\nx = 1\n', '"""Another."""\nx = 1\n', True),
        ('def f():\n    """Doc."""\n    return 1\n', "def f():\n    return 1\n", True),
        ("x = 1\n", "x = 2\n", False),
        ("x = 'a'\n", "x = 'a '\n", False),
        ("def f(a=1): ...\n", "def f(a=2): ...\n", False),
    ],
)
def test_only_what_python_reads_counts(toy, before, after, same):
    def digest(text):
        (toy / "alone.py").write_text(text)
        forget()
        return code.digest(["toy", "toy.alone"])

    assert (digest(before) == digest(after)) is same


def test_a_template_in_a_package_belongs_to_it(toy):
    before = code.listing(["toy", "toy.deep"])
    (toy / "page.md").write_text("Hello")
    forget()
    after = code.listing(["toy", "toy.deep"])
    changed = [new.split()[0] for old, new in zip(before.splitlines(), after.splitlines(), strict=True) if old != new]
    assert changed == ["toy"]


STAGES = sorted(path.stem for path in (ROOT / "stages").glob("[a-z]*.py"))


def test_what_python_imports_for_the_stages_is_in_their_closures():
    """Importing a stage runs the imports of its modules, though not those in functions."""
    script = dedent(
        """
        import importlib, sys
        for stage in sys.argv[1:]:
            for name in [name for name in sys.modules if name.split(".")[0] in ("medground", "stages")]:
                del sys.modules[name]
            importlib.import_module(f"stages.{stage}")
            print(stage, *[name for name in sys.modules if name.split(".")[0] in ("medground", "stages")])
        """
    )
    light = [stage for stage in STAGES if not stage.startswith("train")]  # the others import torch more than once
    run = subprocess.run([sys.executable, "-c", script, *light], cwd=ROOT, check=True, capture_output=True, text=True)
    for line in run.stdout.splitlines():
        stage, *imported = line.split()
        assert set(imported) <= set(code.closure([f"stages.{stage}"])), stage
