"""Text from a host, made fit to be shown."""

from __future__ import annotations


def printable(text: str | bytes) -> str:
    """The text with every control character and every byte that is not UTF-8 escaped.

    >>> printable(b"a\\x1b[31m\\xff")
    'a\\\\x1b[31m\\\\xff'
    """
    raw = text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text
    out = raw.decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in out)
