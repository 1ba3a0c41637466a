"""Map a function over items with progress and resume: on this machine, or on a Ray cluster."""

from .options import about, options, where
from .run import Table, duration, map, map_tables
from .stage import stage

__all__ = ["Table", "about", "duration", "map", "map_tables", "options", "stage", "where"]
