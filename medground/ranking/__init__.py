"""From scores to a board: intervals, ties and ranks that say what the differences are worth."""

from .board import Results, board, board_columns, lead, localisation, metrics, ranked, summary
from .bootstrap import Resampling, paired_difference

__all__ = [
    "Resampling", "Results", "board", "board_columns", "lead", "localisation", "metrics", "paired_difference", "ranked",
    "summary",
]  # fmt: skip
