"""What is wrong between resources: doubles, contradictions, cycles, protected paths."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..core.secret import SECRET_KEY
from ..errors import Mistake
from ..formats.modes import octal
from ..host.accounts import PATHS
from ..kinds import kinds
from ..model import Address, above
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
            hint = f"the first is at {first.source}; write one resource with all keys"
            _add(problems, source, f"{resource.address} is there already", hint)
        for path in kinds()[resource.kind].claims(resource):
            _claimed(path, wished, paths.setdefault(path, wished), problems)
        for what, hint in resource.mistakes():
            _add(problems, source, what, hint)
    _within(paths, paths, problems)
    for wished in document.resources:
        named = ((key, word) for key, words in wished.resource.named().items() for word in words)
        for key, word in named:
            if kinds().address(word) not in known:
                what = f"{key!r} names {word!r}, which this deployment does not have"
                _add(problems, wished.source, what, nearest(word, map(str, known)))
    _cycles(known, problems)


def _claimed(path: str, wished: Wished, first: Wished, problems: list[Mistake]) -> None:
    """A path that another kind has already, or that holds accounts and is written through their kinds alone."""
    if first is not wished and first.resource.kind != wished.resource.kind:
        what = f"{path} belongs to '{first.resource.kind}: {first.resource.name}' already"
        _add(problems, wished.source, what, f"the first is at {first.source}")
    if path in PATHS.values():
        writers = sorted(name for name, kind in kinds().items() if kind.owns)
        alone = " and ".join(f"'{name}:'" for name in writers)
        what, hint = f"{path} is edited through {alone} alone", f"declare the {writers[0]}"
        _add(problems, wished.source, what, hint)


def _within(mine: Mapping[str, Wished], others: Mapping[str, Wished], problems: list[Mistake]) -> None:
    """What lies inside a thing that cannot hold anything: a file, or a link, which may lead elsewhere tomorrow."""
    for path, wished in mine.items():
        for parent in above(path):
            outer = others.get(parent)
            kind = kinds()[outer.resource.kind] if outer is not None else None
            if outer is not None and kind is not None and not kind.encloses:
                what = f"{path} lies inside {outer.resource.kind}:{parent}, which is not a directory"
                _add(problems, wished.source, what, f"name the path that it really has; the other is at {outer.source}")


def _cycles(known: Mapping[Address, Wished], problems: list[Mistake]) -> None:
    edges = {
        address: [
            a
            for a in (*map(kinds().address, w.resource.after), *sorted(w.resource.requires()))
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
    numbers: dict[tuple[str, str, int], tuple[Document, Wished]] = {}
    for document in documents:
        for wished in document.resources:
            for name, number in wished.resource.numbers().items():
                owner, rival = numbers.setdefault((wished.resource.kind, name, number), (document, wished))
                both = same_host or owner is document or document.match == owner.match
                if rival.resource.address != wished.resource.address and both:
                    what = (
                        f"{wished.resource.address}: {name} {number} is asked for by {rival.resource.address} already"
                    )
                    _add(problems, wished.source, what, f"choose another; the first is at {rival.source}")
            for path in kinds()[wished.resource.kind].claims(wished.resource):
                owner, rival = paths.setdefault(path, (document, wished))
                both = same_host or document.match == owner.match
                if owner is not document and rival.resource.kind != wished.resource.kind and both:
                    what = f"{path} is a {rival.resource.kind} already"
                    _add(problems, wished.source, what, f"the first is at {rival.source}")
            for other, first in seen.get(wished.resource.address, []):
                apart = not same_host and document.match != other.match
                if apart or other is document:
                    continue
                if reason := wished.resource.contradicts(first.resource):
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


def _spoken(wished: Wished) -> dict[tuple[str, ...], Any]:
    """What a resource says, flat, where two of them can contradict each other."""
    found = wished.resource.spoken()
    for path in [p for p in found if p[-1].endswith("mode") and isinstance(found[p], str)]:
        found[path] = octal(found[path]) if octal(found[path]) is not None else found[path]
    for path in [p for p in found if p[0] in ("groups", "restart_on", "optional")]:
        del found[path]  # lists of "at least these" add up
    return found
