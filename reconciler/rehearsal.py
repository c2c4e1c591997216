"""How the things of a plan look, in one digest each, to prove that they look the same again."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from .host.port import Observer
from .kinds import kinds
from .kinds.ownership import looker
from .log.events import canonical
from .model import Address, Unknown
from .plan import Plan

MOVING = {"process", "up"}
"""Parts of a state that are other after an exact undo too: a daemon that was restarted has another process."""


def looks(host: Observer, what: Plan | Iterable[str]) -> dict[str, str]:
    """A digest of each thing: of its whole state, of a tree of every path with owner, mode and attributes."""
    names = {str(t.address) for t in what.transitions} if isinstance(what, Plan) else set(what)
    found = {}
    for text in sorted(names):
        address = Address.parse(text)
        seen = kinds()[address.kind].read(host, address.name)
        told = {"reason": seen.reason} if isinstance(seen, Unknown) else seen.model_dump(mode="json", exclude=MOVING)
        digest = hashlib.sha256(canonical(told).encode())
        if address.kind == "tree" and host.stat(address.name) is not None:
            look = looker(host)
            for entry in host.walk(address.name):
                digest.update(entry.path + b"\0" + str((look(entry, True), entry.stat.type)).encode() + b"\n")
        found[text] = digest.hexdigest()
    return found
