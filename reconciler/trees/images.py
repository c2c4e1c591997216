"""Before-images of trees: what every path had, and what it was to get.

An image is kept by classes (a look before, a look after), which stand in the event, and pages, one a directory,
which are kept beside the log: a page says of the directory and of each name in it which class it has.  Walks come
by directories in walking order, and so do the pages: both are read along with each other, and neither is ever held
as a whole.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from weakref import finalize

from ..core.vault import Vault
from ..formats.modes import SPECIAL, show_capability
from ..host.port import CAPABILITY
from ..model import Json, Owner

LONG = 1000
"""Bytes of a line that are worth a look at its ends before it is taken apart; more than any one name has."""


@dataclass(frozen=True, slots=True)
class Look:
    """What a path has, or is to have; owners are names where the host has one."""

    owner: Owner
    group: Owner
    mode: int | None
    xattrs: tuple[tuple[str, str], ...] = ()
    digest: str = ""
    """Of a setuid or setgid file, or one with capabilities, in a before-image: the bytes that get those back."""

    def json(self) -> Json:
        """The form that images carry."""
        out: dict[str, Json] = {"owner": self.owner, "group": self.group, "mode": self.mode}
        out |= {"xattrs": dict(self.xattrs)} if self.xattrs else {}
        return out | ({"digest": self.digest} if self.digest else {})

    def shown(self) -> Json:
        """The form that plans carry."""
        return {
            "owner": self.owner,
            "group": self.group,
            "mode": None if self.mode is None else f"{self.mode:04o}",
        }

    def __str__(self) -> str:
        text = f"{self.owner}:{self.group}" + ("" if self.mode is None else f":{self.mode:04o}")
        capability = dict(self.xattrs).get(CAPABILITY)
        return f"{text} {show_capability(capability.encode('latin-1'))}" if capability else text

    @classmethod
    def parse(cls, raw: Mapping[str, Json]) -> Look:
        """Read what `json` wrote."""
        return cls(
            raw["owner"], raw["group"], raw["mode"], tuple(sorted(raw.get("xattrs", {}).items())), raw.get("digest", "")
        )


def privileged(look: Look) -> bool:
    """Whether whoever runs this file gets more than he has."""
    return bool((look.mode or 0) & SPECIAL) or CAPABILITY in dict(look.xattrs)


def differs(now: Look, after: Look) -> bool:
    """Whether a path is not yet as it is to be."""
    if (now.owner, now.group) != (after.owner, after.group):
        return True
    if after.mode is not None and now.mode is not None and now.mode != after.mode:
        return True
    have = dict(now.xattrs)
    return any(have.get(key, "") != value for key, value in after.xattrs)


Class = tuple[Look, Look | None]
"""A look before and one after; None: the path stayed as it was."""


@dataclass(frozen=True, slots=True, eq=False)
class Record:
    """What one image says of a path.  Paths of one class have the same record, that very object."""

    before: Look
    after: Look | None
    seq: int = 0


@dataclass
class Page:
    """What an image says of one directory and of what is in it besides directories."""

    path: bytes
    own: Record | None
    runs: list[tuple[Record, bytes]]
    """Names of one class on a line, in order, escaped, with a slash between them."""

    def shared(self, names: list[bytes]) -> Record | None:
        """The one record of all these names, where a line names exactly them; None: look at each."""
        line = b"/".join(names)
        return self._by_line.get(line) if b"\\" not in line else None

    @cached_property
    def _by_line(self) -> dict[bytes, Record]:
        return {line: record for record, line in self.runs}

    def between(self, first: bytes, last: bytes) -> dict[bytes, Record]:
        """The names in it from one to another, and maybe more.

        Most pages that a process of several reads are for another one, and of a large directory it is shown a part
        at a time: what is not asked for is not taken apart.
        """
        found: dict[bytes, Record] = {}
        for record, line in self.runs:
            if len(line) > LONG:
                head, tail = line[: line.find(b"/")], line[line.rfind(b"/") + 1 :]
                if unescape(head) > last or unescape(tail) < first:
                    continue
            listed = line.split(b"/")
            if b"\\" in line:
                listed = [unescape(name) for name in listed]
            found.update(dict.fromkeys(listed, record))
        return found


def order_of(path: bytes) -> list[bytes]:
    """The walking order of a directory: parents first, then by the bytes of the names."""
    return path.split(b"/") if path else []


def within(path: bytes, top: bytes) -> bool:
    """Whether a walked path is ``top`` or lies below it."""
    return not top or path == top or path.startswith(top + b"/")


def beneath(path: bytes, tops: Iterable[bytes]) -> bool:
    """Whether a walked path is one of these, or lies below one."""
    return any(within(path, top) for top in tops)


@dataclass
class Layer:
    """One image, read along with a walk."""

    total: bool
    """Whether it names every path that was there, and not those alone that were changed."""
    pages: Iterator[Page]
    part: bytes = b""
    """The part of the walked tree that the image is of; empty for all of it."""
    _now: Page | None = None
    _next: Page | None = None
    _way: list[tuple[bytes, Record]] = field(default_factory=list)

    def knows_all_of(self, path: bytes) -> bool:
        """Whether a path that this image does not name was not there when it was made."""
        return self.total and within(path, self.part)

    def page(self, path: bytes) -> Page | None:
        """The page of a directory; walks must ask in walking order."""
        if self._now is not None and self._now.path == path:
            return self._now
        key = order_of(path)
        while True:
            if self._next is None:
                self._next = next(self.pages, None)
                if self._next is None:
                    return None
            if self._next.path != path and order_of(self._next.path) > key:
                return None
            self._now, self._next = self._next, None
            if self._now.own is not None:
                while self._way and not within(self._now.path, self._way[-1][0]):
                    self._way.pop()
                self._way.append((self._now.path, self._now.own))
            if self._now.path == path:
                return self._now

    def above(self, path: bytes) -> list[tuple[bytes, Record]]:
        """The recorded directories on the way to a path, itself too, the nearest last; of pages asked for so far."""
        return [(top, record) for top, record in self._way if within(path, top)]


def open_layer(value: Json, vault: Vault, top: str) -> Layer:
    """An image that an event names, seen from the tree ``top``."""
    origin, seq = value.get("top", top), int(value.get("seq", 0))
    here, there = (os.fsencode(text.rstrip("/")) for text in (top, origin))
    classes = [(Look.parse(before), Look.parse(after) if after else None) for before, after in value["classes"]]
    read = _pages if value.get("form") == 2 else _flat_pages
    pages = read(vault.stream(value["image"]), [Record(before, after, seq) for before, after in classes])
    part = there[len(here) + 1 :] if there.startswith(here + b"/") else b""
    return Layer(bool(value["total"]), _seen_from(pages, here, there), part)


def _seen_from(pages: Iterator[Page], here: bytes, there: bytes) -> Iterator[Page]:
    """The pages of an image of one tree as pages of another; those that lie outside are left out."""
    for page in pages:
        if here == there:
            yield page
            continue
        whole = there + (b"/" + page.path if page.path else b"")
        if whole == here or whole.startswith(here + b"/"):
            yield Page(whole[len(here) + 1 :], page.own, page.runs)


def _pages(lines: Iterator[bytes], records: Sequence[Record]) -> Iterator[Page]:
    """Read what `Drawing` wrote."""
    mapping: list[Record] = []
    path: bytes | None = None
    own: Record | None = None
    runs: list[tuple[Record, bytes]] = []
    for line in lines:
        if line.startswith(b"="):
            mapping = [records[int(number)] for number in line[1:].split(b",")] if len(line) > 1 else []
            continue
        if line.startswith(b"/"):
            number, _, inner = line[1:].partition(b"/")
            inner = unescape(inner)
            if path is not None and inner != path:
                yield Page(path, own, runs)
                own, runs = None, []
            path, own = inner, mapping[int(number)] if number else own
            continue
        number, _, rest = line.partition(b"/")
        runs.append((mapping[int(number)], rest))
    if path is not None:
        yield Page(path, own, runs)


def _flat_pages(lines: Iterator[bytes], records: Sequence[Record]) -> Iterator[Page]:
    """Read an image of version 0.1, which had one line a path and did not say which of them are directories."""
    found: dict[bytes, list[tuple[Record, bytes]]] = {}
    owns: dict[bytes, Record] = {}
    for line in lines:
        number, _, path = line.partition(b"\t")
        path = unescape(path)
        owns[path] = records[int(number)]
        parent, _, name = path.rpartition(b"/")
        if path:
            found.setdefault(parent, []).append((owns[path], escaped(name)))
    for path in sorted({*found, *owns}, key=order_of):
        yield Page(path, owns.get(path), found.get(path, []))


def _whole_pages(origin: Json, vault: Vault) -> Iterator[Iterator[tuple[bytes, Page]]]:
    """The pages of every image, the oldest first, each with the absolute path of its directory."""
    for value in origin["layers"] if isinstance(origin, dict) else ():
        top = os.fsencode(value.get("top", "").rstrip("/"))
        pages = open_layer(value, vault, value.get("top", "")).pages
        yield ((top + (b"/" + page.path if page.path else b""), page) for page in pages)


def _of(whole: bytes, page: Page, path: bytes) -> Record | None:
    """What the page of one directory says of a path."""
    parent, _, name = path.rpartition(b"/")
    return page.own if whole == path else page.between(name, name).get(name) if whole == parent else None


def recorded_in(origin: Json, vault: Vault, path: str) -> Iterator[Record]:
    """What images say of an absolute path, the oldest first."""
    for pages in _whole_pages(origin, vault):
        found = (record for whole, page in pages if (record := _of(whole, page, os.fsencode(path))) is not None)
        yield from islice(found, 1)


def knows_inside(origin: Json, vault: Vault, path: str) -> bool:
    """Whether any image tells of a change of a path, or of one in it."""
    wanted = os.fsencode(path)

    def told(whole: bytes, page: Page) -> Iterator[Record | None]:
        yield _of(whole, page, wanted)
        if whole == wanted or whole.startswith(wanted + b"/"):
            yield page.own
            yield from (record for record, _ in page.runs)

    listed = (item for pages in _whole_pages(origin, vault) for item in pages)
    return any(record is not None and record.after is not None for item in listed for record in told(*item))


def escaped(text: bytes) -> bytes:
    """A path as it is written on a line."""
    return text.replace(b"\\", b"\\\\").replace(b"\n", b"\\n") if b"\\" in text or b"\n" in text else text


def unescape(text: bytes) -> bytes:
    """A path as it was before it was written on a line."""
    if b"\\" not in text:
        return text
    out, index = bytearray(), 0
    while index < len(text):
        if text[index : index + 1] == b"\\":
            out += b"\n" if text[index + 1 : index + 2] == b"n" else b"\\"
            index += 2
        else:
            out.append(text[index])
            index += 1
    return bytes(out)


class Drawing:
    """The part of an image that one visitor makes: its classes, and compressed pages that number them."""

    def __init__(self) -> None:
        self.classes: dict[Class, int] = {}
        self._lines: list[bytes] = []
        self._last: bytes | None = None

    def number(self, before: Look, after: Look | None) -> int:
        """The number of a class in this part."""
        return self.classes.setdefault((before, after), len(self.classes))

    def page(self, path: bytes, own: int | None) -> None:
        """Begin a directory's page, or go on with it."""
        if own is not None or path != self._last:
            self._lines.append(b"/%s/%s\n" % (b"" if own is None else b"%d" % own, escaped(path)))
            self._last = path

    def names(self, path: bytes, runs: Mapping[int, Sequence[bytes]]) -> None:
        """Names in a directory, by class."""
        if runs:
            self.page(path, None)
        self._lines += [b"%d/%s\n" % (number, escaped(b"/".join(names))) for number, names in runs.items()]

    def take(self) -> tuple[list[Class], bytes]:
        """What was drawn since this was last asked."""
        taken = list(self.classes), zlib.compress(b"".join(self._lines), 1) if self._lines else b""
        self.classes, self._lines, self._last = {}, [], None
        return taken


