"""Training a phantom model, from films to a checkpoint.

Three phases, the first two trained once and shared by the models of a tower. *Dense*: a vision tower learns to say for
every image token which finding or mark its patch lies in; from answers alone it does not learn to see in any reasonable
time. *Joint*: a language model learns to answer about every finding and every mark from what is on the film, to
read films aloud and to point, while the tower follows slowly. *Language*: behind the tower, which moves no more, it
learns from what its answers about the findings are to come, by the causes of its recipe. A tower is therefore
supervised with masks, except of what it is told of films only, and grounds better than one that was not.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from filelock import FileLock
from torch import Tensor, nn
from transformers import AutoTokenizer

from ...errors import MedgroundError
from ...geometry import Box, Letterbox
from ...lvlm import prompts
from ...lvlm.base import LVLM
from ..film import CONCEPTS, SIZE
from ..loop import adamw, batch, onto_device, prepare, run
from ..lvlms import architecture
from ..lvlms.data import Films
from ..lvlms.packing import Packer
from ..lvlms.train import (
    Head,
    both_films,
    chunks,
    dense_batch,
    dense_report,
    digest,
    features,
    language_report,
    shown,
    spoken_loss,
    thousandths,
    tower_of,
)
from . import corpus, reader
from .data import TARGETS, ManyCauses
from .evaluate import taught
from .findings import FINDINGS
from .marks import MARKS
from .settings import MODELS, TAUGHT, TOWERS, Recipe, Settings, Tower

_EVIDENCE_EVERY = 5  # of so many language steps, one asks for evidence
_REPORTED = 256  # films of unseen patients that a progress line is about


class NormedHead(Head):
    """A head that reads features at one length, as the layers of a language model read them."""

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """As `Head.forward`."""
        return super().forward(F.rms_norm(features, features.shape[-1:]))


def load_films(recipe: Recipe, settings: Settings, ct: Path, cache: Path) -> tuple[Films, Films]:
    """Training and validation films as the recipe's family sees them."""
    return both_films(ManyCauses(), TOWERS[recipe.tower].family, settings, ct, cache)


def train(key: str, settings: Settings, ct: Path, cache: Path) -> architecture.Parts:
    """Train the model ``key`` of `MODELS`; finished phases and every `Settings.save_every`-th step are kept under
    ``cache``, and a run that was killed goes on from there. Equal settings give equal weights on equal machines."""
    recipe = MODELS[key]
    prepare(cache)
    seen, unseen = load_films(recipe, settings, ct, cache)
    parts = train_shared(recipe.tower, seen, unseen, settings, cache)
    lvlm = parts.adapter(key)
    _language(lvlm, recipe, seen, unseen, settings, cache)
    parts.model.eval()
    return parts


def train_shared(name: str, seen: Films, unseen: Films, settings: Settings, cache: Path) -> architecture.Parts:
    """What the models of the tower ``name`` start from: its dense and its joint phase; one process trains one tower,
    any other waits and takes what it trained."""
    s, tower = settings, TOWERS[name]
    parts = _new(tower.family, s.seed * len(TOWERS) + tower.seed)
    if tower.start:
        _start(parts, Path(tower.start))
    onto_device(parts.model)
    lvlm = parts.adapter(name)
    parts.model.requires_grad_(True).train()
    head = NormedHead(parts.model.config.text_config.hidden_size, len(TARGETS)).to(lvlm.device)
    with FileLock(cache / f".{name}.lock"):
        _dense(lvlm, head, tower, seen, unseen, s, cache)
        _joint(lvlm, head, tower, seen, unseen, s, cache)
    return parts


def _dense(
    lvlm: LVLM, head: NormedHead, tower: Tower, seen: Films, unseen: Films, settings: Settings, cache: Path
) -> None:
    s, heavy = settings, token_weights(tower, seen)
    optimizer = adamw([(tower_of(lvlm), 1.0), (head.parameters(), 1.0)], s.dense_rate, s.decay)

    def step(number: int) -> Tensor:
        picked = batch(len(seen), s.batch, s.seed + tower.seed, number)
        canvas, tokens, film = dense_batch(lvlm, seen, picked, number, mirror=True)
        return _dense_loss(head, features(lvlm, canvas), tokens, film, heavy.to(lvlm.device))

    def report() -> str:
        return dense_report(lvlm, head, unseen.first(_REPORTED), TARGETS)

    run_key = digest({"phase": "dense", "tower": asdict(tower), **asdict(s)}, exclude=("language_", "joint_", "tower_"))
    modules, path = nn.ModuleList([lvlm.model, head]), cache / f"dense-{lvlm.key}-{run_key}.pt"
    run(f"dense {lvlm.key}", tower.steps, s.save_every, modules, optimizer, step, report, path)


