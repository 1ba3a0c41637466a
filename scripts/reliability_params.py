"""What a params.yaml may have wrong, and whether each mistake is refused by name.

``python scripts/reliability_params.py`` prints a table, and fails where something is not refused.

Every mutation changes one thing of the profile ``phantom`` into nonsense. Refused means one MedgroundError that names
the file and the key; anything else is a traceback, or nonsense that was accepted. Controls are values that are unusual
and right.
"""

from __future__ import annotations

import math
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from medground import params
from medground.errors import MedgroundError

ROOT = Path(__file__).parents[1]
PROFILE = ROOT / "profiles/phantom.yaml"
HUGE = 10**9
MISSING = object()

#: A key, and values that it must not have.
VALUES: list[tuple[str, list[Any]]] = [
    ("profile", ["", "../params", 3, None]),
    ("seed", [-1, 1.5, True, "one", 2**70, math.nan, MISSING]),
    ("sources", [[], ["nowhere"], ["phantom_region", "phantom_region"], "phantom_region", [1], ["nih_cxr"], ["table"]]),
    ("models", [[], ["no-such-model"], ["phantom-gemma3", "phantom-gemma3"], [None], {}]),
    ("modes", [[], ["directly"], ["direct", "direct"]]),
    ("methods", [[], ["rise", "rise"], ["smooth"], ["random_published"], [["rise"]]]),
    ("attribute.rise", [{"masks": 0}, {"maskz": 3}, {"keep": 1.0}, {"masks": "many"}, {"fill": "pink"}, 3]),
    ("attribute.nothing", [{}]),
    ("attribute.medfocus", [{"tau": 2.0}, {"rule": "best"}]),
    ("engine.name", ["cluster", 1]),
    ("engine.workers", [-1, 0.5, HUGE]),
    ("engine.batch_size", [0, -8, HUGE, MISSING]),
    ("table.coordinates", ["percent"]),
    ("table.dev_share", [2, math.nan]),
    ("phantom.patients", [0, -3, HUGE]),
    ("phantom.references", [0]),
    ("phantom.films_per_patient", [0]),
    ("phantom.test_share", [1.5, -0.5, 0.0, 1.0, math.nan, math.inf]),
    ("phantom.marker_share", [1.01]),
    ("edit.editor", ["photoshop"]),
    ("edit.band", [-1, HUGE]),
    ("edit.radedit.steps", [0, 1]),
    ("edit.radedit.size", [97]),
    ("edit.radedit.skip_ratio", [1.0]),
    ("edit.radedit.guidance", ["strong"]),
    ("edit.radedit.batch_size", [0]),
    ("edit.radedit.strength", [1]),
    ("edit.radedit.redraw", [1, "yes", MISSING]),
    ("canvas.most_pixels", [-1, 1, 0.5, HUGE * 10, MISSING]),
    ("answer.max_new_tokens", [0, -1, HUGE]),
    ("answer.batch_size", [0, -1]),
    ("verify.seeds", [0, "three"]),
    ("verify.agreement", [0, 9]),
    ("verify.max_per_group", [-1]),
    ("anatomy.solver", ["sinkhorn"]),
    ("grounding.detector", ["", "models/phantom-sam"]),
    ("grounding.segmenter", ["models/phantom-gemma3"]),
    ("faithfulness.cases", [-1]),
    ("faithfulness.steps", [0, 1, -2]),
    ("rank.resamples", [1, 0, -5, HUGE, 30]),
    ("rank.level", [95, 0, -0.5, 1.0, math.nan]),
    ("publish.hide_test_regions", ["no", 0]),
    ("publish.repository", ["http://github.com/org/name", "git@github.com:org/name", "github.com/org/name", 1, None]),
    ("publish.space", ["https://", "https://huggingface.co/spaces/org/name)\n# Title", "javascript:alert(1)"]),
    ("extra", [1]),
]
#: A name, what it makes of the file's bytes, and what the message must name.
TEXTS: list[tuple[str, Callable[[bytes], bytes], str]] = [
    ("a key twice", lambda text: text + b"seed: 2\n", "seed is there twice"),
    ("a key twice in a section", lambda text: text.replace(b"rank:", b"rank:\n  level: 0.9"), "level is there twice"),
    ("an octal number", lambda text: text.replace(b"seed: 1\n", b"seed: 017\n"), "seed is '017'"),
    ("a sexagesimal number", lambda text: text.replace(b"seed: 1\n", b"seed: 1:30\n"), "seed is '1:30'"),
    ("a number of 5000 digits", lambda text: text.replace(b"seed: 1\n", b"seed: " + b"1" * 5000 + b"\n"), "seed is"),
    ("yes for true", lambda text: text.replace(b"regions: false", b"regions: yes"), "publish.hide_test_regions"),
    ("a tag that runs code", lambda text: text + b"x: !!python/object/apply:os.system [ls]\n", "tags such as"),
    ("a tag of a type", lambda text: text.replace(b"seed: 1\n", b"seed: !!int abc\n"), "tags such as"),
    ("anchors", lambda text: text + b"x: &a [*a]\n", "anchors and aliases"),
    ("a merged key", lambda text: text + b"<<: {seed: 2}\n", "merged keys"),
    ("a complex key", lambda text: text + b"? [a, b]\n: 1\n", "not valid YAML"),
    ("two documents", lambda text: text + b"---\nseed: 2\n", "more than one document"),
    ("nested 100,000 deep", lambda text: b"a: " + b"[" * 100_000, "levels deep"),
    ("not UTF-8", lambda text: text + b"# \xff\xfe\n", "not UTF-8"),
    ("control characters", lambda text: text + b"x: \x00\n", "not valid YAML"),
    ("tabs", lambda text: text.replace(b"  workers", b"\tworkers"), "not valid YAML"),
    ("cut off", lambda text: b"a: [", "not valid YAML"),
    ("empty", lambda text: b"", "the file is None"),
    ("a list", lambda text: b"- 1\n", "the file is"),
    ("a word", lambda text: b"phantom\n", "the file is 'phantom'"),
    ("two megabytes", lambda text: text + b"#" * (2 << 20), "bytes"),
    ("radedit without its section", lambda text: _radedit_alone(text), "edit.radedit"),
]
CONTROLS: list[tuple[str, Any]] = [
    ("seed", 0),
    ("engine.workers", 64),
    ("verify.max_per_group", 0),
    ("faithfulness.cases", 0),
    ("edit.band", 0),
    ("phantom.marker_share", 0),
    ("attribute", {}),
    ("attribute.rise", {"masks": 128, "keep": 0.25}),
    ("attribute.rise_published", {"masks": 7}),
    ("rank.level", 0.9),
    ("methods", ["rise_published"]),
    ("models", ["google/medgemma-4b-it"]),
    ("edit.radedit.guidance", 7),
    ("edit.radedit", MISSING),
    ("publish.repository", "https://github.com/org/name"),
    ("publish.repository", MISSING),
    ("publish.space", "https://huggingface.co/spaces/org/name"),
]


