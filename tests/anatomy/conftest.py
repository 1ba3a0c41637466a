import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

DATA = Path(__file__).parents[1] / "data"


@pytest.fixture(scope="session")
def golden():
    """Seven films ``[7, 224, 224]``, their concept masks ``[7, 11, 224, 224]``, and what the published code made of
    four pairs: boxes, costs and pushed masses."""
    told = json.loads((DATA / "uot.json").read_text())
    with np.load(DATA / "uot.npz") as stored:
        masks = np.unpackbits(stored["masks"], axis=-1).astype(bool)
        heat = [np.stack([stored[f"p{p}_{c}"] for c in range(masks.shape[1])]) for p in range(len(told["pairs"]))]
        films = stored["images"]
    return SimpleNamespace(films=films, masks=masks, concepts=told["concepts"], pairs=told["pairs"], heat=heat)
