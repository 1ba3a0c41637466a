"""What a model answers to every question, on the film and its edits, in every mode: data/answers/<model>.parquet."""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

from medground import engine, params, records, sources
from medground.lvlm.checkpoints import revision
from medground.verification.asking import AnswerTask


@engine.stage
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    model = parser.parse_args().model
    p = params.load()
    inputs, questions = [], []
    for source in p.sources:
        sources.licence_of(source)  # before its films are shown to a model
        tables = Path(f"data/samples/{source}/samples.parquet"), Path(f"data/edits/{source}/edits.parquet")
        inputs += tables
        edits: dict[int, list[dict]] = {}
        for edit in records.read_rows(tables[1], records.EDITS):
            edits.setdefault(edit["index"], []).append(edit)
        for sample in records.read_rows(tables[0], records.SAMPLES):
            questions += [(mode, sample, edits[sample["index"]]) for mode in p.modes]
    questions.sort(key=lambda question: question[0])  # a batch is of one mode: its answers are of one length
    out = Path(f"data/answers/{model}.parquet")
    weights = revision(model)
    engine.map(
        AnswerTask(model, p.answer.max_new_tokens, p.answer.batch_size, p.answer.protocol),
        questions,
        key=lambda q: f"{model}/{q[0]}/{q[1]['source']}/{q[1]['index']}, film {q[1]['film']}",
        out=out,
        schema=records.ANSWERS,
        settings={"settings": {"revision": weights}},
        **engine.options(p, inputs, model=model, revision=weights, answer=vars(p.answer), modes=p.modes)
        | {"batch_size": p.answer.batch_size},
    )
    verdicts = Counter((a["mode"], a["edit"], a["verdict"]) for a in records.read_rows(out, records.ANSWERS))
    for (mode, edit, verdict), count in sorted(verdicts.items()):
        print(f"{model} {mode} {edit}: {count} {verdict}")


if __name__ == "__main__":
    main()
