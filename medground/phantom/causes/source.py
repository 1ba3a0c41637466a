"""The samples of the world with many known causes: as the phantom's, of patients who vary, with marks of five kinds.

In ``phantom_causes_region`` the expert box is the anatomical region that a report would name, in
``phantom_causes_lesion`` the extent of the finding. Every finding and every mark on a film can be left out or left
alone, exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...sources import register_source
from ..source import PAIR_SHARE, PhantomSource, World
from .findings import FINDINGS
from .marks import MARKED, MARKS, MARKS_MOST

if TYPE_CHECKING:
    from .patient import VariedPhantom

CAUSES = ("phantom_causes_region", "phantom_causes_lesion")


class CausesWorld(World):
    """Patients who vary, six findings without a side, and marks."""

    def open(self, ct: Path) -> VariedPhantom:
        """The phantom that makes the patients."""
        from .patient import VariedPhantom

        return VariedPhantom.open(ct)

    @property
    def findings(self) -> Sequence[str]:
        """The findings that are asked about."""
        return FINDINGS

    def plan(self, seed: int, number: int, films: int, marker_share: float) -> list[tuple[list[str], int, dict]]:
        """The findings, the seed and the marks of each film; each mark has a rate of its own, not ``marker_share``."""
        rng = np.random.default_rng([seed, number, 1])
        made: list[tuple[list[str], int, dict]] = []
        for _ in range(films):
            wanted = rng.choice(FINDINGS, 2 if rng.random() < PAIR_SHARE else 1, replace=False)
            marks = [str(name) for name in rng.permutation(MARKS) if rng.random() < MARKED][:MARKS_MOST]
            made.append(([str(name) for name in wanted], int(rng.integers(2**31)), {"marks": marks}))
        return made


class CausesSource(PhantomSource):
    """One of the two sources of the world with many known causes."""

    names = CAUSES

    @property
    def world(self) -> World:
        """Where its films come from."""
        return CausesWorld()


register_source(CausesSource(CAUSES[0], "Phantom with many known causes, the region that a report would name"))
register_source(CausesSource(CAUSES[1], "Phantom with many known causes, the extent of the finding"))
