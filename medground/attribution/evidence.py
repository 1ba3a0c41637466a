"""Reading evidence out of what a model wrote: boxes and names of regions. Text is parsed, never evaluated."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from ..geometry import Box, Letterbox, as_box, intersect
from ..lvlm.prompts import SCALE

_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_FOUR = re.compile(r"[\[(<{]?\s*" + r"[\s,;)(]+".join([rf"({_NUMBER})"] * 4) + r"\s*[\])>}]?")
_CORNERS = re.compile(
    r"\b(?:x_?1|x_?min|left)\W{1,4}(N)\W+(?:y_?1|y_?min|top)\W{1,4}(N)\W+"
    r"(?:x_?2|x_?max|right)\W{1,4}(N)\W+(?:y_?2|y_?max|bottom)\W{1,4}(N)".replace("N", _NUMBER),
    re.IGNORECASE,
)
_NAMED = (("x1", "y1", "x2", "y2"), ("xmin", "ymin", "xmax", "ymax"), ("x_min", "y_min", "x_max", "y_max"),
          ("left", "top", "right", "bottom"))  # fmt: skip
_NOTHING = {"", "none", "no", "nothing", "n/a", "null", "no region", "no regions", "no evidence"}
_LONGEST = 60  # characters of a name; longer is prose

Numbers = tuple[float, float, float, float]


def parse_boxes(text: str, letterbox: Letterbox) -> list[Box]:
    """The boxes that a model wrote, in native pixels, in its order, without repetitions.

    Reads JSON wherever it stands (in fences, in prose; boxes alone, as flat or nested lists, as pairs of corners, as
    objects with ``bbox_2d``, ``x1`` ... or the like; ``box_2d`` is y first, as Google's models write it) and, where
    there is none, four numbers in a row. Coordinates are shares of the canvas when none exceeds 1, thousandths
    otherwise. Boxes are cut to the film; what then is empty is dropped.
    """
    found = [numbers for value in _json_values(text) for numbers in _boxes_in(value)]
    if not found:
        groups = _CORNERS.findall(text) or _FOUR.findall(text)
        found = [as_box(map(float, group)) for group in groups]
    scale = 1.0 if all(abs(number) <= 1 for numbers in found for number in numbers) else SCALE
    boxes = [_native(numbers, scale, letterbox) for numbers in found]
    return list(dict.fromkeys(box for box in boxes if box))


def parse_names(text: str) -> list[str]:
    """The regions that a model named, lower case, in its order: a JSON list, or words between commas and lines.

    "both lungs" stays one name. Prose too long to be a name is left out.
    """
    values = list(_json_values(text))
    names = [name for value in values for name in _strings_in(value)]
    if not names:
        names = re.split(r"[,;\n]|\band\b|\.(?:\s|$)", text.rpartition(":")[2])
    cleaned = [re.sub(r"^[\s\-*•\d.)]+|[\s.*\"'`]+$", "", name).lower().removeprefix("the ") for name in names]
    return list(dict.fromkeys(name for name in cleaned if name not in _NOTHING and len(name) <= _LONGEST))


def _json_values(text: str) -> Iterator[Any]:
    """Every JSON list or object in a text, outermost first; what is not JSON between its brackets is passed over."""
    for start, end in _bracketed(text):
        try:
            yield json.loads(text[start:end])
        except (ValueError, RecursionError):
            continue


def _bracketed(text: str) -> list[tuple[int, int]]:
    """Spans between matching brackets that no other such span contains, in one pass."""
    opened: list[re.Match[str]] = []
    spans: list[tuple[int, int]] = []
    for match in re.finditer(r"[\[\]{}]", text):
        if match[0] in "[{":
            opened.append(match)
        elif opened and opened[-1][0] + match[0] in ("[]", "{}"):
            start = opened.pop().start()
            while spans and spans[-1][0] > start:
                spans.pop()
            spans.append((start, match.end()))
    return spans


def _boxes_in(value: Any) -> Iterator[Numbers]:
    if isinstance(value, dict):
        lowered = {str(key).lower(): part for key, part in value.items()}
        for keys in _NAMED:
            if all(_is_number(lowered.get(key)) for key in keys):
                yield as_box(float(lowered[key]) for key in keys)
                return
        for key, part in lowered.items():
            for x1, y1, x2, y2 in _boxes_in(part):
                yield (y1, x1, y2, x2) if key == "box_2d" else (x1, y1, x2, y2)
    elif isinstance(value, list):
        if value and all(map(_is_number, value)) and len(value) % 4 == 0:
            yield from (as_box(map(float, value[start : start + 4])) for start in range(0, len(value), 4))
        elif len(value) == 2 and all(isinstance(v, list) and len(v) == 2 and all(map(_is_number, v)) for v in value):
            yield as_box(map(float, value[0] + value[1]))
        else:
            for part in value:
                yield from _boxes_in(part)


def _strings_in(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, dict)):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _strings_in(part)


def _native(numbers: Numbers, scale: float, letterbox: Letterbox) -> Box | None:
    x1, y1, x2, y2 = (number / scale for number in numbers)
    left, right, top, bottom = min(x1, x2), max(x1, x2), min(y1, y2), max(y1, y2)
    width, height = letterbox.width, letterbox.height
    box = letterbox.to_native((left * width, top * height, right * width, bottom * height))
    return intersect(box, (0.0, 0.0, float(letterbox.film_width), float(letterbox.film_height)))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < float("inf")
