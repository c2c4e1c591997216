"""The colon files (passwd, shadow, group, gshadow): lossless lines, edited one entry at a time.  Pure.

Entries are found by name, by number and by member, each through an index that is kept up to date by the edits, so
that a thousand edits of a file cost no more than a thousand times one.
"""

from __future__ import annotations

from dataclasses import dataclass, field

BLANKS = " \t"
NEAR = 64
"""How far lines may move until the index by name is made anew."""


@dataclass
class Table:
    """One colon file; every line that is not asked for keeps its bytes."""

    lines: list[str] = field(default_factory=list)
    final_newline: bool = True
    _at: dict[str, int] | None = field(default=None, init=False, repr=False, compare=False)
    """Where each name first stood; since then its line moved by `_moved` at most."""
    _doubled: set[str] = field(default_factory=set, init=False, repr=False, compare=False)
    _moved: int = field(default=0, init=False, repr=False, compare=False)
    _tail: int = field(default=0, init=False, repr=False, compare=False)
    """How many lines there are from the first NIS line on."""
    _numbered: dict[int, list[str]] | None = field(default=None, init=False, repr=False, compare=False)
    _primary: dict[str, list[str]] | None = field(default=None, init=False, repr=False, compare=False)
    _listing: dict[str, dict[str, None]] | None = field(default=None, init=False, repr=False, compare=False)

    @classmethod
    def parse(cls, data: bytes) -> Table:
        """Read a file's bytes; invalid UTF-8 survives."""
        text = data.decode("utf-8", "surrogateescape")
        lines = text.split("\n")
        final = lines[-1] == ""
        if final:
            lines.pop()
        return cls(lines, final or not text)

    def render(self) -> bytes:
        """The file's bytes."""
        text = "\n".join(self.lines)
        if self.lines and self.final_newline:
            text += "\n"
        return text.encode("utf-8", "surrogateescape")

    def _indexed(self) -> dict[str, int]:
        if self._at is None or self._moved > NEAR or (self._moved and self._doubled):
            self._at, self._doubled, self._moved, self._tail = {}, set(), 0, 0
            for index, line in enumerate(self.lines):
                name, colon, _ = line.partition(":")
                if colon and self._at.setdefault(name, index) != index:
                    self._doubled.add(name)
                if not self._tail and line[:1] in ("+", "-"):
                    self._tail = len(self.lines) - index
        return self._at

    def find(self, name: str) -> int | None:
        """The line of an entry: the first of that name, as the C library reads it."""
        at, prefix = self._indexed().get(name), name + ":"
        if at is None:
            return None
        near = (at + sign * away for away in range(self._moved + 1) for sign in (1, -1))
        return next(i for i in near if 0 <= i < len(self.lines) and self.lines[i].startswith(prefix))

    def get(self, name: str) -> list[str] | None:
        """The entry's columns."""
        index = self.find(name)
        return None if index is None else self.lines[index].split(":")

    def before(self, name: str) -> str | None:
        """The name of the entry above; None for the first."""
        index = self.find(name)
        return self.lines[index - 1].split(":")[0] if index else None

    def put(self, columns: list[str], below: str | None = None) -> None:
        """Change the entry in place, or add it below ``below``, or at the end (before NIS lines)."""
        line, name = ":".join(columns), columns[0]
        index = self.find(name)
        if index is not None:
            self._passes(self.lines[index], line)
            self.lines[index] = line
            return
        above = self.find(below) if below else None
        end = len(self.lines) - self._tail
        spot = end if above is None else above + 1
        self.lines.insert(spot, line)
        self._tail += spot > end
        self._moved += spot < len(self.lines) - 1
        self._indexed().setdefault(name, spot)
        self._passes("", line)

    def drop(self, name: str) -> None:
        """Remove the entry, if it is there."""
        index = self.find(name)
        if index is None:
            return
        self._passes(self.lines[index], "")
        self._tail -= index >= len(self.lines) - self._tail
        self._moved += index < len(self.lines) - 1
        del self.lines[index]
        if name in self._doubled:
            self._at = None
        elif self._at is not None:
            del self._at[name]

    def rows(self, name: str) -> list[int]:
        """Every line of that name: some systems part long member lists."""
        first = self.find(name)
        if first is None or name not in self._doubled:
            return [] if first is None else [first]
        return [index for index, line in enumerate(self.lines) if line.startswith(name + ":")]

    def members(self, group: str) -> list[str]:
        """Who is listed in a group, on however many lines."""
        return [name for index in self.rows(group) for name in members(_listed(self.lines[index]))]

    def places(self, group: str, name: str) -> list[tuple[int, int]]:
        """Where a name is listed in a group: the line, and the place in what commas part there."""
        return [
            (index, place)
            for index in self.rows(group)
            for place, part in enumerate(_listed(self.lines[index]).split(","))
            if part.lstrip(BLANKS) == name
        ]

    def enlist(self, group: str, name: str, place: int | None = None) -> None:
        """Put a name into a group's list, behind all others where no place is given; all else keeps its bytes."""
        for index in self.rows(group)[:1]:
            text = _listed(self.lines[index])
            parts = text.split(",") if text else []
            used = [at for at, part in enumerate(parts) if part.strip(BLANKS)]
            spot = (used[-1] + 1 if used else 0) if place is None else min(place, len(parts))
            self._relist(index, [*parts[:spot], name, *parts[spot:]])

    def delist(self, group: str, name: str) -> None:
        """Take a name out of a group's list, in every line."""
        for index in self.rows(group):
            parts = _listed(self.lines[index]).split(",")
            self._relist(index, [part for part in parts if part.lstrip(BLANKS) != name])

    def _relist(self, index: int, parts: list[str]) -> None:
        old = self.lines[index]
        new = old[: len(old) - len(_listed(old))] + ",".join(parts)
        self._passes(old, new)
        self.lines[index] = new

    def entries(self) -> list[list[str]]:
        """The columns of every real entry: no comments, no NIS lines."""
        return [line.split(":") for line in self.lines if _real(line)]

    def numbers(self) -> dict[int, list[str]]:
        """The names of every number (the third column), in the order of the file."""
        if self._numbered is None:
            self._numbered = {}
            for columns in self.entries():
                if (number := _number(columns)) is not None:
                    self._numbered.setdefault(number, []).append(columns[0])
        return self._numbered

    def listing(self, name: str) -> list[str]:
        """The entries that list a name among their members (the fourth column), in the order of the file."""
        if self._listing is None:
            self._listing = {}
            for columns in self.entries():
                for member in members_of(columns):
                    self._listing.setdefault(member, {})[columns[0]] = None
        return sorted(self._listing.get(name, ()), key=lambda entry: self.find(entry) or 0)

    def grouped(self, number: str) -> list[str]:
        """The entries with this number in the fourth column, in the order of the file."""
        if self._primary is None:
            self._primary = {}
            for columns in self.entries():
                if len(columns) > 3:
                    self._primary.setdefault(columns[3], []).append(columns[0])
        return self._primary.get(number, [])

    def _passes(self, old: str, new: str) -> None:
        """Keep the indexes as one line passes into another; where it is not plain how, they are made anew."""
        self._primary = None
        before, after = (line.split(":") if _real(line) else [""] for line in (old, new))
        if self._numbered is not None:
            was, now = _number(before), _number(after)
            if was != now or before[0] != after[0]:
                if was is not None and self._numbered.get(was) == [before[0]]:
                    del self._numbered[was]
                elif was is not None:
                    self._numbered = None
                if self._numbered is not None and now is not None and now in self._numbered:
                    self._numbered = None
                elif self._numbered is not None and now is not None:
                    self._numbered[now] = [after[0]]
        if self._listing is not None:
            if before[0] in self._doubled or after[0] in self._doubled:
                self._listing = None
                return
            for member in members_of(before):
                self._listing.get(member, {}).pop(before[0], None)
            for member in members_of(after):
                self._listing.setdefault(member, {})[after[0]] = None


def _real(line: str) -> bool:
    return ":" in line and line[:1] not in ("+", "-", "#")


def _number(columns: list[str]) -> int | None:
    return int(columns[2]) if len(columns) > 2 and columns[2].isdecimal() else None


def members_of(columns: list[str]) -> list[str]:
    """Who is listed in the columns of a group: the C library takes all behind the third colon for the list."""
    return members(":".join(columns[3:]))


def _listed(line: str) -> str:
    """What stands behind the third colon."""
    return line.split(":", 3)[3] if line.count(":") > 2 else ""


def members(text: str) -> list[str]:
    """The names in a member list, as the C library reads it: with whatever else stands behind the third colon.

    >>> members("a, b,"), members("")
    (['a', 'b'], [])
    """
    return [name for part in text.split(",") if (name := part.lstrip(BLANKS))]
