"""Is a model family what every method takes it for? The checks that our own families pass."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..lvlm import LVLM, prompts
from .checks import holds, run

Inputs = Callable[[np.ndarray, str], Mapping[str, Tensor]]
SIZES = ((352, 416), (300, 171), (97, 255))  # width, height: portrait, landscape, small
QUESTION = prompts.prompt(prompts.question("pneumothorax"), "direct")
LONGER = prompts.prompt(prompts.question("left pleural effusion"), "reasoning")
ANSWER = "The left angle is sharp. No."
_EXACT = 5e-5  # nats: what the order of float32 sums may change
_SMALL = 100_000_000  # parameters, up to which a model is put into double precision to check its gradient


def check_lvlm(lvlm: LVLM, *, processor: Any = None, inputs: Inputs | None = None) -> None:
    """Check a loaded model of any family. Meant for a small one with random weights; takes seconds on a CPU.

    What is checked: canvas, grid and extent agree for films of several shapes; each place of the grid is the place of
    the film that it says; tokens of prompt and answer; the same call twice gives the same bits; a film alone answers
    as in a batch, whatever the batch's size and whatever is padded on the left or follows on the right; margins equal
    those of a teacher-forced pass; attentions are rows that sum to one, respect causality and leave the logits alone;
    the gradient is that of finite differences; everything stays on the model's device.

    ``processor`` is the checkpoint's own processor of transformers, or ``inputs`` a function that makes the model's
    inputs for a film (uint8 ``[H, W]``) and a prompt with transformers alone; with either, ids, pixels and
    log-probabilities are compared with the plain forward pass. Raises AssertionError that lists all that is wrong.
    ``lvlm`` is the loaded model.
    """
    films = _films(SIZES[0])
    checks: dict[str, Callable[[], None]] = {
        "geometry": partial(_geometry, lvlm),
        "places": partial(_places, lvlm),
        "text": partial(_text, lvlm),
        "devices": partial(_devices, lvlm, films),
        "determinism": partial(_determinism, lvlm, films),
        "batches": partial(_batches, lvlm, films),
        "left padding": partial(_left_padding, lvlm, films),
        "right padding": partial(_right_padding, lvlm, films),
        "margins": partial(_margins, lvlm, films),
        "attentions": partial(_attentions, lvlm, films),
        "gradient": partial(_gradient, lvlm, films),
    }
    if inputs is None and processor is not None:
        inputs = partial(_processed, lvlm, processor)
    if inputs is not None:
        checks["processor"] = partial(_processor, lvlm, films, inputs)
    run(f"the family {lvlm.family!r}", checks)


def _films(size: tuple[int, int]) -> list[np.ndarray]:
    """Three films that differ, uint8 ``[H, W]``."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[: size[1], : size[0]]
    waves = [128 + 90 * np.sin(columns / (17 + 9 * k)) * np.cos(rows / (23 + 5 * k)) for k in range(3)]
    return [np.clip(wave + rng.normal(0, 12, wave.shape), 0, 255).astype(np.uint8) for wave in waves]


def _geometry(lvlm: LVLM) -> None:
    for width, height in SIZES:
        letterbox, (rows, columns) = lvlm.letterbox(width, height), lvlm.grid(width, height)
        canvas = lvlm.canvas([np.zeros((height, width), np.uint8), np.full((height, width), 255, np.uint8)])
        here = f"a film of {width} x {height}"
        holds(
            tuple(canvas.shape) == (2, letterbox.height, letterbox.width),
            f"{here} has a canvas {tuple(canvas.shape[1:])}, its letterbox {letterbox.height} x {letterbox.width}",
        )
        holds(bool(canvas[0].max() == 0), f"{here}: a black film has a canvas that is not black")
        x1, y1, x2, y2 = (round(edge) for edge in letterbox.to_canvas((0, 0, width, height)))
        holds(bool((canvas[1, y1:y2, x1:x2] == 1).all()), f"{here}: a white film is not white where the letterbox says")
        tokens = len(lvlm.text(QUESTION, None, width, height).image)
        holds(
            tokens == rows * columns, f"{here}: the grid has {rows} x {columns} places, the text {tokens} image tokens"
        )


