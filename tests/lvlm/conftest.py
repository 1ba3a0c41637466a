"""Small models of both families with random weights, saved and loaded as any checkpoint is."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from asked import SIZE
from transformers import Gemma3ForConditionalGeneration

from medground.lvlm import load_lvlm
from medground.phantom import CONCEPTS
from medground.phantom.lvlms import architecture, corpus


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def parts():
    """Phantom models before training, by family."""
    sentences = corpus.sentences(list(CONCEPTS))
    return {family: architecture.build(family, sentences, seed=5) for family in ("gemma3", "qwen2_5_vl")}


@pytest.fixture(scope="session")
def folders(parts, tmp_path_factory):
    """Checkpoints. ``gemma3-windowed`` pools 2 x 2 patches into a token and has a window shorter than its image."""
    root = tmp_path_factory.mktemp("models")
    for family, part in parts.items():
        part.save(root / family)
    gemma = parts["gemma3"]
    config = copy.deepcopy(gemma.model.config)
    config.mm_tokens_per_image = 25
    config.text_config.sliding_window = 12
    torch.manual_seed(6)
    windowed = Gemma3ForConditionalGeneration(config)
    torch.nn.init.normal_(windowed.model.multi_modal_projector.mm_input_projection_weight, std=0.09)
    windowed.generation_config = gemma.model.generation_config
    architecture.Parts(windowed, gemma.tokenizer, gemma.image_processor).save(root / "gemma3-windowed")
    return root


@pytest.fixture(scope="session", params=["gemma3", "gemma3-windowed", "qwen2_5_vl"])
def lvlm(request, folders):
    return load_lvlm(str(folders / request.param), device="cpu")


@pytest.fixture(scope="session")
def gemma(folders):
    return load_lvlm(str(folders / "gemma3"), device="cpu")


@pytest.fixture(scope="session")
def qwen(folders):
    return load_lvlm(str(folders / "qwen2_5_vl"), device="cpu")


@pytest.fixture(scope="session")
def films():
    """Three films that differ, uint8 ``[416, 352]``."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[: SIZE[1], : SIZE[0]]
    waves = [128 + 90 * np.sin(columns / (17 + 9 * k)) * np.cos(rows / (23 + 5 * k)) for k in range(3)]
    return [np.clip(wave + rng.normal(0, 12, wave.shape), 0, 255).astype(np.uint8) for wave in waves]
