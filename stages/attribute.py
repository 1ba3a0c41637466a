"""What each method says about a model's verified cases: data/attributions/<model>/<method>.parquet.

All methods share the processes and the model that these load. A method's table that was made from the same cases,
settings and code is left as it is, so that one more method costs only its own time.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from medground import engine, files, params, records
from medground.attribution import by_entry
from medground.attribution.explain import AttributeTask
from medground.attribution.items import Items, kept_cases
from medground.lvlm import checkpoints

# What the tables depend on, as dvc.yaml lists it: other changes of the package leave them as they are.
CODE = (
    "attribution", "geometry.py", "images.py", "lvlm", "grounding/checkpoint.py",
    "grounding/detector.py", "grounding/segmenter.py", "anatomy",
)  # fmt: skip


@engine.stage
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    model, p = parser.parse_args().model, params.load()
    cases = kept_cases(model)
    out = Path("data/attributions") / model
    methods, tables = {}, []
    for name in p.methods:
        chosen = by_entry(name).configured(p)
        methods[name] = chosen, Items.of(chosen)
        weights = [checkpoints.revision(where) for where in (model, *chosen.checkpoints)]
        inputs, settings = methods[name][1].tables, chosen.settings
        about = engine.about(p, inputs, CODE, model=model, method=name, method_settings=settings, weights=weights)
        jobs = [(name, case) for case in cases]
        tables.append(engine.Table(out / f"{name}.parquet", jobs, _case_id, records.ATTRIBUTIONS, **about))
    for stale in set(out.glob("*.parquet")) - {table.out for table in tables}:
        stale.unlink()
    engine.map_tables(AttributeTask(model, methods), tables, name=p.engine.name, workers=p.engine.workers)
    for name, table in zip(methods, tables, strict=True):
        forwards = sum(records.read_table(table.out, records.ATTRIBUTIONS)["forwards"].to_pylist())
        took = engine.duration(table.out)
        seconds = f", {files.read_json(took)['seconds']:.1f} s" if took.exists() else ""
        print(f"{model} {name}: {len(table.items)} cases{seconds}, {forwards} forwards")


def _case_id(job: tuple[str, dict]) -> str:
    return job[1]["case_id"]


if __name__ == "__main__":
    main()