def _places(lvlm: LVLM) -> None:
    """What changes on the canvas moves the state of its own place of the grid more than any other's."""
    for width, height in SIZES:
        letterbox, (rows, columns) = lvlm.letterbox(width, height), lvlm.grid(width, height)
        text = lvlm.text(QUESTION, None, width, height)
        noise = torch.rand((8, letterbox.height, letterbox.width), generator=torch.Generator().manual_seed(0))
        before, other = (half.to(lvlm.device) for half in noise.split(4))
        for row, column in ((0, 0), (rows - 1, 0), (rows // 2, columns - 1)):
            after = before.clone()
            top, left = row * letterbox.height // rows, column * letterbox.width // columns
            bottom, right = (row + 1) * letterbox.height // rows, (column + 1) * letterbox.width // columns
            after[:, top:bottom, left:right] = other[:, top:bottom, left:right]
            moved = (_embedded(lvlm, after, text) - _embedded(lvlm, before, text))[:, text.image].float()
            found = divmod(int(moved.norm(dim=-1).mean(0).argmax()), columns)
            holds(
                found == (row, column),
                f"a film of {width} x {height}: a change at row {row}, column {column} of the grid is seen at {found}",
            )


def _embedded(lvlm: LVLM, canvas: Tensor, text: Any) -> Tensor:
    """What enters the first decoder layer ``[B, L, D]``."""
    seen: list[Tensor] = []

    def keep(module: Any, args: tuple, kwargs: dict) -> None:
        seen.append(args[0] if args else kwargs["hidden_states"])

    handle = lvlm.layers[0].register_forward_pre_hook(keep, with_kwargs=True)
    try:
        with torch.no_grad():
            lvlm.forward(canvas, text)
    finally:
        handle.remove()
    return seen[0]


def _text(lvlm: LVLM) -> None:
    width, height = SIZES[0]
    asked, answered = lvlm.text(QUESTION, None, width, height), lvlm.text(QUESTION, ANSWER, width, height)
    length = asked.input_ids.shape[1]
    holds(not asked.tokens and asked.rows.tolist() == [length - 1], "without an answer the last row predicts")
    holds(
        answered.input_ids[0, :length].tolist() == asked.input_ids[0].tolist(), "an answer changes the prompt's tokens"
    )
    holds("".join(answered.tokens) == ANSWER, f"the answer {ANSWER!r} is tokenised as {answered.tokens}")
    holds(answered.answer.tolist() == list(range(length, answered.input_ids.shape[1])), "the answer is misplaced")
    holds(answered.rows.tolist() == [position - 1 for position in answered.answer.tolist()], "a row predicts the next")
    written = lvlm.tokenizer.decode(asked.input_ids[0])
    holds(QUESTION in written, f"the question is not in the prompt: {written!r}")


def _devices(lvlm: LVLM, films: Sequence[np.ndarray]) -> None:
    text, canvas = lvlm.text(QUESTION, ANSWER, *SIZES[0]), lvlm.canvas(films)
    tensors = {
        "canvas": canvas,
        "input_ids": text.input_ids,
        "image": text.image,
        "answer": text.answer,
        **{f"text_inputs {name}": value for name, value in text.inputs.items()},
        **{f"pixel_inputs {name}": value for name, value in lvlm.pixel_inputs(canvas).items()},
        **{f"expand {name}": value for name, value in lvlm.expand(text.inputs, 2).items()},
        **{f"generation_inputs {name}": v for name, v in lvlm.generation_inputs(text.input_ids == 0).items()},
    }
    strangers = [name for name, value in tensors.items() if value.device != lvlm.device]
    holds(not strangers, f"{', '.join(strangers)} not on the model's device {lvlm.device}")
    trained = [name for name, parameter in lvlm.model.named_parameters() if parameter.requires_grad]
    holds(not trained, f"weights are not frozen: {', '.join(trained[:3])}")


def _determinism(lvlm: LVLM, films: Sequence[np.ndarray]) -> None:
    text, canvas = lvlm.text(QUESTION, ANSWER, *SIZES[0]), lvlm.canvas(films)
    first, second = lvlm.log_probs(canvas, text), lvlm.log_probs(canvas, text)
    holds(torch.equal(first, second), "the same call twice gives other log-probabilities")
    holds(bool(torch.isfinite(first).all()), "log-probabilities are not finite")
    holds(
        not torch.allclose(first[0], first[1], atol=1e-4),
        "the films do not matter",
    )
    answers = [lvlm.answer(films[:1], [QUESTION], max_new_tokens=4) for _ in range(2)]
    holds(answers[0] == answers[1], f"one question has two answers: {answers[0][0].text!r}, {answers[1][0].text!r}")


def _batches(lvlm: LVLM, films: Sequence[np.ndarray]) -> None:
    text, canvas = lvlm.text(QUESTION, ANSWER, *SIZES[0]), lvlm.canvas(films)
    alone = torch.cat([lvlm.log_probs(canvas[k : k + 1], text) for k in range(len(films))])
    _close(lvlm.log_probs(canvas, text), alone, "log-probabilities of a film change with its batch")
    before, lvlm.batch_size = lvlm.batch_size, 2
    try:
        _close(lvlm.log_probs(canvas, text), alone, "log-probabilities change with the batch size")
    finally:
        lvlm.batch_size = before


def _left_padding(lvlm: LVLM, films: Sequence[np.ndarray]) -> None:
    mixed, asked = [films[0], films[1][:200], films[2]], [QUESTION, LONGER, "?"]
    together = lvlm.answer(mixed, asked, max_new_tokens=5)
    for film, prompt, answer in zip(mixed, asked, together, strict=True):
        (alone,) = lvlm.answer([film], [prompt], max_new_tokens=5)
        holds(alone.text == answer.text, f"{prompt!r} is answered {alone.text!r} alone, {answer.text!r} in a batch")
        holds(
            abs(alone.margin - answer.margin) < 1e-3,
            f"{prompt!r} has the margin {alone.margin} alone, {answer.margin} in a batch",
        )


def _right_padding(lvlm: LVLM, films: Sequence[np.ndarray]) -> None:
    canvas = lvlm.canvas(films[:1])
    short, long = (lvlm.text(QUESTION, answer, *SIZES[0]) for answer in (ANSWER, f"{ANSWER} No. No."))
    tokens = len(short.answer)
    holds(long.input_ids[0, : short.input_ids.shape[1]].tolist() == short.input_ids[0].tolist(), "no common start")
    with torch.inference_mode():
        rows = lvlm.forward(canvas, long).logits[:, :tokens], lvlm.forward(canvas, short).logits
    within, alone = (row.float().log_softmax(-1) for row in rows)
    _close(within, alone, "what follows an answer changes its probability")


def _margins(lvlm: LVLM, films: Sequence[np.ndarray]) -> None:
    ids = {word: {_first(lvlm, space + form) for space in ("", " ") for form in (word, word.upper(), word.capitalize())}
           for word in ("yes", "no")}  # fmt: skip
    yes, no = (torch.tensor(sorted(ids[a] - ids[b]), device=lvlm.device) for a, b in (("yes", "no"), ("no", "yes")))
    holds(len(yes) > 0 and len(no) > 0, "the tokenizer begins yes and no with the same tokens")
    for film in films:
        (answer,) = lvlm.answer([film], [QUESTION], max_new_tokens=1)
        with torch.inference_mode():
            logits = lvlm.forward(lvlm.canvas([film]), lvlm.text(QUESTION, None, *SIZES[0])).logits[0, -1].float()
        expected = (logits[yes].logsumexp(-1) - logits[no].logsumexp(-1)).item()
        holds(
            abs(answer.margin - expected) < 1e-3,
            f"the margin of an answer is {answer.margin}, of a teacher-forced pass {expected}",
        )


def _first(lvlm: LVLM, word: str) -> int:
    return lvlm.tokenizer(word, add_special_tokens=False).input_ids[0]


def _attentions(lvlm: LVLM, films: Sequence[np.ndarray]) -> None:
    text, canvas = lvlm.text(QUESTION, ANSWER, *SIZES[0]), lvlm.canvas(films[:2])
    with torch.no_grad():
        seen, plain = lvlm.forward(canvas, text, attentions=True), lvlm.forward(canvas, text)
    holds(not plain.attentions, "attentions are returned though nobody asked")
    holds(len(seen.attentions) == len(lvlm.layers), f"{len(lvlm.layers)} layers, {len(seen.attentions)} attentions")
    length = text.input_ids.shape[1]
    heads = lvlm.model.config.get_text_config().num_attention_heads
    ahead = torch.ones(length, length, dtype=torch.bool, device=lvlm.device).triu(1)
    is_image = torch.zeros(length, dtype=torch.bool, device=lvlm.device)
    is_image[text.image] = True
    inside = is_image[:, None] & is_image[None]
    for number, weights in enumerate(seen.attentions):
        here = f"layer {number}"
        holds(tuple(weights.shape) == (2, heads, length, length), f"{here}: attention of shape {tuple(weights.shape)}")
        _close(weights.sum(-1), torch.ones_like(weights[..., 0]), f"{here}: rows do not sum to one", 1e-3)
        holds(bool((weights[..., ahead & ~inside] == 0).all()), f"{here}: tokens attend to what comes after them")
        looks = bool((weights[..., ahead & inside] > 0).any())
        holds(
            looks == lvlm.image_sees_itself,
            f"{here}: image tokens attend to later ones: {looks}; image_sees_itself says {lvlm.image_sees_itself}",
        )
    _close(seen.logits, plain.logits, "logits change when attentions are asked for")


def _gradient(lvlm: LVLM, films: Sequence[np.ndarray]) -> None:
    text = lvlm.text(QUESTION, ANSWER, *SIZES[0])
    if sum(parameter.numel() for parameter in lvlm.model.parameters()) > _SMALL:
        canvas = lvlm.canvas(films[:1]).requires_grad_(True)
        (gradient,) = torch.autograd.grad(_log_likelihood(lvlm, canvas, text), canvas)
        holds(bool(torch.isfinite(gradient).all()) and bool(gradient.any()), "the gradient is zero or not finite")
        return
    with _double(lvlm):
        canvas = lvlm.canvas(films[:1]).double() * 0.8 + 0.1
        direction = torch.randn(canvas.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        direction = direction.to(canvas.device)
        canvas.requires_grad_(True)
        (gradient,) = torch.autograd.grad(_log_likelihood(lvlm, canvas, text), canvas)
        step = 5e-4  # norms compute in single precision whatever the model's type
        with torch.no_grad():
            ends = (_log_likelihood(lvlm, canvas + sign * step * direction, text) for sign in (1, -1))
            slope = (next(ends) - next(ends)) / (2 * step)
        along = (gradient * direction).sum()
    holds(bool(slope.abs() > 1e-6), "the answer does not depend on the pixels")
    holds(
        bool((along - slope).abs() <= 0.02 * slope.abs() + 1e-6),
        f"the gradient says {along.item():.6g} along a direction, finite differences {slope.item():.6g}",
    )


def _log_likelihood(lvlm: LVLM, canvas: Tensor, text: Any) -> Tensor:
    logits = lvlm.forward(canvas, text).logits.log_softmax(-1)
    return logits.gather(-1, text.input_ids[0, text.answer][None, :, None]).sum()


@contextmanager
def _double(lvlm: LVLM):
    kind, model = lvlm.dtype, cast(torch.nn.Module, lvlm.model)
    model.double()
    before, lvlm._mean, lvlm._std = (lvlm._mean, lvlm._std), lvlm._mean.double(), lvlm._std.double()
    try:
        yield
    finally:
        model.to(kind)
        lvlm._mean, lvlm._std = before


def _processor(lvlm: LVLM, films: Sequence[np.ndarray], inputs: Inputs) -> None:
    for width, height in SIZES:
        film = _films((width, height))[0]
        expected, got = inputs(film, QUESTION), lvlm.pixel_inputs(lvlm.canvas([film]))
        _close(got["pixel_values"], expected["pixel_values"].float(), f"pixels of a film of {width} x {height}", 2e-6)
    film, (width, height) = films[0], SIZES[0]
    expected = dict(inputs(film, LONGER))
    ids = expected["input_ids"]
    text = lvlm.text(LONGER, None, width, height)
    holds(
        text.input_ids.tolist() == ids.tolist(),
        f"the processor writes {lvlm.tokenizer.decode(ids[0])!r}, the family "
        f"{lvlm.tokenizer.decode(text.input_ids[0])!r}",
    )
    answer = torch.tensor([lvlm.tokenizer(ANSWER, add_special_tokens=False).input_ids], device=ids.device)
    for name, value in list(expected.items()):
        if name.endswith("token_type_ids"):
            expected[name] = torch.cat([value, torch.zeros_like(answer, dtype=value.dtype)], 1)
    expected.pop("attention_mask", None)
    expected["input_ids"] = torch.cat([ids, answer], 1)
    with torch.no_grad():
        logits = lvlm.model(**{k: v.to(lvlm.device) for k, v in expected.items()}).logits[0, ids.shape[1] - 1 : -1]
    plain = logits.float().log_softmax(-1).gather(-1, answer.T.to(lvlm.device))[:, 0]
    row = lvlm.log_probs(lvlm.canvas([film]), lvlm.text(LONGER, ANSWER, width, height))[0]
    _close(row, plain, "log-probabilities differ from those of the plain forward pass")


def _processed(lvlm: LVLM, processor: Any, film: np.ndarray, prompt: str) -> Mapping[str, Tensor]:
    """What a processor of transformers makes of the film, drawn on its canvas as the family draws it."""
    drawn = lvlm.letterbox(*film.shape[::-1]).apply(film)
    message = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": prompt}]}]
    text = processor.apply_chat_template(message, add_generation_prompt=True, tokenize=False)
    picture = Image.fromarray(drawn).convert("RGB")
    return dict(processor(images=picture, text=text, add_special_tokens=False, return_tensors="pt"))


def _close(got: Tensor, expected: Tensor, reason: str, most: float = _EXACT) -> None:
    holds(got.shape == expected.shape, f"{reason}: shapes {tuple(got.shape)} and {tuple(expected.shape)}")
    off = (got.float() - expected.float()).abs().max().item()
    holds(off <= most, f"{reason}: by up to {off:.3g}, {most:.3g} allowed")
