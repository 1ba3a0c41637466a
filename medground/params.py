"""``params.yaml``: read once, checked whole before anything runs, then used by attribute (``params.verify.seeds``).

Every mistake is listed at once, with the file, the key, its value and what is allowed. The file is read as DVC reads it
(YAML 1.2), in its plain part: no tags, anchors or aliases, no key twice, and no number that YAML 1.1 reads differently.
"""

from __future__ import annotations

import re
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from .errors import MedgroundError
from .wording import allowed, short

Name = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\s]([^\n]*[^\s])?$")]
Names = Annotated[list[Name], Field(min_length=1, max_length=1000)]
Share = Annotated[float, Field(ge=0, le=1)]
OpenShare = Annotated[float, Field(gt=0, lt=1)]
Batch = Annotated[int, Field(ge=1, le=10_000)]  # items at once
Address = Annotated[
    str,
    Field(
        max_length=500,
        pattern=r"^(https://[A-Za-z0-9.-]+(:[0-9]+)?/[A-Za-z0-9._~/-]+)?$",
        description="an address such as https://github.com/ORG/NAME, or empty",
    ),
]

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?")
_BYTES = 1 << 20  # a params.yaml larger than that is none
LEAST_PIXELS = 112 * 112  # of a film that a model can still be asked about
_DEPTH = 8  # levels of sections and lists


