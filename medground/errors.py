"""The one exception that users are meant to read."""


class MedgroundError(Exception):
    """Bad input or a missing thing; the message names it and the remedy. Shown without a traceback."""
