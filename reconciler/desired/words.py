"""Help for a misspelt word, and for the words of other tools."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

KEYS = {
    "user": "owner", "perm": "mode", "perms": "mode", "permissions": "mode", "chmod": "mode",
    "text": "content", "contents": "content", "body": "content", "template": "content", "source": "content",
    "src": "content", "requires": "after", "require": "after", "depends_on": "after",
    "description": "comment", "gecos": "comment", "homedir": "home", "to": "target", "check": "validate",
}  # fmt: skip
"""Keys as others call them."""
SAID = {
    **dict.fromkeys(
        ("state", "ensure", "absent"),
        "what stands here is there; what is taken out again is given back, and 'reconciler uninstall' gives all back",
    ),
    **dict.fromkeys(
        ("notify", "handler", "listen", "restart", "reload"),
        "a daemon names what it is restarted for: 'restart_on: [file:/etc/x]'",
    ),
    **dict.fromkeys(("recurse", "recursive"), "'- tree: PATH' is a directory with all that is in it"),
    **dict.fromkeys(
        ("path", "dest", "destination", "name"), "the name stands behind the kind, as in '- file: /etc/agent.conf'"
    ),
    **dict.fromkeys(("create_home", "createhome", "managehome"), "'- directory: HOME' makes it"),
    **dict.fromkeys(
        ("package", "packages", "apt", "yum", "dnf", "pip"), "packages are not installed from here; that is yours"
    ),
    **dict.fromkeys(
        ("command", "exec", "shell", "script", "run"), "nothing is run from here; declare what it brings about"
    ),
    "cron": "a table is a file: '- file: /etc/cron.d/NAME'",
}
"""What to do in place of a key or a kind that others have."""


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint with the most similar known word, or with all of them.

    >>> nearest("ownr", ["owner", "group"])
    "did you mean 'owner'?"
    >>> nearest("perms", ["mode", "owner"])
    "did you mean 'mode'?"
    """
    words = sorted(known)
    if KEYS.get(word) in words:
        return f"did you mean {KEYS[word]!r}?"
    close = difflib.get_close_matches(word, words, 1, 0.6)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"known: {', '.join(words)}" if len(words) <= 24 else ""
