"""A small RadEdit for the phantom, trained on virtual patients: what a generative editor does beside the exact twin.

Three parts of the real classes. An autoencoder turns a film on the square canvas into latents of a quarter of its
side. A text encoder of its own reads the editor's prompts: it learns to say what a prompt says is there and is not. A
UNet predicts the noise on the latents given the prompt, which is left out at times, so that the editor can guide by the
difference. Nothing else in the library depends on this module; pipelines/phantom/ runs it.
"""

from __future__ import annotations

import copy
import hashlib
import json
import string
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from torch import Tensor, nn
from transformers import BertConfig, BertModel, BertTokenizer

from ..editing import EDITS
from ..editing.radedit import PROMPTS, RadEdit, Sheet
from ..geometry import Box, Letterbox
from . import FINDINGS, SIZE, Film, Phantom
from .cohorts import patient_seed
from .film import MARKS
from .films import Cohort
from .loop import adamw, batch, onto_device, prepare, run
from .lvlms.data import Canvas, Films, FirstWorld, films
from .settings import Training

LENGTH = 128  # tokens of a prompt; the editor pads to so many, and attends to the padding
WIDTH = 64  # of the text encoder
REPORTED = 64  # films of validation patients that a progress line is about
REGIONS = ("phantom_region", "phantom_lesion")  # the sources that give an example's regions
FACTOR = 4  # pixels of the canvas along the side of a latent
#: settings of the phases after the autoencoder: a change of them does not train it anew
_LATER = ("text_steps", "batch", "steps", "rate", "most", "empty")


@dataclass(frozen=True, kw_only=True)
class Settings(Training):
    """Size and length of a training run."""

    films_per_patient: int = 12
    size: int = 96  # side of the canvas in pixels
    vae_batch: int = 4
    vae_steps: int = 1200
    vae_rate: float = 2e-3
    kl: float = 1e-4  # weight of the divergence of the latents from a normal distribution
    text_steps: int = 2000
    batch: int = 16
    steps: int = 4000
    rate: float = 1e-3
    most: float = 20.0  # weight of an error at the highest noise, against 1 without noise
    empty: float = 0.15  # share of films that are shown without a prompt
    decay: float = 0.01


@dataclass(frozen=True)
class Parts:
    """The parts of a RadEdit."""

    unet: UNet2DConditionModel
    vae: AutoencoderKL
    text_encoder: BertModel
    tokenizer: BertTokenizer

    def save(self, folder: Path) -> None:
        """Write the folders that ``edit.radedit`` names: ``unet``, ``vae`` and ``text_encoder``."""
        copy.deepcopy(self.unet).half().save_pretrained(folder / "unet")
        copy.deepcopy(self.vae).half().save_pretrained(folder / "vae")
        self.text_encoder.save_pretrained(folder / "text_encoder")
        self.tokenizer.save_pretrained(folder / "text_encoder")


def build(settings: Settings) -> Parts:
    """New parts with random weights."""
    torch.manual_seed(settings.seed)
    tokenizer = _tokenizer()
    vae = AutoencoderKL(
        in_channels=1, out_channels=1, block_out_channels=(16, 32, 32), latent_channels=4, norm_num_groups=8,
        down_block_types=("DownEncoderBlock2D",) * 3, up_block_types=("UpDecoderBlock2D",) * 3,
        mid_block_add_attention=False, sample_size=settings.size, scaling_factor=1.0,
    )  # fmt: skip
    unet = UNet2DConditionModel(
        sample_size=settings.size // FACTOR, in_channels=4, out_channels=4, block_out_channels=(32, 64, 96),
        layers_per_block=1, down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"), cross_attention_dim=WIDTH,
        attention_head_dim=4, norm_num_groups=8,
    )  # fmt: skip
    text_encoder = BertModel(
        BertConfig(
            vocab_size=len(tokenizer), hidden_size=WIDTH, num_hidden_layers=2, num_attention_heads=4,
            intermediate_size=2 * WIDTH, max_position_embeddings=LENGTH, hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        ),
        add_pooling_layer=False,
    )  # fmt: skip
    return Parts(unet, vae, text_encoder, tokenizer)


def caption(rng: np.random.Generator, present: np.ndarray, empty: float) -> str:
    """A true prompt about a film with the findings ``present`` (bool ``[findings]``), or "" for the share ``empty``.

    Half of the others name one finding that is not there, as the editor's prompts do, and half all that are.
    """
    if rng.random() < empty:
        return ""
    there, absent = ([name for name, on in zip(FINDINGS, mask, strict=True) if on] for mask in (present, ~present))
    if absent and rng.random() < 0.5:
        return f"No {rng.choice(absent)}"
    return ", ".join(str(name) for name in rng.permutation(there)) or "No abnormality"


