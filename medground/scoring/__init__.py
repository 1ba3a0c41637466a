"""From an attribution to numbers: boxes of a heat map, metrics, the score of a case and of an entry."""

from .boxes import PROTOCOLS, boxes_from_heatmap
from .metrics import box_metrics, map_metrics
from .score import METRICS, score_case, score_entry

__all__ = ["METRICS", "PROTOCOLS", "box_metrics", "boxes_from_heatmap", "map_metrics", "score_case", "score_entry"]
