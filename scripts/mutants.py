"""Small mistakes, put into the modules that decide scores, ranks, verdicts and what may leave, one at a time: does a
test notice each?

python scripts/mutants.py [MODULE ...] [--most N] [--jobs N] [--known] [--page]

A *mutant* is a module with one comparison, operator, constant, connective or return value changed. Each is tried on the
tests of its module (`TESTS`), in a copy of the package of its own, in a process forked from one that has imported the
libraries. What came out is kept in .cache/mutants.jsonl, by the module's text and its tests': a run that was stopped
goes on, and a changed test tries again what survived. Survivors are printed; ``--page`` writes docs/mutants.md, too;
``--known`` tries nothing, and is about what was tried before.
Needs os.fork: Linux or macOS.
"""

from __future__ import annotations

import argparse
import ast
import copy
import hashlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from queue import Queue

ROOT = Path(__file__).parents[1]
KEPT, PAGE = ROOT / ".cache/mutants.jsonl", ROOT / "docs/mutants.md"
#: module -> what pytest is asked to run: the tests that should notice its mistakes, the nearest first
TESTS = {
    "medground/geometry.py": ["tests/test_geometry.py", "tests/scoring/test_score.py"],
    "medground/lvlm/verdict.py": ["--noconftest", "tests/lvlm/test_verdict.py"],  # the other tests there need torch
    "medground/verification/gates.py": ["tests/verification"],
    "medground/verification/causes.py": ["tests/verification/test_causes.py", "tests/verification/test_gates.py"],
    "medground/verification/released.py": ["tests/verification/test_released.py"],
    "medground/verification/asking.py": ["tests/verification/test_asking.py"],
    "medground/scoring/boxes.py": ["tests/scoring/test_boxes.py", "tests/scoring/test_score.py"],
    "medground/scoring/score.py": ["tests/scoring/test_score.py", "tests/scoring/test_metrics.py"],
    "medground/scoring/metrics.py": ["tests/scoring/test_metrics.py", "tests/scoring/test_score.py"],
    "medground/scoring/agreement.py": [
        "tests/scoring/test_metrics.py",
        "tests/scoring/test_agreement.py",
        "tests/scoring/test_score.py",
    ],
    "medground/ranking/bootstrap.py": ["tests/ranking/test_bootstrap.py", "tests/ranking/test_board.py"],
    "medground/ranking/ties.py": ["tests/ranking/test_ties.py"],
    "medground/ranking/board.py": ["tests/ranking/test_board.py", "tests/ranking/test_follows.py"],
    "medground/attribution/exchange.py": ["tests/attribution/test_medfocus.py"],
    "medground/attribution/candidates.py": ["tests/attribution/test_medfocus.py"],
    "medground/attribution/builtin/medfocus.py": [
        "tests/attribution/test_medfocus.py",
        "tests/attribution/test_costs.py",
    ],
    "medground/hub/guard.py": ["tests/hub/test_guard.py", "tests/hub/test_restricted_entries.py"],
}
PATIENCE = 60.0  # seconds that a mutant may take at least, before it counts as noticed: it hangs
LIBRARIES = ("hypothesis", "numpy", "pandas", "PIL.Image", "pyarrow.parquet", "pyarrow.compute", "pydantic", "pytest",
             "scipy.ndimage", "scipy.stats", "nibabel", "filelock", "yaml", "typer", "rich", "torch",
             "transformers")  # fmt: skip

SWAPS: dict[type, type] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In, ast.And: ast.Or, ast.Or: ast.And,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult, ast.Pow: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
}  # fmt: skip
NAMES = {
    "min": "max", "max": "min", "any": "all", "all": "any", "minimum": "maximum", "maximum": "minimum",
    "argmin": "argmax", "argmax": "argmin", "floor": "ceil", "ceil": "floor", "width": "height", "height": "width",
    "left": "right", "right": "left", "search": "match", "fullmatch": "search",
}  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    """One mistake: the changed source of a module, and what was changed where."""

    module: str
    line: int
    before: str
    after: str
    source: str

    @property
    def name(self) -> str:
        """What tells it from the other mutants of its module."""
        return hashlib.sha256(self.source.encode()).hexdigest()[:16]


def mutants(module: str, text: str) -> Iterator[Mutant]:
    """Every mutant of a module, in the order of its lines."""
    tree = ast.parse(text)
    quiet = _quiet(tree)
    for number, node in enumerate(ast.walk(tree)):
        if node in quiet:
            continue
        for change in range(_changes(node)):
            changed = copy.deepcopy(tree)
            twin = next(other for place, other in enumerate(ast.walk(changed)) if place == number)
            _change(twin, change)
            source = ast.unparse(ast.fix_missing_locations(changed))
            yield Mutant(module, node.lineno, ast.unparse(node), ast.unparse(twin), source)  # type: ignore[attr-defined]


