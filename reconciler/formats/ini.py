"""Lossless editing of ini files: only the lines of the asked key change, and can change back.  Pure.

Understood: any section name (backslashes included), keys before the first section (section ``""``), ``=`` and ``:``,
comments behind values, continuation lines, repeated keys and sections, BOMs, UTF-16, CRLF, a missing last newline.
A key that is repeated is changed in every place, so that readers who take the first and readers who take the
last agree.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Mapping
from dataclasses import dataclass

from ..errors import HostError
from ..model import Json

BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
HEADER = re.compile(r"^[ \t]*\[(?P<name>[^\]\r\n]*)\]")
COMMENT = re.compile(r"^[ \t]*[#;]")
BLANK = re.compile(r"^\s*$")
KEY = re.compile(r"^(?P<indent>[ \t]*)(?P<key>[^\s=:#;\[][^=:\r\n]*?)(?P<gap>[ \t]*[=:][ \t]*)")
QUOTED = re.compile(r"""\s*("[^"\r\n]*"|'[^'\r\n]*')""")
JOINED = re.compile(r"\s\\[\r\n]*$")
REMARK = re.compile(r"[ \t]+[;#].*$")


@dataclass
class Line:
    """One key with the lines that continue it; ``raw`` is their exact text."""

    start: int
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
        old_mac = "\r" in text and "\n" not in text
        self.newline = "\r\n" if "\r\n" in text else "\r" if old_mac else "\n"
        pattern = r"[^\r]*\r|[^\r]+$" if old_mac else r"[^\n]*\n|[^\n]+$"
        self.lines: list[str] = re.findall(pattern, text)
        self.fold = fold

    def render(self) -> bytes:
        """The file's bytes."""
        errors = "surrogateescape" if self.encoding == "utf-8" else "strict"
        return self.bom + "".join(self.lines).encode(self.encoding, errors)

    def _same(self, a: str, b: str) -> bool:
        return a.casefold() == b.casefold() if self.fold else a == b

    def sections(self) -> list[tuple[str, int, int]]:
        """Every section with its first line behind the header and the line behind its last."""
        found = [("", 0, len(self.lines))]
        for index, line in enumerate(self.lines):
            if match := HEADER.match(line):
                name, start, _ = found[-1]
                found[-1] = (name, start, index)
                found.append((match["name"].strip(), index + 1, len(self.lines)))
        return found

    def pairs(self) -> list[tuple[str, str]]:
        """Every section and key, in the order in which they are first met."""
        found = (
            (name, match["key"].strip())
            for name, start, end in self.sections()
            for line in self.lines[start:end]
            if (match := KEY.match(line))
        )
        return list(dict.fromkeys(found))

    def find(self, section: str, key: str) -> list[Line]:
        """Every place where a key stands in a section of that name."""
        found = []
        for name, start, end in self.sections():
            if self._same(name, section) and bool(name) == bool(section):
                index = start
                while index < end:
                    line = self._key_at(index, end, key)
                    if line is None:
                        index += 1
                        continue
                    found.append(line)
                    index += line.count
        return found

    def _key_at(self, index: int, end: int, key: str) -> Line | None:
        text = self.lines[index]
        body = text.lstrip(" \t")
        if not self._same(body[: len(key)], key) or COMMENT.match(text):
            return None
        gap = re.match(r"[ \t]*[=:][ \t]*", body[len(key) :])
        if gap is None:
            return None
        indent, depth = len(text) - len(body), len(text.expandtabs(8)) - len(body.expandtabs(8))
        head = text[: indent + len(key) + gap.end()]
        rest = text[len(head) :].rstrip("\r\n")
        ending = text[len(head) + len(rest) :]
        count = 1
        while index + count < end and (
            self._continues(self.lines[index + count], depth) or JOINED.search(self.lines[index + count - 1])
        ):
            count += 1
        raw = "".join(self.lines[index : index + count])
        more = [line.strip() for line in self.lines[index + 1 : index + count]]
        if rest[:1] in ("", ";", "#") and head[-1] in " \t":
            rest = head[len(head.rstrip(" \t")) :] + rest if rest else rest
        quote = QUOTED.match(rest)
        remark = REMARK.search(rest, quote.end() if quote else 0)
        tail = rest[remark.start() :] if remark else rest[len(rest.rstrip()) :]
        value = rest[: len(rest) - len(tail)] if tail else rest
        return Line(index, count, raw, head, "\n".join([value.strip(), *more]), tail + ending)

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
            names = [name for name, _, _ in self.sections()[1:]]
            return {
                "absent": {
                    "section": section == "" or any(self._same(name, section) for name in names),
                    "bare_end": bool(self.lines) and not self.lines[-1].endswith(("\n", "\r")),
                    "lines": len(self.lines),
                    "blank": bool(self.lines) and not BLANK.match(self.lines[-1]),
                }
            }
        values = list(dict.fromkeys(line.value for line in found))
        return {
            "value": values[0] if len(values) == 1 else values,
            "places": [
                {
                    "raw": line.raw,
                    "index": line.start,
                    "above": self.lines[line.start - 1] if line.start else None,
                }
                for line in found
            ],
        }

    def set(self, section: str, key: str, value: str) -> None:
        """Give a key its value wherever it stands, or add it to its section."""
        found = self.find(section, key)
        for line in reversed(found):
            self.lines[line.start : line.start + line.count] = [line.head + value + line.tail]
            # A continuation's last line may be the one that lacks the newline.
            if line.count > 1 and not line.raw.endswith(("\n", "\r")):
                self.lines[line.start] = self.lines[line.start].rstrip("\r\n")
        if not found:
            self._add(section, key, value)

    def _add(self, section: str, key: str, value: str) -> None:
        spans = [
            (start, end)
            for name, start, end in self.sections()
            if self._same(name, section) and bool(name) == bool(section)
        ]
        if not spans:
            self._append_section(section)
            spans = [(len(self.lines), len(self.lines))]
        start, end = spans[0]
        spot, style = start, None
        index = start
        while index < end:
            match = KEY.match(self.lines[index])
            if match:
                style = match
                index += 1
                while index < end and self._continues(self.lines[index], len(match["indent"].expandtabs(8))):
                    index += 1
                spot = index
            else:
                index += 1
        if style is None:
            style = next((m for line in self.lines if (m := KEY.match(line))), None)
            indent, gap = "", style["gap"] if style else "="
        else:
            indent, gap = style["indent"], style["gap"]
        if not gap.endswith(("=", ":")) and not gap.strip():
            gap = "="
        # Put above a deeper line, the new key would swallow it as its continuation.
        while spot < len(self.lines) and self._continues(self.lines[spot], len(indent.expandtabs(8))):
            spot += 1
        self._insert(spot, f"{indent}{key}{gap}{value}")

    def _append_section(self, section: str) -> None:
        if self.lines and not BLANK.match(self.lines[-1]):
            self._insert(len(self.lines), "")
        self._insert(len(self.lines), f"[{section}]")

    def _insert(self, spot: int, text: str) -> None:
        """Insert a line; a file that ends without a newline goes on doing so."""
        bare = bool(self.lines) and not self.lines[-1].endswith(("\n", "\r"))
        if spot == len(self.lines) and bare:
            self.lines[-1] += self.newline
            self.lines.append(text)
        else:
            self.lines.insert(spot, text + self.newline)

    def unset(self, section: str, key: str) -> None:
        """Take a key out, in every place."""
        for line in reversed(self.find(section, key)):
            bare = not self.lines[-1].endswith(("\n", "\r"))
            del self.lines[line.start : line.start + line.count]
            if bare and self.lines:
                self.lines[-1] = self.lines[-1].rstrip("\r\n")

    def restore_all(self, values: Mapping[tuple[str, str], Json]) -> None:
        """Bring several keys back: what we added goes first, then lines return in their old order."""
        added = [name for name, value in values.items() if "absent" in value]
        # From the end upwards, since the blank line above a section that we made ends the section before.
        spots = {name: max((line.start for line in self.find(*name)), default=0) for name in added}
        for section, key in sorted(added, key=lambda name: spots[name], reverse=True):
            self.restore(section, key, values[section, key])
        present = [(name, value) for name, value in values.items() if "places" in value]
        for (section, key), value in sorted(present, key=lambda item: int(item[1]["places"][0]["index"])):
            self.restore(section, key, value)

    def restore(self, section: str, key: str, value: Json) -> None:
        """Bring a key back to a value that `get` told, its lines and their place included."""
        if "absent" in value:
            self._restore_absence(section, key, value["absent"])
            return
        places = value["places"]
        found = self.find(section, key)
        if len(found) == len(places) and not self._moved(section, found[0], places[0]):
            for line, place in zip(reversed(found), reversed(places), strict=True):
                self._put(line.start, line.count, place["raw"])
            return
        self.unset(section, key)
        for place in places:
            self._put(self._spot(section, place), 0, place["raw"])

    def _moved(self, section: str, line: Line, place: Json) -> bool:
        """Whether a key stands elsewhere than it did, and its old neighbour above is still there."""
        above = place["above"]
        now = self.lines[line.start - 1] if line.start else None
        if above is None or (now is not None and now.rstrip("\r\n") == above.rstrip("\r\n")):
            return False
        spans = [(s, e) for name, s, e in self.sections() if self._same(name, section) and bool(name) == bool(section)]
        return any(
            text.rstrip("\r\n") == above.rstrip("\r\n") for s, e in spans for text in self.lines[max(s - 1, 0) : e]
        )

    def _put(self, start: int, count: int, raw: str) -> None:
        """Replace lines by raw text, keeping every line but the last one ended."""
        last = start + count == len(self.lines)
        if last and count == 0 and self.lines and not self.lines[-1].endswith(("\n", "\r")):
            self.lines[-1] += self.newline
        pieces = re.findall(r"[^\n]*\n|[^\n]+$", raw) if self.newline != "\r" else re.findall(r"[^\r]*\r|[^\r]+$", raw)
        if not last and pieces and not pieces[-1].endswith(("\n", "\r")):
            pieces[-1] += self.newline
        self.lines[start : start + count] = pieces

    def _spot(self, section: str, place: Json) -> int:
        """Where a line belongs: below the line that stood above it, as near to its old place as can be."""
        index = min(int(place["index"]), len(self.lines))
        spans = [(s, e) for name, s, e in self.sections() if self._same(name, section) and bool(name) == bool(section)]
        if not spans:
            self._append_section(section)
            return len(self.lines)
        above = place["above"]
        fits = [
            spot
            for start, end in spans
            for spot in range(start, end + 1)
            if spot and above is not None and self.lines[spot - 1].rstrip("\r\n") == above.rstrip("\r\n")
        ]
        inside = [spot for start, end in spans for spot in (min(max(index, start), end),)]
        return min(fits or inside, key=lambda spot: abs(spot - index))

    def _restore_absence(self, section: str, key: str, around: Json) -> None:
        self.unset(section, key)
        if not around["section"]:
            self._drop_empty(section, ours=bool(around.get("blank", True)))
        if around["bare_end"] and len(self.lines) == around["lines"] and self.lines:
            self.lines[-1] = self.lines[-1].rstrip("\r\n")

    def _drop_empty(self, section: str, *, ours: bool) -> None:
        """Remove a section that we made, and the blank line that we put above it, once nothing is in it."""
        for name, start, end in reversed(self.sections()):
            if (
                not name
                or not self._same(name, section)
                or any(not BLANK.match(line) for line in self.lines[start:end])
            ):
                continue
            first = start - 1
            if ours and first and BLANK.match(self.lines[first - 1]):
                first -= 1
            del self.lines[first:start]
            return


def undone(now: bytes, then: bytes, values: Mapping[tuple[str, str], Json], *, fold: bool = False) -> bytes | None:
    """The file ``then``, where it and the file ``now`` differ in nothing but these keys; else None.

    Proof by replay: set in the old file what the keys are now, and the file of now must come out.
    """
    ours = IniFile(now, fold=fold)
    for whole in (False, True):
        theirs = IniFile(then, fold=fold)
        for (section, key), value in values.items():
            if shown(theirs.get(section, key)) != shown(value):
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
