"""What Python reads in the modules that each stage needs: data/code/. The stages depend on these lists, not on files.

A comment, a docstring or a new module that no stage imports leaves the lists as they are, and with them all other
stages. What params.yaml chooses (a source, an editor, a method) counts for the stages that look it up, once chosen.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from medground import editing, engine, files, params, sources
from medground.attribution import by_entry
from medground.engine import code

if TYPE_CHECKING:
    from medground.params import Params

OUT = Path("data/code")
STAGES = ("checkpoints", "fetch", "references", "edit", "answer", "verify", "anatomy", "attribute", "score",
          "faithfulness", "sanity", "rank", "questions", "evaluate", "results", "report", "export",
          "train", "train_causes", "train_grounding", "train_editor")  # fmt: skip


@engine.stage
def main() -> None:
    made = lists(params.load())
    for stale in set(OUT.rglob("*.txt")) - {OUT / name for name in made}:
        stale.unlink()
    for name, modules in made.items():
        path, text = OUT / name, code.listing(modules)
        if not path.exists() or path.read_text() != text:
            files.write(text, path)
            print(f"{path}: {len(modules)} modules")


def lists(p: Params) -> dict[str, list[str]]:
    """The files below `OUT`, each with the modules that it lists."""
    made = {f"{stage}.txt": needed(p, f"stages.{stage}") for stage in STAGES}
    made |= {f"ingest/{source}.txt": needed(p, "stages.ingest", [source]) for source in p.sources}
    made["references.txt"] = needed(p, "stages.references", [sources.REFERENCES])
    return made


def needed(p: Params, stage: str, of: list[str] | None = None) -> list[str]:
    """The modules that a stage needs: its closure, and where that has a registry, what is looked up there.

    ``of`` are the sources that it is about, all of params.yaml if not given.
    """
    chosen = {
        "medground.sources.source": [sources.module(p, source) for source in of or [*p.sources, sources.REFERENCES]],
        "medground.editing": [editing.EDITORS[p.edit.editor]],
        "medground.attribution.registry": [by_entry(name).function.__module__ for name in p.methods],
        "medground.lvlm.registry": code.below("medground.lvlm.families"),
    }
    choices = {*(type(source).__module__ for _, source in sources.SOURCES.items()), *editing.EDITORS.values()}
    found: list[str] = []
    roots = {stage}
    while found != (found := code.closure(roots, without=choices - roots)):
        roots |= {module for registry in found for module in chosen.get(registry, [])}
    return found


if __name__ == "__main__":
    main()