def _quiet(tree: ast.Module) -> set[ast.AST]:
    """What is not mutated: docstrings, annotations, the words of messages, imports."""
    quiet: set[ast.AST] = set()
    for node in ast.walk(tree):
        told: list[ast.AST | None] = []
        words = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if words or isinstance(node, ast.Raise | ast.JoinedStr | ast.Import | ast.ImportFrom):
            told.append(node)
        elif isinstance(node, ast.arg | ast.AnnAssign):
            told.append(node.annotation)
        elif isinstance(node, ast.FunctionDef):
            told.append(node.returns)
        for root in told:
            quiet |= set(ast.walk(root)) if root is not None else set()
    return quiet


def _changes(node: ast.AST) -> int:
    """How many mutants a node makes."""
    match node:
        case ast.Compare(ops=ops):
            return len(ops)
        case ast.BoolOp() | ast.UnaryOp(op=ast.Not()) | ast.IfExp():
            return 1
        case ast.BinOp(op=op) | ast.AugAssign(op=op):
            return int(type(op) in SWAPS)
        case ast.Constant(value=bool() | int() | float()):
            return 1
        case ast.Attribute(attr=name) | ast.Name(id=name):
            return int(name in NAMES)
        case ast.Return(value=value):
            return int(value is not None and not (isinstance(value, ast.Constant) and value.value is None))
        case ast.Continue() | ast.Break():
            return 1
    return 0


def _change(node: ast.AST, number: int) -> None:
    """Make the node's mutant ``number``, in place."""
    match node:
        case ast.Compare():
            node.ops[number] = SWAPS[type(node.ops[number])]()
        case ast.BoolOp():
            node.op = SWAPS[type(node.op)]()
        case ast.UnaryOp():
            node.op, node.operand = ast.Not(), ast.UnaryOp(ast.Not(), node.operand)
        case ast.IfExp():
            node.body, node.orelse = node.orelse, node.body
        case ast.BinOp() | ast.AugAssign():
            node.op = SWAPS[type(node.op)]()
        case ast.Constant():
            value = node.value
            node.value = (
                not value if isinstance(value, bool) else value + 1 if isinstance(value, int) else 2 * value + 1
            )
        case ast.Attribute():
            node.attr = NAMES[node.attr]
        case ast.Name():
            node.id = NAMES[node.id]
        case ast.Return():
            node.value = ast.Constant(None)
        case ast.Continue() | ast.Break():
            node.__class__ = ast.Pass


def digest(tests: Sequence[str]) -> str:
    """Of the text of some tests, and of what they share."""
    found = hashlib.sha256()
    for path in (ROOT / test for test in tests if not test.startswith("-")):
        near = sorted(path.parent.glob("conftest.py")) + (sorted(path.glob("*.py")) if path.is_dir() else [path])
        for file in near:
            found.update(file.read_bytes() if file.is_file() else b"")
    return found.hexdigest()[:16]


def run(package: Path, tests: Sequence[str], patience: float) -> tuple[str, float]:
    """Run tests on the copy of the package in a folder: ``killed``, ``survived`` or ``hangs``, and the seconds."""
    began = time.monotonic()
    child = os.fork()
    if not child:
        os.setsid()
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 1)
            os.dup2(nowhere.fileno(), 2)
        os._exit(_tested(package, tests))
    while time.monotonic() - began < patience:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return ("survived" if status == 0 else "killed"), time.monotonic() - began
        time.sleep(0.05)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "hangs", time.monotonic() - began


def _tested(package: Path, tests: Sequence[str]) -> int:
    """In a process of its own: the tests' exit status."""
    import pytest

    sys.path[:0] = [str(package), str(ROOT / "tests")]
    os.environ["PYTHONPATH"] = str(package)
    os.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = str(package / "hypothesis")
    sys.dont_write_bytecode = True
    os.chdir(ROOT)
    quick = ["-x", "-q", "-p", "no:cacheprovider", "--no-header", "-W", "ignore"]
    try:
        return int(pytest.main([*quick, f"--basetemp={package}/tmp", *tests]))
    except BaseException:
        return 1


def kept_rows() -> dict[tuple[str, str], dict]:
    """What was tried before: the last outcome of each mutant, by module and name."""
    rows = map(json.loads, KEPT.read_text().splitlines()) if KEPT.exists() else ()
    return {(row["module"], row["mutant"]): row for row in rows}


def reported(asked: Sequence[str]) -> list[dict]:
    """What was tried before of the mutants that some modules have now."""
    known = kept_rows()
    names = [(module, mutant.name) for module in asked for mutant in mutants(module, (ROOT / module).read_text())]
    return _sorted(known[name] for name in names if name in known)


def _sorted(rows: Iterable[dict]) -> list[dict]:
    return sorted(rows, key=lambda row: (row["module"], row["line"], row["before"], row["after"]))


