"""What a pydantic model allows, in words, and values cut to a length that a message can hold."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

_short = reprlib.Repr()
_short.maxstring = _short.maxother = 60


def short(value: Any) -> str:
    """A value as Python shows it, cut where it is long."""
    return _short.repr(value) if not isinstance(value, dict) else f"a section with {len(value)} keys"


def allowed(model: type[BaseModel], where: tuple[int | str, ...]) -> str:
    """Which values a model allows at a place, such as ``a whole number from 1 to 100``."""
    schema = model.model_json_schema()
    rule = schema
    for part in where:
        rule = _resolved(rule, schema)
        rule = next((one for one in _options(rule, schema) if {"properties", "items"} & set(one)), rule)
        if isinstance(part, int):
            rule = rule.get("items", {})
        elif "properties" in rule:
            rule = rule["properties"].get(part, {})
        else:
            rule = rule.get("additionalProperties", {})
    return _phrase(_resolved(rule, schema), schema)


def _resolved(rule: Any, schema: Mapping[str, Any]) -> dict[str, Any]:
    while isinstance(rule, Mapping) and "$ref" in rule:
        rule = schema["$defs"][rule["$ref"].rpartition("/")[2]]
    return dict(rule) if isinstance(rule, Mapping) else {}


def _options(rule: Mapping[str, Any], schema: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [_resolved(one, schema) for one in rule.get("anyOf", [])]


def _phrase(rule: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    if "anyOf" in rule:
        return " or ".join(_phrase(one, schema) for one in _options(rule, schema))
    if "enum" in rule:
        return "one of " + ", ".join(map(str, rule["enum"]))
    if "const" in rule:
        return str(rule["const"])
    kind = rule.get("type")
    if kind in ("integer", "number"):
        words = ["a whole number" if kind == "integer" else "a number", *_range(rule)]
        if "multipleOf" in rule:
            words.append(f"that {rule['multipleOf']} divides")
        return " ".join(words)
    if kind == "array":
        return f"a list of at least one value, each {_phrase(_resolved(rule.get('items'), schema), schema)}"
    if kind == "object":
        keys = list(rule.get("properties", {}))
        return f"a section with keys {', '.join(keys)}" if keys else "a section"
    if kind == "string":
        return str(rule.get("description", "text on one line"))
    return {"boolean": "true or false", "null": "null"}.get(str(kind), "another value")


def _range(rule: Mapping[str, Any]) -> list[str]:
    low, high = rule.get("minimum"), rule.get("maximum")
    above, below = rule.get("exclusiveMinimum"), rule.get("exclusiveMaximum")
    if low is not None and high is not None:
        return [f"from {low} to {high}"]
    words = []
    words += [f"at least {low}"] if low is not None else [f"above {above}"] if above is not None else []
    words += [f"at most {high}"] if high is not None else [f"below {below}"] if below is not None else []
    return [" and ".join(words)] if words else []
