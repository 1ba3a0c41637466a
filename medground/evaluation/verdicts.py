"""What a model makes of the questions: its answers read, and the three gates of the filter for each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ..errors import MedgroundError
from ..verification.gates import is_right
from .tables import EDITS

#: What has to be said of each edit of a film with the finding, where the answer is yes for the right reason.
GATES = dict(zip(EDITS, ("no", "yes", "yes"), strict=True))


def verdicts(questions: Iterable[Mapping], answers: Iterable[Mapping]) -> list[dict]:
    """Rows of `tables.VERDICTS`, in the order of the answers to films, from rows of `records.ANSWERS`.

    Of the edits the first of each kind counts, and they are asked about after a right answer only. Raises
    MedgroundError for an answer to no question, and for a right answer whose edits were not asked about.
    """
    asked = {(one["source"], one["index"]): one for one in questions}
    said: dict[tuple, dict[str, Mapping]] = {}
    for answer in answers:
        if answer["seed"] <= 0:
            said.setdefault(tuple(answer[name] for name in ("model", "mode", "source", "index")), {})[
                answer["edit"]
            ] = answer
    rows = []
    for (model, mode, source, index), edits in said.items():
        name = f"{model}/{mode}/{source}/{index}"
        if (question := asked.get((source, index))) is None:
            raise MedgroundError(f"the answer {name} is to no question of the dataset; ask its questions again")
        if "original" not in edits:
            raise MedgroundError(f"{name} has an answer to an edit, and none to the film itself")
        original, present = edits["original"], question["answer"] == "Yes"
        right = is_right(original["verdict"], question["answer"])
        told = {edit: edits[edit]["verdict"] if edit in edits and present and right else None for edit in EDITS}
        if present and right and None in told.values():
            missing = next(edit for edit, verdict in told.items() if verdict is None)
            raise MedgroundError(f"{name}: no answer about the edit {missing}, which a right answer needs")
        rows.append(
            {
                "model": model,
                "mode": mode,
                **{key: question[key] for key in ("source", "index", "patient_id", "split", "finding", "answer")},
                "text": original["text"],
                "verdict": original["verdict"],
                "right": right,
                **told,
                "kept": (right and told == GATES) if present else None,
            }
        )
    return rows
