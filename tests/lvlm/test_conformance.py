"""The conformance check must fail where a family is wrong, and say what is."""

from __future__ import annotations

import pytest
import torch

from medground.errors import MedgroundError
from medground.lvlm import LVLM, Published, load_lvlm, registry
from medground.lvlm.families.gemma3 import Gemma3
from medground.lvlm.families.qwen2_5_vl import Qwen2_5VL
from medground.testing import check_lvlm


class Silent(Gemma3):
    """Forgets, when it generates, which tokens are the image's: the model then reads the film one way only."""

    def text_inputs(self, input_ids, width, height):
        return {"token_type_ids": (input_ids == self.image_token_id).long()}

    def generation_inputs(self, is_image):
        return {}


class OneWay(Gemma3):
    image_sees_itself = False


class Transposed(Qwen2_5VL):
    """The grid's rows taken for its columns, as on the square grids of other families nobody would notice."""

    def grid(self, width, height):
        return super().grid(width, height)[::-1]


class Flat(Qwen2_5VL):
    """Left without rotary positions, the model falls back on 1-D ones."""

    def text_inputs(self, input_ids, width, height):
        length = input_ids.shape[1]
        return {"position_ids": torch.arange(length).expand(3, 1, length)}


class Blind(Gemma3):
    def pixel_inputs(self, canvas):
        return {"pixel_values": super().pixel_inputs(canvas)["pixel_values"].detach()}


class Restless(Gemma3):
    def pixel_inputs(self, canvas):
        return super().pixel_inputs(canvas + 0.01 * torch.rand_like(canvas))


@pytest.mark.parametrize(
    ("broken", "expected"),
    [
        (Silent, ["margins"]),
        (OneWay, ["attentions: layer 0: image tokens attend to later ones: True; image_sees_itself says False"]),
        (Transposed, ["places: a film of 352 x 416: a change at row"]),
        (Flat, ["margins"]),
        (Blind, ["gradient"]),
        (Restless, ["determinism: the same call twice", "batches"]),
    ],
)
def test_what_is_wrong_is_found(broken, expected, folders, gemma, qwen):
    whole = gemma if issubclass(broken, Gemma3) else qwen
    lvlm = load_lvlm(str(folders / whole.key), device="cpu")
    lvlm.__class__ = broken
    with pytest.raises(AssertionError) as caught:
        check_lvlm(lvlm)
    message = str(caught.value)
    assert "of 11 checks" in message
    for part in expected:
        assert f"- {part}" in message, message
    assert "- text:" not in message and "- devices:" not in message


def _family(**members):
    return type("Guest", (LVLM,), {"family": "guest", **members})


def test_families_that_quarrel_or_lack_something_are_named(folders, monkeypatch):
    known = dict(registry.FAMILIES.items())

    def with_guest(**members):
        monkeypatch.setattr(registry.FAMILIES, "_known", {**known, "guest": _family(**members)})

    with_guest(model_types=("gemma3",))
    with pytest.raises(MedgroundError, match=r"several families: gemma3 \(medground.*\), guest \("):
        load_lvlm(str(folders / "gemma3"))
    with_guest(model_types=("new",), requires=("no_such_module",))
    with pytest.raises(MedgroundError, match="the family guest needs no_such_module: pip install no_such_module"):
        registry.family_of({"model_type": "new"}, "somewhere")
    with_guest(published={"gemma3_4b": Published("somebody/else")})
    with pytest.raises(MedgroundError, match="the family guest declares gemma3_4b, which another family has"):
        registry.published()
    with_guest(published={"guest_1b": Published("somebody/guest", revision="abc")})
    assert registry.published()["guest_1b"].revision == "abc" and "medgemma_4b" in registry.published()
    with pytest.raises(MedgroundError, match="has no `family`"):
        registry.register_family(type("Nameless", (LVLM,), {}))