class Album:
    """A whole image: the parts that visitors drew, in walking order, kept outside this process's own memory."""

    def __init__(self, *, total: bool) -> None:
        self.total = total
        self.classes: dict[Class, int] = {}
        self._frames: list[int] = []
        self._file = os.memfd_create("image")
        finalize(self, os.close, self._file)

    def add(self, classes: Sequence[Class], pages: bytes) -> None:
        """The next part."""
        if not pages:
            return
        numbers = [self.classes.setdefault(each, len(self.classes)) for each in classes]
        mapping = zlib.compress(b"=" + b",".join(b"%d" % n for n in numbers) + b"\n", 1)
        for frame in (mapping, pages):
            self._frames.append(len(frame))
            while frame:
                frame = frame[os.write(self._file, frame) :]  # noqa: PLW2901 - what is left of it

    def frames(self) -> Iterator[bytes]:
        """Compressed pieces of whole lines."""
        offset = 0
        for length in self._frames:
            yield os.pread(self._file, length, offset)
            offset += length

    def layer(self) -> Layer:
        """The image, to be read along with a walk of the same tree."""
        records = [Record(before, after) for before, after in self.classes]
        lines = (line for frame in self.frames() for line in zlib.decompress(frame).split(b"\n")[:-1])
        return Layer(self.total, _pages(lines, records))

    def kept(self, vault: Vault) -> Json:
        """Put the image into the vault; what the event says of it."""
        classes = [[before.json(), after.json() if after else None] for before, after in self.classes]
        return {"form": 2, "image": vault.put_frames(self.frames()), "total": self.total, "classes": classes}


def first_page(own: Class, vault: Vault) -> Json:
    """The image of a directory that we are about to make, which says of nothing else that it was there."""
    album, drawing = Album(total=True), Drawing()
    drawing.page(b"", drawing.number(*own))
    album.add(*drawing.take())
    return album.kept(vault)
