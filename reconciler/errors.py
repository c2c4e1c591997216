"""Every error that is raised on purpose, each with its exit code.

ReconcilerError            1   something could not be done; nothing remains changed
├─ Mistakes                1   the desired state is wrong; lists every mistake with file:line:column
├─ HostError               1   the host said no: which path or program, and why
│  ├─ Unsafe               1   a path that another account could redirect
│  └─ Unseen               1   a snapshot does not tell of it
├─ LogError                1   the event log cannot be read or written
├─ Refused                 3   the host is untouched, on purpose
│  └─ Tampered             3   the event log is not the one that was written
├─ Busy                    4   another run holds the lock
├─ Partial                 5   something was done and something was not
└─ Usage                  64   the command line is wrong
"""

from __future__ import annotations

from dataclasses import dataclass


class ReconcilerError(Exception):
    """An expected failure; its text says what, where, why and what to do next."""

    exit_code = 1


@dataclass(frozen=True, order=True)
class Mistake:
    """One thing that is wrong in the desired state, at a place in a file."""

    file: str
    line: int
    column: int
    message: str
    hint: str = ""

    @property
    def text(self) -> str:
        """What is wrong, and what would be right."""
        return f"{self.message}; {self.hint}" if self.hint else self.message

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.text}"


class Mistakes(ReconcilerError):
    """The desired state cannot be used; carries every mistake of every file."""

    def __init__(self, mistakes: list[Mistake]) -> None:
        self.mistakes = sorted(set(mistakes))
        super().__init__("\n".join(map(str, self.mistakes)))


class HostError(ReconcilerError):
    """The host refused something: names the path or program and the reason."""


class Unsafe(HostError):
    """A path leads through a place that another account may change under us."""


class Unseen(HostError):
    """A snapshot does not tell of this; it is unknown, not absent."""


class LogError(ReconcilerError):
    """The event log cannot be read or written."""


class Refused(ReconcilerError):
    """The run was refused before the host was touched."""

    exit_code = 3


class Tampered(Refused):
    """The event log differs from what was written; says at which event."""


class Busy(ReconcilerError):
    """Another run holds the lock: says who, since when, doing what."""

    exit_code = 4


class Partial(ReconcilerError):
    """Something was done and something was not."""

    exit_code = 5


class Usage(ReconcilerError):
    """The command line is wrong."""

    exit_code = 64
