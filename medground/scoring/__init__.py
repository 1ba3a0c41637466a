"""From an attribution to numbers: boxes of a heat map, metrics, the score of a case and of an entry."""

from .agreement import box_metrics, map_metrics
from .boxes import PROTOCOLS, boxes_from_heatmap
from .metrics import METRICS, Evidence, Metric, metric
from .score import score_case, score_entry

__all__ = [
    "METRICS",
    "PROTOCOLS",
    "Evidence",
    "Metric",
    "box_metrics",
    "boxes_from_heatmap",
    "map_metrics",
    "metric",
    "score_case",
    "score_entry",
]
