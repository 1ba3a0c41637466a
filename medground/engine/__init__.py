"""Map a function over items with progress and resume: on this machine, or on a Ray cluster."""

from .options import about, options
from .run import DURATIONS, Table, map, map_tables
from .stage import stage

__all__ = ["DURATIONS", "Table", "about", "map", "map_tables", "options", "stage"]
