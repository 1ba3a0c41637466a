"""RadEdit: a diffusion model repaints a masked part of a film from a prompt, and leaves the rest alone.

Perez-Garcia et al., RadEdit: stress-testing biomedical vision models via diffusion image editing, ECCV 2024; the
inversion is that of Huberman-Spiegelglas et al., An edit friendly DDPM noise space, CVPR 2024 (section 3).

The public pipeline differs in three places: it pastes the kept latents back one step too noisy, divides by a variance
that is zero at the last step, and ignores the content of the keep mask. Here the kept latents have the noise of the
step that was just made; noise maps are stored as residuals, so that nothing is divided; and both masks count.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from huggingface_hub import try_to_load_from_cache
from huggingface_hub.constants import HF_HUB_CACHE
from PIL import Image
from torch import Tensor
from torch.nn.functional import max_pool2d
from transformers import BertConfig, BertModel, BertTokenizer

from ..errors import MedgroundError
from ..films import read
from ..geometry import Box, Letterbox, as_box
from ..params import Params
from . import EDITS, edit_row
from .twin import blend, region_weight

PROMPTS = {"region_removed": "No {}", "background_removed": "No {}", "background_normal": "No abnormality"}
STORED = 1024  # longer side of an edited film, at most: twice what the model draws, and more than any LVLM looks at


def editor(params: Params, samples: list[dict], out: Path) -> RadEditor:
    """The RadEdit editor with the settings of ``params``; see `medground.editing.editor`."""
    settings = params.edit.radedit
    if settings is None:
        raise MedgroundError("edit.editor is radedit, and params.yaml has no section edit.radedit; write one")
    return RadEditor(params.seed, params.verify.seeds, params.edit.band, settings.model_dump(), out)


@dataclass
class RadEditor:
    """Samples in, rows of ``records.EDITS`` with ``seeds`` edited films of each kind out.

    The three edits of a sample and seed share one inversion. ``band`` is in pixels of the film: that wide around the
    regions, the model paints freely, and the edit fades into the film. With the setting ``redraw`` what an edit keeps
    is the film as the model draws it: what it paints is softer than a film, and could be told by that.
    """

    seed: int
    seeds: int
    band: int
    settings: dict
    out: Path

    def __call__(self, samples: list[dict]) -> list[dict]:
        jobs = [(sample, seed) for sample in samples for seed in range(self.seeds)]
        step = self.settings["batch_size"]
        return [row for start in range(0, len(jobs), step) for row in self._edit(jobs[start : start + step])]

    @cached_property
    def _model(self) -> RadEdit:
        return RadEdit.of(self.settings)

    def _edit(self, jobs: list[tuple[dict, int]]) -> list[dict]:
        sheets = [Sheet.of(read(s["film"]), s["regions"], self.band, self._model.size) for s, _ in jobs]
        films = np.stack([sheet.canvas for sheet in sheets])
        edited = self._model.edit(
            films,
            [[PROMPTS[kind].format(sample["finding"]) for kind in EDITS] for sample, _ in jobs],
            np.stack([[sheet.masks(kind)[0] for kind in EDITS] for sheet in sheets]),
            np.stack([[sheet.masks(kind)[1] for kind in EDITS] for sheet in sheets]),
            [seed_of(self.seed, sample["source"], sample["index"], seed) for sample, seed in jobs],
        )
        if self.settings["redraw"]:
            sheets = [sheet.redrawn(canvas) for sheet, canvas in zip(sheets, self._model.redraw(films), strict=True)]
        return [
            self._row(sample, seed, kind, sheet.finish(kind, canvas))
            for (sample, seed), sheet, canvases in zip(jobs, sheets, edited, strict=True)
            for kind, canvas in zip(EDITS, canvases, strict=True)
        ]

    def _row(self, sample: dict, seed: int, kind: str, film: np.ndarray) -> dict:
        prompt = PROMPTS[kind].format(sample["finding"])
        settings = self.settings | {"band": self.band, "prompt": prompt, "revisions": self._model.revisions}
        return edit_row(self.out, sample, kind, seed, film, "radedit", settings)


def seed_of(seed: int, source: str, index: int, number: int) -> int:
    """The noise of an edit depends on these alone, not on its batch or worker."""
    digest = hashlib.sha256(f"{seed}/{source}/{index}/{number}".encode()).digest()
    return int.from_bytes(digest[:7])


@dataclass(frozen=True)
class Sheet:
    """A film prepared for the model: itself (uint8 ``[h, w]``), its square canvas, and the weight of its regions.

    ``weight`` ``[h, w]`` is 1 inside the regions and falls to 0 over the band around them; ``inside`` and ``outside``
    bool ``[S, S]`` are where it is 1 and 0 on the canvas, ``published`` the part of the canvas that the film covers.
    """

    film: np.ndarray
    canvas: np.ndarray
    weight: np.ndarray
    inside: np.ndarray
    outside: np.ndarray
    letterbox: Letterbox

    @classmethod
    def of(cls, film: np.ndarray, regions: Sequence[Box], band: int, size: int) -> Sheet:
        """Prepare a film of any size; one with a longer side over `STORED` is made smaller first."""
        shrink = min(1.0, STORED / max(film.shape))
        if shrink < 1.0:
            width, height = round(film.shape[1] * shrink), round(film.shape[0] * shrink)
            film = np.asarray(Image.fromarray(film).resize((width, height), Image.Resampling.BICUBIC))
        height, width = film.shape
        regions = [as_box(shrink * edge for edge in box) for box in regions]
        letterbox = Letterbox.fit(width, height, size)
        canvas_regions = [_outward(letterbox.to_canvas(box)) for box in regions]
        near = region_weight(canvas_regions, size, size, band * shrink * letterbox.scale_x)
        weight = region_weight([_outward(box) for box in regions], height, width, band * shrink)
        return cls(film, letterbox.apply(film), weight, near == 1, near == 0, letterbox)

    def masks(self, kind: str) -> tuple[np.ndarray, np.ndarray]:
        """Where an edit changes the canvas and where it keeps it, bool ``[S, S]``; the band is in neither."""
        left, top, right, bottom = self._paper
        padding = np.ones_like(self.inside)
        padding[top:bottom, left:right] = False
        if kind == "region_removed":
            return self.inside & ~padding, self.outside | padding
        return self.outside & ~padding, self.inside | padding

    def finish(self, kind: str, canvas: np.ndarray) -> np.ndarray:
        """The edited film uint8 ``[h, w]`` from an edited canvas float ``[S, S]`` (0..1); what is kept is its own."""
        edited = self._enlarged(canvas)
        if kind == "region_removed":
            return blend(edited, self.film, self.weight)
        return blend(self.film, edited, self.weight)

    def redrawn(self, canvas: np.ndarray) -> Sheet:
        """The same sheet of the film as it is on a canvas float ``[S, S]`` (0..1), enlarged as `finish` enlarges."""
        return replace(self, film=self._enlarged(canvas))

    def _enlarged(self, canvas: np.ndarray) -> np.ndarray:
        left, top, right, bottom = self._paper
        drawn = Image.fromarray(np.rint(canvas[top:bottom, left:right] * 255).astype(np.uint8))
        return np.asarray(drawn.resize(self.film.shape[::-1], Image.Resampling.BICUBIC))

    @property
    def _paper(self) -> tuple[int, int, int, int]:
        box = self.letterbox.to_canvas((0.0, 0.0, float(self.letterbox.film_width), float(self.letterbox.film_height)))
        left, top, right, bottom = (round(edge) for edge in box)
        return left, top, right, bottom


class RadEdit:
    """The model: UNet, VAE and text encoder of a latent diffusion model, and the editing loop."""

    def __init__(
        self, unet: UNet2DConditionModel, vae: AutoencoderKL, text_encoder: BertModel, tokenizer: BertTokenizer,
        *, size: int = 512, steps: int = 200, skip_ratio: float = 0.3, guidance: float = 7.5,
        device: str | None = None, revisions: dict | None = None,
    ):  # fmt: skip
        """``size`` is the side of the canvas in pixels, ``steps`` those of the full schedule, of which the first
        ``skip_ratio`` are skipped; ``guidance`` weighs the prompt (the paper of RadEdit 15, its model card 7.5)."""
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.unet, self.vae, self.text_encoder = unet, vae, text_encoder
        parts: list[torch.nn.Module] = [unet, vae, text_encoder]
        for part in parts:
            part.to(self.device).eval().requires_grad_(False)
        self.tokenizer, self.size, self.guidance = tokenizer, size, guidance
        self.revisions = revisions or {}
        schedule = DDIMScheduler(
            beta_start=1e-4, beta_end=0.02, beta_schedule="linear", clip_sample=False, timestep_spacing="trailing"
        )
        schedule.set_timesteps(steps)
        self.timesteps = schedule.timesteps[int(steps * skip_ratio) :].tolist()
        if not self.timesteps:
            raise MedgroundError(f"edit.radedit.skip_ratio is {skip_ratio}: of {steps} steps none is left")
        kept = [schedule.alphas_cumprod[t].item() for t in self.timesteps]
        self.alphas = [*kept, 1.0]  # of the kept steps, and of the image itself

    @classmethod
    def load(cls, unet: str, vae: str, text_encoder: str, device: str | None = None, **settings) -> RadEdit:
        """Load the parts from folders or Hub ids, ``id`` or ``id@revision``; the UNet is in a subfolder ``unet``.

        Raises MedgroundError naming the part that cannot be loaded, and what to do.
        """
        parts = {
            "unet": _load(UNet2DConditionModel, unet, subfolder="unet"),
            "vae": _load(AutoencoderKL, vae),
            # a plain BERT under a name of its own, whose code from the Hub is not needed
            "text_encoder": _load(
                BertModel, text_encoder, config=_load(BertConfig, text_encoder), add_pooling_layer=False
            ),
        }
        places = {"unet": (unet, "unet/config.json"), "vae": (vae, "config.json")}
        places["text_encoder"] = (text_encoder, "config.json")
        revisions = {name: _revision(*place) for name, place in places.items()}
        tokenizer = _load(BertTokenizer, text_encoder)
        return cls(**parts, tokenizer=tokenizer, device=device, revisions=revisions, **settings)

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> RadEdit:
        """Load the model that ``edit.radedit`` of params.yaml describes: all of it but how films are edited with it."""
        return cls.load(**{name: value for name, value in settings.items() if name not in ("batch_size", "redraw")})

    @torch.inference_mode()
    def edit(
        self, films: np.ndarray, prompts: Sequence[Sequence[str]], change: np.ndarray, keep: np.ndarray,
        seeds: Sequence[int],
    ) -> np.ndarray:  # fmt: skip
        """Edit each film in several ways: float ``[B, K, S, S]`` in 0..1.

        ``films`` uint8 ``[B, S, S]``, ``prompts`` K for each film, ``change`` and ``keep`` bool ``[B, K, S, S]``;
        what is in neither mask follows the unconditional model. Kept pixels come out as the VAE draws them: put the
        film's own there (`Sheet.finish`). ``seeds``: one for each film, whose edits do not depend on the other films.
        """
        ways = len(prompts[0])
        noisy, residuals = self._invert(self._encode(films), seeds)
        changed, kept = self._latent_masks(change), self._latent_masks(keep, whole=True)
        empty = self._embed([""])
        wanted = self._embed([prompt for ways_of_film in prompts for prompt in ways_of_film])
        x = noisy[0].repeat_interleave(ways, 0)
        for k, t in enumerate(self.timesteps):
            plain, guided = self._noise(torch.cat([x, x]), t, torch.cat([empty.expand_as(wanted), wanted])).chunk(2)
            noise = plain + changed * self.guidance * (guided - plain)
            x = self._mean(x, noise, k) + residuals[k].repeat_interleave(ways, 0)
            x = torch.where(kept, noisy[k + 1].repeat_interleave(ways, 0), x)
        return self._decode(x).unflatten(0, (-1, ways)).cpu().numpy()

    @torch.inference_mode()
    def redraw(self, films: np.ndarray) -> np.ndarray:
        """Films uint8 ``[B, S, S]`` as the model draws them when nothing is changed: float ``[B, S, S]`` in 0..1."""
        return self._decode(self._encode(films)).cpu().numpy()

    def _invert(self, x0: Tensor, seeds: Sequence[int]) -> tuple[list[Tensor], list[Tensor]]:
        """The film at the noise of every kept step, each drawn anew, and what the model's step misses of the next one.

        Step k leads from ``noisy[k]`` to ``noisy[k + 1]``, the last of which is the film; ``residuals[k]`` is
        sqrt(variance) times the noise map of the paper, and at the last step, where the variance is 0, what is left.
        """
        shape = (len(self.timesteps), *x0.shape[1:])
        draws = [torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
        noise = torch.stack(draws, 1).to(self.device)
        noisy = [a**0.5 * x0 + (1 - a) ** 0.5 * n for a, n in zip(self.alphas[:-1], noise, strict=True)] + [x0]
        empty = self._embed([""]).expand(len(x0), -1, -1)
        noises = (self._noise(noisy[k], t, empty) for k, t in enumerate(self.timesteps))
        return noisy, [noisy[k + 1] - self._mean(noisy[k], predicted, k) for k, predicted in enumerate(noises)]

    def _mean(self, x: Tensor, noise: Tensor, k: int) -> Tensor:
        """The mean of the step from k to k + 1 (DDIM with eta 1)."""
        a, b = self.alphas[k], self.alphas[k + 1]
        variance = (1 - b) / (1 - a) * (1 - a / b)
        x0 = (x - (1 - a) ** 0.5 * noise) / a**0.5
        return b**0.5 * x0 + max(1 - b - variance, 0.0) ** 0.5 * noise

    def _noise(self, x: Tensor, t: int, text: Tensor) -> Tensor:
        with torch.autocast(self.device.type, torch.float16, enabled=self.device.type == "cuda"):
            return self.unet(x, t, encoder_hidden_states=text).sample.float()

    def _embed(self, prompts: list[str]) -> Tensor:
        """Hidden states ``[B, 128, width]``; padding is attended to, as the model was trained."""
        tokens = self.tokenizer(prompts, padding="max_length", max_length=128, truncation=True, return_tensors="pt")
        return self.text_encoder(tokens.input_ids.to(self.device)).last_hidden_state

    def _encode(self, films: np.ndarray) -> Tensor:
        pixels = torch.tensor(films, device=self.device).float() / 127.5 - 1.0
        mode = self.vae.encode(pixels[:, None].expand(-1, self.vae.config["in_channels"], -1, -1)).latent_dist.mode()
        return mode * self.vae.config["scaling_factor"]

    def _decode(self, latents: Tensor) -> Tensor:
        parts = [self.vae.decode(x[None] / self.vae.config["scaling_factor"]).sample.mean(1) for x in latents]
        return (torch.cat(parts) / 2 + 0.5).clamp(0, 1)

    def _latent_masks(self, masks: np.ndarray, whole: bool = False) -> Tensor:
        """Which latents masks ``[B, K, S, S]`` are about, bool ``[B * K, 1, s, s]``: those of any of their pixels (so
        that they change), or only those whose ``whole`` block of pixels is in the mask (so that they are kept)."""
        pixels = torch.from_numpy(masks).to(self.device).flatten(0, 1)[:, None]
        block = 2 ** (len(self.vae.config["block_out_channels"]) - 1)
        return max_pool2d((~pixels).float(), block) == 0 if whole else max_pool2d(pixels.float(), block) > 0


def _outward(box: Box) -> Box:
    """The box grown to whole pixels, so that the smallest lesion covers one."""
    return float(np.floor(box[0])), float(np.floor(box[1])), float(np.ceil(box[2])), float(np.ceil(box[3]))


def _load(part, where: str, **options):
    name, _, revision = where.partition("@")
    try:
        return part.from_pretrained(name, revision=revision or "main", **options)
    except Exception as error:  # each file has a reader that raises what it likes on damage
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise MedgroundError(
            f"{part.__name__} of {where} cannot be loaded ({reason}); check edit.radedit in params.yaml, and for the "
            f"Hub the network, `hf auth login`, and that you accepted the terms on https://huggingface.co/{name}"
        ) from None


def _revision(where: str, file: str) -> str:
    """The commit that a Hub id led to, or the digest of a local folder's weights."""
    name, _, revision = where.partition("@")
    if (folder := (Path(name) / file).parent).is_dir():
        weights = sorted(path for path in folder.iterdir() if path.suffix in (".safetensors", ".bin"))
        return hashlib.sha256(b"".join(path.read_bytes() for path in weights)).hexdigest()[:12]
    cached = try_to_load_from_cache(name, file, revision=revision or "main")
    return Path(str(cached)).relative_to(HF_HUB_CACHE).parts[2]
