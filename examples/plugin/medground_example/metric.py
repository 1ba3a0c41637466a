"""A metric: how much of the map lies where the expert drew nothing."""

from __future__ import annotations

from medground.scoring import Evidence, metric


@metric(
    "outside_share",
    label="Outside",
    help="share of the map's evidence outside the expert's regions",
    higher_is_better=False,
)
def outside_share(case: Evidence) -> float:
    heat = case.heat - case.heat.min()
    total = float(heat.sum())
    return float(heat[~case.inside].sum()) / total if total else 1.0
