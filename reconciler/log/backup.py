"""A consistent copy of a log with all that it needs, taken while it is in use."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from contextlib import closing

from ..errors import LogError, Usage
from ..formats.text import printable
from ..model import Json
from .durable import sync
from .store import LogReader, now, tail


def backup(log: LogReader, directory: str) -> Json:
    """Copy the events first, then the before-images: whatever an event names is there before the event is."""
    if not log.exists:
        raise LogError(f"{printable(log.path)}: there is no log to copy")
    source = os.path.join(log.directory, "blobs")
    if os.path.isdir(source) and os.listdir(source) and not os.path.exists(os.path.join(log.directory, "key")):
        raise LogError(f"{printable(log.directory)}/key: is missing, and before-images cannot be read without it")
    target = os.path.abspath(directory)
    spare = f"{target}.part"
    try:
        if os.path.lexists(target):
            raise Usage(f"{printable(target)}: exists already; name a new directory")
        os.mkdir(spare, 0o700)
        name = os.path.basename(log.path)
        with log.reading() as base, closing(sqlite3.connect(os.path.join(spare, name))) as copy:
            base.backup(copy)
            events = copy.execute("SELECT count(*) FROM events").fetchone()[0]
            seq, digest = tail(copy)
        blobs = 0
        os.mkdir(os.path.join(spare, "blobs"), 0o700)
        for blob in sorted(os.listdir(source)) if os.path.isdir(source) else ():
            if not blob.endswith(".tmp"):
                _copy(os.path.join(source, blob), os.path.join(spare, "blobs", blob))
                blobs += 1
        # The head of the copy, which may be older than the one beside the log by now.
        with open(os.path.join(spare, f"{log.stem}.head"), "x", encoding="ascii") as file:
            json.dump({"seq": seq, "hash": digest, "at": now()}, file)
        for beside in ("key", f"{log.stem}.signing-key", f"{log.stem}.verifier-key"):
            if os.path.exists(os.path.join(log.directory, beside)):
                _copy(os.path.join(log.directory, beside), os.path.join(spare, beside))
        os.chmod(os.path.join(spare, name), 0o600)
        for part in (name, f"{log.stem}.head", "blobs", ""):
            sync(os.path.join(spare, part))
        os.rename(spare, target)
        sync(os.path.dirname(target))
    except (OSError, sqlite3.Error) as error:
        shutil.rmtree(spare, ignore_errors=True)
        reason = (getattr(error, "strerror", None) or str(error)).lower()
        raise LogError(f"{printable(target)}: cannot be written: {reason}; nothing is left of it") from None
    return {"events": events, "blobs": blobs, "seq": seq, "hash": digest, "directory": target}


def _copy(source: str, target: str) -> None:
    fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(source, "rb") as old, os.fdopen(fd, "wb") as new:
        shutil.copyfileobj(old, new)
        new.flush()
        os.fsync(new.fileno())
