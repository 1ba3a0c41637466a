"""A small segmenter and a small detector of the real classes, trained from scratch on virtual patients.

They let everything that needs MedSAM or OWL-ViT run without a download. Nothing else in the library depends on this
package; pipelines/phantom/ runs it.
"""

from .settings import MODELS, Settings

__all__ = ["MODELS", "Settings"]
