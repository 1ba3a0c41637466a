"""The filter: what a model answers to a film and its edits, three gates, and the paper's released cases."""

from ..lvlm.verdict import parse_verdict

__all__ = ["parse_verdict"]