def said(text: str) -> np.ndarray:
    """What a caption says is there, and what it says is not: bool ``[2 * findings]``."""
    absent = text.startswith("No ")
    named = np.array([name in text or (absent and text.endswith("abnormality")) for name in FINDINGS])
    return np.concatenate([named & (not absent), named & absent])


def train(settings: Settings, ct: Path, cache: Path) -> Parts:
    """Train all parts; every `Settings.save_every`-th step is kept under ``cache``, and a run that was killed goes on
    from there. Equal settings give equal weights on equal machines."""
    prepare(cache)
    seen, unseen = load_films(settings, ct, cache)
    parts = build(settings)
    for part in (parts.unet, parts.vae, parts.text_encoder):
        onto_device(part)
        part.requires_grad_(True).train()
    _autoencoder(parts, seen, unseen, settings, cache)
    _reading(parts, settings, cache)
    _diffusion(parts, seen, unseen, settings, cache)
    for part in (parts.unet, parts.vae, parts.text_encoder):
        part.eval()
    return parts


def load_films(settings: Settings, ct: Path, cache: Path) -> tuple[Films, Films]:
    """Films of training and of validation patients on the square canvas."""
    s = settings
    side = s.size // FACTOR
    canvases = {"radedit": Canvas(Letterbox.fit(*SIZE, s.size), (side, side))}
    cohorts = (
        Cohort("train", s.seed, s.train_patients, s.films_per_patient),
        Cohort("validation", s.seed, s.validation_patients, s.films_per_patient // 3),
    )
    seen, unseen = (films(FirstWorld(), cohort, "radedit", canvases, ct, cache) for cohort in cohorts)
    return seen, unseen


def _autoencoder(parts: Parts, seen: Films, unseen: Films, settings: Settings, cache: Path) -> None:
    s, vae = settings, parts.vae
    optimizer = adamw([(vae.parameters(), 1.0)], s.vae_rate, s.decay)

    def step(number: int) -> Tensor:
        pixels = _pixels(vae, seen.canvas[batch(len(seen), s.vae_batch, s.seed, number)])
        latents = vae.encode(pixels).latent_dist
        noise = torch.randn(latents.mean.shape, generator=_generator(s.seed, 0, number)).to(pixels.device)
        drawn = vae.decode(latents.mean + latents.std * noise).sample
        return F.l1_loss(drawn, pixels) + F.mse_loss(drawn, pixels) + s.kl * latents.kl().mean() / noise[0].numel()

    def report() -> str:
        return f"redrawn with an error of {redrawn(vae, unseen.canvas[:REPORTED]):.2f} gray levels"

    own = {name: value for name, value in asdict(s).items() if name not in _LATER}
    path = cache / f"editor-vae-{_digest(own, vae.config)}.pt"
    run("autoencoder", s.vae_steps, s.save_every, vae, optimizer, step, report, path)
    _standardise(vae, seen.canvas)


@torch.no_grad()
def _standardise(vae: AutoencoderKL, canvas: np.ndarray) -> None:
    """Give every channel of the latents mean 0 and deviation 1, by changing the convolutions next to them."""
    latents = _encode(vae, canvas)
    middle, spread = latents.mean((0, 2, 3)), latents.std((0, 2, 3))
    into, back = vae.quant_conv, vae.post_quant_conv
    assert into is not None and back is not None  # as `build` makes them, with a bias each
    assert into.bias is not None and back.bias is not None
    back.bias += back.weight[..., 0, 0] @ middle
    back.weight *= spread[:, None, None]
    into.weight /= torch.cat([spread, torch.ones_like(spread)])[:, None, None, None]
    into.bias -= torch.cat([middle, 2 * spread.log()])
    into.bias /= torch.cat([spread, torch.ones_like(spread)])


def _reading(parts: Parts, settings: Settings, cache: Path) -> None:
    """Teach the text encoder, at every token, which findings a prompt says are there, and which it says are not."""
    s, encoder = settings, parts.text_encoder
    modules = nn.ModuleList([encoder, nn.Linear(WIDTH, 2 * len(FINDINGS)).to(encoder.device)])
    optimizer = adamw([(modules.parameters(), 1.0)], s.rate, s.decay)
    path = cache / f"editor-text-{_digest(asdict(s), encoder.config.to_dict())}.pt"

    def loss(rng: np.random.Generator) -> Tensor:
        captions = [caption(rng, rng.random(len(FINDINGS)) < rng.choice((0.0, 0.3)), s.empty) for _ in range(s.batch)]
        told = modules[1](embed(encoder, parts.tokenizer, captions))
        truth = torch.tensor(np.array([said(text) for text in captions]), dtype=told.dtype, device=told.device)
        return F.binary_cross_entropy_with_logits(told, truth[:, None].expand_as(told))

    def step(number: int) -> Tensor:
        return loss(np.random.default_rng([s.seed, 6, number]))

    @torch.inference_mode()
    def report() -> str:
        return f"other prompts {loss(np.random.default_rng([s.seed, 7])).item():.4f}"

    run("reading", s.text_steps, s.save_every, modules, optimizer, step, report, path)


def _diffusion(parts: Parts, seen: Films, unseen: Films, settings: Settings, cache: Path) -> None:
    s, scheduler = settings, DDIMScheduler(beta_start=1e-4, beta_end=0.02, beta_schedule="linear")
    optimizer = adamw([(parts.unet.parameters(), 1.0)], s.rate, s.decay)
    latents, unseen_latents = (_encode(parts.vae, some.canvas) for some in (seen, unseen))
    # what a prompt can tell shows at high noise, where an error of the noise weighs little: it counts more there
    weights = (1 / scheduler.alphas_cumprod).clamp(max=s.most)
    weights = (weights / weights.mean()).to(latents.device)
    path = cache / f"editor-unet-{_digest(asdict(s), parts.unet.config)}.pt"

    def loss(x0: Tensor, captions: Sequence[str], *seed: int) -> Tensor:
        generator = _generator(*seed)
        noise = torch.randn(x0.shape, generator=generator).to(x0.device)
        times = torch.randint(len(weights), (len(x0),), generator=generator).to(x0.device)
        noisy = scheduler.add_noise(x0, noise, times)
        with torch.no_grad():
            text = embed(parts.text_encoder, parts.tokenizer, captions)
        predicted = parts.unet(noisy, times, encoder_hidden_states=text).sample
        return (weights[times] * (predicted - noise).square().mean((1, 2, 3))).mean()

    def step(number: int) -> Tensor:
        picked = batch(len(seen), s.batch, s.seed + 1, number)
        rng = np.random.default_rng([s.seed, 4, number])
        return loss(latents[picked], [caption(rng, seen.present[k], s.empty) for k in picked], s.seed, 1, number)

    @torch.inference_mode()
    def report() -> str:
        right, wrong = [], []
        for k, part in enumerate(torch.arange(len(unseen))[:REPORTED].split(s.batch)):
            captions = [", ".join(np.array(FINDINGS)[on]) or "No abnormality" for on in unseen.present[part]]
            right.append(loss(unseen_latents[part], captions, s.seed, 2, k).item())
            wrong.append(loss(unseen_latents[part], captions[::-1], s.seed, 2, k).item())
        return f"unseen {np.mean(right):.4f}, with the captions of other films {np.mean(wrong):.4f}"

    run("diffusion", s.steps, s.save_every, parts.unet, optimizer, step, report, path)


def embed(text_encoder: BertModel, tokenizer: BertTokenizer, captions: Sequence[str]) -> Tensor:
    """Hidden states ``[B, 128, width]`` as the editor computes them; equal captions are encoded once."""
    unique, back = np.unique(captions, return_inverse=True)
    tokens = tokenizer(unique.tolist(), padding="max_length", max_length=LENGTH, truncation=True, return_tensors="pt")
    return text_encoder(tokens.input_ids.to(text_encoder.device)).last_hidden_state[back]


@torch.inference_mode()
def redrawn(vae: AutoencoderKL, canvas: np.ndarray) -> float:
    """Mean absolute error in gray levels of canvases uint8 ``[N, S, S]`` that went through the autoencoder."""
    drawn = vae.decode(vae.encode(_pixels(vae, canvas)).latent_dist.mode()).sample.clamp(-1, 1)
    return 127.5 * F.l1_loss(drawn, _pixels(vae, canvas)).item()


@dataclass(frozen=True)
class Example:
    """A film of a validation patient: a finding on it, and the two kinds of regions that an expert may give."""

    finding: str
    film: Film
    regions: tuple[Box, Box]  # the anatomical region, and the extent of the finding


def examples(seed: int, patients: int, ct: Path) -> Iterator[Example]:
    """Two films of each of the first validation patients, the findings in turn; hidden findings are left out."""
    phantom = Phantom.open(ct)
    for number in range(patients):
        patient = phantom.patient(patient_seed(seed, "validation", number))
        for k in range(2):
            rng = np.random.default_rng([seed, number, k, 5])
            finding = FINDINGS[(2 * number + k) % len(FINDINGS)]
            wanted = {finding, *(str(name) for name in rng.choice(FINDINGS, int(rng.random() < 0.25)))}
            film = patient.film(sorted(wanted), seed=1000 + k, marks=MARKS if rng.random() < 0.5 else ())
            if finding in film.extents:
                yield Example(finding, film, (film.regions[finding], film.extents[finding]))


def distances(model: RadEdit, example: Example, band: int, seed: int) -> list[dict]:
    """How far an edited film, and the film itself, are from the healthy twin: a row for each kind of region.

    Mean absolute differences in gray levels on the editor's canvas (which is about what the phantom models look at),
    inside the region of ``region_removed`` and outside the region of ``background_removed``.
    """
    sheets = [Sheet.of(example.film.image, [region], band, model.size) for region in example.regions]
    prompt, kinds = PROMPTS[EDITS[0]].format(example.finding), EDITS[:2]
    edited = model.edit(
        np.stack([sheet.canvas for sheet in sheets]),
        [[prompt] * len(kinds)] * len(sheets),
        np.stack([[sheet.masks(kind)[0] for kind in kinds] for sheet in sheets]),
        np.stack([[sheet.masks(kind)[1] for kind in kinds] for sheet in sheets]),
        [seed] * len(sheets),
    )
    rows = []
    for sheet, canvases, region in zip(sheets, edited, REGIONS, strict=True):
        film, twin = (sheet.letterbox.apply(image).astype(float) for image in (example.film.image, example.film.twin))
        removed, background = (
            np.abs(sheet.letterbox.apply(sheet.finish(kind, canvas)) - twin)
            for kind, canvas in zip(kinds, canvases, strict=True)
        )
        inside, outside = sheet.masks("region_removed")[0], sheet.masks("background_removed")[0]
        rows.append(
            {
                "finding": example.finding,
                "region": region,
                "film_inside": np.abs(film - twin)[inside].mean(),
                "edit_inside": removed[inside].mean(),
                "film_outside": np.abs(film - twin)[outside].mean(),
                "edit_outside": background[outside].mean(),
            }
        )
    return rows


def evaluate(model: RadEdit, settings: Settings, band: int, ct: Path, cache: Path) -> dict:
    """What the editor has learnt, on validation patients, as means over `distances` and over the autoencoder."""
    _, unseen = load_films(settings, ct, cache)
    found = pd.DataFrame(
        [
            row
            for number, example in enumerate(examples(settings.seed, settings.validation_patients, ct))
            for row in distances(model, example, band, number)
        ]
    )
    measured = [column for column in found if column not in ("finding", "region")]
    return {
        "films_redrawn": len(unseen),
        "autoencoder_error": round(redrawn(model.vae, unseen.canvas), 3),
        "edits": len(found),
        "distance_from_twin": found[measured].mean().round(3).to_dict(),
        **{
            f"by_{name}": {
                key: rows.to_dict() for key, rows in found.groupby(name)[measured].mean().round(3).iterrows()
            }
            for name in ("finding", "region")
        },
    }


@torch.no_grad()
def _encode(vae: AutoencoderKL, canvas: np.ndarray) -> Tensor:
    """Latents ``[N, 4, s, s]``, not scaled, of canvases uint8 ``[N, S, S]``."""
    parts = (canvas[start : start + 32] for start in range(0, len(canvas), 32))
    return torch.cat([vae.encode(_pixels(vae, part)).latent_dist.mode() for part in parts])


def _pixels(vae: AutoencoderKL, canvas: np.ndarray) -> Tensor:
    return torch.from_numpy(canvas.astype(np.float32)[:, None] / 127.5 - 1).to(vae.device)


def _tokenizer() -> BertTokenizer:
    """WordPiece with a token for each word of the prompts, and letters for all others."""
    words = sorted({word for name in ("no", "abnormality", *FINDINGS) for word in name.split()})
    letters = string.ascii_lowercase + string.digits + string.punctuation
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocabulary = [*special, *words, *letters, *(f"##{letter}" for letter in letters)]
    return BertTokenizer(vocab={word: k for k, word in enumerate(vocabulary)}, model_max_length=LENGTH)


def _generator(*seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(int(np.random.SeedSequence(seed).generate_state(1)[0]))


def _digest(*recipe: Mapping) -> str:
    """Of settings and configurations; diffusers' own remarks in the latter, in no fixed order, do not count."""
    values = [{name: value for name, value in part.items() if not name.startswith("_")} for part in recipe]
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:12]
