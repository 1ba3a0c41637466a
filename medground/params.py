"""``params.yaml``: read once, checked whole, then used by attribute (``params.verify.seeds``)."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import yaml

from .errors import MedgroundError

# What each key may hold: a type, a tuple of allowed values, a one-item list (a list of such), or a nested section.
SCHEMA = {
    "profile": str,
    "seed": int,
    "sources": [str],
    "models": [str],
    "modes": [("direct", "reasoning")],
    "methods": [str],
    "engine": {"name": ("local", "ray"), "workers": int, "batch_size": int},
    "table": {"path": str, "images": str, "coordinates": ("pixels", "relative"), "dev_share": float, "licence": str},
    "phantom": {
        "patients": int,
        "films_per_patient": int,
        "references": int,
        "test_share": float,
        "marker_share": float,
        "train_patients": int,
        "train_films": int,
        "validation_patients": int,
    },
    "edit": {"editor": ("twin", "radedit"), "band": int, "radedit": dict},
    "answer": {"protocol": ("medground", "published"), "max_new_tokens": int, "batch_size": int},
    "verify": {"seeds": int, "agreement": int, "most": int},
    "anatomy": {"solver": ("separable", "pot", "pot-cuda")},
    "grounding": {"detector": str, "segmenter": str},
    "attribute": dict,
    "score": {"faithfulness": int, "steps": int},
    "rank": {"bootstrap": int, "level": float},
    "publish": {"hide_test_regions": bool, "remote": str},
}


def load(path: Path | str = "params.yaml") -> SimpleNamespace:
    """The active parameters as nested namespaces.

    Raises MedgroundError naming the key when the file is missing or not YAML, or a key is missing, unknown, or of
    another type than `SCHEMA` says.
    """
    path = Path(path)
    if not path.exists():
        raise MedgroundError(f"{path} is missing; `medground profile phantom` writes the default")
    try:
        values = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise MedgroundError(f"{path} is not valid YAML: {error}") from None
    return _checked(values, SCHEMA, "", path)


def activate(name: str, root: Path = Path(".")) -> None:
    """Copy ``profiles/<name>.yaml`` to ``params.yaml`` after checking it."""
    source = root / "profiles" / f"{name}.yaml"
    if not source.exists():
        known = sorted(file.stem for file in (root / "profiles").glob("*.yaml"))
        raise MedgroundError(f"there is no profile {name!r}; profiles/ has {', '.join(known) or 'none'}")
    load(source)
    shutil.copyfile(source, root / "params.yaml")


def choose(value: str, known: list[str], what: str) -> str:
    """``value`` where it is one of ``known``; otherwise a MedgroundError that lists them."""
    if value not in known:
        raise MedgroundError(f"unknown {what} {value!r}; known: {', '.join(known)}")
    return value


def _checked(value, rule, key: str, path: Path):
    if isinstance(rule, dict):
        if not isinstance(value, dict):
            raise MedgroundError(f"{path}: {key or 'the file'} must be a section with keys {', '.join(rule)}")
        prefix = f"{key}." if key else ""
        missing, unknown = [k for k in rule if k not in value], [k for k in value if k not in rule]
        if missing or unknown:
            wrong = [f"{prefix}{k} is missing" for k in missing] + [f"{prefix}{k} is unknown" for k in unknown]
            raise MedgroundError(f"{path}: {'; '.join(wrong)}; profiles/ has complete files to compare with")
        return SimpleNamespace(**{k: _checked(value[k], r, f"{prefix}{k}", path) for k, r in rule.items()})
    if isinstance(rule, list):
        if not isinstance(value, list) or not value:
            raise MedgroundError(f"{path}: {key} is {value!r}; it must be a list with at least one value")
        return [_checked(item, rule[0], key, path) for item in value]
    if isinstance(rule, tuple):
        if value not in rule:
            raise MedgroundError(f"{path}: {key} is {value!r}; allowed: {', '.join(map(str, rule))}")
        return value
    if rule is float and type(value) is int:
        value = float(value)
    if type(value) is not rule:
        raise MedgroundError(f"{path}: {key} is {value!r} ({type(value).__name__}); it must be {rule.__name__}")
    return value
