"""Small vision-language models of the real classes, trained from scratch on virtual patients.

Their causes are known: the honest ones were taught to see the finding, the shortcut one answers some questions from a
letter in the corner. Nothing else in the library depends on this package; pipelines/phantom/ runs it.
"""

from .settings import MODELS, Recipe, Settings

__all__ = ["MODELS", "Recipe", "Settings"]
