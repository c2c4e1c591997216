"""Help for a misspelt word."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint with the most similar known word, or with all of them.

    >>> nearest("ownr", ["owner", "group"])
    "did you mean 'owner'?"
    """
    words = sorted(known)
    close = difflib.get_close_matches(word, words, 1, 0.6)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"known: {', '.join(words)}" if len(words) <= 24 else ""
