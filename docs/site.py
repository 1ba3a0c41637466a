"""What of the site is made from the code: a hook of MkDocs that adds the pages of the reference and their diagrams.

No page here is written by hand, so none can say what the code does not.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from io import StringIO
from pathlib import Path

import click
import matplotlib
import typer
import yaml
from matplotlib.figure import Figure
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from typer.cli import get_docs_for_click

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # MkDocs loads this file by its path

from medground.attribution.registry import entries  # noqa: E402
from medground.cli import app  # noqa: E402
from medground.scoring import METRICS  # noqa: E402
from medground.scoring.metrics import NEEDS  # noqa: E402
from medground.sources import SOURCES, Kind  # noqa: E402
from tests.test_layers import LAYERS  # noqa: E402

OUTSIDERS = ("attribution", "scoring", "submission", "ranking", "verification", "anatomy", "lvlm", "sources", "testing")
TABLES = ROOT / "data/README.md"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what is made here to what lies in docs/."""
    made = {
        "reference/commands.md": commands(),
        "reference/methods.md": methods(),
        "reference/metrics.md": metrics(),
        "reference/sources.md": sources(),
        "reference/tables.md": tables(),
        "reference/house.md": house(),
        "reference/api.md": api(),
        "reference/pipeline.svg": pipeline_picture(),
        "reference/house.svg": house_picture(),
    }
    for name, text in made.items():
        files.append(File.generated(config, name, content=text))
    return files


def commands() -> str:
    """The commands and their options."""
    command = typer.main.get_command(app)
    text = get_docs_for_click(obj=command, ctx=click.Context(command, info_name="medground"), name="medground")
    return re.sub(r"`medground`", "Commands", text, count=1)


def methods() -> str:
    """The entries that run here, with their settings and the source of each."""
    rows = [
        {
            "entry": f"`{name}`",
            "what it says": _first_line(one.function.__doc__),
            "after": one.paper or "",
            "kind": one.group,
            "needs": ", ".join(sorted(one.needs)) or "nothing",
            "settings": ", ".join(f"`{key}` {value}" for key, value in one.settings.items()),
        }
        for name, one in entries().items()
    ]
    return "# Methods\n\nThose that end in `_published` repeat the paper's code.\n\n" + _table(rows)


def metrics() -> str:
    """The table of metrics."""
    rows = [
        {
            "metric": f"`{one.name}`",
            "label": one.label,
            "what it says": one.help,
            "better": "higher" if one.higher_is_better else "lower",
            "range": f"{one.low:g} to {one.high:g}",
            "needs": NEEDS[one.needs],
        }
        for one in METRICS.values()
    ]
    return "# Metrics\n\nFrom the one table in `medground/scoring/metrics.py`.\n\n" + _table(rows)


def sources() -> str:
    """The sources, and what their licences let leave."""
    rows = [
        {
            "source": f"`{name}`",
            "licence": f"[{one.licence.text}]({one.licence.url})",
            "what may leave": ", ".join(kind.value for kind in Kind if kind in one.licence.may_leave),
        }
        for name, one in SOURCES.items()
    ]
    return "# Sources\n\n`medground sources` says what files each needs.\n\n" + _table(rows)


def tables() -> str:
    """data/README.md, as a page of the site: links to files that are not on it become their names."""
    return re.sub(r"\[([^\]]+)\]\(\.\./[^)]+\)", r"\1", TABLES.read_text())


def house() -> str:
    """The pipeline and the packages, drawn from dvc.yaml and from the order of imports that a test holds."""
    stages = "\n".join(f"- **{name}**: {text}" for name, text in _comments((ROOT / "dvc.yaml").read_text()).items())
    packages = "\n".join(f"- **{name}**: {_said_of(name)}" for layer in LAYERS for name in sorted(layer))
    return (
        "# The pipeline and the house\n\n## The pipeline\n\n![What each stage waits for](pipeline.svg)\n\n"
        + stages
        + "\n\n## The house\n\nImports run downwards; what stands side by side does not import each other.\n\n"
        "![The packages, from the top down](house.svg)\n\n" + packages + "\n"
    )


def _said_of(package: str) -> str:
    module = ast.parse((ROOT / "medground" / package / "__init__.py").read_text())
    return _first_line(ast.get_docstring(module))


