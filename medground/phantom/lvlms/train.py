"""Training a phantom model, from films to a checkpoint.

Two phases. *Dense*: the vision tower learns to say for every image token which finding its patch lies in; from answers
alone it does not learn to see in any reasonable time. *Language*: a fresh language model learns to answer, to read
films aloud and to point, while the tower follows slowly. The tower is therefore supervised with masks, and grounds
better than one that was not.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...geometry import Box, Letterbox
from ...lvlm import prompts
from ...lvlm.base import LVLM
from .. import CONCEPTS, FINDINGS, SIZE
from ..films import Cohort
from ..loop import adamw, batch, onto_device, prepare, run
from ..settings import LvlmTraining
from . import architecture, corpus
from .data import TARGETS, Canvas, Films, FirstWorld, TaughtWorld, films
from .evaluate import area_under_curve, balanced_accuracy
from .packing import Packer
from .settings import MODELS, Settings

_EVIDENCE_EVERY = 5  # of so many language steps, one asks for evidence


class Head(nn.Module):
    """Reads targets off image features: per token, and for the film as a soft maximum over its tokens."""

    def __init__(self, width: int, targets: int):
        super().__init__()
        self.token = nn.Linear(width, targets)
        self.scale = nn.Parameter(torch.ones(targets))
        self.bias = nn.Parameter(torch.zeros(targets))

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Features ``[B, N, d]`` to logits per token ``[B, N, targets]`` and per film ``[B, targets]``."""
        tokens = self.token(features)
        return tokens, self.scale * tokens.logsumexp(1) + self.bias


def features(lvlm: LVLM, canvas: Tensor) -> Tensor:
    """Image features ``[B, N, d]`` as the language model receives them, for canvases ``[B, h, w]``."""
    output = lvlm.model.model.get_image_features(**lvlm.pixel_inputs(canvas), return_dict=True).pooler_output
    return output if isinstance(output, Tensor) else torch.stack(output)


def canvases(seed: int) -> dict[str, Canvas]:
    """How each family sees a phantom film."""
    made = {family: _new(family, seed).adapter(family) for family in ("gemma3", "qwen2_5_vl")}
    return {family: Canvas(lvlm.letterbox(*SIZE), lvlm.grid(*SIZE)) for family, lvlm in made.items()}


def load_films(family: str, settings: Settings, ct: Path, cache: Path) -> tuple[Films, Films]:
    """Training and validation films as a family sees them."""
    return both_films(FirstWorld(), family, settings, ct, cache)


