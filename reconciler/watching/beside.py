"""Small files beside the log: put in place as a whole, root's alone, through no link."""

from __future__ import annotations

import os
from contextlib import suppress


def put(path: str, text: str) -> None:
    """Put a file in place; where that cannot be, what was there before stays, since nothing hangs on it."""
    spare = f"{path}.new"
    with suppress(OSError):
        fd = os.open(spare, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            file.write(text)
        os.rename(spare, path)