class Section(BaseModel):
    """Values of the stated types, nothing beside them; no true for 1, no nan."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class Engine(Section):
    """Where the work is done."""

    name: Literal["local", "ray"]
    workers: Annotated[int, Field(ge=0, le=100_000)]  # processes; 0: one a GPU, else one a core
    batch_size: Batch
    idle: Annotated[float, Field(ge=0, le=3600)]  # seconds that what was imported waits for the next stage; 0: none


class Table(Section):
    """Your own films, for the source ``table``."""

    path: Annotated[str, Field(max_length=4096)]
    images: Annotated[str, Field(max_length=4096)]
    coordinates: Literal["pixels", "relative"]
    dev_share: Share
    licence: Annotated[str, Field(max_length=1000)]


class Phantom(Section):
    """The virtual patients."""

    patients: Annotated[int, Field(ge=4, le=100_000)]  # two sources, and in each both splits
    films_per_patient: Annotated[int, Field(ge=1, le=100)]
    references: Annotated[int, Field(ge=1, le=1000)]
    test_share: OpenShare
    marker_share: Share
    test_seed: Annotated[int, Field(ge=0)] | None  # the maintainer's own seed of the test films; null: ``seed``
    train_patients: Annotated[int, Field(ge=1, le=1_000_000)]
    train_films: Annotated[int, Field(ge=1, le=10_000_000)]
    validation_patients: Annotated[int, Field(ge=1, le=1_000_000)]


class RadEdit(Section):
    """The diffusion editor: its parts, each a folder or a Hub id, and how it is run."""

    unet: Name
    vae: Name
    text_encoder: Name
    size: Annotated[int, Field(ge=16, le=2048, multiple_of=8)]  # pixels of its canvas
    steps: Annotated[int, Field(ge=2, le=1000)]
    skip_ratio: Annotated[float, Field(ge=0, lt=1)]
    guidance: Annotated[float, Field(ge=0, le=100)]
    redraw: bool  # what an edit keeps is drawn by the model, too, so that no part can be told by its sharpness
    batch_size: Batch


class Edit(Section):
    """How counterfactual films are made."""

    editor: Literal["twin", "radedit"]
    band: Annotated[int, Field(ge=0, le=1000)]  # native pixels
    radedit: RadEdit | None = None


class Canvas(Section):
    """The film as models see it, when they are asked and when they are explained."""

    most_pixels: Annotated[int, Field(ge=0, le=1_000_000_000)]  # of a film; 0: as many as each model takes


class Answer(Section):
    """How models are asked."""

    protocol: Literal["medground", "published"]
    max_new_tokens: Annotated[int, Field(ge=1, le=8192)]
    batch_size: Batch


class Verify(Section):
    """The filter."""

    seeds: Annotated[int, Field(ge=1, le=100)]  # edits of each kind
    agreement: Annotated[int, Field(ge=1, le=100)]  # how many of them must pass every gate
    max_per_group: Annotated[int, Field(ge=0, le=1_000_000)]  # of each model, mode, source and finding; 0: all
    pairs: Annotated[int, Field(ge=0, le=1_000_000)]  # of each two models, mode, split, source and finding; 0: all


class Anatomy(Section):
    """How concepts are carried over."""

    solver: Literal["separable", "pot", "pot-cuda"]


class Grounding(Section):
    """Pretrained models that find and tighten regions, each a folder or a Hub id."""

    detector: Name
    segmenter: Name


class Faithfulness(Section):
    """Deletion and insertion."""

    cases: Annotated[int, Field(ge=0, le=1_000_000)]  # verified test cases of each model and mode; 0: none
    steps: Annotated[int, Field(ge=2, le=1000)]  # equal shares in which the film goes and comes back


class Sanity(Section):
    """Whether maps depend on what they explain."""

    cases: Annotated[int, Field(ge=0, le=10_000)]  # dev cases of each model; 0: none
    layers: Annotated[int, Field(ge=0, le=1000)]  # decoder layers that are re-initialised: first one, then so many


class Rank(Section):
    """The bootstrap over patients, and where `follows` comes from where there are no pairs."""

    resamples: Annotated[int, Field(ge=20, le=1_000_000)]
    level: Annotated[float, Field(ge=0.5, lt=1)]  # of the intervals
    follows: Annotated[str, Field(max_length=4096)]  # a board.parquet of the phantom; empty: none


class Publish(Section):
    """What leaves."""

    hide_test_regions: bool
    remote: Annotated[str, Field(max_length=200)]  # of DVC, by name; empty: the default one
    repository: Address = ""  # of the code, for cards and the app; empty: nothing is said
    space: Address = ""  # of the board


class Params(Section):
    """A whole ``params.yaml``."""

    profile: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,60}$")]
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)]
    sources: Names
    models: Names
    modes: Annotated[list[Literal["direct", "reasoning"]], Field(min_length=1)]
    methods: Names
    attribute: dict[str, dict[str, Any]]
    engine: Engine
    table: Table
    phantom: Phantom
    edit: Edit
    canvas: Canvas
    answer: Answer
    verify: Verify
    anatomy: Anatomy
    grounding: Grounding
    faithfulness: Faithfulness
    sanity: Sanity
    rank: Rank
    publish: Publish


def load(path: Path | str = "params.yaml") -> Params:
    """The active parameters.

    Raises MedgroundError that lists every mistake when the file is missing or no plain YAML, a key is missing, unknown
    or there twice, a value is of another type or out of its range, a name is not known, or values contradict each
    other.
    """
    path = Path(path)
    root = path.parent.parent if path.parent.name == "profiles" else path.parent
    values, problems = parse(path)
    params = None
    try:
        params = Params.model_validate(values)
    except ValidationError as error:
        problems += [_sentence(problem, values) for problem in error.errors(include_url=False)]
    if isinstance(values, Mapping):
        problems += _names(values, root)
        problems += _conflicts(values, root)
    problems = list(dict.fromkeys(problems))
    if problems:
        listed = problems[0] if len(problems) == 1 else "\n- ".join([f"{len(problems)} problems", *problems])
        raise MedgroundError(f"{path}: {listed}")
    assert params is not None  # whatever keeps it from being one is a problem
    return params


def activate(name: str, root: Path = Path(".")) -> None:
    """Copy ``profiles/<name>.yaml`` to ``params.yaml`` after checking it."""
    known = sorted(file.stem for file in (root / "profiles").glob("*.yaml"))
    if name not in known:  # a name, not a path
        where = f"profiles/ has {', '.join(known)}" if known else "profiles/ is in a clone of the repository; go there"
        raise MedgroundError(f"there is no profile {name!r}; {where}")
    source = root / "profiles" / f"{name}.yaml"
    load(source)
    shutil.copyfile(source, root / "params.yaml")


def choose(value: str, known: list[str], what: str) -> str:
    """``value`` where it is one of ``known``; otherwise a MedgroundError that lists them."""
    if value not in known:
        raise MedgroundError(f"unknown {what} {value!r}; known: {', '.join(known)}")
    return value


def parse(path: Path) -> tuple[Any, list[str]]:
    """The values of a plain YAML file, and the keys that are there twice, a sentence each.

    Raises MedgroundError where there is no such file, or it is not plain YAML.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise MedgroundError(
            f"{path} is missing: run this in a clone of the repository, where `medground profile phantom` writes it"
        ) from None
    except OSError as error:
        raise MedgroundError(f"{path} cannot be read: {error.strerror}") from None
    if len(content) > _BYTES:
        raise MedgroundError(f"{path} has {len(content):,} bytes, which no file of parameters has")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise MedgroundError(f"{path} is not valid YAML: not UTF-8 at byte {error.start}") from None
    try:
        _refuse_the_rest(text)
        loader = _Loader(text)
        return loader.get_single_data(), loader.twice
    except yaml.YAMLError as error:
        raise MedgroundError(f"{path} is not valid YAML: {error}") from None


