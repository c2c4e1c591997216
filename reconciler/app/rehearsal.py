"""How the things of a plan look, in one digest each, to prove that they look the same again."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial

from ..core.events import canonical
from ..core.plan import Plan
from ..host.port import Directory, Facts, Groups, Observer, Visitor, inner
from ..kinds import kinds
from ..model import Address, Unknown
from ..trees.classify import attributes_of
from ..trees.images import Look
from ..trees.rules import looker

MOVING = {"process", "up"}
"""Parts of a state that are other after an exact undo too: a daemon that was restarted has another process."""


class Summing(Visitor[Directory]):
    """Adds up a digest of every path, so that it does not matter which process saw which."""

    def __init__(self, look: Callable[[Facts], Look]) -> None:
        self.look, self.sum = look, 0

    def enter(self, at: Directory) -> None:
        """The directory itself."""
        self._add(at, b"", at.facts)

    def files(self, at: Directory, groups: Groups) -> None:
        """What is in it."""
        for facts, names in groups.items():
            for name in names:
                self._add(at, name, facts)

    def _add(self, at: Directory, name: bytes, facts: Facts) -> None:
        look = replace(self.look(facts), xattrs=attributes_of(at, name, facts))
        told = hashlib.sha256(inner(at, name) + b"\0" + str((look, facts.type)).encode())
        self.sum += int.from_bytes(told.digest(), "big")

    def told(self) -> int:
        """The sum since this was last asked."""
        told, self.sum = self.sum, 0
        return told


def looks(host: Observer, what: Plan | Iterable[str]) -> dict[str, str]:
    """A digest of each thing: of its whole state, of a tree of every path with owner, mode and attributes."""
    names = {str(t.address) for t in what.transitions} if isinstance(what, Plan) else set(what)
    found = {}
    for text in sorted(names):
        address = Address.parse(text)
        seen = kinds()[address.kind].read(host, address.name)
        told = {"reason": seen.reason} if isinstance(seen, Unknown) else seen.model_dump(mode="json", exclude=MOVING)
        digest = hashlib.sha256(canonical(told).encode())
        if kinds().spans(address) and host.stat(address.name) is not None:
            digest.update(b"%d" % sum(host.visit(address.name, lambda: partial(Summing, looker(host)))))
        found[text] = digest.hexdigest()
    return found


def unrest(host: Observer, again: Plan, before: Mapping[str, str]) -> list[str]:
    """What a rehearsal found wrong, in words, after all was given back; empty where it proved what it was to prove.

    ``again``: the plan of a second apply; ``before``: how every thing looked before the first.
    """
    after = looks(host, list(before))
    verbs = (f"a second apply would {t.verb} {t.address}; it never comes to rest" for t in again.transitions)
    differ = sorted(address for address, text in before.items() if after.get(address) != text)
    return [*verbs, *(f"{address} is not as it was before" for address in differ)]
