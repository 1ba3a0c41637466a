"""Map a function over items with progress and resume: on this machine, or on a Ray cluster."""

from .options import about, options, provenance
from .run import Table, map, map_tables

__all__ = ["Table", "about", "map", "map_tables", "options", "provenance"]
