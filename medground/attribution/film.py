"""One film and one question, outside the pipeline: ask the model, then explain its answer."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..anatomy import TIGHTENED, Locator, References
from ..anatomy.normal import Normal
from ..errors import MedgroundError
from ..geometry import Box
from ..grounding.segmenter import MedSAM
from ..lvlm import load_lvlm, prompts
from .method import Attribution, Item, Method
from .registry import method

REFERENCES = Path("data/references/references.parquet")


@dataclass(frozen=True)
class Explained:
    """A film with the model's answer and what caused it."""

    item: Item
    attribution: Attribution
    method: Method
    model: str
    revision: str
    verdict: str  # yes | no | unparsable
    margin: float  # log p(Yes) - log p(No), nats


@dataclass(frozen=True)
class Anatomy:
    """What the references tell about a film: where its concepts are, and how it would look if it were normal."""

    locator: Locator
    normal: Normal

    @classmethod
    def read(
        cls, references: Path | str, chosen: Method, segmenter: str | None = None, root: Path | str = "."
    ) -> Anatomy:
        """As ``chosen`` needs it, from a table of ``records.REFERENCES`` whose paths begin at ``root``.

        ``segmenter`` is the checkpoint of the SAM that tightens boxes where the protocol does (`TIGHTENED`); without
        it they stay as they were carried over.
        """
        medsam = MedSAM.load(segmenter) if segmenter and chosen.protocol in TIGHTENED else None
        locator = Locator(References.read(references, root), chosen.protocol, segmenter=medsam)
        return cls(locator, Normal(locator))


class MedFocus:
    """MedFocus on single films: ``MedFocus("models/phantom-gemma3").attribute(film, question).boxes``.

    ``model`` is a key, path or Hub id, or a loaded LVLM; ``references`` the table of normal films with concept masks;
    ``protocol`` is ``medground`` or ``published``, ``segmenter`` the SAM that tightens concept boxes where the protocol
    does; ``settings`` change the method's (see the registry).
    """

    def __init__(
        self,
        model,
        references: Path | str = REFERENCES,
        protocol: str = "medground",
        segmenter: str | None = None,
        **settings,
    ):
        self.method = method("medfocus", protocol).with_settings(**settings)
        self.lvlm = load_lvlm(model) if isinstance(model, (str, Path)) else model
        self.anatomy = Anatomy.read(references, self.method, segmenter)

    def attribute(self, film: np.ndarray, question: str, mode: str = "direct") -> Attribution:
        """Why the model answers ``question`` about a film (uint8 ``[H, W]``) as it does; boxes in native pixels."""
        return explain(self.lvlm, film, question, self.method, mode, self.anatomy).attribution


def explain(
    lvlm,
    film: np.ndarray,
    question: str,
    chosen: Method,
    mode: str = "direct",
    anatomy: Anatomy | None = None,
    name: str = "film",
) -> Explained:
    """Ask ``question`` about a film (uint8 ``[H, W]``), in ``mode``, and explain the answer with ``chosen``.

    Raises MedgroundError where the method needs anatomy and there is none, or the model wrote nothing.
    """
    prompt = prompts.prompt(question, mode)
    answer = lvlm.answer([film], [prompt])[0]
    if not answer.text:
        raise MedgroundError(f"{lvlm.key} wrote nothing about {name}; there is no answer to explain")
    concepts: tuple[tuple[str, Box], ...] = ()
    normal = None
    if chosen.concepts:
        if anatomy is None:
            raise MedgroundError(f"method {chosen.entry} needs reference films; `dvc repro references` makes them")
        concepts = tuple((concept, box) for concept, box, *_ in anatomy.locator(film))
        normal = anatomy.normal.draw(film) if "normal" in chosen.needs else None
    item = Item(name, film, prompt, answer.text, finding_of(question), concepts, normal)
    found = chosen.attribute(lvlm, [item])[0]
    return Explained(item, found, chosen, lvlm.key, lvlm.revision, answer.verdict, answer.margin)


def finding_of(question: str) -> str:
    """What a question asks about: "cardiomegaly" of the paper's question, else the question without its mark."""
    match = re.search(r"evidence of (.+?)(?: in (?:the|this) \w+)?\s*\?", question)
    return match[1] if match else question.strip(" ?")
