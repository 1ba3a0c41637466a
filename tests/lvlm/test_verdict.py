from __future__ import annotations

import pytest

from medground.lvlm import prompts
from medground.lvlm.verdict import find_verdict, parse_verdict


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("Yes", "yes"), ("Yes.", "yes"), ("Yes.\n", "yes"), ("YES!", "yes"), ("no", "no"), ("No, it is not.", "no"),
        ("Answer: no.", "no"), ("**Yes**", "yes"), ("_no_", "no"), ("<answer>no</answer>", "no"),
        ("\\boxed{Yes}", "yes"), ("yes。", "yes"), ("no、", "no"), ("¿yes?", "yes"), ("Ｙｅｓ", "yes"),
        ("The heart is wide. Yes.", "yes"), ("There is no effusion. Yes.", "yes"), ("There is no effusion.", "no"),
        ("Yes, there is no doubt.", "yes"), ("No. On reflection, yes.", "yes"), ("At first yes. Finally: no", "no"),
        ("The answer is **No**, even though yes was tempting to say", "no"),
        ("The answer is yes. No further findings are described", "yes"),
        ("Yes or no? The image is too dark.", "unparsable"), ("Yes/No", "unparsable"), ("yes and no", "unparsable"),
        ("Yes or no: no", "no"), ("", "unparsable"), ("I cannot tell.", "unparsable"), ("Eyes, nose", "unparsable"),
        ("nope", "unparsable"), ("Ja.", "unparsable"),
        ("I think no, but perhaps yes, hard to say", "unparsable"),
    ],
)  # fmt: skip
def test_verdicts(text, verdict):
    assert parse_verdict(text) == verdict


@pytest.mark.parametrize(("text", "start"), [("İ Yes", 2), ("no", 0), ("yes, yes", 5), ("unclear", -1)])
def test_where_the_word_starts(text, start):
    assert find_verdict(text)[1] == start


def test_prompts_are_the_papers():
    question = prompts.question("pneumothorax")
    assert question == "Is there evidence of pneumothorax in the image?"
    assert prompts.prompt(question, "direct") == question + " Answer directly with yes or no without any explanation."
    assert prompts.prompt(question, "reasoning") == question + " Think step by step and answer with yes or no."
