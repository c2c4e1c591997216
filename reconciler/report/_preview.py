"""Plans of one host or of hundreds, as what reports are made of: hosts with equal plans together.  Pure.

A report is a function of this and of nothing else, so that a plan made here and one read from a file look the same.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ..core.plan import RUNNING, Plan
from ..formats.text import printable
from ..model import Json
from ._text import conflict_text, value_text


@dataclass(frozen=True)
class Group:
    """Hosts whose plans are equal, and the plan."""

    hosts: tuple[str, ...]
    plan: Json

    @property
    def refused(self) -> bool:
        """Whether apply would do nothing."""
        return bool(self.plan["blocked"] or self.plan["conflicts"])

    @property
    def transitions(self) -> list[Json]:
        """Its transitions in order."""
        found: list[Json] = self.plan["transitions"]
        return found

    @property
    def says(self) -> str:
        """The whole group in one line."""
        count = len(self.transitions)
        if self.refused:
            first = (self.plan["blocked"] or self.plan["conflicts"])[0]
            if "reason" in first:
                return f"would be refused: {printable(first['reason'])}"
            what = f"{first['address']} {'.'.join(first['field'])}"
            return f"would be refused: {printable(what)}: {printable(conflict_text(first['recorded'], first['found']))}"
        if not count:
            return "no change"
        return "1 change" if count == 1 else f"the same {count} changes" if len(self.hosts) > 1 else f"{count} changes"


def grouped(plans: Mapping[str, Json]) -> list[Group]:
    """Plans by host, equal ones together: first those that would be refused, then the most changes, then hosts."""
    found: dict[str, tuple[list[str], Json]] = {}
    for host, plan in sorted(plans.items()):
        told = {key: plan[key] for key in ("transitions", "blocked", "conflicts", "orphaned")}
        found.setdefault(json.dumps(told, sort_keys=True), ([], plan))[0].append(host)
    groups = [Group(tuple(hosts), plan) for hosts, plan in found.values()]
    return sorted(groups, key=lambda group: (not group.refused, -len(group.transitions), group.hosts))


def one_host(plan: Plan) -> Group:
    """The plan of the host that it was made on."""
    return Group((str((plan.host or {}).get("name") or "this host"),), plan.json())


def totals(groups: Sequence[Group]) -> dict[str, int]:
    """How much there is to do on all hosts."""
    found = {"create": 0, "change": 0, "remove": 0, "restart": 0, "unchanged": 0}
    for group in groups:
        for name in found:
            found[name] += group.plan["summary"][name] * len(group.hosts)
    return found


def hosts_text(hosts: Sequence[str], most: int = 5) -> str:
    """The names of hosts, as many as fit a line.

    >>> hosts_text(["a"]), hosts_text(["a", "b", "c"], 2)
    ('a', 'a, b and 1 more')
    """
    names = [printable(host) for host in hosts]
    return ", ".join(names) if len(names) <= most else f"{', '.join(names[:most])} and {len(names) - most} more"


def change_lines(transition: Json) -> Iterator[str]:
    """What one transition changes, a line a field; of a tree its classes."""
    if "classes" in transition:
        for item in transition["classes"]:
            yield printable(f"{item['before']} → {item['after']} ×{item['count']} ({item['type']})")
        return
    if transition["verb"] in RUNNING or transition["verb"] == "remove":
        return
    for change in transition["changes"]:
        if change["field"] == ["exists"]:
            continue
        name = ".".join(change["field"]) if change["field"][0] != "mode" or len(change["field"]) == 1 else "mode"
        before, after = change["before"], change["after"]
        if change["field"] == ["content"] and isinstance(after, str) and (before is None or isinstance(before, str)):
            lines = len((after or "").splitlines())
            yield f"content: {lines} lines"
            continue
        then = "" if before is None else f"{value_text(before)} "
        yield f"{printable(name)}: {then}→ {value_text(after)}"


def source_of(item: Json) -> tuple[str, int, int]:
    """File, line and column of what asked for something; an empty file where nothing did."""
    source = item.get("source") or {}
    return str(source.get("file") or ""), int(source.get("line") or 1), int(source.get("column") or 1)


def findings(group: Group) -> Iterator[tuple[str, str, str, tuple[str, int, int]]]:
    """What somebody should look at: a rule, its level, the text, the place; without any control character."""
    for rule, level, text, (file, line, column) in _findings(group):
        yield rule, level, printable(text), (printable(file), line, column)


def _findings(group: Group) -> Iterator[tuple[str, str, str, tuple[str, int, int]]]:
    plan = group.plan
    places = {item["address"]: source_of(item) for item in plan["transitions"] if item.get("source")}
    for item in plan["blocked"]:
        yield "blocked", "error", f"{item['address']}: {item['reason']}", source_of(item)
    for item in plan["conflicts"]:
        field = ".".join(item["field"])
        text = f"{item['address']} {field}: {conflict_text(item['recorded'], item['found'])}"
        yield "conflict", "error", text, places.get(item["address"], ("", 1, 1))
    access = plan.get("access") or {}
    first = next(iter(places.values()), ("", 1, 1))
    for text in access.get("escalation", ()):
        yield "escalation", "warning", text, next((p for a, p in places.items() if a.split(":")[1] in text), first)
    for item in access.get("policy", ()):
        yield "policy", "warning", item["text"], first
    for text in plan.get("notes", ()):
        place = next((p for a, p in places.items() if text.startswith(a)), first)
        yield "note", "note", text, place