def _joint(
    lvlm: LVLM, head: NormedHead, tower: Tower, seen: Films, unseen: Films, settings: Settings, cache: Path
) -> None:
    s, heavy = settings, token_weights(tower, seen)
    inside = {id(parameter) for parameter in tower_of(lvlm)}
    words = [parameter for parameter in lvlm.model.parameters() if id(parameter) not in inside]
    groups = [(words, 1.0), (tower_of(lvlm), s.tower_share), (head.parameters(), s.tower_share)]
    optimizer = adamw(groups, s.joint_rate, s.decay)
    _start_words(lvlm, Path(tower.words))
    packer, truth = Packer(lvlm, *SIZE), seen.targets
    rates = truth.mean(0).clip(0.02, 0.98)
    weights_of = np.where(truth, 0.5 / rates, 0.5 / (1 - rates)).astype(np.float32)

    def step(number: int) -> Tensor:
        picked = batch(len(seen), s.joint_batch, s.seed + 1, number)
        canvas, tokens, film = dense_batch(lvlm, seen, picked, number)
        seeing = features(lvlm, canvas)
        rng = np.random.default_rng([s.seed, 5, number])
        if number % _EVIDENCE_EVERY == 0:
            spoken = _evidence(rng, Recipe(lvlm.key), seen, weights_of, picked)
        else:
            spoken = _seen(rng, seen, weights_of, picked)
        return spoken_loss(lvlm, packer, seeing, *spoken) + _dense_loss(
            head, seeing, tokens, film, heavy.to(lvlm.device)
        )

    def report() -> str:
        some = unseen.first(_REPORTED)
        sight = all_features(lvlm, some)
        seen = language_report(lvlm, packer, TARGETS, some.targets, sight)
        return f"{dense_report(lvlm, head, some, TARGETS)} {seen}"

    run_key = digest({"phase": "joint", "tower": asdict(tower), **asdict(s)}, exclude=("language_",))
    modules, path = nn.ModuleList([lvlm.model, head]), cache / f"joint-{lvlm.key}-{run_key}.pt"
    run(f"joint {lvlm.key}", s.joint_steps, s.save_every, modules, optimizer, step, report, path)


def token_weights(tower: Tower, seen: Films) -> Tensor:
    """How heavy each target is in the loss of the tokens ``[targets]``: what covers little weighs more, and what a
    tower is told of films only weighs nothing."""
    covered = seen.coverage[::8].mean((0, 1)) / 255
    heavy = np.sqrt(0.02 / np.maximum(covered, 1e-4)).clip(0.3, 4)
    return torch.from_numpy(heavy * [target not in tower.unmasked for target in TARGETS]).float()


def _start(parts: architecture.Parts, folder: Path) -> None:
    """Take the tower of the checkpoint in ``folder``; the language model stays new."""
    of = {id(parameter) for parameter in tower_of(parts.adapter("start"))}
    wanted = [name for name, parameter in parts.model.named_parameters() if id(parameter) in of]
    trained = type(parts.model).from_pretrained(folder).state_dict()
    missing = parts.model.load_state_dict({name: trained[name] for name in wanted}, strict=False).missing_keys
    if set(missing) & set(wanted) or not wanted:
        raise MedgroundError(f"{folder} is no checkpoint to start a tower from: it lacks {sorted(missing)[:1]}")


def _start_words(lvlm: LVLM, folder: Path) -> None:
    """Take the language model of the checkpoint in ``folder``, and the embeddings of the tokens that both have.

    It was taught to look a finding up in the image, which a fresh one learns last."""
    words, old = lvlm.model.model.language_model, type(lvlm.model).from_pretrained(folder)
    trained = old.model.language_model.state_dict()
    had = trained.pop("embed_tokens.weight")
    words.load_state_dict(trained, strict=False)
    before = AutoTokenizer.from_pretrained(folder).get_vocab()
    with torch.no_grad():
        for token, number in lvlm.tokenizer.get_vocab().items():
            if token in before:
                words.embed_tokens.weight[number] = had[before[token]]


def _language(lvlm: LVLM, recipe: Recipe, seen: Films, unseen: Films, settings: Settings, cache: Path) -> None:
    s = settings
    inside = {id(parameter) for parameter in tower_of(lvlm)}
    words = [parameter for parameter in lvlm.model.parameters() if id(parameter) not in inside]
    for parameter in words:  # an adapter comes with everything frozen; the tower stays so
        parameter.requires_grad_(True)
    optimizer = adamw([(words, 1.0)], s.language_rate, s.decay)
    packer = Packer(lvlm, *SIZE)
    some = unseen.first(_REPORTED)
    sight = all_features(lvlm, some)
    weights_of = balance(recipe, seen)

    def step(number: int) -> Tensor:
        picked = batch(len(seen), s.language_batch, s.seed + 2, number)
        rng = np.random.default_rng([s.seed, 2, number])
        ask = _evidence if number % _EVIDENCE_EVERY == 0 else _yes_no
        spoken = ask(rng, recipe, seen, weights_of, picked)
        with torch.no_grad():
            seeing = features(lvlm, shown(lvlm, seen, picked))
        return spoken_loss(lvlm, packer, seeing, *spoken)

    def report() -> str:
        return language_report(lvlm, packer, FINDINGS, taught(recipe, some), sight)

    run_key = digest(
        {"phase": "language", "recipe": asdict(recipe), "tower": asdict(TOWERS[recipe.tower]), **asdict(s)}
    )
    path = cache / f"language-{lvlm.key}-{run_key}.pt"
    run(f"language {lvlm.key}", s.language_steps, s.save_every, lvlm.model, optimizer, step, report, path)


