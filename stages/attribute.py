"""What each method says about a model's verified cases: data/attributions/<model>/<method>.parquet.

All methods share the processes and the model that these load. What a method said about a case is used again as long as
these are the same: the case and its film, the method's settings, the models it asks, and the modules that its own
module imports, the family of the model, and what makes the items. One more method costs only its own time, and more or
fewer cases only those that are new.
"""

from __future__ import annotations

import argparse
from functools import partial
from operator import itemgetter
from pathlib import Path

from medground import engine, files, params, records
from medground.attribution import Method, by_entry
from medground.attribution.explain import AttributeTask
from medground.attribution.items import Items, kept_cases
from medground.engine.local import call
from medground.lvlm import checkpoints


@engine.stage
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    model, p = parser.parse_args().model, params.load()
    cases, family = kept_cases(model), call(_family, model, idle=p.engine.idle)
    out = Path("data/attributions") / model
    methods, tables = {}, []
    for name in p.methods:
        chosen = by_entry(name).configured(p)
        methods[name] = chosen, Items.of(chosen)
        items = methods[name][1]
        about = engine.about(
            p,
            items.references,
            _modules(chosen, family),
            method=name,
            method_settings=dict(chosen.settings),
            canvas=vars(p.canvas) if "model" in chosen.needs else None,
            checkpoints={where: checkpoints.contents(where) for where in _checkpoints(chosen, model)},
        )
        about |= {"content": partial(_content, items), "of": itemgetter("case_id")}
        jobs = [(name, case) for case in cases]
        tables.append(engine.Table(out / f"{name}.parquet", jobs, _case_id, records.ATTRIBUTIONS, **about))
    for stale in set(out.glob("*.parquet")) - {table.out for table in tables}:
        stale.unlink()
    task = AttributeTask(model, methods, p.canvas.most_pixels)
    engine.map_tables(task, tables, **engine.where(p))
    for name, table in zip(methods, tables, strict=True):
        forwards = sum(records.read_table(table.out, records.ATTRIBUTIONS)["forwards"].to_pylist())
        took = engine.duration(table.out)
        seconds = f", {files.read_json(took)['seconds']:.1f} s" if took.exists() else ""
        print(f"{model} {name}: {len(table.items)} cases{seconds}, {forwards} forwards")


def _family(model: str) -> str:
    """The module of a model's family."""
    from medground.lvlm.registry import family  # imports torch

    return family(model).__module__


def _modules(chosen: Method, family: str) -> list[str]:
    """The modules whose code may change what a method says about a model of a family."""
    asked = ["medground.lvlm.registry", family] if "model" in chosen.needs else []
    return [chosen.function.__module__, "medground.attribution.items", *asked]


def _checkpoints(chosen: Method, model: str) -> list[str]:
    """The models that a method asks."""
    return [*([model] if "model" in chosen.needs else []), *chosen.checkpoints]


def _content(items: Items, job: tuple[str, dict]) -> str:
    return items.content(job[1])


def _case_id(job: tuple[str, dict]) -> str:
    return job[1]["case_id"]


if __name__ == "__main__":
    main()
