"""What each method says about a model's verified cases: data/attributions/<model>/<method>.parquet.

Several methods in one run share the loaded model.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from medground import engine, params, records
from medground.attribution import method
from medground.attribution.explain import Explain
from medground.attribution.items import Items, kept_cases
from medground.cli import friendly


@friendly
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--method", required=True, nargs="+")
    arguments = parser.parse_args()
    p = params.load()
    methods = [method(name).seeded(p.seed) for name in arguments.method]
    cases = kept_cases(arguments.model)
    for chosen in methods:
        items = Items(Path("."), chosen.concepts, chosen.needs_normal)
        options = engine.options(
            p, items.tables, model=arguments.model, method=chosen.name, method_settings=chosen.settings
        )
        if not chosen.needs_model:
            options["workers"] = 1  # a floor is done before a second process has started
        out = Path("data/attributions") / arguments.model / f"{chosen.name}.parquet"
        engine.map(
            Explain(arguments.model, chosen, items),
            cases,
            key=lambda case: case["case_id"],
            out=out,
            schema=records.ATTRIBUTIONS,
            **options,
        )
        rows = records.read_table(out, records.ATTRIBUTIONS).select(["seconds", "forwards"]).to_pandas()
        print(f"{arguments.model} {chosen.name}: {len(rows)} cases, {rows.seconds.sum():.1f} s, "
              f"{rows.forwards.sum()} forwards")  # fmt: skip


if __name__ == "__main__":
    main()
