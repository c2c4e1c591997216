"""What was held when, and who wrote what is there now: time travel and blame over the log's books."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from posixpath import normpath
from typing import Any

from ..core.holds import HOLD, Hold, Holds, holds_of
from ..core.kind import SECRET, gone
from ..core.ledger import Ledger
from ..errors import ReconcilerError
from ..formats.text import printable
from ..host.names import Names
from ..host.port import Facts, Observer
from ..kinds import kinds
from ..log.store import LogReader
from ..log.vault import Vault
from ..model import EXISTS, MARK, PATHS, Address, Field, Json, Unknown, inside
from ..trees.classify import absolute
from ..trees.images import Layer, Look, Record, open_layer, recorded_in
from ..trees.verify import unlike

Unseal = Callable[[Json], Json]


def shown(address: Address, field: Field, value: Json) -> Json:
    """What may be shown of a value: never a secret, of content its size and digest."""
    kind = kinds().get(address.kind)
    if value is None or kind is None:
        return value
    if field == EXISTS:
        return None if gone(value) else True
    if kind.display(field, value) == SECRET:
        return SECRET
    if isinstance(value, dict) and "layers" in value:
        return f"{len(value['layers'])} kept image{'s' * (len(value['layers']) > 1)} of its paths"
    if field == PATHS and isinstance(value, dict):
        return ":".join(str(value.get(part) or "") for part in ("owner", "group"))
    return kind.show(field, value)


def state_at(ledger: Ledger, seq: int, unseal: Unseal) -> list[Json]:
    """What was held right after an event, with the value we left and what was there before us."""
    found = []
    for address, fields in sorted(holds_of(ledger.books.at(seq, HOLD)).items()):
        listed = [
            {
                "field": list(name),
                "value": shown(address, name, unseal(hold.current)),
                "origin": shown(address, name, unseal(hold.origin)),
            }
            for name, hold in fields.items()
            if name != MARK
        ]
        names = sorted({holder for hold in fields.values() for holder in hold.holders})
        found.append({"address": str(address), "deployment": ", ".join(names), "fields": listed})
    return found


def difference(ledger: Ledger, earlier: int, later: int, unseal: Unseal) -> list[Json]:
    """The held fields whose values differ between two moments; None: not held then."""
    then, now = (_values(holds_of(ledger.books.at(seq, HOLD)), unseal) for seq in (earlier, later))
    return [
        {
            "address": str(address),
            "field": list(name),
            "from": then.get((address, name)),
            "to": now.get((address, name)),
        }
        for address, name in sorted({*then, *now})
        if then.get((address, name)) != now.get((address, name))
    ]


def _values(holds: Holds, unseal: Unseal) -> dict[tuple[Address, Field], Json]:
    return {
        (address, name): shown(address, name, unseal(hold.current))
        for address, fields in holds.items()
        for name, hold in fields.items()
        if name != MARK
    }


def readings(text: str) -> Iterator[tuple[str, str]]:
    """The ways to read ``ADDRESS|PATH[:field]``, since names may hold colons themselves: the longest name first.

    >>> list(readings("ini:/e:k"))
    [('ini:/e:k', ''), ('ini:/e', 'k'), ('ini', '/e:k')]
    """
    yield text, ""
    parts = text.split(":")
    for cut in range(len(parts) - 1, 0, -1):
        yield ":".join(parts[:cut]), ":".join(parts[cut:])


class Blame:
    """Who wrote what is there now."""

    def __init__(self, host: Observer, log: LogReader, ledger: Ledger, vault: Vault, unseal: Unseal) -> None:
        self.host, self.log, self.ledger, self.vault, self.unseal = host, log, ledger, vault, unseal

    def explain(self, text: str) -> list[Json]:
        """Every held thing that ``ADDRESS|PATH[:field]`` means, field by field."""
        for name, asked in readings(text):
            name = normpath(name) if name.startswith("/") else name  # noqa: PLW2901 - as people and shells write it
            things = (
                self._thing(address, fields) if _called(address, name) else self._path(address, fields, name)
                for address, fields in sorted(self.ledger.holds.items())
            )
            found = [
                {**thing, "fields": kept}
                for thing in things
                if (kept := [f for f in thing["fields"] if asked in ("", f["field"][-1], ".".join(f["field"]))])
            ]
            if found:
                return found
        raise ReconcilerError(
            f"{printable(text)}: nothing here was ever changed by reconciler, or all of it was given back; "
            f"see 'reconciler state --at {self.ledger.seq}'"
        )

    def _thing(self, address: Address, fields: Mapping[Field, Hold]) -> Json:
        kind = kinds().get(address.kind)
        seen: Any = Unknown("this version does not know the kind")
        if kind is not None:
            seen = kind.see(
                self.host, address.name, [(name, self.unseal(hold.current)) for name, hold in fields.items()]
            )
        listed = []
        for name, hold in fields.items():
            if name == MARK:
                continue
            left = self.unseal(hold.current)
            value, same = shown(address, name, left), True
            if kind is not None and not isinstance(seen, Unknown) and name != PATHS:
                now = kind.value(kind.aligned(seen, [left]), name)
                same = not kind.altered(name, now, left)
                value = shown(address, name, now)
            elif name == PATHS:
                same = not self._paths_drifted(address, hold)
            before = shown(address, name, self.unseal(hold.origin))
            listed.append({"field": list(name), "value": value, "before_us": before, **self._who(hold, same=same)})
        return {"address": str(address), "fields": listed}

    def _paths_drifted(self, address: Address, hold: Hold) -> bool:
        """Whether any path of a tree is not as we left it, besides those that are held by themselves."""
        held = {a.name for a in self.ledger.holds if a != address and a.name.startswith("/")}

        def layers() -> list[Layer]:
            return [open_layer(layer, self.vault, address.name) for layer in hold.origin["layers"]]

        def left(path: bytes, _: Facts, records: Sequence[Record]) -> Look | None:
            if any(inside(absolute(address.name, path), name) for name in held if name != address.name):
                return None
            return next((record.after for record in reversed(records) if record.after is not None), None)

        return bool(unlike(self.host, address.name, layers, left))

    def _path(self, address: Address, fields: Mapping[Field, Hold], path: str) -> Json:
        """One path inside a tree: of owner, group and mode who changed them last."""
        found: list[Json] = []
        there = (
            self.host.stat(path) if PATHS in fields and path.startswith("/") and inside(path, address.name) else None
        )
        if there is not None:
            names, hold = Names(self.host), fields[PATHS]
            now = Look(names.user(there.uid), names.group(there.gid), there.mode)
            known = [
                (layer["seq"], record)
                for layer in hold.origin["layers"]
                for record in recorded_in({"layers": [layer]}, self.vault, path)
                if record.after is not None
            ]
            for part, value in now.shown().items():
                changed = [(seq, r.before.shown()[part], r.after.shown()[part]) for seq, r in known if r.after]
                changed = [item for item in changed if item[1] != item[2]]
                who = (
                    self._who(replace(hold, seq=changed[-1][0]), same=changed[-1][2] == value)
                    if changed
                    else {"by": None}
                )
                before = changed[0][1] if changed else value
                found.append({"field": [part], "value": value, "before_us": before, **who})
        return {"address": str(address), "path": printable(path), "fields": found}

    def _who(self, hold: Hold, *, same: bool) -> Json:
        """The event that wrote a field; where it is not as we left it, the events between which that happened."""
        if not same:
            return {"by": "drift", "between": [hold.seq, self.ledger.seq]}
        event = next(self.log.events(hold.seq - 1), None)
        if event is not None and event.seq != hold.seq:
            event = None  # it was archived
        run = self.ledger.run(event.run) if event is not None else None
        commit = (hold.source or {}).get("commit") or (run.commit if run else None)
        return {
            "by": {
                "run": event.run if event else None,
                "seq": hold.seq,
                "at": event.at if event else None,
                "actor": run.actor if run else None,
                "source": hold.source,
                "commit": commit if event else None,
                "origin": run.origin if run else None,
            }
        }


def _called(address: Address, name: str) -> bool:
    """Whether a word means this very thing."""
    kind = kinds().get(address.kind)
    files = kind.edits(address.name) if kind is not None else ()
    return name in (str(address), kinds().short(address)) or (name.startswith("/") and name in (address.name, *files))
