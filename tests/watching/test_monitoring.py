"""Alerts and dashboard ask for metrics that there are, with labels that they have."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from reconciler.log.store import LogReader
from reconciler.watching.metrics import STATES, Metrics

MONITORING = Path(__file__).parents[2] / "contrib/monitoring"


@pytest.fixture
def known(tmp_path: Path) -> dict[str, set[str]]:
    """Every sample that is exposed, with its labels."""
    metrics = Metrics(lambda: LogReader(str(tmp_path / "events.db")), None, None)
    found: dict[str, set[str]] = {}
    for family in metrics._registry._collector_to_names:
        labels = set(family._labelnames)
        for name in metrics._registry._collector_to_names[family]:
            found[name] = labels | ({"le"} if name.endswith("_bucket") else set())
    return found


def asked(expression: str) -> list[tuple[str, set[str]]]:
    found = []
    for name, selector in re.findall(r"(reconciler_\w+)(?:\{([^}]*)\})?", expression):
        found.append((name, set(re.findall(r"(\w+)\s*(?:=~|!=|=|!~)", selector))))
    return found


def check(expression: str, known: dict[str, set[str]]) -> None:
    assert asked(expression), expression
    for name, labels in asked(expression):
        assert name in known, f"{name} in {expression}"
        assert labels - {"instance"} <= known[name], expression
    grouped = {word.strip() for group in re.findall(r"by \(([^)]*)\)", expression) for word in group.split(",")}
    assert grouped - {"instance"} <= set().union(*(known[name] for name, _ in asked(expression))), expression
    for state in re.findall(r'state=~?"([^"]*)"', expression):
        assert set(state.split("|")) <= set(STATES)


def test_alerts(known: dict[str, set[str]]) -> None:
    rules = [
        rule
        for group in YAML(typ="safe").load((MONITORING / "alerts.yaml").read_text())["groups"]
        for rule in group["rules"]
    ]
    assert len(rules) == len({rule["alert"] for rule in rules}) == 7
    for rule in rules:
        check(rule["expr"], known)
        assert {"summary", "description"} == set(rule["annotations"]) and rule["labels"]["severity"]


def test_dashboard(known: dict[str, set[str]]) -> None:
    panels = json.loads((MONITORING / "dashboard.json").read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels) == 9
    for panel in panels:
        for target in panel["targets"]:
            check(target["expr"], known)
    with pytest.raises(AssertionError):
        check("reconciler_nothing_total > 0", known)
