"""Small vision-language models of the real classes, trained from scratch on virtual patients.

They were taught to see the findings; those that answer from something else, too, are in `phantom.causes`, which starts
from these. pipelines/phantom/ runs both.
"""

from .settings import MODELS, Settings

__all__ = ["MODELS", "Settings"]
