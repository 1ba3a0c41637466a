"""Map a function over items with progress and resume: on this machine, or on a Ray cluster."""

from .options import options, provenance
from .run import map

__all__ = ["map", "options", "provenance"]
