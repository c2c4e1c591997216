"""What is wrong between resources: doubles, contradictions, cycles, protected paths."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from ..errors import Mistake
from ..host.accounts import PATHS
from ..kinds.daemon import Daemon
from ..kinds.ini import SECRET_KEY
from ..kinds.mapping import RscdMapping
from ..kinds.tree import PROTECTED, Tree
from ..model import Address, Resource
from ..modes import octal
from .words import nearest

if TYPE_CHECKING:
    from .documents import Document, Wished


FACTS = ("hostname", "group", "os", "distribution", "machine_id")
"""What ``match:`` can ask of a host."""


def check(documents: list[Document], problems: list[Mistake]) -> None:
    """Find every contradiction inside and between documents."""
    names: dict[str, Document] = {}
    for document in documents:
        first = names.setdefault(document.name, document) if document.name else document
        if first is not document:
            where = f"{first.source.file}:{first.source.line}"
            _add(
                problems,
                document.source,
                f"the deployment {document.name!r} is there already",
                f"the first is at {where}",
            )
        _inside(document, problems)
    between(documents, problems)


def _add(problems: list[Mistake], source: Any, message: str, hint: str = "") -> None:
    problems.append(Mistake(source.file, source.line, source.column, message, hint))


def _inside(document: Document, problems: list[Mistake]) -> None:
    for fact in document.match:
        if fact not in FACTS:
            line, column = document.text.at(("match", fact), key=True)
            problems.append(Mistake(document.text.file, line, column, f"unknown fact {fact!r}", nearest(fact, FACTS)))
    known: dict[Address, Wished] = {}
    paths: dict[str, Wished] = {}
    for wished in document.resources:
        resource, source = wished.resource, wished.source
        first = known.setdefault(resource.address, wished)
        if first is not wished:
            _add(
                problems,
                source,
                f"{resource.address} is there already",
                f"the first is at {first.source}; write one resource with all keys",
            )
        for path in _paths(resource):
            other = paths.setdefault(path, wished)
            if other is not wished and other.resource.kind != resource.kind:
                what = f"{path} belongs to '{other.resource.kind}: {other.resource.name}' already"
                _add(problems, source, what, f"the first is at {other.source}")
        if resource.kind in ("file", "ini") and resource.name in PATHS.values():
            _add(
                problems,
                source,
                f"{resource.name} is edited through 'account:' and 'group:' alone",
                "declare the account",
            )
        if isinstance(resource, Tree) and resource.name in PROTECTED and not resource.allow_protected:
            _add(
                problems,
                source,
                f"{resource.name} belongs to the system",
                "name a directory below it, or say 'allow_protected: true'",
            )
    for wished in document.resources:
        listed = [("after", wished.resource.after)]
        if isinstance(wished.resource, Daemon):
            listed.append(("restart_on", wished.resource.restart_on))
        for key, words in listed:
            for word in words:
                if Address.parse(word) not in known:
                    hint = nearest(word, map(str, known))
                    _add(
                        problems,
                        wished.source,
                        f"{key!r} names {word!r}, which this deployment does not have",
                        hint,
                    )
    _cycles(known, problems)


def _paths(resource: Resource) -> tuple[str, ...]:
    """The paths that a resource writes as files, or owns as a tree."""
    if isinstance(resource, RscdMapping):
        mode = (resource.place()[1],) if resource.mode not in (None, "impersonation") else ()
        return (*(f"{resource.name}/{name}" for name in resource.lines()), *mode)
    return (resource.name,) if resource.kind in ("file", "ini", "tree") else ()


def _cycles(known: Mapping[Address, Wished], problems: list[Mistake]) -> None:
    edges = {
        address: [
            a
            for a in (*map(Address.parse, w.resource.after), *sorted(w.resource.requires()))
            if a in known and a != address
        ]
        for address, w in known.items()
    }
    done: set[Address] = set()
    for start in edges:
        trail: list[Address] = []
        stack: list[tuple[Address, int]] = [(start, 0)]
        while stack:
            address, index = stack.pop()
            if index == 0:
                if address in done:
                    continue
                if address in trail:
                    loop = [*trail[trail.index(address) :], address]
                    _add(
                        problems,
                        known[start].source,
                        f"a cycle: {' → '.join(map(str, loop))}",
                        "take one 'after' out",
                    )
                    return
                trail.append(address)
            if index < len(edges[address]):
                stack += [(address, index + 1), (edges[address][index], 0)]
            else:
                trail.pop()
                done.add(address)


def between(documents: list[Document], problems: list[Mistake], *, same_host: bool = False) -> None:
    """Different wishes for one field, in documents that may be for one host."""
    seen: dict[Address, list[tuple[Document, Wished]]] = {}
    paths: dict[str, tuple[Document, Wished]] = {}
    for document in documents:
        for wished in document.resources:
            if wished.resource.kind in ("file", "ini"):
                owner, rival = paths.setdefault(wished.resource.name, (document, wished))
                both = same_host or document.match == owner.match
                if owner is not document and rival.resource.kind != wished.resource.kind and both:
                    what = f"{wished.resource.name} is a {rival.resource.kind} already"
                    _add(problems, wished.source, what, f"the first is at {rival.source}")
            for other, first in seen.get(wished.resource.address, []):
                apart = not same_host and document.match != other.match
                if apart or other is document:
                    continue
                if reason := _apart(wished.resource, first.resource):
                    what = f"{wished.resource.address}: {reason}"
                    _add(problems, wished.source, what, f"the other is at {first.source}")
                    continue
                mine, theirs = _spoken(wished), _spoken(first)
                for key in sorted(mine.keys() & theirs.keys()):
                    if mine[key] != theirs[key]:
                        told = (mine[key], theirs[key])
                        hidden = any(SECRET_KEY.search(part) for part in key) or any(isinstance(v, dict) for v in told)
                        here, there = ("(secret)", "another") if hidden else map(repr, told)
                        what = f"{wished.resource.address}: {'.'.join(key)} is {here} here"
                        _add(
                            problems,
                            wished.source,
                            what,
                            f"{there} at {first.source}; one host cannot have both",
                        )
            seen.setdefault(wished.resource.address, []).append((document, wished))


def _apart(one: Resource, other: Resource) -> str:
    """Why one agent cannot have the lines of two deployments; empty where it can, or where fields tell it."""
    if not isinstance(one, RscdMapping) or not isinstance(other, RscdMapping):
        return ""
    mine, theirs = one.spoken(), other.spoken()
    if any(mine[key] != theirs[key] for key in mine.keys() & theirs.keys()):
        return ""
    try:
        other.joined(one)
    except ValidationError as error:
        return str(error.errors(include_url=False)[0]["msg"]).removeprefix("Value error, ")
    return ""


def _spoken(wished: Wished) -> dict[tuple[str, ...], Any]:
    """What a resource says, flat."""
    if isinstance(wished.resource, RscdMapping):
        return wished.resource.spoken()
    found: dict[tuple[str, ...], Any] = {}

    def flatten(value: Any, path: tuple[str, ...]) -> None:
        if isinstance(value, dict) and value.get("secret") is not True:
            for key, inner in value.items():
                flatten(inner, (*path, str(key)))
        else:
            found[path] = value

    flatten(wished.resource.model_dump(exclude_unset=True, exclude={"name", "after", "policy", "implied_by"}), ())
    for section, keys in getattr(wished.resource, "unset", {}).items():
        found |= {("set", section, key): None for key in keys}
    for path in [p for p in found if p[-1].endswith("mode") and isinstance(found[p], str)]:
        found[path] = octal(found[path]) if octal(found[path]) is not None else found[path]
    for path in [p for p in found if p[0] in ("groups", "restart_on", "optional", "unset")]:
        del found[path]  # lists of "at least these" add up
    return found