def both_films(world: TaughtWorld, family: str, settings: LvlmTraining, ct: Path, cache: Path) -> tuple[Films, Films]:
    """Training films, and those of validation patients, in pairs without and with their marks, as ``family`` sees
    them."""
    s = settings
    cohorts = (
        Cohort("train", s.seed, s.train_patients, s.train_films // s.train_patients),
        Cohort("validation", s.seed, s.validation_patients, s.validation_films // s.validation_patients, paired=True),
    )
    seen, unseen = (films(world, cohort, family, canvases(s.seed), ct, cache) for cohort in cohorts)
    return seen, unseen


def train(key: str, settings: Settings, ct: Path, cache: Path) -> architecture.Parts:
    """Train the model ``key`` of `MODELS`; finished phases and every `Settings.save_every`-th step are kept under
    ``cache``, and a run that was killed goes on from there. Equal settings give equal weights on equal machines."""
    family = MODELS[key]
    prepare(cache)
    seen, unseen = load_films(family, settings, ct, cache)
    parts = _new(family, settings.seed)
    onto_device(parts.model)
    lvlm = parts.adapter(key)
    parts.model.requires_grad_(True).train()
    head = Head(parts.model.config.text_config.hidden_size, len(TARGETS)).to(lvlm.device)
    _dense(lvlm, head, seen, unseen, settings, cache)
    _language(lvlm, head, seen, unseen, settings, cache)
    parts.model.eval()
    return parts


def _dense(lvlm: LVLM, head: Head, seen: Films, unseen: Films, settings: Settings, cache: Path) -> None:
    s = settings
    tower = tower_of(lvlm)
    optimizer = adamw([(tower, 1.0), (head.parameters(), 1.0)], s.dense_rate, s.decay)

    def step(number: int) -> Tensor:
        canvas, tokens, film = dense_batch(lvlm, seen, batch(len(seen), s.batch, s.seed, number), number)
        return _dense_loss(head, features(lvlm, canvas), tokens, film)

    def report() -> str:
        return dense_report(lvlm, head, unseen, TARGETS)

    modules = nn.ModuleList([lvlm.model, head])
    run_key = digest({"phase": "dense", "family": lvlm.family, **asdict(s)}, exclude=("language_",))
    run(
        "dense",
        s.dense_steps,
        s.save_every,
        modules,
        optimizer,
        step,
        report,
        cache / f"dense-{lvlm.family}-{run_key}.pt",
    )


def _language(lvlm: LVLM, head: Head, seen: Films, unseen: Films, settings: Settings, cache: Path) -> None:
    s = settings
    tower = tower_of(lvlm)
    inside = {id(parameter) for parameter in tower}
    words = [parameter for parameter in lvlm.model.parameters() if id(parameter) not in inside]
    groups = [(words, 1.0), (tower, s.tower_share), (head.parameters(), s.tower_share)]
    optimizer = adamw(groups, s.language_rate, s.decay)
    packer = Packer(lvlm, *SIZE)
    rates = seen.present.mean(0).clip(0.02, 0.98)

    def step(number: int) -> Tensor:
        picked = batch(len(seen), s.language_batch, s.seed + 1, number)
        canvas, tokens, film = dense_batch(lvlm, seen, picked, number)
        seeing = features(lvlm, canvas)
        rng = np.random.default_rng([s.seed, 2, number])
        ask = _evidence if number % _EVIDENCE_EVERY == 0 else _yes_no
        asked, said, weights = ask(rng, seen, rates, picked)
        spoken = spoken_loss(lvlm, packer, seeing, asked, said, weights)
        return spoken + _dense_loss(head, seeing, tokens, film)

    def report() -> str:
        sight = (features(lvlm, shown(lvlm, unseen, part)) for part in chunks(len(unseen)))
        return language_report(lvlm, packer, FINDINGS, unseen.present, sight)

    modules = nn.ModuleList([lvlm.model, head])
    run_key = digest({"phase": "language", "family": lvlm.family, **asdict(s)})
    path = cache / f"language-{lvlm.key}-{run_key}.pt"
    run("language", s.language_steps, s.save_every, modules, optimizer, step, report, path)


def spoken_loss(lvlm: LVLM, packer: Packer, seeing: Tensor, asked: list[str], said: list, weights: np.ndarray):
    """Cross entropy of the answers ``said[film][question]``, each as heavy as ``weights [films, questions]`` says."""
    pack = packer.pack(asked, said)
    logits = packer.logits(pack, seeing)
    losses = F.cross_entropy(logits.flatten(0, 1), pack.labels.flatten(), reduction="none", ignore_index=-100)
    heavy = torch.from_numpy(weights).to(lvlm.device)
    return (losses.view_as(pack.labels) * heavy[:, pack.questions]).sum() / heavy.sum()


def _new(family: str, seed: int) -> architecture.Parts:
    return architecture.build(family, corpus.sentences(list(CONCEPTS)), seed)


def tower_of(lvlm: LVLM) -> list[nn.Parameter]:
    """Parameters between pixels and the features that the language model receives."""
    inner = lvlm.model.model
    words = {id(parameter) for parameter in inner.language_model.parameters()}
    return [parameter for parameter in inner.parameters() if id(parameter) not in words]


def dense_batch(
    lvlm: LVLM, of: Films, picked: np.ndarray, step: int, mirror: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    """Canvases ``[B, h, w]`` under a jittered exposure, targets per token ``[B, N, targets]`` and film.

    With ``mirror`` every other step sees its films from the other side."""
    canvas = jittered(of.canvas[picked], step)
    tokens = of.coverage[picked].astype(np.float32) / 255
    if mirror and step % 2:
        grid = lvlm.grid(*SIZE)
        canvas = np.ascontiguousarray(canvas[..., ::-1])
        tokens = tokens.reshape(len(picked), *grid, -1)[:, :, ::-1].reshape(tokens.shape)
    film = of.targets[picked].astype(np.float32)
    shown, by_token, by_film = (torch.from_numpy(array).to(lvlm.device) for array in (canvas, tokens, film))
    return shown, by_token, by_film


def jittered(canvas: np.ndarray, step: int) -> np.ndarray:
    """Stored canvases uint8 ``[B, h, w]`` as float32 in 0..1, under an exposure drawn for the step."""
    rng = np.random.default_rng([step, 3])
    gain = rng.uniform(0.9, 1.1, (len(canvas), 1, 1)).astype(np.float32)
    shift = rng.uniform(-0.06, 0.06, (len(canvas), 1, 1)).astype(np.float32)
    canvas = canvas.astype(np.float32) / 255
    return np.where(canvas > 0, np.clip(canvas * gain + shift, 0, 1), 0)  # the letterbox stays black


def _dense_loss(head: Head, seen: Tensor, tokens: Tensor, film: Tensor) -> Tensor:
    by_token, by_film = head(seen)
    return 8 * F.binary_cross_entropy_with_logits(by_token, tokens) + F.binary_cross_entropy_with_logits(by_film, film)


def _yes_no(rng, of: Films, rates: np.ndarray, picked: np.ndarray):
    """All findings, each in a mode drawn for the step; weights make yes and no equally heavy."""
    modes = rng.choice(list(prompts.MODES), len(FINDINGS))
    asked = [prompts.prompt(prompts.question(name), mode) for name, mode in zip(FINDINGS, modes, strict=True)]
    said = [
        [
            corpus.answer(name, mode, bool(of.present[film, k]), tuple(of.extents[film, k].tolist()), *SIZE)
            for k, (name, mode) in enumerate(zip(FINDINGS, modes, strict=True))
        ]
        for film in picked
    ]
    weights = np.where(of.present[picked], 0.5 / rates, 0.5 / (1 - rates)).astype(np.float32)
    return asked, said, weights


def _evidence(rng, of: Films, rates: np.ndarray, picked: np.ndarray):
    """Where a finding is, for half of the findings in each form; films without it count little."""
    forms = rng.permutation(np.repeat(list(prompts.EVIDENCE), len(FINDINGS) // 2))
    asked = [prompts.evidence(name, form) for name, form in zip(FINDINGS, forms, strict=True)]
    said = [[_pointed(name, form, of, film) for name, form in zip(FINDINGS, forms, strict=True)] for film in picked]
    return asked, said, np.where(of.present[picked], 1.0, 0.1).astype(np.float32)


def _pointed(finding: str, form: str, of: Films, film: int) -> str:
    k = FINDINGS.index(finding)
    extent = tuple(of.extents[film, k].tolist()) if of.present[film, k] else None
    if form == "regions":
        return corpus.regions(corpus.region_names(finding, extent, SIZE[0]) if extent else [])
    return corpus.boxes(thousandths(extent, of.letterbox) if extent else None)


def thousandths(box: Box, letterbox: Letterbox) -> Box:
    """A native box in thousandths of the canvas."""
    x1, y1, x2, y2 = letterbox.to_canvas(box)
    across, down = prompts.SCALE / letterbox.width, prompts.SCALE / letterbox.height
    return x1 * across, y1 * down, x2 * across, y2 * down


def chunks(count: int, size: int = 64) -> list[slice]:
    """Slices of at most ``size`` that cover ``count`` films."""
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]


def shown(lvlm: LVLM, of: Films, part: slice | np.ndarray) -> Tensor:
    """Canvases as the model takes them: float ``[B, h, w]`` in 0..1, on its device."""
    return torch.from_numpy(of.canvas[part].astype(np.float32) / 255).to(lvlm.device)


@torch.inference_mode()
def dense_report(lvlm: LVLM, head: Head, unseen: Films, targets: Sequence[str]) -> str:
    """Area under the ROC curve of the film-level logits, per target, on unseen patients."""
    scores = torch.cat([head(features(lvlm, shown(lvlm, unseen, part)))[1] for part in chunks(len(unseen))])
    areas = [area_under_curve(scores[:, k].cpu().numpy(), unseen.targets[:, k]) for k in range(len(targets))]
    return "AUC " + " ".join(f"{name[:12]}={area:.3f}" for name, area in zip(targets, areas, strict=True))


@torch.inference_mode()
def language_report(
    lvlm: LVLM, packer: Packer, names: Sequence[str], truth: np.ndarray, sight: Iterable[Tensor]
) -> str:
    """Balanced accuracy of direct answers about ``names`` against ``truth`` ``[films, names]``, on unseen patients.

    ``sight`` is what the model sees of the films, part by part: ``[B, tokens, d]``."""
    asked = [prompts.prompt(prompts.question(name), "direct") for name in names]
    yes, no = (lvlm.tokenizer(word, add_special_tokens=False).input_ids[0] for word in ("Yes", "No"))
    parts = []
    for some in sight:
        pack = packer.pack(asked, [["Yes."] * len(asked)] * len(some))
        first = packer.logits(pack, some.float().to(lvlm.device))[:, ::3]  # Yes . <end>
        parts.append((first[..., yes] > first[..., no]).cpu().numpy())
    said_yes = np.concatenate(parts)
    scores = [balanced_accuracy(said_yes[:, k], truth[:, k]) for k in range(len(names))]
    listed = " ".join(f"{name[:12]}={score:.3f}" for name, score in zip(names, scores, strict=True))
    return f"balanced {np.mean(scores):.3f} {listed}"


def digest(values: dict, exclude: tuple[str, ...] = ()) -> str:
    """What a run is kept under: its settings but those that begin with one of ``exclude``, and the architecture."""
    values = {name: value for name, value in values.items() if not name.startswith(exclude)}
    source = Path(architecture.__file__).read_bytes()
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode() + source).hexdigest()[:12]
