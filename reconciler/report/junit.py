"""Previews as JUnit: one case a resource, one suite a group of hosts; what is blocked fails.  Pure."""

from __future__ import annotations

from collections.abc import Sequence
from xml.sax.saxutils import escape, quoteattr

from ._preview import Group, change_lines, hosts_text, source_of
from ._text import conflict_text


def junit(groups: Sequence[Group]) -> str:
    """The XML document."""
    suites = [_suite(group) for group in groups]
    tests, failures = (sum(numbers[n] for _, numbers in suites) for n in (0, 1))
    head = f'<testsuites name="reconciler" tests="{tests}" failures="{failures}">'
    texts = [text for text, _ in suites]
    return "\n".join(['<?xml version="1.0" encoding="UTF-8"?>', head, *texts, "</testsuites>"]) + "\n"


def _suite(group: Group) -> tuple[str, tuple[int, int]]:
    cases: dict[str, list[str]] = {}
    failed: dict[str, str] = {}
    place: dict[str, str] = {}
    for transition in group.transitions:
        told = [f"{transition['verb']} {transition['address']}", *(f"  {line}" for line in change_lines(transition))]
        cases.setdefault(transition["address"], []).extend(told)
        file, line, _ = source_of(transition)
        place.setdefault(transition["address"], f"{file}:{line}" if file else "")
    for address in group.plan.get("converged", ()):
        cases.setdefault(address, [])
    for item in group.plan["blocked"]:
        cases.setdefault(item["address"], [])
        failed[item["address"]] = item["reason"]
    for item in group.plan["conflicts"]:
        cases.setdefault(item["address"], [])
        told_ = f"{'.'.join(item['field'])}: {conflict_text(item['recorded'], item['found'])}"
        failed.setdefault(item["address"], told_)
    name = quoteattr(_clean(hosts_text(group.hosts)))
    lines = [f'  <testsuite name={name} tests="{len(cases)}" failures="{len(failed)}">']
    for address, told in cases.items():
        kind = address.partition(":")[0]
        lines.append(f"    <testcase classname={quoteattr(kind)} name={quoteattr(_clean(address))}>")
        if address in failed:
            text = _clean(failed[address])
            lines.append(f"      <failure message={quoteattr(text)}>{escape(text)}</failure>")
        if told:
            where = f"\n{place[address]}" if place.get(address) else ""
            lines.append(f"      <system-out>{escape(_clean(chr(10).join(told) + where))}</system-out>")
        lines.append("    </testcase>")
    return "\n".join([*lines, "  </testsuite>"]), (len(cases), len(failed))


def _clean(text: str) -> str:
    """The text without what XML cannot hold."""
    return "".join(char if char in "\t\n" or char.isprintable() else "\ufffd" for char in text)
