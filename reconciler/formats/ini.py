"""Lossless editing of ini files: only the lines of the asked key change, and can change back.  Pure.

Understood: any section name (backslashes included), keys before the first section (section ``""``), ``=`` and ``:``,
comments behind values, continuation lines, repeated keys and sections, BOMs, UTF-16, CRLF, a missing last newline.
A key that is repeated is changed in every place, so that readers who take the first and readers who take the
last agree.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from ..errors import HostError
from ..model import Json

BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
HEADER = re.compile(r"^[ \t]*\[(?P<name>[^\]\r\n]*)\]")
COMMENT = re.compile(r"^[ \t]*[#;]")
BLANK = re.compile(r"^\s*$")
KEY = re.compile(r"^(?P<indent>[ \t]*)(?P<key>[^\s=:#;\[][^=:\r\n]*?)(?P<gap>[ \t]*[=:][ \t]*)")
QUOTED = re.compile(r"""\s*("[^"\r\n]*"|'[^'\r\n]*')""")
JOINED = re.compile(r"\s\\[\r\n]*$")
PREFIX = re.compile(r"^[ \t]*(?P<key>[^=:\r\n]*?)[ \t]*[=:][ \t]*")
REMARK = re.compile(r"[ \t]+[;#].*$")


@dataclass
class Part:
    """A section: its header, none for what stands before any, and the lines below it."""

    name: str
    header: str | None
    rows: list[str] = field(default_factory=list)
    _keys: dict[str, list[int]] | None = field(default=None, repr=False)
    """Where each key stands; None where that has to be looked up anew."""
    _last: int = field(default=-1, repr=False)
    """The last row with a key."""

    def keys(self, fold: Callable[[str], str]) -> dict[str, list[int]]:
        """The rows of every key."""
        if self._keys is None:
            self._keys, self._last = {}, -1
            for index, row in enumerate(self.rows):
                if (match := PREFIX.match(row)) and not COMMENT.match(row):
                    self._keys.setdefault(fold(match["key"]), []).append(index)
                if KEY.match(row):
                    self._last = index
        return self._keys

    def last(self, fold: Callable[[str], str]) -> int:
        """The last row with a key; -1 where there is none."""
        self.keys(fold)
        return self._last

    def put(self, start: int, count: int, rows: list[str]) -> None:
        """Replace some rows."""
        same = count == len(rows) == 1 and _key(self.rows[start]) == _key(rows[0])
        self.rows[start : start + count] = rows
        if not same:
            self._keys = None

    def added(self, spot: int, row: str, fold: Callable[[str], str]) -> None:
        """Insert a row with a key that is the last one."""
        keys = self.keys(fold)
        self.rows.insert(spot, row)
        if (key := _key(row)) and spot > self._last:
            keys.setdefault(fold(key), []).append(spot)
            self._last = spot if KEY.match(row) else self._last
        else:
            self._keys = None

    def above(self, row: int) -> str | None:
        """The line above a row; None at the top of the file, as far as this part knows."""
        return self.rows[row - 1] if row else self.header


def _key(row: str) -> str:
    match = PREFIX.match(row)
    return match["key"] if match and not COMMENT.match(row) else ""


@dataclass
class Line:
    """One key with the lines that continue it; ``raw`` is their exact text."""

    part: Part
    start: int
    """The row in its part."""
    count: int
    raw: str
    head: str
    value: str
    tail: str


