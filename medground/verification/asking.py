"""Ask a model the question of a sample: on the film, and where the answer is right, on the film's edits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from .. import films
from ..geometry import Letterbox
from ..lvlm.prompts import prompt
from .causes import probes
from .gates import is_right

PUBLISHED_SIDE = 224  # pixels of an edited film in the paper
Asked = tuple[str, dict, str, int, str]  # mode, sample, edit, seed, path


def probe_edits(sample: dict) -> list[dict]:
    """`causes.probes` of a sample as rows like those of ``records.EDITS``: edit, seed and path."""
    return [{"edit": edit, "seed": 0, "path": path} for edit, path in probes(sample)]


@dataclass
class AnswerTask:
    """Questions ``(mode, sample, edits)`` in, rows of ``records.ANSWERS`` out: those of a question together, in order.

    All films come first, then all edits, ``batch_size`` of one mode at a time; a film or an edit is decoded, and looked
    at by the vision tower, once for all modes.

    After a right answer the model is asked about the edits and, where the parts of the film are known, about the films
    without each and with each alone. After a wrong answer it is not asked again: whatever it said to the edits, such a
    case could not be kept, and most answers of the published models are wrong. Under the protocol ``published`` a model
    sees the film in its native size and the edits letterboxed to 224 pixels, as the paper's code shows them.
    """

    model: str
    max_new_tokens: int
    batch_size: int
    protocol: str = "medground"
    most_pixels: int = 0  # of `LVLM`

    def __call__(self, questions: list[tuple[str, dict, list[dict]]]) -> list[dict]:
        originals = self._ask([(mode, sample, "original", -1, sample["film"]) for mode, sample, _ in questions])
        edited = self._ask(
            [
                (mode, sample, edit["edit"], edit["seed"], edit["path"])
                for (mode, sample, edits), row in zip(questions, originals, strict=True)
                if is_right(row["verdict"], sample["answer"])
                for edit in edits + probe_edits(sample)
            ]
        )
        places = {(row["mode"], row["source"], row["index"]): place for place, row in enumerate(originals)}
        return sorted(originals + edited, key=lambda row: places[row["mode"], row["source"], row["index"]])

    @cached_property
    def _lvlm(self):
        from ..lvlm import load_lvlm  # imports torch: only in the worker that asks

        return load_lvlm(self.model, most_pixels=self.most_pixels)

    def _shown(self, edit: str, path: str) -> np.ndarray:
        film = films.read(path)
        if self.protocol != "published" or edit == "original":
            return film
        return Letterbox.fit(film.shape[1], film.shape[0], PUBLISHED_SIDE).apply(film)

    def _ask(self, asked: list[Asked]) -> list[dict]:
        """The rows of what is asked, in its order; one mode after another, since its answers are of one length."""
        rows: dict[int, dict] = {}
        with self._lvlm.looking_once():
            for mode in dict.fromkeys(mode for mode, *_ in asked):
                places = [place for place, (own, *_) in enumerate(asked) if own == mode]
                rows |= zip(places, self._ask_alike([asked[place] for place in places]), strict=True)
        return [rows[place] for place in range(len(asked))]

    def _ask_alike(self, asked: list[Asked]) -> list[dict]:
        answers = self._lvlm.answer(
            _Shown(self, asked),
            [prompt(sample["question"], mode) for mode, sample, *_ in asked],
            max_new_tokens=self.max_new_tokens,
            batch_size=self.batch_size,
            protocol=self.protocol,
        )
        return [
            {
                "model": self.model,
                "mode": mode,
                "source": sample["source"],
                "index": sample["index"],
                "edit": edit,
                "seed": seed,
                "text": answer.text,
                "verdict": answer.verdict,
                "margin": answer.margin,
            }
            for (mode, sample, edit, seed, _), answer in zip(asked, answers, strict=True)
        ]


class _Shown(Sequence[np.ndarray]):
    """The films that are asked about, each read when it is looked at; then those of the next batch begin to come."""

    def __init__(self, task: AnswerTask, asked: list[Asked]):
        self._task, self._asked = task, asked
        self._begun = 0  # films whose reading has begun

    def __len__(self) -> int:
        return len(self._asked)

    def __getitem__(self, place):
        *_, edit, _, path = self._asked[place]
        until = place + 1 + self._task.batch_size
        films.ahead(path for *_, path in self._asked[max(self._begun, place) : until])
        self._begun = max(self._begun, until)
        return self._task._shown(edit, path)