def changed(key: str, value: Any) -> bytes:
    """The profile with one value put in, or taken out (`MISSING`)."""
    values = yaml.safe_load(PROFILE.read_text())
    *sections, last = key.split(".")
    place = values
    for section in sections:
        place = place[section]
    if value is MISSING:
        del place[last]
    else:
        place[last] = value
    return yaml.safe_dump(values).encode()


def _radedit_alone(text: bytes) -> bytes:
    values = yaml.safe_load(text)
    del values["edit"]["radedit"]
    values["edit"]["editor"] = "radedit"
    return yaml.safe_dump(values).encode()


def mutations() -> list[tuple[str, bytes, str]]:
    """Each mutation: its name, the file, and what the message must name."""
    found = [
        (f"{key}: {'missing' if value is MISSING else repr(value)}", changed(key, value), key)
        for key, values in VALUES
        for value in values
    ]
    return found + [(name, change(PROFILE.read_bytes()), named) for name, change, named in TEXTS]


def outcome(content: bytes, folder: Path) -> tuple[str, str]:
    """What `params.load` does with a file: refused, accepted or traceback; and what it says."""
    path = folder / "params.yaml"
    path.write_bytes(content)
    try:
        params.load(path)
    except MedgroundError as error:
        return "refused", str(error)
    except BaseException:
        return "traceback", traceback.format_exc()
    return "accepted", ""


def count(tell: Callable[[str], object] = lambda line: None) -> tuple[Counter[str], int, list[str]]:
    """How many mutations came to what, how many controls there are, and which of these were refused."""
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as where:
        folder = Path(where)
        (folder / "models").symlink_to(ROOT / "models")
        for name, content, named in mutations():
            result, message = outcome(content, folder)
            if result == "refused" and not ("params.yaml" in message and named in message):
                result = "refused, unnamed"
            counts[result] += 1
            said = message.replace(str(folder / "params.yaml"), "params.yaml").replace("\n", " ").replace("|", "\\|")
            tell(f"| {name} | {result} | {said[:160]} |")
        wrong = [f"{key}: {value}" for key, value in CONTROLS if outcome(changed(key, value), folder)[0] != "accepted"]
    return counts, len(CONTROLS), wrong


def main() -> int:
    print("| mutation | outcome | message |\n|---|---|---|")
    counts, controls, wrong = count(print)
    print(f"\n{counts.total()} mutations: {dict(counts)}; {controls} controls, {len(wrong)} refused {wrong or ''}")
    return int(counts["refused"] != counts.total() or bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