class IniFile:
    """The lines of one file, each with its own line ending."""

    def __init__(self, data: bytes, *, fold: bool = False) -> None:
        """Read a file's bytes; with ``fold`` the case of sections and keys does not count."""
        self.bom, self.encoding = next(((b, e) for b, e in BOMS if data.startswith(b)), (b"", "utf-8"))
        body = data[len(self.bom) :]
        try:
            text = body.decode(self.encoding, "surrogateescape" if self.encoding == "utf-8" else "strict")
        except UnicodeDecodeError:
            raise HostError(f"its byte order mark says {self.encoding}, but the bytes are something else") from None
        if "\0" in text:
            raise HostError("holds NUL bytes; this is no ini file")
        self._old_mac = "\r" in text and "\n" not in text
        self.newline = "\r\n" if "\r\n" in text else "\r" if self._old_mac else "\n"
        self.fold: Callable[[str], str] = str.casefold if fold else str
        self.parts = [Part("", None)]
        self._named: dict[str, list[Part]] | None = None
        self._starts: dict[int, int] | None = None
        """Where parts start; None once that may have changed."""
        for line in self._split(text):
            if match := HEADER.match(line):
                self.parts.append(Part(match["name"].strip(), line))
            else:
                self.parts[-1].rows.append(line)

    def _split(self, text: str) -> list[str]:
        return re.findall(r"[^\r]*\r|[^\r]+$" if self._old_mac else r"[^\n]*\n|[^\n]+$", text)

    @property
    def lines(self) -> list[str]:
        """All lines."""
        return [
            line for part in self.parts for line in (*([part.header] if part.header is not None else ()), *part.rows)
        ]

    def render(self) -> bytes:
        """The file's bytes."""
        errors = "surrogateescape" if self.encoding == "utf-8" else "strict"
        return self.bom + "".join(self.lines).encode(self.encoding, errors)

    def starts(self) -> dict[int, int]:
        """The number of the first row of every part, by the part's identity."""
        if self._starts is None:
            self._starts, at = {}, 0
            for part in self.parts:
                at += part.header is not None
                self._starts[id(part)] = at
                at += len(part.rows)
        return self._starts

    def _called(self, section: str) -> list[Part]:
        if self._named is None:
            self._named = {}
            for part in self.parts:
                self._named.setdefault(self.fold(part.name), []).append(part)
        return self._named.get(self.fold(section), [])

    def sections(self) -> list[tuple[str, int, int]]:
        """Every section with its first line behind the header and the line behind its last."""
        starts = self.starts()
        return [(part.name, starts[id(part)], starts[id(part)] + len(part.rows)) for part in self.parts]

    def pairs(self) -> list[tuple[str, str]]:
        """Every section and key, in the order in which they are first met."""
        found = ((p.name, match["key"].strip()) for p in self.parts for row in p.rows if (match := KEY.match(row)))
        return list(dict.fromkeys(found))

    def find(self, section: str, key: str) -> list[Line]:
        """Every place where a key stands in a section of that name."""
        found = []
        for part in self._called(section):
            behind = 0
            for row in part.keys(self.fold).get(self.fold(key), ()):
                if row >= behind:
                    found.append(self._key_at(part, row))
                    behind = row + found[-1].count
        return found

    def _key_at(self, part: Part, index: int) -> Line:
        rows = part.rows
        text, end = rows[index], len(rows)
        body, match = text.lstrip(" \t"), PREFIX.match(text)
        assert match is not None
        depth = len(text.expandtabs(8)) - len(body.expandtabs(8))
        head = match[0]
        rest = text[len(head) :].rstrip("\r\n")
        ending = text[len(head) + len(rest) :]
        count = 1
        while index + count < end and (
            self._continues(rows[index + count], depth) or JOINED.search(rows[index + count - 1])
        ):
            count += 1
        raw = "".join(rows[index : index + count])
        more = [line.strip() for line in rows[index + 1 : index + count]]
        if rest[:1] in ("", ";", "#") and head[-1] in " \t":
            rest = head[len(head.rstrip(" \t")) :] + rest if rest else rest
        quote = QUOTED.match(rest)
        remark = REMARK.search(rest, quote.end() if quote else 0)
        tail = rest[remark.start() :] if remark else rest[len(rest.rstrip()) :]
        value = rest[: len(rest) - len(tail)] if tail else rest
        return Line(part, index, count, raw, head, "\n".join([value.strip(), *more]), tail + ending)

    @staticmethod
    def _continues(line: str, indent: int) -> bool:
        depth = len(line.expandtabs(8)) - len(line.expandtabs(8).lstrip(" "))
        # An indented line that is a key itself is never swallowed, though some readers would.
        return depth > indent and not any(p.match(line) for p in (BLANK, COMMENT, HEADER, KEY))

    def get(self, section: str, key: str) -> Json:
        """The lossless value of a key: its raw lines, or where it is not, what is around it.

        Shape: ``{"value": text, "places": [{"raw", "index", "above"}]}`` or ``{"absent": {...}}``.
        """
        found = self.find(section, key)
        if not found:
            end = self._end()
            return {
                "absent": {
                    "section": section == "" or any(part.header is not None for part in self._called(section)),
                    "bare_end": end is not None and not end.endswith(("\n", "\r")),
                    "lines": self.starts()[id(self.parts[-1])] + len(self.parts[-1].rows),
                    "blank": end is not None and not BLANK.match(end),
                }
            }
        starts = self.starts()
        return {
            "value": self.text(section, key),
            "places": [
                {"raw": line.raw, "index": starts[id(line.part)] + line.start, "above": line.part.above(line.start)}
                for line in found
            ],
        }

    def text(self, section: str, key: str) -> str | list[str] | None:
        """The value of a key; a list where repeated keys disagree, None where it is not."""
        values = list(dict.fromkeys(line.value for line in self.find(section, key)))
        return values[0] if len(values) == 1 else values or None

    def _end(self) -> str | None:
        """The last line; None of an empty file."""
        last = self.parts[-1]
        return last.rows[-1] if last.rows else last.header

    def _end_becomes(self, text: str) -> None:
        last = self.parts[-1]
        if last.rows:
            last.put(len(last.rows) - 1, 1, [text])
        else:
            last.header = text

    def set(self, section: str, key: str, value: str) -> None:
        """Give a key its value wherever it stands, or add it to its section."""
        found = self.find(section, key)
        for line in reversed(found):
            text = line.head + value + line.tail
            # A continuation's last line may be the one that lacks the newline.
            if line.count > 1 and not line.raw.endswith(("\n", "\r")):
                text = text.rstrip("\r\n")
            line.part.put(line.start, line.count, [text])
            self._starts = self._starts if line.count == 1 else None
        if not found:
            self._add(section, key, value)

    def _add(self, section: str, key: str, value: str) -> None:
        if not self._called(section):
            self._append_section(section)
        part = self._called(section)[0]
        last = part.last(self.fold)
        style, spot = (KEY.match(part.rows[last]), last + 1) if last >= 0 else (None, 0)
        if style is not None:
            while spot < len(part.rows) and self._continues(part.rows[spot], len(style["indent"].expandtabs(8))):
                spot += 1
        if style is None:
            style = next((m for p in self.parts for row in p.rows if (m := KEY.match(row))), None)
            indent, gap = "", style["gap"] if style else "="
        else:
            indent, gap = style["indent"], style["gap"]
        if not gap.endswith(("=", ":")) and not gap.strip():
            gap = "="
        # Put above a deeper line, the new key would swallow it as its continuation.
        while spot < len(part.rows) and self._continues(part.rows[spot], len(indent.expandtabs(8))):
            spot += 1
        text = f"{indent}{key}{gap}{value}"
        part.added(spot, self._ended(text, last=part is self.parts[-1] and spot == len(part.rows)), self.fold)
        self._starts = None

    def _append_section(self, section: str) -> None:
        end = self._end()
        if end is not None and not BLANK.match(end):
            self.parts[-1].put(len(self.parts[-1].rows), 0, [self._ended("", last=True)])
        self.parts.append(Part(section, self._ended(f"[{section}]", last=True)))
        self._starts = None
        if self._named is not None:
            self._named.setdefault(self.fold(section), []).append(self.parts[-1])

    def _ended(self, text: str, *, last: bool) -> str:
        """A line with its ending; a file that ends without a newline goes on doing so."""
        end = self._end()
        if last and end is not None and not end.endswith(("\n", "\r")):
            self._end_becomes(end + self.newline)
            return text
        return text + self.newline

    def unset(self, section: str, key: str) -> None:
        """Take a key out, in every place."""
        self._unset(self.find(section, key))

    def _unset(self, found: Iterable[Line]) -> None:
        """Take lines out, and let the file end as it did."""
        gone: dict[int, tuple[Part, set[int]]] = {}
        for line in found:
            gone.setdefault(id(line.part), (line.part, set()))[1].update(range(line.start, line.start + line.count))
        end = self._end()
        for part, rows in gone.values():
            part.put(0, len(part.rows), [row for index, row in enumerate(part.rows) if index not in rows])
        self._starts = None
        if gone and end is not None and not end.endswith(("\n", "\r")) and (now := self._end()) is not None:
            self._end_becomes(now.rstrip("\r\n"))

    def restore_all(self, values: Mapping[tuple[str, str], Json]) -> None:
        """Bring several keys back: what we added goes first, then lines return in their old order."""
        added = {name: value["absent"] for name, value in values.items() if "absent" in value}
        self._unset(line for name in added for line in self.find(*name))
        made: dict[str, bool] = {}
        for (section, _), around in added.items():
            if not around["section"]:
                made[section] = made.get(section, False) or bool(around.get("blank", True))
        self._drop_empty({self.fold(section): ours for section, ours in made.items()})
        count = len(self.lines)
        for around in added.values():
            if around["bare_end"] and (end := self._end()) is not None and count == around["lines"]:
                self._end_becomes(end.rstrip("\r\n"))
        present = [(name, value) for name, value in values.items() if "places" in value]
        for (section, key), value in sorted(present, key=lambda item: int(item[1]["places"][0]["index"])):
            self.restore(section, key, value)

    def restore(self, section: str, key: str, value: Json) -> None:
        """Bring a key back to a value that `get` told, its lines and their place included."""
        if "absent" in value:
            self.restore_all({(section, key): value})
            return
        places = value["places"]
        found = self.find(section, key)
        if len(found) == len(places) and not self._moved(section, found[0], places[0]):
            for line, place in zip(reversed(found), reversed(places), strict=True):
                self._put(line.part, line.start, line.count, place["raw"])
            return
        self._unset(found)
        for place in places:
            part, row = self._spot(section, place)
            self._put(part, row, 0, place["raw"])

    def _moved(self, section: str, line: Line, place: Json) -> bool:
        """Whether a key stands elsewhere than it did, and its old neighbour above is still there."""
        above, now = place["above"], line.part.above(line.start)
        if above is None or (now is not None and now.rstrip("\r\n") == above.rstrip("\r\n")):
            return False
        texts = (text for part in self._called(section) for text in (part.header, *part.rows) if text is not None)
        return any(text.rstrip("\r\n") == above.rstrip("\r\n") for text in texts)

    def _put(self, part: Part, start: int, count: int, raw: str) -> None:
        """Replace lines by raw text, keeping every line but the last one ended."""
        last = part is self.parts[-1] and start + count == len(part.rows)
        if last and count == 0 and (end := self._end()) is not None and not end.endswith(("\n", "\r")):
            self._end_becomes(end + self.newline)
        pieces = self._split(raw)
        if not last and pieces and not pieces[-1].endswith(("\n", "\r")):
            pieces[-1] += self.newline
        part.put(start, count, pieces)
        self._starts = None

    def _spot(self, section: str, place: Json) -> tuple[Part, int]:
        """Where a line belongs: below the line that stood above it, as near to its old place as can be."""
        if not self._called(section):
            self._append_section(section)
            return self.parts[-1], 0
        starts, above, index = self.starts(), place["above"], int(place["index"])
        fits = [
            (part, row)
            for part in self._called(section)
            for row in range(len(part.rows) + 1)
            if above is not None and (now := part.above(row)) is not None and now.rstrip("\r\n") == above.rstrip("\r\n")
        ]
        inside = [(p, min(max(index - starts[id(p)], 0), len(p.rows))) for p in self._called(section)]
        return min(fits or inside, key=lambda spot: abs(starts[id(spot[0])] + spot[1] - index))

    def _drop_empty(self, made: Mapping[str, bool]) -> None:
        """Remove the sections that we made in which nothing is left, each with the blank line that we put above it.

        ``made``: by their folded names, whether that line is ours.  From the end upwards, since the line above a
        section ends the section before.
        """
        waiting, stays = dict(made), list[Part]()
        for index in range(len(self.parts) - 1, -1, -1):
            part = self.parts[index]
            name = self.fold(part.name)
            if part.header is None or not part.name or name not in waiting or not all(map(BLANK.match, part.rows)):
                stays.append(part)
                continue
            before, ours = self.parts[index - 1], waiting.pop(name)
            kept = before.rows[:-1] if ours and before.rows and BLANK.match(before.rows[-1]) else before.rows
            before.put(0, len(before.rows), [*kept, *part.rows])
        if len(stays) < len(self.parts):
            self.parts = stays[::-1]
            self._named = self._starts = None


def undone(now: bytes, then: bytes, values: Mapping[tuple[str, str], Json], *, fold: bool = False) -> bytes | None:
    """The file ``then``, where it and the file ``now`` differ in nothing but these keys; else None.

    Proof by replay: set in the old file what the keys are now, and the file of now must come out.
    """
    ours = IniFile(now, fold=fold)
    for whole in (False, True):
        theirs = IniFile(then, fold=fold)
        for (section, key), value in values.items():
            if theirs.text(section, key) != shown(value):
                return None
            lines = ours.find(section, key)
            texts = {(line.value + line.tail).rstrip("\r\n") if whole else line.value for line in lines}
            if len(texts) > 1:
                return None
            if texts:
                theirs.set(section, key, texts.pop())
            else:
                theirs.unset(section, key)
        if theirs.render() == now:
            return then
    return None


def shown(value: Json) -> Json:
    """The text of a lossless value; None for a key that is not there; a list where repeated keys disagree."""
    if value is None or isinstance(value, str):
        return value
    return None if "absent" in value else value["value"]