def tried(asked: Sequence[str], most: int | None, jobs: int) -> list[dict]:
    """What came of the mutants of some modules; each is written down as soon as it is known."""
    known = kept_rows()
    KEPT.parent.mkdir(exist_ok=True)
    rows = []
    with tempfile.TemporaryDirectory() as folder, KEPT.open("a") as kept, ThreadPoolExecutor(jobs) as pool:
        copies: Queue[Path] = Queue()
        for number in range(jobs):
            copies.put(_copied(Path(folder) / str(number)))
        for module in asked:
            tests, text = TESTS[module], (ROOT / module).read_text()
            of_tests = digest(tests)
            made = list(mutants(module, text))
            chosen = sorted(random.Random(0).sample(range(len(made)), min(most or len(made), len(made))))
            todo = []
            for mutant in (made[k] for k in chosen):
                row = known.get((module, mutant.name))
                if row and (row["outcome"] != "survived" or row["tests"] == of_tests):
                    rows.append(row)
                else:
                    todo.append(mutant)
            patience = PATIENCE
            if todo:
                package = copies.get()
                outcome, seconds = run(package, tests, 600)
                copies.put(package)
                if outcome != "survived":
                    raise SystemExit(f"{module}: {' '.join(tests)} fail without any mistake; mend them first")
                patience = max(PATIENCE, 5 * seconds)
                print(f"{module}: {len(todo)} of {len(made)} mutants to try, {seconds:.1f} s a run", flush=True)

            def one(mutant: Mutant, patience: float = patience, of_tests: str = of_tests) -> dict:
                package = copies.get()
                place, tests = package / mutant.module, TESTS[mutant.module]
                whole = place.read_text()
                try:
                    place.write_text(mutant.source)
                    outcome, seconds = run(package, tests, patience)
                finally:
                    place.write_text(whole)
                    copies.put(package)
                return {
                    "module": mutant.module, "mutant": mutant.name, "line": mutant.line, "before": mutant.before,
                    "after": mutant.after, "outcome": outcome, "seconds": round(seconds, 1), "tests": of_tests,
                }  # fmt: skip

            for row in pool.map(one, todo):
                kept.write(json.dumps(row) + "\n")
                kept.flush()
                rows.append(row)
                if row["outcome"] == "survived":
                    print(survivor(row), flush=True)
    return _sorted(rows)


def _copied(folder: Path) -> Path:
    """A copy of the package in a folder."""
    shutil.copytree(ROOT / "medground", folder / "medground", ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def survivor(row: dict) -> str:
    """A mutant in one line."""
    before, after = (" ".join(row[name].split()) for name in ("before", "after"))
    return f"{row['module']}:{row['line']}: `{before[:90]}` -> `{after[:90]}`"


def page(rows: Sequence[dict]) -> str:
    """docs/mutants.md."""
    modules = sorted({row["module"] for row in rows})
    lines = [
        "# Mutants",
        "",
        "`python scripts/mutants.py --page` put small mistakes into the modules that decide verdicts, scores, ranks",
        "and what may leave, one at a time, and ran the tests of each module. What no test noticed is listed: a part",
        "of it changes nothing that can be seen (a faster path, a default that every caller gives), the rest is",
        "untested. Mutants and modules that are not counted here were not tried yet.",
        "",
        "| module | tried | of | noticed | survived |",
        "|---|---|---|---|---|",
    ]
    for module in modules:
        own = [row for row in rows if row["module"] == module]
        whole = sum(1 for _ in mutants(module, (ROOT / module).read_text()))
        alive = sum(row["outcome"] == "survived" for row in own)
        lines.append(f"| `{module}` | {len(own)} | {whole} | {len(own) - alive} | {alive} |")
    for module in modules:
        alive = [row for row in rows if row["module"] == module and row["outcome"] == "survived"]
        if alive:
            lines += ["", f"## `{module}`", ""]
            for row in alive:
                before, after = (" ".join(row[name].split())[:100] for name in ("before", "after"))
                lines.append(f"- line {row['line']}: `` {before} `` became `` {after} ``")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("module", nargs="*", help=f"of {', '.join(TESTS)}; all, if none is named")
    parser.add_argument("--most", type=int, help="mutants of each module, drawn by a fixed seed; all, if not given")
    parser.add_argument("--jobs", type=int, default=1, help="mutants at a time")
    parser.add_argument("--known", action="store_true", help="try nothing; report what was tried")
    parser.add_argument("--page", action="store_true", help=f"write {PAGE.relative_to(ROOT)}")
    options = parser.parse_args()
    if unknown := set(options.module) - set(TESTS):
        parser.error(f"no tests are named for {sorted(unknown)[0]}; there are: {', '.join(TESTS)}")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    for library in LIBRARIES:
        import_module(library)
    asked = options.module or list(TESTS)
    rows = reported(asked) if options.known else tried(asked, options.most, options.jobs)
    alive = [row for row in rows if row["outcome"] == "survived"]
    print("\n".join(["", *map(survivor, alive), f"{len(alive)} of {len(rows)} mutants survived"]))
    if options.page:
        PAGE.write_text(page(rows))


if __name__ == "__main__":
    main()
