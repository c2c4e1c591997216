"""The desired state that describes what is there now; every word is tried, so that planning it finds nothing to do."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ..core.goals import from_desired
from ..core.options import Options
from ..core.plan import Plan
from ..core.secret import marked
from ..desired.documents import parse
from ..engine.survey import Surveyor
from ..errors import HostError, ReconcilerError
from ..formats.text import printable
from ..host.port import Observer
from ..kinds import kinds
from ..model import Address, Field, clean_path

Wish = dict[str, Any]
PLAIN = re.compile(r"[A-Za-z/_][A-Za-z0-9/_.+-]*( [A-Za-z0-9/_.+-]+)*")


class Adopter:
    """Describes things of one host."""

    def __init__(self, surveyor: Surveyor, deployment: str) -> None:
        self.surveyor, self.host, self.deployment = surveyor, surveyor.host, deployment
        self.remarks: list[str] = []
        """What could not be described, and why."""

    def document(self, addresses: Iterable[Address], keys: Mapping[str, Sequence[tuple[str, str]]]) -> str:
        """The YAML of one deployment; ``keys``: those of ini files that are asked for (by path), else all."""
        wishes: list[Wish] = []
        for address in sorted(set(addresses), key=lambda a: (kinds()[a.kind].rank, a.name)):
            described = self._described(address, keys.get(address.name))
            if described is not None:
                wishes.append(described)
        # Together, for one may have to do with another, as a tree with a file in it.
        while wishes and (wrong := self.wrong(wishes)):
            left = [wish for wish in wishes if str(_address(wish)) not in wrong]
            for name in sorted(wrong):
                self.remarks.append(f"{name}: is not described, since with the others it would be changed")
            if len(left) == len(wishes):
                break
            wishes = left
        return yaml_of(self.deployment, wishes)

    def _described(self, address: Address, keys: Sequence[tuple[str, str]] | None) -> Wish | None:
        try:
            return kinds()[address.kind].adopted(self.host, address.name, _Trial(self, address, keys))
        except HostError as error:
            self.remarks.append(f"{address}: {error}")
            return None

    def planned(self, wishes: Sequence[Wish], options: Options) -> Plan:
        """What would be done for some wishes."""
        documents = parse({"adopted.yaml": yaml_of(self.deployment, wishes).encode()}, facts={}).documents
        return self.surveyor.survey(from_desired(documents, self.surveyor.ledger, self.surveyor.unseal), options)

    def wrong(self, wishes: Sequence[Wish]) -> set[str]:
        """The addresses for which something would be done."""
        try:
            plan = self.planned(wishes, Options())
        except ReconcilerError:
            return {str(_address(wish)) for wish in wishes}
        return {str(t.address) for t in plan.transitions} | {str(b.address) for b in plan.blocked}


class _Trial:
    """One thing, described by trial."""

    def __init__(self, adopter: Adopter, address: Address, keys: Sequence[tuple[str, str]] | None) -> None:
        self._adopter, self._address, self._keys = adopter, address, keys

    def remark(self, text: str) -> None:
        """Say what could not be described."""
        self._adopter.remarks.append(f"{self._address}: {text}")

    def asked(self) -> Sequence[tuple[str, str]] | None:
        """The keys that are asked for; None for all."""
        return self._keys

    def secret(self, field: Field) -> bool:
        """Whether the log says that a field is a secret."""
        surveyor = self._adopter.surveyor
        hold = surveyor.ledger.holds.get(self._address, {}).get(field)
        values = (hold.origin, hold.current) if hold is not None else ()
        return any(marked(surveyor.unseal(value)) for value in values)

    def so(self, wish: Wish) -> bool:
        """Whether nothing has to be done for a wish."""
        return not self._adopter.wrong([wish])

    def kept(self, base: Wish, parts: Iterable[tuple[str, Any]]) -> Wish | None:
        """The wish with every part that is so already; parts of one name come together."""
        wish, left = dict(base), []
        for name, value in parts:
            tried = {**wish, name: joined(wish.get(name), value)}
            if self.so(tried):
                wish = tried
            else:
                left.append(f"{name} {printable(json.dumps(value))[:80]} cannot be described")
        if wish == base and not self.so(wish):
            self.remark("cannot be described")
            return None
        for text in left:
            self.remark(text)
        return wish

    def differing(self, wish: Wish) -> list[str] | None:
        """The paths that a wish would change, relative to its own; None where it cannot be planned."""
        try:
            plan = self._adopter.planned([wish], Options(all_paths=True))
        except ReconcilerError:
            return None
        if plan.blocked or plan.skipped:
            return None
        top = self._address.name.rstrip("/") + "/"
        found = [item["path"] for t in plan.transitions for item in t.prospect.facts.get("paths", ())]
        if plan.transitions and not found:
            return None
        inner = [path[len(top) :] for path in found if path.startswith(top)]
        return inner if self._address.name not in found else None


def _address(wish: Wish) -> Address:
    kind = next(iter(wish))
    return kinds().address(f"{kind}:{wish[kind]}")


def joined(first: Any, second: Any) -> Any:
    """Two parts of one name: lists and mappings come together.

    >>> joined({"S": {"a": "1"}}, {"S": {"b": "2"}}), joined([1], [2]), joined(None, "x")
    ({'S': {'a': '1', 'b': '2'}}, [1, 2], 'x')
    """
    if isinstance(first, list) and isinstance(second, list):
        return [*first, *second]
    if isinstance(first, dict) and isinstance(second, dict):
        return {
            key: joined(first.get(key), second[key]) if key in second else first[key] for key in {**first, **second}
        }
    return second


def yaml_of(deployment: str, wishes: Sequence[Wish]) -> str:
    """One document."""
    lines = [f"deployment: {scalar(deployment)}", "resources:" + ("" if wishes else " []")]
    for wish in wishes:
        for number, (key, value) in enumerate(wish.items()):
            lines += _lines(key, value, "  - " if number == 0 else "    ", 4)
    return "\n".join(lines) + "\n"


def _lines(key: str, value: Any, lead: str, indent: int) -> Iterator[str]:
    blanks = " " * indent
    if isinstance(value, dict):
        yield f"{lead}{scalar(key)}:"
        for inner, part in value.items():
            yield from _lines(inner, part, blanks + "  ", indent + 2)
    elif isinstance(value, list) and any(isinstance(part, dict) for part in value):
        yield f"{lead}{scalar(key)}:"
        for part in value:
            yield f"{blanks}  - {_flow(part)}"
    else:
        yield f"{lead}{scalar(key)}: {_flow(value)}"


def _flow(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{scalar(key)}: {_flow(part)}" for key, part in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_flow, value)) + "]"
    return scalar(str(value))


def scalar(text: str) -> str:
    """A text as YAML has it, quoted where it could be read as something else.

    >>> scalar("ann"), scalar("0750"), scalar("yes: no"), scalar("")
    ('ann', '"0750"', '"yes: no"', '""')
    """
    if PLAIN.fullmatch(text) and text.lower() != "null":
        return text
    # As JSON has it, but for what JSON writes as two halves.
    return "".join(f"\\U{ord(char):08x}" if ord(char) > 0xFFFF else json.dumps(char)[1:-1] for char in text).join('""')


def things(host: Observer, words: Iterable[str]) -> list[Address]:
    """The addresses that words on a command line mean: ``kind:name``, or a path by what is there."""
    found = []
    for word in words:
        if not word.startswith("/"):
            found.append(kinds().address(word))
            continue
        path = clean_path(word)
        there = host.stat(path)
        fitting = [name for name, kind in kinds().items() if kind.recognises(host, path, there)]
        found.append(Address(fitting[-1], path))
    return found
