"""Previews as workflow commands: what to look at, at its line in the pull request.  Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..formats.text import printable
from ._preview import Group, change_lines, findings, hosts_text, source_of

MOST = 40
"""A run shows no more annotations than this of one kind."""


def github(groups: Sequence[Group]) -> str:
    """One command a line."""
    lines = dict.fromkeys(line for group in groups for line in _group(group, many=len(groups) > 1))
    return "".join(f"{line}\n" for line in lines)


def _group(group: Group, *, many: bool) -> Iterator[str]:
    where = f" (on {hosts_text(group.hosts)})" if many else ""
    for rule, level, text, place in findings(group):
        yield command({"error": "error", "warning": "warning", "note": "notice"}[level], f"{rule}{where}", text, place)
    for number, transition in enumerate(group.transitions):
        if number == MOST:
            yield command("notice", "reconciler", f"{len(group.transitions) - MOST} more changes{where}", ("", 1, 1))
            return
        text = "\n".join(change_lines(transition)) or "no fields"
        title = printable(f"{transition['verb']} {transition['address']}{where}")
        yield command("notice", title, text, source_of(transition))


def command(level: str, title: str, text: str, place: tuple[str, int, int]) -> str:
    """One workflow command; nothing in it can end it or begin another.

    >>> command("error", "a:b", "x\\ny%", ("d.yaml", 3, 5))
    '::error file=d.yaml,line=3,col=5,title=a%3Ab::x%0Ay%25'
    """
    file, line, column = place
    parts = [f"file={_property(file)}", f"line={line}", f"col={column}"] if file else []
    return f"::{level} {','.join([*parts, f'title={_property(title)}'])}::{_data(text)}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