def api() -> str:
    """What the packages that outsiders use offer."""
    return "# Python\n\n" + "\n\n".join(f"::: medground.{name}" for name in OUTSIDERS) + "\n"


def pipeline_picture() -> str:
    """An SVG of the stages in columns by what they wait for; a matrix is one box."""
    graph = stage_graph()
    depth: dict[str, int] = {}

    def place(stage: str) -> int:
        if stage not in depth:
            depth[stage] = 1 + max((place(before) for before in graph[stage]), default=-1)
        return depth[stage]

    for stage in graph:
        place(stage)
    columns = [[stage for stage in graph if depth[stage] == column] for column in range(max(depth.values()) + 1)]
    spots = {
        s: (column, -(row + 0.5 - len(some) / 2)) for column, some in enumerate(columns) for row, s in enumerate(some)
    }
    hidden = {(a, b) for b in graph for a in graph[b] if any(a in _above(graph, c) for c in graph[b] if c != a)}
    arrows = [(a, b) for b in graph for a in graph[b] if (a, b) not in hidden]
    return _draw(spots, arrows, (1.35 * len(columns), 0.75 * max(map(len, columns)) + 0.5))


def stage_graph() -> dict[str, set[str]]:
    """Each stage of dvc.yaml with the stages that it waits for; the lists of modules and models are left out."""
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    shown = [name for name in stages if name not in ("code", "checkpoints")]
    made = {name: [_path(out) for key in ("outs", "metrics") for out in stages[name].get(key, [])] for name in shown}
    return {
        name: {
            other for other in shown if other != name
            for dep in stages[name].get("deps", []) for out in made[other] if _within(_path(dep), out)
        }
        for name in shown
    }  # fmt: skip


def house_picture() -> str:
    """An SVG of the layers of packages."""
    spots = {}
    for row, layer in enumerate(LAYERS):
        for place, name in enumerate(sorted(layer)):
            spots[name] = (place - (len(layer) - 1) / 2, -row)
    return _draw(spots, [], (4.5, 0.42 * len(LAYERS)), across=1.0)


def _above(graph: Mapping[str, set[str]], stage: str) -> set[str]:
    """All that a stage waits for, directly or not."""
    found = set(graph[stage])
    for one in graph[stage]:
        found |= _above(graph, one)
    return found


def _draw(spots: Mapping[str, tuple[float, float]], arrows: Iterable[tuple[str, str]], size: tuple[float, float],
          across: float = 1.0) -> str:  # fmt: skip
    with matplotlib.rc_context({"svg.hashsalt": "medground", "svg.fonttype": "none", "font.size": 9}):
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots()
        axes.set_axis_off()
        for a, b in arrows:
            axes.annotate(
                "", spots[b], spots[a], arrowprops={"arrowstyle": "->", "color": "#888", "shrinkA": 22, "shrinkB": 24}
            )
        for name, (x, y) in spots.items():
            axes.text(
                across * x,
                y,
                name,
                ha="center",
                va="center",
                bbox={"boxstyle": "round,pad=0.4", "fc": "#eef2f6", "ec": "#5b7083"},
            )
        xs, ys = zip(*spots.values(), strict=True)
        axes.set_xlim(min(xs) - 0.6, max(xs) + 0.6)
        axes.set_ylim(min(ys) - 0.6, max(ys) + 0.6)
        drawn = StringIO()
        figure.savefig(drawn, format="svg", metadata={"Date": None, "Creator": None}, facecolor="white")
    return drawn.getvalue()


def _path(one: str | dict) -> str:
    return one if isinstance(one, str) else next(iter(one))


def _within(dep: str, out: str) -> bool:
    dep, out = (re.sub(r"/?\$\{item[^}]*\}[^/]*", "", path) for path in (dep, out))
    return dep == out or dep.startswith(f"{out}/") or out.startswith(f"{dep}/")


def _comments(text: str) -> dict[str, str]:
    """What dvc.yaml says behind the name of each stage."""
    return dict(re.findall(r"^  (\w+): # (.+)$", text, re.MULTILINE))


def _first_line(text: str | None) -> str:
    return " ".join((text or "").split("\n\n")[0].split())


def _table(rows: Sequence[dict[str, str]]) -> str:
    lines = [list(rows[0]), ["---"] * len(rows[0])] + [
        [cell.replace("|", "\\|") for cell in row.values()] for row in rows
    ]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"
