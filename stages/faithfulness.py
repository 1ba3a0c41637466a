"""Does the answer go with what each entry points at, and come back with it: data/scores/faithfulness.parquet."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from medground import engine, params, records
from medground.attribution import by_entry
from medground.attribution.faithfulness import measure
from medground.scoring.entries import method_entry
from medground.scoring.tables import load_cases
from medground.submission import accepted


@engine.stage
def main() -> None:
    p = params.load()
    out = Path("data/scores/faithfulness.parquet")
    cases = load_cases("data")
    floors = {name for name in p.methods if by_entry(name).group == "floor"}
    entries = [method_entry(name, p.models, Path("data/attributions"), floors) for name in p.methods]
    measure(entries + accepted(Path("submissions"), cases), cases, p, out)
    rows = pd.DataFrame(records.read_rows(out, records.FAITHFULNESS), columns=records.FAITHFULNESS.names)
    print(f"{rows.case_id.nunique()} cases of the split test, {p.faithfulness.steps} steps")
    for entry, of_entry in rows.groupby("entry"):
        print(f"{entry:24} deletion {of_entry.deletion.mean():.3f}  insertion {of_entry.insertion.mean():.3f}")


if __name__ == "__main__":
    main()