class _Loader(yaml.SafeLoader):
    """Plain YAML 1.2: what a value is, DVC and we say alike; keys that are there twice are kept in ``twice``."""

    yaml_implicit_resolvers: dict = {}  # noqa: RUF012, as in the base class
    twice: list[str]

    def __init__(self, stream: str):
        super().__init__(stream)
        self.twice = []

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        lines: dict[Any, int] = {}
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                line = key.start_mark.line + 1
                if key.value in lines:
                    self.twice.append(f"{key.value} is there twice, on lines {lines[key.value]} and {line}")
                lines[key.value] = line
        return super().construct_mapping(node, deep)

    def construct_whole(self, node: yaml.ScalarNode) -> int | str:
        return int(node.value) if len(node.value) <= 30 else node.value  # longer is no number that anything takes


_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("(?:true|True|TRUE|false|False|FALSE)$"), None)
_Loader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"(?:~|null|Null|NULL|)$"), None)
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"[-+]?(?:0|[1-9][0-9]*)$"), None)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"[-+]?(?:(?:\.[0-9]+|(?:0|[1-9][0-9]*)(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|\.(?:inf|Inf|INF))$|\.(?:nan|NaN|NAN)$"
    ),
    None,
)
_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_whole)
_Loader.add_constructor("tag:yaml.org,2002:float", lambda loader, node: _number(node.value))


def _number(text: str) -> float:
    return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))


def _refuse_the_rest(text: str) -> None:
    """YAMLError for what is not plain: tags, anchors, aliases, merged keys, several documents, deep nesting."""
    depth = documents = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        documents += isinstance(event, yaml.DocumentStartEvent)
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        reason = ""
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            reason = "anchors and aliases are not allowed; write the value out"
        elif tag := getattr(event, "tag", None):
            reason = f"tags such as {tag} are not allowed"
        elif isinstance(event, yaml.ScalarEvent) and event.value == "<<" and event.implicit[0]:
            reason = "merged keys (<<) are not allowed"
        elif depth > _DEPTH:
            reason = f"nested more than {_DEPTH} levels deep"
        elif documents > 1:
            reason = "there is more than one document"
        if reason:
            where = f" (line {event.start_mark.line + 1})" if event.start_mark else ""
            raise yaml.YAMLError(f"{reason}{where}")


def _sentence(problem: Mapping[str, Any], values: Any) -> str:
    """What one of pydantic's problems is about, in our words."""
    where = problem["loc"]
    key = _dotted(where)
    if problem["type"] == "missing":
        return f"{key} is missing; it must be {allowed(Params, where)}"
    if problem["type"] == "extra_forbidden":
        section = allowed(Params, where[:-1])
        return f"{key} is unknown; {_dotted(where[:-1]) or 'the file'} must be {section}"
    given = problem["input"]
    said = f"{key or 'the file'} is {short(given)}"
    hint = ""
    if isinstance(given, str) and re.fullmatch(r"[-+]?0[0-9_]+", given):
        hint = "; a number has no leading zero"
    elif isinstance(given, str) and re.fullmatch(r"[-+0-9_.eE:xobA-Fa-f]+", given) and any(map(str.isdigit, given)):
        hint = "; write a number in plain decimal digits"
    return f"{said}; it must be {allowed(Params, where)}{hint}"


def _dotted(where: tuple[int | str, ...]) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in where).lstrip(".")


def _names(values: Mapping[str, Any], root: Path) -> Iterator[str]:
    """Names that nothing answers to, names that are there twice, and settings that a method does not take."""
    for key in ("sources", "models", "modes", "methods"):
        for name, count in Counter(name for name in _list(values, key) if isinstance(name, str)).items():
            if count > 1:
                yield f"{key} has {name!r} {count} times; once is enough"
    known = sources()
    for number, name in enumerate(_list(values, "sources")):
        if isinstance(name, str) and name not in known:
            yield f"sources[{number}] is {short(name)}; known: {', '.join(known)}"
    for number, name in enumerate(_list(values, "models")):
        if isinstance(name, str) and (reason := _no_model(name, root)):
            yield f"models[{number}] is {short(name)}; {reason}"
    yield from _methods(values)


