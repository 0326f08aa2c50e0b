"""Notes to the user: what was assumed, ignored or adapted, although nothing is wrong."""

import warnings


class Note(UserWarning):
    """Something worth knowing about a photo or a network. The command line shows it as a line."""


def note(text: str) -> None:
    """Tell the user, as a warning of the category `Note`."""
    warnings.warn(text, Note, stacklevel=3)
