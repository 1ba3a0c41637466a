"""Untrained detectors and segmenters of the real classes against transformers' own pre- and post-processing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    OwlViTConfig,
    OwlViTForObjectDetection,
    OwlViTProcessor,
    PreTrainedTokenizerFast,
    SamConfig,
    SamModel,
    SamProcessor,
)
from transformers.models.owlvit.image_processing_pil_owlvit import OwlViTImageProcessorPil
from transformers.models.sam.image_processing_pil_sam import SamImageProcessorPil

from medground.errors import MedgroundError
from medground.geometry import box_of
from medground.grounding.detector import Detector
from medground.grounding.segmenter import MedSAM

PHRASES = ["left lung", "heart", "right lung"]


def films():
    rng = np.random.default_rng(0)
    return [rng.integers(0, 255, size, dtype=np.uint8) for size in ((90, 70), (64, 100))]


@pytest.fixture(scope="module")
def medsam(tmp_path_factory):
    torch.manual_seed(0)
    config = SamConfig(
        vision_config={
            "hidden_size": 32, "output_channels": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "mlp_dim": 64,
            "image_size": 64, "patch_size": 8, "window_size": 4, "global_attn_indexes": [1], "num_pos_feats": 8,
        },
        prompt_encoder_config={"hidden_size": 16, "image_size": 64, "patch_size": 8, "mask_input_channels": 4},
        mask_decoder_config={
            "hidden_size": 16, "mlp_dim": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
            "iou_head_hidden_dim": 16,
        },
    )  # fmt: skip
    config.prompt_encoder_config.image_embedding_size = 8
    folder = tmp_path_factory.mktemp("sam")
    SamModel(config).save_pretrained(folder)
    SamImageProcessorPil(size={"longest_edge": 64}, pad_size={"height": 64, "width": 64}).save_pretrained(folder)
    return MedSAM.load(str(folder))


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    torch.manual_seed(0)
    words = ["<pad>", "<bos>", "left", "right", "lung", "heart", "<unk>", "<eos>"]
    raw = Tokenizer(models.WordLevel({word: n for n, word in enumerate(words)}, unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, pad_token="<pad>", bos_token="<bos>", eos_token="<eos>")
    from tokenizers.processors import TemplateProcessing

    raw.post_processor = TemplateProcessing(single="<bos> $A <eos>", special_tokens=[("<bos>", 1), ("<eos>", 7)])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, pad_token="<pad>", bos_token="<bos>", eos_token="<eos>")
    size = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = OwlViTConfig(
        text_config={**size, "vocab_size": 8, "max_position_embeddings": 6, "bos_token_id": 1, "eos_token_id": 7},
        vision_config={**size, "image_size": 48, "patch_size": 8},
        projection_dim=32,
    )
    folder = tmp_path_factory.mktemp("owl")
    OwlViTForObjectDetection(config).save_pretrained(folder)
    OwlViTImageProcessorPil(size={"height": 48, "width": 48}).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return Detector.load(str(folder))


def test_masks_equal_transformers_own(medsam):
    """One mask a box, as the authors of MedSAM ask for it."""
    boxes = [[(5.0, 8.0, 40.0, 60.0), (30.0, 2.0, 69.0, 88.0)], [(10.0, 10.0, 90.0, 50.0)]]
    found = medsam.masks(films(), boxes)
    processor = SamProcessor(medsam.processor)
    for film, some, masks in zip(films(), boxes, found, strict=True):
        inputs = processor(Image.fromarray(film), input_boxes=[[list(box) for box in some]], return_tensors="pt")
        with torch.inference_mode():
            output = medsam.model(
                pixel_values=inputs["pixel_values"], input_boxes=inputs["input_boxes"].float(), multimask_output=False
            )
        expected = medsam.processor.post_process_masks(
            output.pred_masks, inputs["original_sizes"], inputs["reshaped_input_sizes"]
        )[0][:, 0].numpy()
        assert masks.shape == (len(some), *film.shape) and 0 < expected.mean() < 1
        assert np.array_equal(masks, expected)
    refined = medsam.refine(films(), boxes)
    assert refined == [[box_of(mask) for mask in masks] for masks in found]


def test_published_masks_are_the_best_of_three(medsam):
    """As the paper's code takes them: the model's default, probabilities enlarged, the greatest score."""
    film, boxes = films()[0], [(5.0, 8.0, 40.0, 60.0), (30.0, 2.0, 69.0, 88.0), (1.0, 1.0, 60.0, 80.0)]
    inputs = SamProcessor(medsam.processor)(
        Image.fromarray(film), input_boxes=[[list(box) for box in boxes]], return_tensors="pt"
    )
    with torch.inference_mode():
        output = medsam.model(pixel_values=inputs["pixel_values"], input_boxes=inputs["input_boxes"].float())
    enlarged = medsam.processor.post_process_masks(
        output.pred_masks.sigmoid(), inputs["original_sizes"], inputs["reshaped_input_sizes"], mask_threshold=0.5
    )[0].numpy()
    expected = enlarged[np.arange(len(boxes)), output.iou_scores[0].argmax(-1)]
    assert np.array_equal(medsam.masks([film], [boxes], "published")[0], expected)
    assert not np.array_equal(medsam.masks([film], [boxes])[0], expected)


def test_each_film_is_encoded_once(medsam, monkeypatch):
    calls = []
    encode = medsam.model.get_image_embeddings
    monkeypatch.setattr(medsam.model, "get_image_embeddings", lambda px: calls.append(len(px)) or encode(px))
    medsam.refine(films(), [[(1, 1, 30, 30)] * 11, []])
    assert sum(calls) == 2


def test_a_film_without_boxes_and_an_empty_mask(medsam, monkeypatch):
    assert medsam.refine(films(), [[], []]) == [[], []]
    monkeypatch.setattr(medsam, "masks", lambda films, boxes, protocol: [np.zeros((1, 90, 70), bool)])
    assert medsam.refine(films()[:1], [[(1.0, 2.0, 3.0, 4.0)]]) == [[(1.0, 2.0, 3.0, 4.0)]]


def test_detections_equal_transformers_own(detector):
    """Two films with different numbers of phrases, against the processor's padding and post-processing."""
    phrases, threshold = [PHRASES, PHRASES[:2]], 0.45
    found = detector.find(films(), phrases, threshold, top=100)
    processor = OwlViTProcessor(detector.processor, detector.tokenizer)
    for film, some, mine in zip(films(), phrases, found, strict=True):
        inputs = processor(text=[some], images=Image.fromarray(film), max_length=6, return_tensors="pt")
        with torch.inference_mode():
            output = detector.model(**inputs)
        theirs = detector.processor.post_process_object_detection(output, threshold, [film.shape])[0]
        assert len(theirs["scores"]) == len(mine) > 3
        height, width = film.shape
        for detection in mine:
            gap = (theirs["scores"] - detection.score).abs() + (theirs["labels"] != some.index(detection.phrase))
            boxes = np.clip(theirs["boxes"][gap < 1e-4].numpy(), 0, [width, height, width, height])
            assert np.abs(boxes - detection.box).max(1).min() < 0.02  # scores of a random model may tie


def test_top_and_threshold(detector):
    best = detector.find(films()[:1], [PHRASES], 0.0, top=2)[0]
    for phrase in PHRASES:
        scores = [detection.score for detection in best if detection.phrase == phrase]
        assert len(scores) <= 2 and scores == sorted(scores, reverse=True)
    assert detector.find(films(), [[], PHRASES], 1.0, 5) == [[], []]


@pytest.mark.parametrize("kind", [MedSAM, Detector])
def test_missing_and_wrong_checkpoints(kind, medsam, detector, tmp_path):
    with pytest.raises(MedgroundError, match="there is no checkpoint 'nowhere'"):
        kind.load("nowhere")
    with pytest.raises(MedgroundError, match="cannot be loaded as"):
        kind.load(str(tmp_path))
