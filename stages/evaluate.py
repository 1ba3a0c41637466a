"""What a model makes of every question: data/evaluations/<model>.parquet.

What it answered to the samples and their edits is known already; it is asked about absent findings here.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from medground import engine, params, records
from medground.engine import code
from medground.evaluation import judging
from medground.evaluation.questions import read
from medground.evaluation.tables import VERDICTS
from medground.lvlm.checkpoints import contents

WORK = [judging.__name__, *code.below("medground.lvlm.families")]


@engine.stage
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    model = parser.parse_args().model
    p = params.load()
    answers = records.read_rows(f"data/answers/{model}.parquet", records.ANSWERS)
    out = Path(f"data/evaluations/{model}.parquet")
    told = {"model": model, "weights": contents(model), "answer": vars(p.answer), "canvas": vars(p.canvas)}
    engine.map(
        judging.JudgeTask(model, p.answer.max_new_tokens, p.answer.batch_size, p.answer.protocol, p.canvas.most_pixels),
        _items(read("data"), answers, p.modes),
        key=judging.name,
        content=judging.content,
        out=out,
        schema=VERDICTS,
        **engine.options(p, [], code=WORK, **told) | {"batch_size": p.answer.batch_size},
    )
    found = records.read_rows(out, VERDICTS)
    for mode in p.modes:
        own = [row for row in found if row["mode"] == mode]
        asked = [row for row in own if row["answer"] == "Yes"]
        print(f"{model} {mode}: {sum(row['right'] for row in own)} of {len(own)} right, "
              f"{sum(bool(row['kept']) for row in asked)} of {len(asked)} for the right reason")  # fmt: skip


def _items(questions: list[dict], answers: list[dict], modes: Sequence[str]) -> list[judging.Item]:
    """The questions about samples with the answers to them, in the order of the answers, then those about absent
    findings in each mode."""
    of = {(question["source"], question["index"]): question for question in questions}
    known: dict[tuple, list[dict]] = {}
    for answer in answers:
        known.setdefault((answer["mode"], answer["source"], answer["index"]), []).append(answer)
    present: list[judging.Item] = [
        (mode, of[source, index], own) for (mode, source, index), own in known.items() if (source, index) in of
    ]
    absent = [question for question in questions if question["answer"] == "No"]
    return present + [(mode, question, None) for mode in modes for question in absent]


if __name__ == "__main__":
    main()
