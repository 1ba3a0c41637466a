"""Questions behind a shared prefix against the plain forward pass, one question at a time."""

from __future__ import annotations

import pytest
import torch

from medground.lvlm import prompts
from medground.phantom import CONCEPTS, FINDINGS, SIZE
from medground.phantom.lvlms import architecture, corpus
from medground.phantom.lvlms.packing import Packer
from medground.phantom.lvlms.train import features


@pytest.mark.parametrize("family", ["gemma3", "qwen2_5_vl"])
def test_packed_logits_equal_the_plain_ones(family):
    torch.set_num_threads(1)
    lvlm = architecture.build(family, corpus.sentences(list(CONCEPTS)), seed=3).adapter(family)
    letterbox = lvlm.letterbox(*SIZE)
    canvas = torch.rand(2, letterbox.height, letterbox.width, generator=torch.Generator().manual_seed(0))
    modes = ["direct", "reasoning"] * 4
    asked = [prompts.prompt(prompts.question(name), mode) for name, mode in zip(FINDINGS, modes, strict=True)]
    said = [
        [corpus.answer(name, mode, (k + film) % 3 == 0, (0, 0, 9, 9), *SIZE)
         for k, (name, mode) in enumerate(zip(FINDINGS, modes, strict=True))]
        for film in range(2)
    ]  # fmt: skip

    packer = Packer(lvlm, *SIZE)
    pack = packer.pack(asked, said)
    packed = packer.logits(pack, features(lvlm, canvas)).log_softmax(-1)

    for film in range(2):
        for q in range(len(asked)):
            plain = lvlm.log_probs(canvas[film : film + 1], lvlm.text(asked[q], said[film][q], *SIZE))[0]
            rows = (pack.questions == q).nonzero()[: len(plain), 0]
            got = packed[film, rows].gather(-1, pack.labels[film, rows, None])[:, 0]
            torch.testing.assert_close(got, plain, atol=2e-5, rtol=0)
            ends = pack.labels[film, pack.questions == q].tolist()
            assert ends[len(plain)] == packer.end and set(ends[len(plain) + 1 :]) <= {-100}
