"""The interface that every method sees: canvases in, log-probabilities, attentions and answers out."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from transformers import (
    AutoImageProcessor,
    AutoModelForImageTextToText,
    GenerationConfig,
    LogitsProcessor,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from ..errors import MedgroundError
from ..films import drawn
from ..geometry import Letterbox
from .checkpoints import Published
from .head import in_float32
from .sight import Sight
from .verdict import find_verdict

_AGAIN = 8  # slices that went well before a larger one is tried again
_FULL = ("CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED", "HIP out of memory")


@dataclass(frozen=True)
class Text:
    """A prompt, and possibly an answer, as tokens; independent of pixels."""

    input_ids: Tensor  # [1, L]
    image: Tensor  # positions of the image tokens [N], row-major over the grid
    answer: Tensor  # positions of the answer tokens [T]; empty without an answer
    tokens: list[str]  # the answer tokens, decoded one by one
    inputs: dict[str, Tensor] = field(default_factory=dict)  # what else the family's text side needs, for one film

    @property
    def rows(self) -> Tensor:
        """Positions whose logits predict the answer tokens [T]; without an answer the last one, [1]."""
        return self.answer - 1 if len(self.answer) else torch.tensor([self.input_ids.shape[1] - 1]).to(self.answer)


@dataclass(frozen=True)
class Forward:
    """A teacher-forced pass."""

    logits: Tensor  # [B, T, V], row t predicts answer token t
    attentions: tuple[Tensor, ...] = ()  # per decoder layer [B, H, L, L] over query heads, rows sum to 1; where asked


@dataclass(frozen=True)
class Answer:
    """What a model wrote about a film."""

    text: str
    verdict: str  # yes | no | unparsable; as published also both
    margin: float  # log p(Yes) - log p(No), nats, where the verdict is written; at the first token if no word is


class LVLM(ABC):
    """A vision-language checkpoint; weights are frozen, and only canvases carry gradients.

    A canvas is the film as the model sees it: gray in [0, 1] before normalisation, black = 0. A subclass knows how a
    family turns it into pixel values and where its image tokens stand. It must give `letterbox` and `grid`; the rest
    below has defaults that fit a decoder with one placeholder token for each place of the image, and may be overridden.
    ``docs/how-to/model.md`` shows how, and `medground.testing.check_lvlm` checks the result.
    """

    #: What the family is called, and the ``model_type`` of the checkpoints it loads (by default the same word).
    family: str
    model_types: tuple[str, ...] = ()
    #: The family's checkpoints on the Hub by the key that params.yaml uses.
    published: ClassVar[Mapping[str, Published]] = {}
    #: Modules that the family imports beyond those of the extra ``run``.
    requires: tuple[str, ...] = ()
    #: What loads weights and image processor; anything with ``from_pretrained``.
    model_class: Any = AutoModelForImageTextToText
    image_processor_class: Any = AutoImageProcessor
    #: Whether image tokens attend to later image tokens.
    image_sees_itself = False
    #: Pixels of a film that the model sees at most; 0: as many as its canvas takes.
    most_pixels = 0

    def __init__(
        self,
        key: str,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        image_processor: Any,
        revision: str,
    ):
        self.key, self.revision = key, revision
        self.model = in_float32(model.eval().requires_grad_(False))
        self.tokenizer = tokenizer
        self._resample = Image.Resampling(getattr(image_processor, "resample", Image.Resampling.BICUBIC))
        self.batch_size = 64 if self.device.type == "cuda" else 16  # at most; see `chunked`
        self.fits: int | None = None  # less than that, where memory ran out
        self._went_well = 0
        self._sight = Sight(self._look)
        self._mean = torch.tensor(image_processor.image_mean, device=self.device).view(3, 1, 1)
        self._std = torch.tensor(image_processor.image_std, device=self.device).view(3, 1, 1)

    # What a family must say

    @abstractmethod
    def letterbox(self, width: int, height: int) -> Letterbox:
        """The map between a native film of this size, in pixels, and the model's canvas.

        ``width, height`` are the film's.
        """

    @abstractmethod
    def grid(self, width: int, height: int) -> tuple[int, int]:
        """Image tokens of a film of this size: (rows, columns). The grid covers ``letterbox(...).extent``.

        ``width, height`` are those of the native film, in pixels.
        """

    # What a family may say

    @classmethod
    def handles(cls, config: Mapping[str, Any]) -> bool:
        """Whether the family loads a checkpoint with this ``config.json``."""
        return config.get("model_type") in (cls.model_types or (cls.family,))

    def pixel_inputs(self, canvas: Tensor) -> dict[str, Tensor]:
        """Canvases ``[B, h, w]`` as the model's pixel arguments, differentiably; dim 0 concatenates over films.

        By default ``pixel_values`` ``[B, 3, h, w]``, normalised.
        """
        return {"pixel_values": self.normalised(canvas)}

    def chat(self, prompt: str, image_tokens: int) -> str:
        """The chat-formatted prompt with ``image_tokens`` placeholders written out.

        By default the checkpoint's chat template, its one placeholder repeated.
        """
        placeholder = str(self.tokenizer.convert_ids_to_tokens(self.image_token_id))
        return self.templated(prompt).replace(placeholder, placeholder * image_tokens, 1)

    def prompt_ids(self, prompt: str, image_tokens: int) -> list[int]:
        """The token ids of a prompt, placeholders of the image included; by default those of `chat`.

        ``image_tokens`` says how many placeholders there are.
        """
        return self.tokenizer(self.chat(prompt, image_tokens), add_special_tokens=False).input_ids

    def text_inputs(self, input_ids: Tensor, width: int, height: int) -> dict[str, Tensor]:
        """Further arguments of a forward pass over one text ``[1, L]`` about a film of this size; by default none.

        ``input_ids`` are its tokens, ``width, height`` the film's size in native pixels.
        """
        return {}

    def expand(self, inputs: dict[str, Tensor], films: int) -> dict[str, Tensor]:
        """`Text.inputs` of one film, repeated for a batch of films; by default along dim 0."""
        return {name: value.expand(films, *value.shape[1:]) for name, value in inputs.items()}

    def generation_inputs(self, is_image: Tensor) -> dict[str, Tensor]:
        """Further arguments of ``generate``, given the mask ``[B, L]`` of image tokens; by default none.

        ``is_image`` is bool.
        """
        return {}

    @property
    def image_token_id(self) -> int:
        """The id of the placeholder that stands for one place of the image."""
        return self.model.config.image_token_id

    @property
    def layers(self) -> list[nn.Module]:
        """The decoder layers, first to last."""
        return list(self.model.model.language_model.layers)

    # What all share

    @property
    def device(self) -> torch.device:
        """Where the weights are, and everything that is computed."""
        return self.model.device

    @property
    def dtype(self) -> torch.dtype:
        """The type of the weights."""
        return self.model.dtype

    def canvas(self, films: Sequence[np.ndarray], protocol: str = "medground") -> Tensor:
        """Films uint8 ``[H, W]``, all of one size, as canvases float32 ``[B, h, w]`` in [0, 1] on the device.

        A film that would cover more than `most_pixels` of the canvas is made that small first, and then enlarged: a
        model whose canvas cannot shrink sees no more detail than one whose canvas can. Under ``published`` films are
        resized as the checkpoint's own image processor does it: with its filter, and onto Gemma's square without regard
        to the film's shape.
        ``protocol`` decides how large ones are drawn.
        """
        return self._gray([self._image(film, protocol) for film in films])

    def _gray(self, images: Sequence[np.ndarray]) -> Tensor:
        return torch.from_numpy(np.stack(images)).to(self.device).float() / 255

    def _image(self, film: np.ndarray, protocol: str) -> np.ndarray:
        """A film uint8 ``[H, W]`` as the canvas shows it, uint8 ``[h, w]``; of a film that is held, the same one."""
        letterbox = self.letterbox(*film.shape[::-1])
        if protocol == "published":
            size = letterbox.width, letterbox.height
            return drawn(film, lambda film: _resized(film, size, self._resample), (size, self._resample))
        return drawn(film, lambda film: self._drawn(film, letterbox), (letterbox, self.most_pixels))

    def _drawn(self, film: np.ndarray, letterbox: Letterbox) -> np.ndarray:
        height, width = film.shape
        covered = width * letterbox.scale_x * height * letterbox.scale_y
        if 0 < self.most_pixels < min(covered, width * height):
            shrink = (self.most_pixels / (width * height)) ** 0.5
            size = max(1, int(width * shrink)), max(1, int(height * shrink))
            small = Image.fromarray(film).resize(size, Image.Resampling.BICUBIC)
            film = np.asarray(small.resize((width, height), Image.Resampling.BICUBIC))
        return letterbox.apply(film)

    def text(self, prompt: str, answer: str | None, width: int, height: int, protocol: str = "medground") -> Text:
        """Tokenise a prompt about a film of this native size, and the answer that is to be attributed.

        The answer is tokenised by itself, as a model writes it, and without the token that ends a turn. Under
        ``published`` the chat with the answer is tokenised as a whole, and what ends the turn belongs to the answer.
        ``width, height`` are in pixels; under the ``protocol`` published, tokens are those of the paper's code.
        """
        image_tokens = self._image_tokens(width, height)
        prompt_ids = self.prompt_ids(prompt, image_tokens)
        if answer and protocol == "published":
            chat = self.chat(prompt, image_tokens) + self._turn(prompt, answer)
            answer_ids = self.tokenizer(chat, add_special_tokens=False).input_ids[len(prompt_ids) :]
        else:
            answer_ids = self.tokenizer(answer, add_special_tokens=False).input_ids if answer else []
        input_ids = torch.tensor([[*prompt_ids, *answer_ids]], device=self.device)
        return Text(
            input_ids=input_ids,
            image=(input_ids[0] == self.image_token_id).nonzero()[:, 0],
            answer=torch.arange(len(prompt_ids), input_ids.shape[1], device=self.device),
            tokens=[str(self.tokenizer.decode([token])) for token in answer_ids],
            inputs=self.text_inputs(input_ids, width, height),
        )

    def forward(self, canvas: Tensor, text: Text, *, attentions: bool = False) -> Forward:
        """Teacher-force ``text`` on canvases ``[B, h, w]``; differentiable with respect to the canvas.

        ``attentions`` runs the decoder with eager attention and returns every layer's weights.
        """
        return self.run(self.pixel_inputs(canvas), text, films=len(canvas), attentions=attentions)

    def run(self, pixels: dict[str, Any], text: Text, *, films: int = 1, attentions: bool = False) -> Forward:
        """`forward` on the model's own pixel arguments of that many films; differentiable with respect to them.

        ``pixels`` are what `pixel_inputs` gives, or what `looked_at` makes of it; ``text`` is about each of the films;
        ``attentions`` asks for them, too.
        """
        arguments = dict(
            input_ids=text.input_ids.expand(films, -1),
            logits_to_keep=text.rows,
            use_cache=False,
            **self.expand(text.inputs, films),
        )
        if not attentions:
            return Forward(self.model(**arguments, **pixels).logits)
        # the vision tower by itself: its sdpa would warn that it has no weights to return, which nobody asked it for
        seen = self.looked_at(pixels)
        with self.eager():
            output = self.model(**arguments, **seen, output_attentions=True)
        return Forward(output.logits, output.attentions or ())

    def looked_at(self, pixels: dict[str, Any]) -> dict[str, Any]:
        """``pixels`` for `run` with what the vision tower makes of them, so that it need not look again; themselves,
        where a model takes nothing else."""
        if "mm_encoder_outputs" in pixels or not self._takes_features:
            return pixels
        shapes = {name: value for name, value in pixels.items() if name != "pixel_values"}  # positions depend on them
        return {"mm_encoder_outputs": {"image": self._look([pixels])}, **shapes}

    def log_probs(self, canvas: Tensor, text: Text) -> Tensor:
        """Log-probability of each answer token on each canvas ``[B, h, w]``: float32 ``[B, T]``, nats, no gradient.

        The tokens are those of the answer in ``text``.
        """
        return self.log_probs_each(canvas, [text])[0]

    def log_probs_each(self, canvas: Tensor, texts: Sequence[Text]) -> list[Tensor]:
        """`log_probs` for each of several texts about the same canvases, at which the vision tower looks once."""

        def chunk(canvas: Tensor) -> list[tuple[Tensor, ...]]:
            pixels = self.pixel_inputs(canvas)
            if len(texts) > 1:
                pixels = self.looked_at(pixels)
            return list(zip(*(self._log_probs(pixels, text, len(canvas)) for text in texts), strict=True))

        with torch.inference_mode():
            rows = [row for done in self.chunked(chunk, canvas) for row in done]
        return [torch.stack(of_text) for of_text in zip(*rows, strict=True)]

    def _log_probs(self, pixels: dict[str, Any], text: Text, films: int) -> Tensor:
        logits = self.run(pixels, text, films=films).logits.float()
        targets = text.input_ids[0, text.answer]
        return logits.log_softmax(-1).gather(-1, targets.expand(films, -1)[..., None])[..., 0]

    def answer(
        self,
        films: Sequence[np.ndarray],
        prompts: Sequence[str],
        *,
        max_new_tokens: int = 256,
        batch_size: int | None = None,
        protocol: str = "medground",
    ) -> list[Answer]:
        """Greedy answers to one prompt per film (uint8 ``[H, W]``, of any sizes), in order.

        Greedy means that the likeliest token is written, whatever the checkpoint's generation settings say. Under
        ``published`` these stay as they are (Qwen's repetition penalty bends margins and answers), films are resized as
        `canvas` says, and verdicts are read by the paper's rule.
        ``films`` may be read when they are looked at; ``prompts`` are one for each; an answer ends after
        ``max_new_tokens`` at the latest; ``batch_size`` films are asked at a time, fewer where memory is short;
        ``protocol`` decides how films are drawn and verdicts are read.
        """
        if len(films) != len(prompts):
            raise ValueError(f"{len(films)} films and {len(prompts)} prompts")

        def batch(some: Sequence[int]) -> list[Answer]:
            return self._answer_batch([(films[n], prompts[n]) for n in some], max_new_tokens, protocol)

        with torch.inference_mode():
            return [answer for done in self.chunked(batch, range(len(films)), batch_size) for answer in done]

    def looking_once(self) -> AbstractContextManager[None]:
        """Within this, `answer` shows the vision tower each film once, however often and in whichever mode it is asked
        about. For films of `medground.films`, which gives the same one the same object; weights must not change."""
        return self._sight.remembered()

    @contextmanager
    def eager(self) -> Iterator[None]:
        """Run the decoder with attention that returns its weights, masks included; undone on leaving, whatever
        happens. The vision tower keeps its own."""
        config = self.model.config.get_text_config()
        before = config._attn_implementation
        config._attn_implementation = "eager"
        try:
            yield
        finally:
            config._attn_implementation = before

    def chunked(self, work, items, size: int | None = None) -> Iterator:
        """``work(slice)``, one result per item, over slices of ``items`` that fit the accelerator's memory.

        ``size`` is the most, `batch_size` if it is not given. What runs out of memory is halved, here and in later
        calls, and doubled again after `_AGAIN` slices that went well. Raises MedgroundError where an item does not fit
        by itself.
        """
        start, most = 0, size or self.batch_size
        while start < len(items):
            some = items[start : start + min(most, self.fits or most)]
            try:
                done = work(some)
            except RuntimeError as error:
                if not _no_room(error):
                    raise
                reason = str(error).partition("\n")[0]
            else:
                start += len(done)
                self._grow(most)
                yield done
                continue
            torch.cuda.empty_cache()  # only here, where the error holds no tensors any more
            if len(some) == 1:
                raise MedgroundError(
                    f"{self.key} has no room on {self.device} for one film and its text ({reason}); a smaller "
                    "canvas.most_pixels or answer.max_new_tokens in params.yaml, or a device with more memory helps"
                )
            self.fits, self._went_well = len(some) // 2, 0

    def _grow(self, most: int) -> None:
        """Count a slice that went well; in time, allow larger ones."""
        self._went_well += 1
        if self.fits is not None and self._went_well >= _AGAIN:
            self.fits, self._went_well = (2 * self.fits if 2 * self.fits < most else None), 0

    def _answer_batch(self, batch: list[tuple[np.ndarray, str]], max_new_tokens: int, protocol: str) -> list[Answer]:
        ids = [self.prompt_ids(prompt, self._image_tokens(*film.shape[::-1])) for film, prompt in batch]
        length = max(map(len, ids))
        pad = self.tokenizer.pad_token_id
        input_ids = torch.tensor([[pad] * (length - len(row)) + row for row in ids], device=self.device)
        mask = torch.tensor([[0] * (length - len(row)) + [1] * len(row) for row in ids], device=self.device)
        recorder = _Margins(self._yes_no)
        with self._generation(protocol):
            written = cast(Callable[..., Tensor], self.model.generate)(
                input_ids=input_ids,
                attention_mask=mask,
                max_new_tokens=max_new_tokens,
                do_sample=False,
                pad_token_id=pad,
                logits_processor=[recorder],
                **self._shown([film for film, _ in batch], protocol),
                **self.generation_inputs(input_ids == self.image_token_id),
            )[:, length:]
        margins = torch.stack(recorder.margins, 1).tolist()
        return [self._read(tokens, row, protocol) for tokens, row in zip(written.tolist(), margins, strict=True)]

    @contextmanager
    def _generation(self, protocol: str) -> Iterator[None]:
        """Generation with nothing of the checkpoint's settings but the tokens that end a turn; as published, with all.

        ``generate`` fills whatever it is not told from the model's own settings, so that these are put aside.
        """
        own = self.model.generation_config
        if protocol != "published":
            self.model.generation_config = GenerationConfig(
                bos_token_id=own.bos_token_id, eos_token_id=own.eos_token_id, pad_token_id=own.pad_token_id
            )
        try:
            yield
        finally:
            self.model.generation_config = own

    def _read(self, tokens: list[int], margins: list[float], protocol: str = "medground") -> Answer:
        text = self._decoded(tokens)
        verdict, start = find_verdict(text, protocol)
        position = 0
        if start >= 0:  # the first token with which the decoded text reaches into the verdict's word
            position = next(
                k for k in range(len(tokens)) if len(self._decoded(tokens[: k + 1])) > start or k + 1 == len(tokens)
            )
        return Answer(text, verdict, margins[position])

    def _decoded(self, tokens: list[int]) -> str:
        return str(self.tokenizer.decode(tokens, skip_special_tokens=True))

    def _shown(self, films: list[np.ndarray], protocol: str) -> dict[str, Any]:
        """What ``generate`` is told of films: what the vision tower makes of them, or their pixels where a model takes
        nothing else."""
        images = [self._image(film, protocol) for film in films]
        pixels = [self.pixel_inputs(self._gray([image])) for image in images]
        if not self._takes_features:
            return _joined(pixels, pixels[0])
        shapes = _joined(pixels, pixels[0].keys() - {"pixel_values"})  # positions depend on them
        return {"mm_encoder_outputs": {"image": self._sight(images, pixels)}, **shapes}

    def _look(self, pixels: Sequence[dict[str, Tensor]]) -> Any:
        return self.model.model.get_image_features(**_joined(pixels, pixels[0]), return_dict=True)

    @cached_property
    def _takes_features(self) -> bool:
        return "mm_encoder_outputs" in inspect.signature(self.model.forward).parameters

    def _image_tokens(self, width: int, height: int) -> int:
        rows, columns = self.grid(width, height)
        return rows * columns

    def templated(self, prompt: str) -> str:
        """The checkpoint's chat template around a film and a prompt, up to where the model answers."""
        return self._templated([self._asked(prompt)], add_generation_prompt=True)

    def _turn(self, prompt: str, answer: str) -> str:
        """What the template makes of an answer behind `templated`: the answer and what ends the turn."""
        said = {"role": "assistant", "content": [{"type": "text", "text": answer}]}
        before, whole = self.templated(prompt), self._templated([self._asked(prompt), said])
        if not whole.startswith(before):
            raise MedgroundError(f"the chat template of {self.key} changes a prompt that was answered")
        return whole[len(before) :]

    def _templated(self, turns: list[dict], add_generation_prompt: bool = False) -> str:
        return str(
            self.tokenizer.apply_chat_template(turns, add_generation_prompt=add_generation_prompt, tokenize=False)
        )

    @staticmethod
    def _asked(prompt: str) -> dict:
        return {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": prompt}]}

    @cached_property
    def _yes_no(self) -> tuple[Tensor, Tensor]:
        """Ids of the first tokens of "yes" and of "no", in any case, with and without a space before."""

        def first_tokens(word: str) -> set[int]:
            variants = [space + form for space in ("", " ") for form in (word, word.capitalize(), word.upper())]
            return {self.tokenizer(variant, add_special_tokens=False).input_ids[0] for variant in variants}

        yes, no = first_tokens("yes"), first_tokens("no")
        return torch.tensor(sorted(yes - no), device=self.device), torch.tensor(sorted(no - yes), device=self.device)

    def normalised(self, canvas: Tensor) -> Tensor:
        """Canvases ``[B, h, w]`` with the image processor's mean and deviation: ``[B, 3, h, w]``."""
        return (canvas[:, None] - self._mean) / self._std


def _resized(film: np.ndarray, size: tuple[int, int], resample: Image.Resampling) -> np.ndarray:
    return np.asarray(Image.fromarray(film).resize(size, resample))


def _joined(inputs: Sequence[dict[str, Tensor]], names: Iterable[str]) -> dict[str, Tensor]:
    """The arguments of these names, of one film each, as those of all films."""
    return {name: torch.cat([of_film[name] for of_film in inputs]) for name in names}


def _no_room(error: RuntimeError) -> bool:
    """Whether an error says that the device's memory is full: PyTorch's own, or that of a library of CUDA's."""
    return isinstance(error, torch.OutOfMemoryError) or any(sign in str(error) for sign in _FULL)


class _Margins(LogitsProcessor):
    """Keeps log p(Yes) - log p(No) of every written token; changes nothing."""

    def __init__(self, yes_no: tuple[Tensor, Tensor]):
        self.yes, self.no = yes_no
        self.margins: list[Tensor] = []

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        scores = scores.float()
        self.margins.append(scores[:, self.yes].logsumexp(-1) - scores[:, self.no].logsumexp(-1))
        return scores
