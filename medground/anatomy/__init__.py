"""Where anatomical concepts lie on a film, carried over from normal references by optimal transport."""

from .concepts import LocateTask, copies, overlap
from .references import References
from .registration import Registration
from .sinkhorn import SOLVERS
from .transfer import PROTOCOLS, TIGHTENED, Locator, transfer_boxes

__all__ = [
    "PROTOCOLS",
    "SOLVERS",
    "TIGHTENED",
    "LocateTask",
    "Locator",
    "References",
    "Registration",
    "copies",
    "overlap",
    "transfer_boxes",
]
