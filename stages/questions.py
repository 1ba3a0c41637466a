"""The questions that every model is asked, whatever it answers: data/questions/."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from medground import engine, params, records
from medground.evaluation.questions import TABLE, questions
from medground.evaluation.tables import QUESTIONS


@engine.stage
def main() -> None:
    p = params.load()
    samples = (row for source in p.sources
               for row in records.iter_rows(f"data/samples/{source}/samples.parquet", records.SAMPLES))  # fmt: skip
    edits = (row for source in p.sources
             for row in records.iter_rows(f"data/edits/{source}/edits.parquet", records.EDITS))  # fmt: skip
    rows = questions(samples, edits, p.seed)
    records.write_table(rows, QUESTIONS, Path("data") / TABLE)
    for (source, split, answer), count in sorted(Counter((r["source"], r["split"], r["answer"]) for r in rows).items()):
        print(f"{source} {split}: {count} questions whose answer is {answer}")


if __name__ == "__main__":
    main()
