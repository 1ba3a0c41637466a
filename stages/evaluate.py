"""What a model makes of every question: data/evaluations/<model>.parquet.

What it answered to the samples and their edits is known already; it is asked about absent findings here.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from medground import engine, params, records
from medground.evaluation.questions import read
from medground.evaluation.tables import VERDICTS
from medground.evaluation.verdicts import verdicts
from medground.verification.asking import AnswerTask


@engine.stage
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    model = parser.parse_args().model
    p = params.load()
    rows = read("data")
    known = {(row["source"], row["index"]) for row in rows}
    answers = records.read_rows(f"data/answers/{model}.parquet", records.ANSWERS)
    answers = [answer for answer in answers if (answer["source"], answer["index"]) in known]
    absent = [row for row in rows if row["answer"] == "No"]
    ask = AnswerTask(model, p.answer.max_new_tokens, p.answer.batch_size, p.answer.protocol, p.canvas.most_pixels)
    for mode in p.modes:
        answers += ask([(mode, row, []) for row in absent])
    found = verdicts(rows, answers)
    records.write_table(found, VERDICTS, Path(f"data/evaluations/{model}.parquet"))
    for mode in p.modes:
        own = [row for row in found if row["mode"] == mode]
        asked = [row for row in own if row["answer"] == "Yes"]
        print(f"{model} {mode}: {sum(row['right'] for row in own)} of {len(own)} right, "
              f"{sum(bool(row['kept']) for row in asked)} of {len(asked)} for the right reason")  # fmt: skip


if __name__ == "__main__":
    main()
