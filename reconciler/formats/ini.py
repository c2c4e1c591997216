"""Lossless editing of ini files: only the lines of the asked key change, and can change back.  Pure.

Understood: any section name (backslashes included), keys before the first section (section ``""``), ``=`` and ``:``,
comments behind values, continuation lines, repeated keys and sections, BOMs, UTF-16, CRLF, a missing last newline;
what of these a file has is said by its dialect.  A key that is repeated is a list where the dialect knows lists; else
it is changed in every place, so that readers who take the first and readers who take the last agree.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ..errors import HostError
from ..model import Json
from .dialects import BLANK, INI, QUOTED, Dialect, habit, reading

BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
Text = str | list[str] | None
"""The value of a key: a list where it is repeated, None where it is not there."""


def decoded(data: bytes) -> tuple[str, bytes, str]:
    """The text of a file, its byte order mark and its encoding."""
    bom, encoding = next(((b, e) for b, e in BOMS if data.startswith(b)), (b"", "utf-8"))
    try:
        text = data[len(bom) :].decode(encoding, "surrogateescape" if encoding == "utf-8" else "strict")
    except UnicodeDecodeError:
        raise HostError(f"its byte order mark says {encoding}, but the bytes are something else") from None
    if "\0" in text:
        raise HostError("holds NUL bytes; an ini file has none")
    return text, bom, encoding


@dataclass
class Part:
    """A section: its header, none for what stands before any, and the lines below it."""

    name: str
    header: str | None
    rows: list[str] = field(default_factory=list)
    _keys: dict[str, list[int]] | None = field(default=None, repr=False)
    """Where each key stands; None where that has to be looked up anew."""
    _last: tuple[int, int] = field(default=(-1, 0), repr=False)
    """The last row with a key as one would write it, and the row behind its value."""

    def keys(self, reader: Dialect) -> dict[str, list[int]]:
        """The rows of every key."""
        if self._keys is None:
            self._keys, self._last, index = {}, (-1, 0), 0
            while index < len(self.rows):
                row, behind = self.rows[index], index + 1
                if (head := reader.head(row)) is not None:
                    behind = index + reader.span(self.rows, index)
                    self._keys.setdefault(reader.fold(head["key"]), []).append(index)
                    if reader.key.match(row):
                        self._last = (index, behind)
                index = behind
        return self._keys

    def last(self, reader: Dialect) -> tuple[int, int]:
        """The last row with a key, and the row behind its value; -1 where there is none."""
        self.keys(reader)
        return self._last

    def put(self, start: int, rows: list[str], count: int, *, same: bool = False) -> None:
        """Replace some rows; ``same``: by others of the same key, and as many."""
        self.rows[start : start + count] = rows
        if not same:
            self._keys = None

    def added(self, spot: int, row: str, key: str, reader: Dialect) -> None:
        """Insert a row with a key that is the last one."""
        keys = self.keys(reader)
        self.rows.insert(spot, row)
        if spot > self._last[0] and reader.key.match(row) and not reader.opened(row):
            keys.setdefault(reader.fold(key), []).append(spot)
            self._last = (spot, spot + 1)
        else:
            self._keys = None

    def above(self, row: int) -> str | None:
        """The line above a row; None at the top of the file, as far as this part knows."""
        return self.rows[row - 1] if row else self.header


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

    @property
    def whole(self) -> str:
        """The value with what stands behind it, as a reader takes it that knows no remarks."""
        return (self.value + self.tail).rstrip("\r\n")


class IniFile:
    """The lines of one file, each with its own line ending."""

    def __init__(self, data: bytes, *, fold: bool = False, dialect: Dialect = INI) -> None:
        """Read a file's bytes; with ``fold`` the case of sections and keys does not count."""
        text, self.bom, self.encoding = decoded(data)
        self._old_mac = "\r" in text and "\n" not in text
        self.newline = "\r\n" if "\r\n" in text else "\r" if self._old_mac else "\n"
        lines = self._split(text)
        self.dialect = dialect = reading(dialect, habit(dialect, lines), fold=fold)
        self.parts = [Part("", None)]
        self._named: dict[str, list[Part]] | None = None
        self._starts: dict[int, int] | None = None
        """Where parts start; None once that may have changed."""
        for line in lines:
            if dialect.sections and (match := dialect.header.match(line)):
                name = match["name"] if match["name"] is not None else match["junk"]
                self.parts.append(Part(name.strip(), line))
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

    @property
    def errors(self) -> str:
        """How bytes that its encoding does not know are carried."""
        return "surrogateescape" if self.encoding == "utf-8" else "strict"

    def render(self) -> bytes:
        """The file's bytes."""
        return self.bom + "".join(self.lines).encode(self.encoding, self.errors)

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
                self._named.setdefault(self.dialect.fold_section(part.name), []).append(part)
        return self._named.get(self.dialect.fold_section(section), [])

    def sections(self) -> list[tuple[str, int, int]]:
        """Every section with its first line behind the header and the line behind its last."""
        starts = self.starts()
        return [(part.name, starts[id(part)], starts[id(part)] + len(part.rows)) for part in self.parts]

    def pairs(self) -> list[tuple[str, str]]:
        """Every section and key, in the order in which they are first met."""
        found: dict[tuple[str, str], None] = {}
        for part in self.parts:
            for row in sorted(row for rows in part.keys(self.dialect).values() for row in rows):
                if self.dialect.key.match(part.rows[row]) or not self.dialect.prefix.match(part.rows[row]):
                    found[(part.name, self._head(part.rows[row])["key"].strip())] = None
        return list(found)

    def find(self, section: str, key: str) -> list[Line]:
        """Every place where a key stands in a section of that name."""
        rows = ((part, part.keys(self.dialect).get(self.dialect.fold(key), ())) for part in self._called(section))
        return [self._key_at(part, row) for part, listed in rows for row in listed]

    def _head(self, row: str) -> re.Match[str]:
        head = self.dialect.head(row)
        assert head is not None
        return head

    def _key_at(self, part: Part, index: int) -> Line:
        rows, dialect = part.rows, self.dialect
        count, text = dialect.span(rows, index), rows[index]
        head = self._head(text)[0]
        rest = text[len(head) :].rstrip("\r\n")
        ending = text[len(head) + len(rest) :]
        raw = "".join(rows[index : index + count])
        more = [line.strip() for line in rows[index + 1 : index + count]]
        if dialect.behind and rest[:1] in ("", ";", "#") and head[-1] in " \t":
            rest = head[len(head.rstrip(" \t")) :] + rest if rest else rest
        quote = QUOTED.match(rest)
        remark = dialect.behind.search(rest, quote.end() if quote else 0) if dialect.behind else None
        tail = rest[remark.start() :] if remark else rest[len(rest.rstrip()) :]
        value = rest[: len(rest) - len(tail)] if tail else rest
        if not dialect.prefix.match(text):
            head += " = "  # a word alone, which gets a delimiter with its value
        return Line(part, index, count, raw, head, "\n".join([value.strip(), *more]), tail + ending)

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

    def text(self, section: str, key: str) -> Text:
        """The value of a key; a list where it is repeated and its dialect knows lists, or the values disagree."""
        values = [line.value for line in self.find(section, key)]
        values = values if self.dialect.repeats else list(dict.fromkeys(values))
        return values[0] if len(values) == 1 else values or None

    def agrees(self, section: str, key: str, value: Text) -> bool:
        """Whether a key has this value already, wherever it stands."""
        found, wanted = self.find(section, key), [value] if isinstance(value, str) else value or []
        if found and len(wanted) == 1 and not self.dialect.repeats:
            wanted = wanted * len(found)
        return len(found) == len(wanted) and all(
            text in (line.value, line.whole) for line, text in zip(found, wanted, strict=True)
        )

    def _end(self) -> str | None:
        """The last line; None of an empty file."""
        last = self.parts[-1]
        return last.rows[-1] if last.rows else last.header

    def _end_becomes(self, text: str) -> None:
        last = self.parts[-1]
        if last.rows:
            last.put(len(last.rows) - 1, [text], 1, same=True)
        else:
            last.header = text

    def put(self, section: str, key: str, value: Text) -> None:
        """Let a key be so; None: let it not be there.  What is so already keeps its bytes."""
        if value is None:
            self.unset(section, key)
        elif not self.agrees(section, key, value):
            self.set(section, key, value)

    def set(self, section: str, key: str, value: str | list[str]) -> None:
        """Give a key its value wherever it stands, or add it to its section."""
        found, values = self.find(section, key), [value] if isinstance(value, str) else value
        if len(values) > 1 and not self.dialect.repeats:
            raise HostError(f"a key has one value in the dialect {self.dialect.name}, not a list")
        if self.dialect.repeats:
            self._unset(found[len(values) :])
            found = found[: len(values)]
        elif found:
            values = values * len(found)
        for line, text in reversed([*zip(found, values, strict=False)]):
            self._change(line, text)
        for number in range(len(found), len(values)):
            self._add(section, key, values[number], behind=self.find(section, key)[-1:])

    def _change(self, line: Line, value: str) -> None:
        """Give one line another value."""
        text = line.head + value + line.tail
        # A continuation's last line may be the one that lacks the newline.
        if line.count > 1 and not line.raw.endswith(("\n", "\r")):
            text = text.rstrip("\r\n")
        same = line.count == 1 and not self.dialect.opened(text) and not self.dialect.opened(line.raw)
        line.part.put(line.start, [text], line.count, same=same)
        self._starts = self._starts if line.count == 1 else None

    def _add(self, section: str, key: str, value: str, behind: Sequence[Line] = ()) -> None:
        """Add a line with a key, below the last one of its section or that of the same key."""
        if not self._called(section):
            self._append_section(section)
        part, dialect = self._called(section)[0], self.dialect
        last, spot = part.last(dialect)
        for line in behind:
            part, last, spot = line.part, line.start, line.start + line.count
        style = dialect.key.match(part.rows[last]) if last >= 0 else None
        indent, gap = (style["indent"], style["gap"]) if style else ("", "=")
        if dialect.indented and style and indent:
            # A reader takes a line for a continuation that is deeper than the key above it.
            keys = (match["indent"] for row in part.rows[:spot] if (match := dialect.key.match(row)))
            indent = min(keys, key=dialect.depth)
        if style is None:
            style = next((m for p in self.parts for row in p.rows if (m := dialect.key.match(row))), None)
            gap = style["gap"] if style else "="
        if not gap.endswith(("=", ":")) and not gap.strip():
            gap = "="
        text = f"{indent}{key}{gap}{value}"
        if spot and dialect.goes_on and dialect.goes_on.search(part.rows[spot - 1]):
            spot = last  # below a line that goes on it would be part of that
        # Put above a deeper line, the new key would swallow it as its continuation.
        while swallowed := dialect.span([text, *part.rows[spot:]], 0) - 1:
            spot += swallowed
        part.added(spot, self._ended(text, last=part is self.parts[-1] and spot == len(part.rows)), key, dialect)
        self._starts = None

    def _append_section(self, section: str) -> None:
        end = self._end()
        if end is not None and not BLANK.match(end):
            self.parts[-1].put(len(self.parts[-1].rows), [self._ended("", last=True)], 0)
        self.parts.append(Part(section, self._ended(f"[{section}]", last=True)))
        self._starts = None
        if self._named is not None:
            self._named.setdefault(self.dialect.fold_section(section), []).append(self.parts[-1])

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
            part.put(0, [row for index, row in enumerate(part.rows) if index not in rows], len(part.rows))
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
        self._drop_empty({self.dialect.fold_section(section): ours for section, ours in made.items()})
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
        part.put(start, pieces, count)
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
            name = self.dialect.fold_section(part.name)
            if part.header is None or not part.name or name not in waiting or not all(map(BLANK.match, part.rows)):
                stays.append(part)
                continue
            before, ours = self.parts[index - 1], waiting.pop(name)
            kept = before.rows[:-1] if ours and before.rows and BLANK.match(before.rows[-1]) else before.rows
            before.put(0, [*kept, *part.rows], len(before.rows))
        if len(stays) < len(self.parts):
            self.parts = stays[::-1]
            self._named = self._starts = None


def shown(value: Json) -> Json:
    """The text of a lossless value; None for a key that is not there; a list where repeated keys disagree."""
    if value is None or isinstance(value, str):
        return value
    return None if "absent" in value else value["value"]
