"""Every form of a plan: whole, escaped, at the line, never longer than it may be."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from reconciler.report._preview import Group, grouped
from reconciler.report.github import github
from reconciler.report.gitlab import gitlab
from reconciler.report.html import html
from reconciler.report.junit import junit
from reconciler.report.markdown import LIMIT, markdown
from reconciler.report.sarif import sarif
from tests.worlds import reconciler

HOSTILE = st.text(
    st.characters(exclude_categories=["Cs"]) | st.sampled_from(list("`<>&\"'|@#:%,\n\r\x1b]\\-*_[]()!")), max_size=30
)
SOURCE = {"file": "desired/a.yaml", "line": 3, "column": 5, "commit": None}


def transition(address: str, field: str, before: Any, after: Any, verb: str = "write") -> dict[str, Any]:
    change = {"field": ["S", field], "before": before, "after": after}
    return {"address": address, "verb": verb, "deployment": "d", "changes": [change], "source": SOURCE, "requires": [],
            "reversible": "exact"}  # fmt: skip


def plan(
    *transitions: dict[str, Any], blocked: list[Any] | None = None, escalation: list[str] | None = None
) -> dict[str, Any]:
    summary = {"create": 0, "change": len(transitions), "remove": 0, "restart": 0, "unchanged": 1}
    found = {"summary": summary, "transitions": list(transitions), "blocked": blocked or [], "conflicts": [], "orphaned": [],
             "converged": ["file:/calm"], "host": {"name": "h"}}  # fmt: skip
    return found | ({"access": {"changes": [], "escalation": escalation, "policy": []}} if escalation else {})


PLANS = st.builds(
    lambda address, field, before, after, reason, way: plan(
        transition(f"ini:/{address}", field, before, after),
        blocked=[{"address": f"file:/{reason}", "reason": reason, "unknown": False, "source": SOURCE}],
        escalation=[way],
    ),
    HOSTILE, HOSTILE, HOSTILE, HOSTILE, HOSTILE, HOSTILE,
)  # fmt: skip


class Reader(HTMLParser):
    """Notes every element, and every text outside of style."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)
        assert tag not in ("script", "img", "iframe", "link", "object", "a", "form")
        assert not any(name.startswith("on") or name in ("src", "href", "style") for name, _ in attrs)


@given(PLANS)
def test_nothing_of_a_host_means_anything_in_a_page(told: dict[str, Any]) -> None:
    page = html([Group(("h",), told)])
    Reader().feed(page)
    assert "\x1b" not in page


@given(PLANS)
@example(told=plan(transition("ini:/`", "", "", "`")))
def test_markdown_shows_hostile_texts_as_code_alone(told: dict[str, Any]) -> None:
    text = markdown([Group(("h",), told)])
    assert "\x1b" not in text
    outside = re.sub(r"(`+)(?!`).*?(?<!`)\1(?!`)", "", text, flags=re.DOTALL)
    outside = re.sub(r"<summary><code>[^<]*</code></summary>", "", outside)
    assert not re.search(r"<(?!/?details>|/?summary>)", outside), outside
    assert "@" not in outside


@given(PLANS)
def test_every_workflow_command_is_one_line_and_stays_the_command_it_was(told: dict[str, Any]) -> None:
    for line in github([Group(("h",), told)]).split("\n")[:-1]:
        assert re.match(r"^::(error|warning|notice) (file=[^,:]*,line=\d+,col=\d+,)?title=[^:,]*::", line), line
        assert "\r" not in line


@given(PLANS)
def test_junit_is_xml_with_one_case_a_resource(told: dict[str, Any]) -> None:
    tree = ET.fromstring(junit([Group(("h",), told)]))
    cases = tree.findall(".//testcase")
    assert len(cases) == len({case.get("name") for case in cases}) == int(tree.get("tests") or 0)
    assert len(tree.findall(".//failure")) == int(tree.get("failures") or 0) == 1


@given(PLANS)
def test_sarif_names_a_rule_and_a_line_for_each_result(told: dict[str, Any]) -> None:
    run = json.loads(sarif([Group(("h",), told)]))["runs"][0]
    rules = {rule["id"] for rule in run["tool"]["driver"]["rules"]}
    assert {result["ruleId"] for result in run["results"]} == rules
    for result in run["results"]:
        place = result["locations"][0]["physicalLocation"]
        assert (place["artifactLocation"]["uri"], place["region"]["startLine"]) == ("desired/a.yaml", 3)


