"""Whether this product can do its work on a host."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from itertools import zip_longest
from typing import Any

from ..engine.survey import folded, ledger_of
from ..errors import ReconcilerError
from ..host.accounts import PATHS
from ..host.native import native
from ..host.units import has_systemd
from ..log.chain import verify
from ..log.store import LogReader
from ..log.vault import Vault
from .place import Place


def examine(place: Place, events: Callable[[], str]) -> list[dict[str, Any]]:
    """Every check with what it found; nothing is written.  ``events`` says what tells a watch of changes."""
    checks: list[dict[str, Any]] = []

    def add(name: str, ok: bool, detail: str) -> None:
        checks.append({"name": name, "ok": ok, "detail": detail})

    add("python", sys.version_info >= (3, 11), sys.version.split()[0])
    try:
        host = place.observer()
    except ReconcilerError as error:
        add("host", False, str(error))
        return checks
    add("host", True, "this running host" if host.live else f"the file system below {host.where}")
    add(
        "user",
        os.geteuid() == 0 or not host.live,
        "root" if os.geteuid() == 0 else "not root: owners cannot be changed",
    )
    for name in ("passwd", "group"):
        add(name, host.stat(PATHS[name]) is not None, PATHS[name])
    add("init", True, "systemd" if has_systemd(host) else "no systemd: daemons by their init scripts")
    slow = "in Python, since no C compiler was there at the installation: trees take up to 1.5 times as long"
    add("walks", True, "compiled" if native() else slow)
    visudo = shutil.which("visudo", path="/usr/sbin:/usr/bin:/sbin:/bin")
    add("visudo", True, visudo or "not found: sudoers files with 'validate: visudo' would be blocked")
    if host.live:
        add("watch", True, events())
    log = place.reader()
    if not log.exists and not os.path.exists(log.head_file()):
        add("log", True, f"none yet; the first apply makes {log.path}")
        return checks
    try:
        verdict = verify(log)
        add("log", verdict.ok, f"{verdict.events} events" if verdict.ok else str(verdict.problems[0]["what"]))
        vault, needed = Vault(log.directory), ledger_of(log).images() if verdict.ok else set()
        broken = [what for _, name in sorted(needed) if (what := vault.check(name))]
        add("images", not broken, broken[0] if broken else f"{len(needed)} before-images are whole")
        wrong = unlike(log)
        add("books", not wrong, wrong or "they follow from the events")
    except ReconcilerError as error:
        add("log", False, str(error))
    return checks


def unlike(log: LogReader) -> str:
    """Where the books are relied on: how they differ from books made anew from the events; empty where they do not."""
    books = log.books()
    if books is None:
        return ""
    for one, other in zip_longest(books.lines(), folded(log)[1].lines()):
        if one != other:
            told = (one or other or ("",))[0].partition("|")
            return f"{told[0]} {told[2]!r} does not follow from the events; remove {log.stamp_file()} to make them anew"
    return ""
