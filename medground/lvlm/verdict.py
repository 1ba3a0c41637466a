"""From what a model wrote to yes, no, or unparsable."""

from __future__ import annotations

import re
import unicodedata

_WORD = re.compile(r"(?<![^\W_])(yes|no)(?![^\W_])")
_JOIN = r"(?:\W+(?:or|and)\W+|\s*/\s*)"
_BOTH = re.compile(rf"(?<![^\W_])(?:yes{_JOIN}no|no{_JOIN}yes)(?![^\W_])")
_STATED = re.compile(r"(?:answer|verdict|conclusion)\W{0,6}(?:(?:is|would be|will be)\W{0,6})?(yes|no)(?![^\W_])")


def parse_verdict(text: str) -> str:
    """The verdict of an answer: ``yes``, ``no``, or ``unparsable``. See `find_verdict`."""
    return find_verdict(text)[0]


def find_verdict(text: str) -> tuple[str, int]:
    """The verdict of an answer and where its word starts in ``text`` (-1 when unparsable).

    The words count whole and in any case; punctuation of any language or markup around them does not matter; "yes or
    no", which repeats the question, is no verdict. Of several words that disagree, these decide, in this order: the
    last one that is stated ("the answer is no"), the one that ends the text, the one that starts it. A text whose
    words disagree and where none of these holds is unparsable, as is one without the words.
    """
    folded = _folded(text)
    folded = _BOTH.sub(lambda both: "*" * len(both.group()), folded)
    words = list(_WORD.finditer(folded))
    if not words:
        return "unparsable", -1
    if len({word.group() for word in words}) == 1:
        return words[-1].group(), words[-1].start()
    if stated := list(_STATED.finditer(folded)):
        return stated[-1].group(1), stated[-1].start(1)
    if not _has_letters(folded[words[-1].end() :]):
        return words[-1].group(), words[-1].start()
    if not _has_letters(folded[: words[0].start()]):
        return words[0].group(), words[0].start()
    return "unparsable", -1


def _folded(text: str) -> str:
    """Lower case, full-width letters made plain, one character for one, so that positions stay."""
    plain = (unicodedata.normalize("NFKC", letter).casefold() for letter in text)
    return "".join(new if len(new) == 1 else old for new, old in zip(plain, text, strict=True))


def _has_letters(text: str) -> bool:
    return any(letter.isalnum() for letter in text)