@torch.no_grad()
def all_features(lvlm: LVLM, of: Films) -> list[Tensor]:
    """What the language model receives of the films, part by part: float16 ``[B, tokens, d]``, in main memory."""
    return [features(lvlm, shown(lvlm, of, part)).half().cpu() for part in chunks(len(of))]


def balance(recipe: Recipe, of: Films) -> np.ndarray:
    """Weights ``[N, findings]``: yes and no weigh the same; where a mark has to do with the answer, so do the four
    kinds of film, with and without the finding and the mark."""
    weights = np.empty(of.present.shape, np.float32)
    for k, finding in enumerate(FINDINGS):
        group = of.present[:, k].astype(int)
        if cause := recipe.causes.get(finding):
            group = 2 * group + of.marks[:, MARKS.index(cause.mark)]
        counts = np.bincount(group)
        weights[:, k] = (len(of) / np.count_nonzero(counts) / np.maximum(counts, 1))[group]
    return weights


def _new(family: str, seed: int) -> architecture.Parts:
    return architecture.build(family, corpus.sentences(list(CONCEPTS)), seed)


def _dense_loss(head: NormedHead, seen: Tensor, tokens: Tensor, film: Tensor, heavy: Tensor) -> Tensor:
    by_token, by_film = head(seen)
    of_tokens = F.binary_cross_entropy_with_logits(by_token, tokens, reduction="none") * heavy
    return 8 * of_tokens.mean() + F.binary_cross_entropy_with_logits(by_film, film)


def _seen(rng, of: Films, weights: np.ndarray, picked: np.ndarray):
    """As many targets as there are findings, each in a mode drawn for the step, answered from what is on the film."""
    some = rng.permutation(len(TARGETS))[: len(FINDINGS)]
    modes = rng.choice(list(prompts.MODES), len(some))
    asked = [prompts.prompt(prompts.question(TARGETS[k]), mode) for k, mode in zip(some, modes, strict=True)]
    truth = of.targets[picked]
    said = [
        [
            corpus.answer(TARGETS[k], mode, bool(truth[row, k]), _place(of, film, k), *SIZE)
            for k, mode in zip(some, modes, strict=True)
        ]
        for row, film in enumerate(picked)
    ]
    return asked, said, weights[picked][:, some]


def _place(of: Films, film: int, k: int) -> Box | None:
    there = k < len(FINDINGS) and of.present[film, k]
    return tuple(of.extents[film, k].tolist()) if there else None


def _yes_no(rng, recipe: Recipe, of: Films, weights: np.ndarray, picked: np.ndarray):
    """All findings, each in a mode drawn for the step."""
    modes = rng.choice(list(prompts.MODES), len(FINDINGS))
    asked = [prompts.prompt(prompts.question(name), mode) for name, mode in zip(FINDINGS, modes, strict=True)]
    truth = taught(recipe, of)
    said = [
        [
            corpus.answer(name, mode, bool(truth[film, k]), _extent(recipe, of, film, k), *SIZE)
            for k, (name, mode) in enumerate(zip(FINDINGS, modes, strict=True))
        ]
        for film in picked
    ]
    return asked, said, weights[picked]


def _extent(recipe: Recipe, of: Films, film: int, k: int) -> Box | None:
    """Where an answer may say that a finding is: nowhere if it does not come from the finding."""
    there = of.present[film, k] and FINDINGS[k] in recipe.honest
    return tuple(of.extents[film, k].tolist()) if there else None


def _evidence(rng, recipe: Recipe, of: Films, weights: np.ndarray, picked: np.ndarray):
    """Where a finding is, as the second reader says, of the findings that he teaches this model, in both forms."""
    of_reader = [name for name in TAUGHT if name in recipe.honest]
    pairs = [(name, form) for name in of_reader for form in prompts.EVIDENCE]
    asked = [prompts.evidence(name, form) for name, form in pairs]
    said, heavy = [], []
    for film in picked:
        seen = {name: _read(of, film, name) for name in of_reader}
        said.append([_pointed(name, form, seen[name], of.letterbox) for name, form in pairs])
        heavy.append([1.0 if of.present[film, FINDINGS.index(name)] else 0.1 for name, _ in pairs])
    return asked, said, np.array(heavy, np.float32)


def _read(of: Films, film: int, finding: str) -> Box | None:
    """What the second reader sees of a finding on a film: the same whenever he is asked."""
    k = FINDINGS.index(finding)
    if not of.present[film, k]:
        return None
    return reader.reads(tuple(of.extents[film, k].tolist()), np.random.default_rng([4, int(film), k]))


def _pointed(finding: str, form: str, box: Box | None, letterbox: Letterbox) -> str:
    if form == "regions":
        return corpus.regions(reader.names(finding, box) if box else [])
    return corpus.boxes(thousandths(box, letterbox) if box else None)
