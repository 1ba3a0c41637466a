"""Phantom radiographs: virtual patients made of one chest CT, findings with exact healthy twins."""

from .ct import fetch_ct
from .film import CONCEPTS, SIZE, Film
from .findings import FINDINGS
from .patient import Patient, Phantom

__all__ = ["CONCEPTS", "FINDINGS", "SIZE", "Film", "Patient", "Phantom", "fetch_ct"]