def test_hosts_with_equal_plans_are_one_group() -> None:
    calm, one, bad = (
        plan(),
        plan(transition("ini:/a", "k", "1", "2")),
        plan(blocked=[{"address": "group:g", "reason": "gid 810 taken", "unknown": False, "source": SOURCE}]),
    )
    plans = {f"web-{n}": calm for n in range(4)} | {f"db-{n}": one for n in range(3)} | {"old": bad}
    groups = grouped(plans)
    assert [(len(g.hosts), g.says) for g in groups] == [
        (1, "would be refused: gid 810 taken"),
        (3, "1 change"),
        (4, "no change"),
    ]
    text = markdown(groups)
    assert text.index("would be refused") < text.index("db-0")
    assert "4 without any change" in text
    assert json.loads(gitlab(groups)) == {"create": 0, "update": 3, "delete": 0}


def test_a_comment_stays_below_the_limit_and_says_what_it_left_out() -> None:
    many = plan(*(transition(f"ini:/etc/{n:05}.ini", "key", "x" * 200, "y" * 200) for n in range(2000)))
    text = markdown([Group(("h",), many)])
    assert len(text) <= LIMIT
    assert "**Cut:**" in text
    small = markdown([Group(("h",), plan(transition("ini:/a", "k", "1", "2")))])
    assert "Cut" not in small
    assert "S.k: 1 → 2" in small


@pytest.fixture
def desired(tmp_path: Path) -> Path:
    (tmp_path / "d.yaml").write_text("deployment: managesoft\nprofile: managesoft\nmode: least-privilege\n")
    return tmp_path / "d.yaml"


@pytest.mark.parametrize("form", ["markdown", "github", "gitlab", "junit", "sarif", "html"])
def test_every_form_of_a_real_plan(form: str, root: Path, desired: Path, tmp_path: Path) -> None:
    summary = tmp_path / "summary.md"
    done = reconciler("plan", desired, "--format", form, root=root, check=0, env={"GITHUB_STEP_SUMMARY": str(summary)})
    assert done.stdout
    if form != "gitlab":
        assert "flxrasvc" in done.stdout
    assert summary.exists() == (form == "github")
    detailed = reconciler("plan", desired, "--format", form, "--detailed-exitcode", root=root)
    assert detailed.returncode == 2


def test_mistakes_are_told_at_their_line(tmp_path: Path) -> None:
    file = tmp_path / "d.yaml"
    file.write_text("deployment: d\nresources:\n  - groop: x\n")
    told = json.loads(reconciler("validate", file, "--format", "sarif", check=1).stdout)["runs"][0]["results"]
    assert [(r["ruleId"], r["locations"][0]["physicalLocation"]["region"]["startLine"]) for r in told] == [
        ("mistake", 3)
    ]
    assert reconciler("validate", file, "--format", "github", check=1).stdout.startswith(
        f"::error file={file},line=3,col=5,"
    )
    file.write_text("deployment: d\nresources: []\n")
    assert json.loads(reconciler("validate", file, "--format", "sarif", check=0).stdout)["runs"][0]["results"] == []


def test_the_report_tells_what_happened_before(root: Path, desired: Path, tmp_path: Path) -> None:
    reconciler("apply", desired, "--yes", root=root, check=0)
    page = tmp_path / "r.html"
    reconciler("report", desired, "--out", page, root=root, check=0)
    Reader().feed(page.read_text())
    assert "What happened before" in page.read_text()
    assert "<td>r1</td>" in page.read_text()


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium here to look at the page with")
def test_a_browser_shows_the_page(root: Path, desired: Path, tmp_path: Path) -> None:
    page = tmp_path / "r.html"
    page.write_text(reconciler("plan", desired, "--format", "html", root=root, check=0).stdout)
    words = [
        "chromium",
        "--headless",
        "--disable-gpu",
        f"--user-data-dir={tmp_path}/profile",
        "--dump-dom",
        page.as_uri(),
    ]
    words += ["--no-sandbox"] if os.geteuid() == 0 else []
    done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.count('<li><span class="where') == 9
    assert done.stdout.count("<circle") == 9
    assert "Content Security Policy" not in done.stderr
