"""The adapters against the plain Hugging Face forward pass, fed by the Hugging Face processors."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain

import numpy as np
import pytest
import torch
from asked import QUESTION, SIZE
from PIL import Image
from transformers import AutoProcessor

from medground.errors import MedgroundError
from medground.geometry import Letterbox
from medground.lvlm import prompts
from medground.lvlm.verdict import find_verdict
from medground.testing import check_lvlm

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


def test_the_family_conforms(lvlm, folders):
    """Canvas, grid, tokens, pixels and log-probabilities against the plain forward pass; batches, padding, gradient."""
    check_lvlm(lvlm, inputs=lambda film, prompt: plain_inputs(lvlm, folders, film, prompt))


def test_margin_is_read_where_the_verdict_is_written(lvlm):
    tokens = lvlm.tokenizer("The left angle is sharp. No.").input_ids
    margins = list(range(len(tokens)))
    answer = lvlm._read(tokens, [float(m) for m in margins])
    assert answer.verdict == "no"
    assert lvlm.tokenizer.decode([tokens[int(answer.margin)]]).strip() == "No"
    assert find_verdict(answer.text)[1] == answer.text.index("No")


@pytest.mark.parametrize("words", [1, 2, 5])
def test_margins_are_the_teacher_forced_ones(lvlm, films, words, monkeypatch):
    """What generation says about Yes and No at each word, a pass over the text that it wrote says, too."""
    width, height = SIZE
    monkeypatch.setattr(type(lvlm), "_read", lambda self, tokens, margins, protocol="medground": (tokens, margins))
    written = lvlm.answer(films, [QUESTION, QUESTION, "Is it? " + QUESTION], max_new_tokens=words)
    yes, no = lvlm._yes_no
    for film, question, (tokens, margins) in zip(
        films, [QUESTION, QUESTION, "Is it? " + QUESTION], written, strict=True
    ):
        prompt = lvlm.text(question, None, width, height)
        ids = torch.cat([prompt.input_ids, torch.tensor([tokens])], 1)
        forced = replace(
            prompt,
            input_ids=ids,
            answer=torch.arange(prompt.input_ids.shape[1], ids.shape[1]),
            inputs=lvlm.text_inputs(ids, width, height),
        )
        with torch.inference_mode():
            logits = lvlm.forward(lvlm.canvas([film]), forced).logits[0].float()
        expected = logits[:, yes].logsumexp(-1) - logits[:, no].logsumexp(-1)
        assert len(margins) == len(tokens) == words  # a random model does not end its turn that early
        torch.testing.assert_close(torch.tensor(margins), expected, atol=2e-5, rtol=0)


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


def test_grid_covers_the_extent_of_films_that_are_not_square(gemma, qwen):
    assert gemma.grid(352, 416) == (10, 10) and qwen.grid(352, 416) == (8, 7)
    assert qwen.grid(416, 352) == (7, 8)
    x1, y1, x2, y2 = gemma.letterbox(352, 416).extent
    assert x1 < 0 and x2 > 352 and (y1, y2) == pytest.approx((0, 416))  # the pad lies beyond the film
    assert (x2 - x1) == pytest.approx(y2 - y1, rel=0.01)
    assert qwen.letterbox(352, 416).extent == pytest.approx((0, 0, 352, 416))


FULL = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nGPU 0 has a total capacity of")


@pytest.fixture
def crowded(gemma, monkeypatch):
    """A model on a device with room for so many films at once, and the sizes of what it was asked to do."""
    monkeypatch.setattr(gemma, "batch_size", 8)
    monkeypatch.setattr(gemma, "fits", None)
    monkeypatch.setattr(gemma, "_went_well", 0)
    tried = []

    def work_in(room, error=FULL):
        def work(items):
            tried.append(len(items))
            if len(items) > room:
                raise error
            return items

        return work

    return gemma, work_in, tried


def test_what_runs_out_of_memory_is_halved_and_comes_back_up(crowded):
    lvlm, work_in, tried = crowded
    assert [len(part) for part in lvlm.chunked(work_in(3), list(range(7)))] == [3, 3, 1]
    assert tried == [7, 3, 3, 1]
    tried.clear()  # the next call remembers, and tries more after eight slices that went well
    assert list(chain(*lvlm.chunked(work_in(8), list(range(40))))) == list(range(40))
    assert tried == [3] * 5 + [6] * 4 + [1]
    tried.clear()
    list(lvlm.chunked(work_in(8), list(range(60))))
    assert tried == [6] * 3 + [8] * 5 + [2] and lvlm.fits is None


def test_one_film_that_does_not_fit_ends_in_a_remedy(crowded):
    lvlm, work_in, tried = crowded
    with pytest.raises(MedgroundError, match=r"no room on cpu for one film.*2.00 GiB\.\).*canvas\.most_pixels"):
        list(lvlm.chunked(work_in(0), list(range(5))))
    assert tried == [5, 2, 1]
    tried.clear()
    full = RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")
    with pytest.raises(MedgroundError, match="CUBLAS_STATUS_ALLOC_FAILED"):
        list(lvlm.chunked(work_in(0, full), list(range(2))))
    with pytest.raises(RuntimeError, match="other"):
        list(lvlm.chunked(work_in(0, RuntimeError("other")), list(range(2))))


def test_generation_settings_of_a_checkpoint_do_not_bend_answers(lvlm, films, monkeypatch):
    plain = lvlm.answer(films[:1], [QUESTION], max_new_tokens=4)
    monkeypatch.setattr(lvlm.model.generation_config, "repetition_penalty", 5.0)
    assert lvlm.answer(films[:1], [QUESTION], max_new_tokens=4) == plain
    bent = lvlm.answer(films[:1], [QUESTION], max_new_tokens=4, protocol="published")
    assert bent[0].margin != plain[0].margin and lvlm.model.generation_config.repetition_penalty == 5.0


def test_the_head_of_a_model_in_half_precision_is_in_float32():
    from types import SimpleNamespace

    from medground.lvlm.head import in_float32

    torch.manual_seed(0)
    head = torch.nn.Linear(64, 40_000, bias=False).bfloat16().requires_grad_(False)
    in_float32(SimpleNamespace(get_output_embeddings=lambda: head))
    states = torch.randn(2, 3, 64).bfloat16().requires_grad_()
    plain = states.detach().float().requires_grad_()
    logits, expected = head(states), plain @ head.weight.float().T
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=0)
    (slope,) = torch.autograd.grad(logits.logsumexp(-1).sum(), states)
    (truth,) = torch.autograd.grad(expected.logsumexp(-1).sum(), plain)
    torch.testing.assert_close(slope.float(), truth, atol=2e-3, rtol=1e-2)
