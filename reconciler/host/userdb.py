"""The colon files (passwd, shadow, group, gshadow): lossless lines, edited one entry at a time.  Pure."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Table:
    """One colon file; every line that is not asked for keeps its bytes."""

    lines: list[str] = field(default_factory=list)
    final_newline: bool = True

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

    def find(self, name: str) -> int | None:
        """The line of an entry: the first of that name, as the C library reads it."""
        prefix = name + ":"
        for index, line in enumerate(self.lines):
            if line.startswith(prefix):
                return index
        return None

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
        line = ":".join(columns)
        index = self.find(columns[0])
        if index is not None:
            self.lines[index] = line
            return
        above = self.find(below) if below else None
        if above is None:
            spot = next((i for i, text in enumerate(self.lines) if text[:1] in "+-" and text), len(self.lines))
        else:
            spot = above + 1
        self.lines.insert(spot, line)

    def drop(self, name: str) -> None:
        """Remove the entry, if it is there."""
        index = self.find(name)
        if index is not None:
            del self.lines[index]

    def entries(self) -> list[list[str]]:
        """The columns of every real entry: no comments, no NIS lines."""
        return [line.split(":") for line in self.lines if ":" in line and line[:1] not in ("+", "-", "#")]


def members(text: str) -> list[str]:
    """The names in a member list.

    >>> members("a,b,"), members("")
    (['a', 'b'], [])
    """
    return [name for name in text.split(",") if name]
