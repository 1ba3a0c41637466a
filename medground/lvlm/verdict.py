"""From what a model wrote to its verdict."""

from __future__ import annotations

import re
import unicodedata

from ..errors import MedgroundError

PROTOCOLS = ("medground", "published")

_START, _END = r"(?<![^\W_])", r"(?![^\W_])"  # of a word; an underscore is markup
_THOUGHT = re.compile(r"<(think|thinking|thought)>.*?(?:</\1>|\Z)|<unused94>.*?(?:<unused95>|\Z)", re.DOTALL)
_JOIN = r"(?:\W+or\W+|\s+and\s+|\s*/\s*)"
_BOTH = re.compile(rf"{_START}(?:yes{_JOIN}no|no{_JOIN}yes){_END}")
_OWN = "there|it|this|that|i|we|the|because|since|as|yes"  # words that start a sentence of their own
_BARE = rf"\W*$|[^\S\n]*(?:[^\w\s'’-]|\n)|[_-]|\s+(?:[—–-]|(?:{_OWN}){_END})"  # what may follow a bare "no"
#: "yes" wherever it stands; "no" where it is not the "no" of "no effusion", but alone, or before a sentence of its own.
_WORD = re.compile(rf"{_START}(?:yes|no(?={_BARE})){_END}")
_IS = r"(?:is|was|would be|will be|should be|must be)"
_STATED = re.compile(
    rf"{_START}(?:answer|verdict|conclusion|response|decision)(?:\s+to\s[^.,:;?!\n]{{1,60}}?(?=\s{_IS}))?"
    rf"[\W_]{{1,6}}(?:{_IS}[\W_]{{1,6}})?$"
)
_DRAWN = re.compile(
    rf"{_START}(?:so|thus|hence|therefore|consequently|overall|finally|ultimately|would (?:say|answer)|"
    rf"in (?:conclusion|summary)|to (?:conclude|summari[sz]e))[\W_]{{1,6}}$"
)
_DENIED = re.compile(rf"{_START}(?:no|not|without|none|neither|absent|absence|n't|negative){_END}|n['’]t{_END}")
_AFFIRMED = re.compile(rf"{_START}(?:evidence|present|consistent with|there (?:is|are) (?:a|an|some)){_END}")
_DOUBTED = re.compile(
    rf"{_START}(?:cannot|can['’]t|unable|unclear|poor|if|whether|yes|uncertain|sorry|consult|perhaps|depends){_END}"
)


def parse_verdict(text: str | None, protocol: str = "medground") -> str:
    """The verdict of an answer.

    ``medground``: ``yes``, ``no`` or ``unparsable``; see `find_verdict`.
    ``published``: the rule of the paper's filter. A text says yes when the bare word occurs and the text does not end
    in the bare word "no", and the mirror; so it can say ``both``, and then passes a gate for either.

    Raises MedgroundError for an unknown protocol.
    """
    return find_verdict(text, protocol)[0]


def says(verdict: str, word: str) -> bool:
    """Does a verdict open the gate for ``word`` ("yes" or "no")? ``both`` opens either."""
    return verdict in (word, "both")


def find_verdict(text: str | None, protocol: str = "medground") -> tuple[str, int]:
    """The verdict of an answer, and where its word starts in ``text``; -1 where no word carries it.

    What a model thinks before it answers (``<think>``, Gemma's ``<unused94>``) does not count, nor does "yes or no",
    which repeats the question, nor the "no" of "no effusion". Words count whole and in any case; punctuation of any
    language and markup do not matter. Where the words agree, that is the verdict. Where they disagree, these decide, in
    this order: the last that is stated as the answer ("the answer is no"), the last that a conclusion draws
    ("therefore, yes"), the one that ends the text, the one that starts it. Without such words, the last sentence
    decides, where it says that there is or is no evidence. All else is unparsable. benchmarks/verdicts.py measures it.

    Under ``published`` the place is that of the last word that counts.
    """
    if protocol not in PROTOCOLS:
        raise MedgroundError(f"unknown protocol {protocol!r} of verdicts; known: {', '.join(PROTOCOLS)}")
    if protocol == "published":
        return _published(text)
    folded = _THOUGHT.sub(_blank, _folded(text or ""))
    folded = _BOTH.sub(_blank, folded)
    words = list(_WORD.finditer(folded))
    if not words:
        return _from_statement(folded), -1
    word = _deciding(words, folded)
    return (word.group(), word.start()) if word else ("unparsable", -1)


def _published(text: str | None) -> tuple[str, int]:
    told = (text or "").strip().lower()
    found = [
        word
        for word, other in (("yes", "no"), ("no", "yes"))
        if re.search(rf"\b{word}\b", told) and not re.search(rf"\b{other}\b\s*$", told)
    ]
    if not found:
        return "unparsable", -1
    last = max(match.start() for word in found for match in re.finditer(rf"\b{word}\b", (text or "").lower()))
    return ("both" if len(found) == 2 else found[0]), last


def _deciding(words: list[re.Match], text: str) -> re.Match | None:
    if len({word.group() for word in words}) == 1:
        return words[-1]
    for rule in (_STATED, _DRAWN):
        if chosen := [word for word in words if _follows(rule, text, word)]:
            return chosen[-1]
    if not _has_letters(text[words[-1].end() :]):
        return words[-1]
    return None if _has_letters(text[: words[0].start()]) else words[0]


def _follows(rule: re.Pattern, text: str, word: re.Match) -> bool:
    """Does a word stand right behind what ``rule`` asks for?"""
    return rule.search(text[max(0, word.start() - 100) : word.start()]) is not None


def _from_statement(text: str) -> str:
    """What the last sentence says where no yes and no bare no is written: "there is no evidence of a mass"."""
    sentences = [sentence for sentence in re.split(r"[.!?。\n]+", text) if _has_letters(sentence)]
    if not sentences or _DOUBTED.search(text):
        return "unparsable"
    if _DENIED.search(sentences[-1]):
        return "no"
    return "yes" if _AFFIRMED.search(sentences[-1]) else "unparsable"


def _folded(text: str) -> str:
    """Lower case, full-width letters made plain, one character for one, so that positions stay."""
    plain = (unicodedata.normalize("NFKC", letter).casefold() for letter in text)
    return "".join(new if len(new) == 1 else old for new, old in zip(plain, text, strict=True))


def _blank(match: re.Match) -> str:
    return " " * len(match.group())


def _has_letters(text: str) -> bool:
    return any(letter.isalnum() for letter in text)
