"""The adapters against the plain Hugging Face forward pass, fed by the Hugging Face processors."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from asked import QUESTION, SIZE
from PIL import Image
from transformers import AutoProcessor

from medground.geometry import Letterbox
from medground.lvlm import prompts
from medground.lvlm.verdict import find_verdict

REASON = prompts.prompt(prompts.question("left pleural effusion"), "reasoning")
ANSWER = "The left angle is sharp. No."


def rgb(film: np.ndarray) -> Image.Image:
    return Image.fromarray(film).convert("RGB")


def plain_inputs(lvlm, folders, film, prompt):
    """Inputs for one film and prompt made by the processors of transformers alone."""
    folder = folders / lvlm.key
    message = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": prompt}]}]
    if lvlm.family == "gemma3":
        processor = AutoProcessor.from_pretrained(folder)
        side = lvlm.model.config.vision_config.image_size
        square = Letterbox.fit(film.shape[1], film.shape[0], side).apply(film)
        text = processor.apply_chat_template(message, add_generation_prompt=True, tokenize=False)
        processor.image_seq_length = lvlm.model.config.mm_tokens_per_image
        return dict(processor(images=rgb(square), text=text, add_special_tokens=False, return_tensors="pt"))
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    pixels = Qwen2VLImageProcessorPil.from_pretrained(folder)(rgb(film), return_tensors="pt")
    tokens = int(pixels["image_grid_thw"].prod()) // 4
    text = lvlm.tokenizer.apply_chat_template(message, add_generation_prompt=True, tokenize=False)
    text = text.replace("<|image_pad|>", "<|image_pad|>" * tokens)
    ids = lvlm.tokenizer(text, add_special_tokens=False, return_tensors="pt").input_ids
    return {**pixels, "input_ids": ids, "mm_token_type_ids": (ids == lvlm.model.config.image_token_id).int()}


@pytest.mark.parametrize("size", [SIZE, (300, 171), (97, 255)])
def test_canvas_becomes_the_processors_pixel_values(lvlm, folders, size):
    film = np.random.default_rng(1).integers(0, 256, size[::-1], dtype=np.uint8)
    expected = plain_inputs(lvlm, folders, film, QUESTION)
    got = lvlm.pixel_inputs(lvlm.canvas([film]))
    torch.testing.assert_close(got["pixel_values"], expected["pixel_values"].float(), atol=2e-6, rtol=0)
    if lvlm.family == "qwen2_5_vl":
        assert got["image_grid_thw"].tolist() == expected["image_grid_thw"].tolist()


def test_text_is_the_processors_text(lvlm, folders, films):
    expected = plain_inputs(lvlm, folders, films[0], QUESTION)["input_ids"]
    text = lvlm.text(QUESTION, None, *SIZE)
    assert text.input_ids.tolist() == expected.tolist()
    assert len(text.image) == np.prod(lvlm.grid(*SIZE))
    assert text.tokens == [] and text.rows.tolist() == [expected.shape[1] - 1]
    answered = lvlm.text(QUESTION, ANSWER, *SIZE)
    assert "".join(answered.tokens) == ANSWER
    assert answered.input_ids[0, answered.answer].tolist() == lvlm.tokenizer(ANSWER).input_ids


def test_log_probs_equal_the_plain_forward(lvlm, folders, films):
    text = lvlm.text(REASON, ANSWER, *SIZE)
    got = lvlm.log_probs(lvlm.canvas(films), text)
    answer = torch.tensor([lvlm.tokenizer(ANSWER).input_ids])
    for film, row in zip(films, got, strict=True):
        inputs = plain_inputs(lvlm, folders, film, REASON)
        asked = inputs["input_ids"].shape[1]
        inputs["input_ids"] = torch.cat([inputs["input_ids"], answer], 1)
        for name in ("token_type_ids", "mm_token_type_ids"):
            if name in inputs:
                inputs[name] = torch.cat([inputs[name], torch.zeros_like(answer, dtype=inputs[name].dtype)], 1)
        inputs.pop("attention_mask", None)
        with torch.no_grad():
            logits = lvlm.model(**inputs).logits[0, asked - 1 : -1]
        expected = logits.log_softmax(-1).gather(-1, answer.T)[:, 0]
        torch.testing.assert_close(row, expected, atol=2e-5, rtol=0)
    assert not torch.allclose(got[0], got[1], atol=1e-3), "the films must matter"


def test_batches_and_chunks_change_nothing(lvlm, films, monkeypatch):
    text = lvlm.text(QUESTION, "Yes.", *SIZE)
    canvas = lvlm.canvas(films)
    together = lvlm.log_probs(canvas, text)
    alone = torch.cat([lvlm.log_probs(canvas[k : k + 1], text) for k in range(3)])
    monkeypatch.setattr(lvlm, "batch_size", 2)
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)
    torch.testing.assert_close(lvlm.log_probs(canvas, text), alone, atol=1e-5, rtol=0)


def test_left_padding_and_mixed_sizes_change_no_answer(lvlm, films):
    mixed = [films[0], films[1][:200], films[2]]
    asked = [QUESTION, REASON, "?"]
    together = lvlm.answer(mixed, asked, max_new_tokens=5)
    for film, prompt, answer in zip(mixed, asked, together, strict=True):
        (alone,) = lvlm.answer([film], [prompt], max_new_tokens=5)
        assert alone.text == answer.text and alone.verdict == answer.verdict
        assert alone.margin == pytest.approx(answer.margin, abs=1e-4)


def test_margin_is_the_difference_of_log_probabilities(lvlm, films):
    (answer,) = lvlm.answer(films[:1], [QUESTION], max_new_tokens=2)
    assert answer.verdict == "unparsable"  # random weights: the margin is that of the first token
    logits = lvlm.forward(lvlm.canvas(films[:1]), lvlm.text(QUESTION, None, *SIZE)).logits[0, -1]
    ids = {
        word: {lvlm.tokenizer(form).input_ids[0] for form in (word, f" {word}", word.upper(), f" {word.upper()}",
                                                               word.capitalize(), f" {word.capitalize()}")}
        for word in ("yes", "no")
    }  # fmt: skip
    yes, no = (torch.tensor(sorted(ids[a] - ids[b])) for a, b in (("yes", "no"), ("no", "yes")))
    probabilities = logits.softmax(-1)
    expected = (probabilities[yes].sum().log() - probabilities[no].sum().log()).item()
    assert answer.margin == pytest.approx(expected, abs=1e-4)


def test_margin_is_read_where_the_verdict_is_written(lvlm):
    tokens = lvlm.tokenizer("The left angle is sharp. No.").input_ids
    margins = list(range(len(tokens)))
    answer = lvlm._read(tokens, [float(m) for m in margins])
    assert answer.verdict == "no"
    assert lvlm.tokenizer.decode([tokens[int(answer.margin)]]).strip() == "No"
    assert find_verdict(answer.text)[1] == answer.text.index("No")


def test_attentions_sum_to_one_and_leave_the_logits(lvlm, films):
    text = lvlm.text(QUESTION, "Yes.", *SIZE)
    canvas = lvlm.canvas(films[:2])
    seen = lvlm.forward(canvas, text, attentions=True)
    plain = lvlm.forward(canvas, text)
    assert plain.attentions is None
    config = lvlm.model.config.text_config
    length = text.input_ids.shape[1]
    assert len(seen.attentions) == len(lvlm.layers) == config.num_hidden_layers
    for weights in seen.attentions:
        assert weights.shape == (2, config.num_attention_heads, length, length)
        torch.testing.assert_close(weights.sum(-1), torch.ones_like(weights[..., 0]))
    torch.testing.assert_close(seen.logits, plain.logits, atol=2e-5, rtol=0)


def test_attention_respects_causality_blocks_and_window(lvlm, films):
    text = lvlm.text(QUESTION, "Yes.", *SIZE)
    attentions = lvlm.forward(lvlm.canvas(films[:1]), text, attentions=True).attentions
    length = text.input_ids.shape[1]
    rows, columns = torch.meshgrid(torch.arange(length), torch.arange(length), indexing="ij")
    allowed = columns <= rows
    if lvlm.family == "gemma3":
        is_image = torch.zeros(length, dtype=torch.bool)
        is_image[text.image] = True
        allowed = allowed | (is_image[:, None] & is_image[None])
    for kind, weights in zip(lvlm.model.config.text_config.layer_types, attentions, strict=True):
        window = lvlm.model.config.text_config.sliding_window if kind == "sliding_attention" else length
        expected = allowed & (rows - columns < window)
        assert torch.equal(weights[0].amax(0) > 0, expected)


def test_eager_is_undone_after_an_error(lvlm):
    config = lvlm.model.config.get_text_config()
    with pytest.raises(RuntimeError, match="inside"), lvlm.eager():
        assert config._attn_implementation == "eager"
        raise RuntimeError("inside")
    assert config._attn_implementation == "sdpa"


def test_gradient_matches_finite_differences(lvlm, films):
    text = lvlm.text(QUESTION, "Yes.", *SIZE)
    before = lvlm._mean.dtype
    lvlm.model.double()
    lvlm._mean, lvlm._std = lvlm._mean.double(), lvlm._std.double()
    try:
        canvas = lvlm.canvas(films[:1]).double() * 0.8 + 0.1
        direction = torch.randn(canvas.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

        def score(canvas):
            logits = lvlm.forward(canvas, text).logits.log_softmax(-1)
            return logits.gather(-1, text.input_ids[0, text.answer][None, :, None]).sum()

        canvas.requires_grad_(True)
        (gradient,) = torch.autograd.grad(score(canvas), canvas)
        step = 5e-4  # the norms compute in single precision whatever the model's type
        with torch.no_grad():
            slope = (score(canvas + step * direction) - score(canvas - step * direction)) / (2 * step)
        assert slope.abs() > 1e-4
        torch.testing.assert_close((gradient * direction).sum(), slope, rtol=0.02, atol=0)
        assert all(parameter.grad is None for parameter in lvlm.model.parameters())
    finally:
        lvlm.model.float()
        lvlm._mean, lvlm._std = lvlm._mean.to(before), lvlm._std.to(before)


def test_canvas_is_the_letterboxed_film_and_black_stays_black(lvlm, films):
    canvas = lvlm.canvas([np.zeros_like(films[0]), np.full_like(films[0], 255)])
    letterbox = lvlm.letterbox(*SIZE)
    assert canvas.shape == (2, letterbox.height, letterbox.width)
    assert canvas[0].max() == 0
    x1, y1, x2, y2 = (round(v) for v in letterbox.to_canvas((0, 0, *SIZE)))
    inside = torch.zeros_like(canvas[1], dtype=torch.bool)
    inside[y1:y2, x1:x2] = True
    assert torch.equal(canvas[1], inside.float())


def test_grid_covers_the_extent_of_films_that_are_not_square(gemma, qwen):
    assert gemma.grid(352, 416) == (10, 10) and qwen.grid(352, 416) == (8, 7)
    assert qwen.grid(416, 352) == (7, 8)
    x1, y1, x2, y2 = gemma.letterbox(352, 416).extent
    assert x1 < 0 and x2 > 352 and (y1, y2) == pytest.approx((0, 416))  # the pad lies beyond the film
    assert (x2 - x1) == pytest.approx(y2 - y1, rel=0.01)
    assert qwen.letterbox(352, 416).extent == pytest.approx((0, 0, 352, 416))


def test_out_of_memory_halves_the_batch(gemma, monkeypatch):
    monkeypatch.setattr(gemma, "batch_size", 8)

    def work(items):
        if len(items) > 3:
            raise torch.cuda.OutOfMemoryError("no room")
        return items

    assert [len(part) for part in gemma.chunked(work, list(range(7)))] == [2, 2, 2, 1]
    assert gemma.batch_size == 2
