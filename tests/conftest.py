"""Hypothesis looks for new examples at home; CI tries the same ones every time, so that red means a change.

A whole run writes the page of faults.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

from tests.matrix import Matrix
from tests.worlds import managesoft, system

settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A system with the managesoft agent, which other accounts can reach."""
    tmp_path.chmod(0o755)
    made = managesoft(system(tmp_path / "root"))
    made.chmod(0o755)
    return made


def pytest_configure(config: pytest.Config) -> None:
    """Only the process that collects the reports writes the page."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Matrix(config))
