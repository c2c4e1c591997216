"""What to look at in a desired state, and in plans of it, as SARIF 2.1.0, at the YAML line.  Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from .. import __version__
from ..errors import Mistake
from ..model import Json
from ._preview import Group, findings, hosts_text

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
RULES = {
    "mistake": "The desired state is wrong.",
    "lint": "Allowed, and seldom meant.",
    "blocked": "A wish cannot be carried out.",
    "conflict": "Somebody else changed what would be given back.",
    "escalation": "A way to become somebody else opens.",
    "policy": "An access policy is broken.",
    "note": "Something to know.",
}


def sarif(groups: Sequence[Group], mistakes: Iterable[Mistake] = (), lints: Iterable[Mistake] = ()) -> str:
    """The whole log, as JSON."""
    results = [_result("mistake", "error", m.text, (m.file, m.line, m.column)) for m in mistakes]
    results += [_result("lint", "warning", m.text, (m.file, m.line, m.column)) for m in lints]
    for group in groups:
        where = f" (on {hosts_text(group.hosts)})" if len(groups) > 1 else ""
        results += [_result(rule, level, text + where, place) for rule, level, text, place in findings(group)]
    used = {result["ruleId"] for result in results}
    driver = {
        "name": "reconciler",
        "version": __version__,
        "rules": [{"id": rule, "shortDescription": {"text": text}} for rule, text in RULES.items() if rule in used],
    }
    runs = [{"tool": {"driver": driver}, "columnKind": "unicodeCodePoints", "results": results}]
    return json.dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": runs}, indent=2) + "\n"


def _result(rule: str, level: str, text: str, place: tuple[str, int, int]) -> Json:
    file, line, column = place
    found: Json = {"ruleId": rule, "level": level, "message": {"text": text}}
    if file:
        region = {"startLine": max(line, 1), "startColumn": max(column, 1)}
        found["locations"] = [{"physicalLocation": {"artifactLocation": {"uri": _uri(file)}, "region": region}}]
    return found


def _uri(path: str) -> str:
    from urllib.parse import quote  # noqa: PLC0415 - only here

    return quote(path)
