from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from medground.errors import MedgroundError
from medground.lvlm import prompts
from medground.lvlm.verdict import find_verdict, parse_verdict, says

DATA = Path(__file__).parents[1] / "data"
CORPUS = [json.loads(line) for line in (DATA / "verdicts.jsonl").read_text().splitlines()]
REFERENCE = json.loads((DATA / "published" / "verdicts.json").read_text())
RELEASED = Path(__file__).parents[2] / "shared" / "golden" / "released_direct.json"


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("Yes", "yes"),
        ("Yes.", "yes"), ("Yes.\n", "yes"), ("YES!", "yes"), ("no", "no"), ("No, it is not.", "no"),
        ("Answer: no.", "no"), ("**Yes**", "yes"), ("_no_", "no"), ("<answer>no</answer>", "no"),
        ("\\boxed{Yes}", "yes"), ("yes。", "yes"), ("no、", "no"), ("¿yes?", "yes"), ("Ｙｅｓ", "yes"),
        ("The heart is wide. Yes.", "yes"),
        ("There is no effusion. Yes.", "yes"), ("There is no effusion.", "no"),
        ("Yes, there is no doubt.", "yes"),
        ("No. On reflection, yes.", "yes"), ("At first yes. Finally: no", "no"),
        ("The answer is **No**, even though yes was tempting to say", "no"),
        ("The answer is yes. No further findings are described", "yes"),
        ("Yes or no? The image is too dark.", "unparsable"),
        ("Yes/No", "unparsable"), ("yes and no", "unparsable"),
        ("Yes or no: no", "no"),
        ("", "unparsable"), ("I cannot tell.", "unparsable"), ("Eyes, nose", "unparsable"),
        ("nope", "unparsable"), ("Ja.", "unparsable"),
        ("I think no, but perhaps yes, hard to say", "unparsable"),
        ("The answer is yes ... so the answer is no, I am told", "no"),
        ("So the answer is no. Hence the answer is yes, or so", "yes"),
        ("Conclusion: yes, as no other cause fits", "yes"),
        ("No mass, but no: the verdict: yes, it says", "yes"),
        ("One says no; the answer would be yes, they say", "yes"),
        ("No: the answer will be yes, they say", "yes"),
        ("The answer to the question is no, since yes, I looked", "no"),
        ("yes/ no, which is it", "unparsable"),
        ("The response is no, and yes, I am sure of it", "no"),
        ("The decision should be yes: no other cause fits it", "yes"),
        ("Yes it was. Therefore, no, there is nothing more", "no"),
        ("No. To conclude, yes: something is there", "yes"),
        ("I saw no mass, so yes, as I said", "yes"), ("Conclusion: No acute findings. Yes", "yes"),
        ("Therefore, yes, there is an effusion", "yes"),
        ("<think>no</think>yes", "yes"), ("<think>yes", "unparsable"),
        ("<unused94>thought no<unused95>yes", "yes"),
        ("There is evidence of a mass.", "yes"), ("A mass. There is no evidence.", "no"),
        ("A mass is not present", "no"),
        ("I cannot see whether a mass is present", "unparsable"), ("No it is", "no"),
        ("Yes, though others read it as no, I think", "yes"), ("No, though others read it as yes, I think", "no"),
        ("One may say: yes, though others read it as no, I think", "unparsable"),
        ("The answer is no, since yes, I looked " + "at all of it " * 12, "no"),  # far from the end, near the start
        ("A word. " * 30 + "The answer is no, since yes, I looked", "no"),
    ],
)  # fmt: skip
def test_verdicts(text, verdict):
    assert parse_verdict(text) == verdict


@pytest.mark.parametrize(
    ("text", "start"), [
        ("İ Yes", 2), ("no", 0), ("yes, yes", 5), ("unclear", -1), ("no mass", -1), ("<think>no</think>Yes", 17),
        ("yes or no: no", 11), ("Yes, though others read it as no, I think", 0),
    ],
)  # fmt: skip
def test_where_the_word_starts(text, start):
    assert find_verdict(text)[1] == start


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (None, ("unparsable", -1)), ("unclear", ("unparsable", -1)), ("yes, yes", ("yes", 5)),
        ("yes or no?", ("both", 7)),
        ("no, then yes it is", ("both", 9)), ("Yes or no", ("no", 7)), ("no: no", ("no", 4)),
        ("noyes", ("unparsable", -1)),
    ],
)  # fmt: skip
def test_where_the_word_starts_as_published(text, found):
    assert find_verdict(text, "published") == found


def test_prompts_are_the_papers():
    question = prompts.question("pneumothorax")
    assert question == "Is there evidence of pneumothorax in the image?"
    assert prompts.prompt(question, "direct") == question + " Answer directly with yes or no without any explanation."
    assert prompts.prompt(question, "reasoning") == question + " Think step by step and answer with yes or no."


@pytest.mark.parametrize(("half", "least"), [("dev", 151), ("test", 169)])
def test_the_corpus_is_read_as_well_as_the_documentation_says(half, least):
    """docs/corrections.md and benchmarks/verdicts.py speak of these counts; the test half was not tuned to."""
    rows = [row for row in CORPUS if row["half"] == half]
    assert len({row["text"] for row in CORPUS}) == len(CORPUS) >= 300
    assert sum(parse_verdict(row["text"]) == row["verdict"] for row in rows) >= least


def test_published_verdicts_are_the_references():
    for row in REFERENCE["strings"]:
        verdict = parse_verdict(row["text"], "published")
        assert (says(verdict, "yes"), says(verdict, "no")) == (row["has_yes"], row["has_no"]), row
    assert parse_verdict(None, "published") == "unparsable"
    assert Counter(parse_verdict(row["text"], "published") for row in REFERENCE["strings"])["both"] > 10


def test_published_gates_are_the_references():
    films = ("prediction", "prediction_edited", "prediction_edited_kept", "prediction_edited_kept_normal")
    for row in REFERENCE["quadruples"]:
        verdicts = [parse_verdict(row[film], "published") for film in films]
        assert all(map(says, verdicts, ("yes", "no", "yes", "yes"))) == row["passes"], row


@pytest.mark.skipif(not RELEASED.exists(), reason="the released file is not beside the checkout")
@pytest.mark.parametrize("protocol", ["medground", "published"])
def test_the_released_texts_pass_the_filter_under_either_protocol(protocol):
    for record in json.loads(RELEASED.read_text()):
        for field, text in record.items():
            if field.startswith("prediction"):
                assert parse_verdict(text, protocol) == ("no" if field == "prediction_edited_direct" else "yes")


def test_unknown_protocols_are_named():
    with pytest.raises(MedgroundError, match="unknown protocol 'paper' of verdicts; known: medground, published"):
        parse_verdict("yes", "paper")
