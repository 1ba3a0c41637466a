"""Entries of others: write, validate, receive, review."""

from .schema import CARD, FIELDS, TABLE, Problem, cell, plain, shown
from .store import Invalid, Receipt, accept, accepted, digest, place, prepare, receipts, receive, reject
from .validator import Report, validate
from .writer import write

__all__ = [
    "CARD",
    "FIELDS",
    "TABLE",
    "Invalid",
    "Problem",
    "Receipt",
    "Report",
    "accept",
    "accepted",
    "cell",
    "digest",
    "place",
    "plain",
    "prepare",
    "receipts",
    "receive",
    "reject",
    "shown",
    "validate",
    "write",
]  # fmt: skip
