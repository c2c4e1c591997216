"""What has to be on the disk before anything follows from it."""

from __future__ import annotations

import os


def sync(path: str) -> None:
    """Wait until a directory's names, or a file's bytes, are on the disk."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
