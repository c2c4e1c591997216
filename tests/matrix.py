"""The matrix of faults: a page that a whole run of tests/fault writes, so that it says what was tried and no more."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[1] / "contrib/docs/faults.md"
HEAD = """# What was tried to break it

This page is written by a run of `tests/fault`. Each row is one way of failing and what it was tried on; *survived* means
that afterwards the log verified, the next run converged without a question, and `uninstall` gave back the first digest of
the whole file system. Refusals count as survival only where nothing had been changed.

| fault | tried on | cases | outcome |
|---|---|---|---|
"""
FOOT = """
Power loss is defined so: whatever no sync of that file or directory covers may be lost, each change by itself, SQLite's
included; a rename is whole or not at all. The calls of a real run are recorded with strace, and what may be left is built
from them. A tree's own changes of owner and mode count as kept, since they are settled path by path.
"""


class Matrix:
    """What came of each test of this directory."""

    def __init__(self, config: pytest.Config) -> None:
        self.whole = not config.getoption("-k") and not config.getoption("-m")
        self.found: dict[str, list[tuple[str, str]]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note the outcome of a test of this directory."""
        match = re.match(r"tests/fault/(test_\w+)\.py::(\w+)(?:\[(.*)\])?", report.nodeid)
        if match and (report.when == "call" or report.outcome != "passed"):
            self.found.setdefault(f"{match[1]}.{match[2]}", []).append((match[3] or "", report.outcome))

    def pytest_sessionfinish(self) -> None:
        """Write the page, where everything was run and nothing skipped."""
        modules = {name.split(".")[0] for name in self.found}
        files = {path.stem for path in PAGE.parents[2].glob("tests/fault/test_*.py")}
        outcomes = {outcome for cases in self.found.values() for _, outcome in cases}
        if not self.whole or modules != files or outcomes != {"passed"}:
            return
        rows = []
        for name, cases in sorted(self.found.items()):
            words = name.split(".")[1].removeprefix("test_").replace("_", " ")
            parts: list[Counter[str]] = []
            for text, _ in cases:
                for index, word in enumerate(text.split("-") if text else ()):
                    if index == len(parts):
                        parts.append(Counter())
                    parts[index][word] += 1
            tried = "; ".join(", ".join(sorted(part, key=lambda w: (len(w), w))) for part in parts) or "one story"
            rows.append(f"| {words} | {tried} | {len(cases)} | survived |\n")
        PAGE.write_text(HEAD + "".join(rows) + FOOT)