def _methods(values: Mapping[str, Any]) -> Iterator[str]:
    # By name, not imported: what a stage depends on must not grow by what is merely checked here.
    attribution = import_module("medground.attribution")
    asked = {f"methods[{number}] is {short(name)}": name for number, name in enumerate(_list(values, "methods"))}
    settings = values.get("attribute")
    settings = settings if isinstance(settings, dict) else {}
    asked |= {f"attribute.{name}": name for name in settings}
    for said, name in asked.items():
        if not isinstance(name, str):
            continue
        try:
            method = attribution.by_entry(name)
        except MedgroundError as error:
            yield f"{said}: {error}"
            continue
        given = settings.get(name)
        if isinstance(given, dict) and said.startswith("attribute"):
            yield from (f"{said}.{problem}" for problem in method.problems(given))


def sources() -> list[str]:
    """The names of all sources, those of installed packages included."""
    return import_module("medground.sources").SOURCES.names()


def _no_model(name: str, root: Path) -> str:
    """Why there is no model of that name; nothing where there is one, or may be one on the Hub."""
    folders = (root / "models" / name, root / name)
    if any((folder / "config.json").is_file() for folder in folders) or _HUB_ID.fullmatch(name):
        return ""
    phantoms = [  # which may not be trained yet
        *import_module("medground.phantom.lvlms.settings").MODELS,
        *import_module("medground.phantom.causes.settings").MODELS,
    ]
    if name in phantoms:
        return ""
    local = sorted(file.parent.name for file in (root / "models").glob("*/config.json"))
    if find_spec("torch") is None:  # nothing runs here, and the families cannot be asked for their keys
        return ""
    published = import_module("medground.lvlm.registry").published()
    if name in published:
        return ""
    known = ", ".join(dict.fromkeys([*local, *phantoms, *published]))
    return f"known: {known}; a folder with a config.json or a Hub id (owner/name) works, too"


def _conflicts(values: Mapping[str, Any], root: Path) -> Iterator[str]:
    """Values that are right by themselves and contradict each other."""

    def at(key: str, kind: type | tuple[type, ...]) -> Any:
        value: Any = values
        for part in key.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        return value if isinstance(value, kind) and not isinstance(value, bool) else None

    seeds, agreement = at("verify.seeds", int), at("verify.agreement", int)
    if seeds is not None and agreement is not None and agreement > seeds >= 1:
        yield f"verify.agreement is {agreement}; it must be at most verify.seeds, {seeds}"
    editor, radedit = at("edit.editor", str), at("edit.radedit", dict)
    if editor == "radedit" and radedit is None:
        yield "edit.editor is 'radedit', which needs the section edit.radedit; profiles/ has complete ones"
    if "table" in _list(values, "sources") and at("table.path", str) == "":
        yield "table.path is empty; the source table reads it: docs/how-to/your-own-data.md"
    real = [name for name in _list(values, "sources") if name not in _phantom_sources()]
    if editor == "twin" and real:
        yield f"edit.editor is 'twin', which knows virtual patients only; {short(real[0])} of sources needs radedit"
    steps, skipped = at("edit.radedit.steps", int), at("edit.radedit.skip_ratio", (int, float))
    if steps and skipped is not None and 0 <= skipped < 1 and steps - int(steps * skipped) < 1:
        yield f"edit.radedit.skip_ratio is {skipped}: of {steps} steps none is left"
    pixels = at("canvas.most_pixels", int)
    if pixels and 0 < pixels < LEAST_PIXELS:
        yield f"canvas.most_pixels is {pixels}; it must be 0, or at least {LEAST_PIXELS}"
    resamples, level = at("rank.resamples", int), at("rank.level", (int, float))
    if resamples is not None and level is not None and 0 < level < 1 and resamples * (1 - level) < 2:
        yield (
            f"rank.resamples is {resamples}, too few for rank.level {level}: less than one resample lies beyond "
            "each end of an interval"
        )
    for key, family in (("grounding.detector", "owlvit"), ("grounding.segmenter", "sam")):
        where = at(key, str)
        if where and (found := _model_type(root / where)) not in (None, family):
            yield f"{key} is {short(where)}, a {found} checkpoint; it must be a checkpoint of the class {family}"


def _model_type(folder: Path) -> str | None:
    """The ``model_type`` of a checkpoint's folder; None where there is no such folder, or no type in it."""
    try:
        config = yaml.safe_load((folder / "config.json").read_text())
    except (OSError, ValueError, yaml.YAMLError, RecursionError):
        return None
    return config.get("model_type") if isinstance(config, dict) else None


def _phantom_sources() -> tuple[str, ...]:
    before = import_module("medground.phantom.source").PHANTOM
    return (*before, *import_module("medground.phantom.causes.source").CAUSES)


def _list(values: Mapping[str, Any], key: str) -> list:
    return values[key] if isinstance(values.get(key), list) else []
