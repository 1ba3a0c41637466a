"""What a model answers to every question, on the film and its edits, in every mode: data/answers/<model>.parquet.

What it answered is used again as long as the question, the film, its edits and the model are the same.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections import Counter
from pathlib import Path

from medground import engine, params, records, sources
from medground.engine import code
from medground.lvlm.checkpoints import contents, revision
from medground.verification.asking import AnswerTask

WORK = [AnswerTask.__module__, *code.below("medground.lvlm.families")]


@engine.stage
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    model = parser.parse_args().model
    p = params.load()
    questions = []
    for source in p.sources:
        sources.licence_of(source)  # before its films are shown to a model
        tables = Path(f"data/samples/{source}/samples.parquet"), Path(f"data/edits/{source}/edits.parquet")
        edits: dict[int, list[dict]] = {}
        for edit in records.read_rows(tables[1], records.EDITS):
            edits.setdefault(edit["index"], []).append(edit)
        for sample in records.read_rows(tables[0], records.SAMPLES):
            questions += [(mode, sample, edits[sample["index"]]) for mode in p.modes]  # neighbours: one film
    out = Path(f"data/answers/{model}.parquet")
    names = {(mode, sample["source"], sample["index"]): _name(model, mode, sample) for mode, sample, _ in questions}
    told = {"model": model, "weights": contents(model), "answer": vars(p.answer), "canvas": vars(p.canvas)}
    engine.map(
        AnswerTask(model, p.answer.max_new_tokens, p.answer.batch_size, p.answer.protocol, p.canvas.most_pixels),
        questions,
        key=lambda question: _name(model, *question[:2]),
        content=_content,
        of=lambda row: names.get((row["mode"], row["source"], row["index"])),  # None: no longer asked
        out=out,
        schema=records.ANSWERS,
        sort_by=["mode"],
        settings={"settings": {"revision": revision(model)}},
        **engine.options(p, [], code=WORK, **told) | {"batch_size": len(p.modes) * p.answer.batch_size},
    )
    verdicts = Counter((a["mode"], a["edit"], a["verdict"]) for a in records.iter_rows(out, records.ANSWERS))
    for (mode, edit, verdict), count in sorted(verdicts.items()):
        print(f"{model} {mode} {edit}: {count} {verdict}")


def _name(model: str, mode: str, sample: dict) -> str:
    return f"{model}/{mode}/{sample['source']}/{sample['index']}, film {sample['film']}"


def _content(question: tuple[str, dict, list[dict]]) -> str:
    """A digest of what is asked about, film and edits."""
    mode, sample, edits = question
    told = [
        mode,
        sample["question"],
        sample["answer"],
        [[edit["edit"], edit["seed"], edit["sha256"]] for edit in edits],
    ]
    film = Path(sample["film"])
    return hashlib.sha256(json.dumps(told).encode() + (film.read_bytes() if film.is_file() else b"")).hexdigest()


if __name__ == "__main__":
    main()
