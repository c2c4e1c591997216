"""Previews as Markdown for a comment: what to know first, names before details, cut where a comment would be.  Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from ..formats.text import printable
from ._preview import Group, change_lines, findings, hosts_text, source_of, totals
from ._text import symbol

LIMIT = 65_000
"""GitHub refuses a comment of more than 65,536 characters."""


def markdown(groups: Sequence[Group], limit: int = LIMIT) -> str:
    """The whole report, never longer than ``limit``; where something had to go it says so."""
    head = "\n".join(_head(groups))
    names = [block for group in groups for block in _names(group, many=len(groups) > 1)]
    details = [block for group in groups for block in _details(group)]
    room = limit - len(head) - 400
    kept, cut = [], 0
    for block in (*names, *(["### Details", *details] if details else [])):
        if len(block) + 2 > room:
            cut += 1
            continue
        kept.append(block)
        room -= len(block) + 2
    text = "\n\n".join([head, *kept])
    if cut:
        text += f"\n\n> **Cut:** {cut} parts did not fit into {limit} characters; `--format json` has all of it."
    return text + "\n"


def code(text: str) -> str:
    """A text that means nothing to Markdown, on one line."""
    text, fence = printable(text) or " ", "`"
    while fence in text:
        fence += "`"
    pad = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{pad}{text}{pad}{fence}"


def block(lines: Sequence[str], language: str = "") -> str:
    """Lines that mean nothing to Markdown."""
    fence = "```"
    while any(fence in line for line in lines):
        fence += "`"
    return "\n".join([f"{fence}{language}", *lines, fence])


def _head(groups: Sequence[Group]) -> Iterator[str]:
    count = sum(len(group.hosts) for group in groups)
    s = totals(groups)
    refused = sum(len(group.hosts) for group in groups if group.refused)
    calm = sum(len(group.hosts) for group in groups if not group.transitions and not group.refused)
    yield "## reconciler plan"
    yield ""
    if not any(group.transitions or group.refused for group in groups):
        yield f"Nothing to do on {count} host{'s' if count != 1 else ''}."
        return
    yield (
        f"**{s['create']} create, {s['change']} change, {s['remove']} remove, {s['restart']} start/stop/restart** "
        f"on {count} host{'s' if count != 1 else ''}"
        + (f"; {calm} without any change" if calm else "")
        + (f"; **{refused} would be refused**" if refused else "")
        + "."
    )


def _names(group: Group, *, many: bool) -> Iterator[str]:
    if many:
        yield f"#### {len(group.hosts)} host{'s' if len(group.hosts) != 1 else ''}: {code(group.says)}\n\n" + code(
            hosts_text(group.hosts)
        )
    lines = []
    for transition in group.transitions:
        file, line, _ = source_of(transition)
        where = " — " + code(f"{file}:{line}") if file else ""
        lines.append(
            f"- {code(symbol(transition['verb'])[0])} {transition['verb']} {code(transition['address'])}{where}"
        )
    if lines:
        yield "\n".join(lines)
    told = []
    for rule, _, text, (file, line, _) in findings(group):
        where = " — " + code(f"{file}:{line}") if file else ""
        told.append(f"- **{rule}** {code(text)}{where}")
    if told:
        yield "\n".join(told)


def _details(group: Group) -> Iterator[str]:
    for transition in group.transitions:
        lines = list(change_lines(transition))
        if lines:
            title = escape(printable(f"{transition['verb']} {transition['address']}")).replace("`", "&#96;")
            yield f"<details><summary><code>{title}</code></summary>\n\n{block(lines)}\n\n</details>"
    access = (group.plan.get("access") or {}).get("changes", ())
    if access:
        yield "**Access after this**\n\n" + block([printable(item["text"]) for item in access])
