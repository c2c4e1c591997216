"""Hypothesis looks for new examples at home; CI tries the same ones every time, so that red means a change.

`make test-long` tries more of everything (`tests/effort.py`), with new seeds.

A whole run writes the page of faults.
"""

from __future__ import annotations

import compileall
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.effort import LONG
from tests.matrix import Matrix
from tests.worlds import REPO, managesoft, system

PACKAGE = REPO / "reconciler"

# No example has a deadline: how long one takes says more of the machine than of the product.
settings.register_profile("home", deadline=None)
settings.register_profile("ci", derandomize=True, deadline=None)
settings.load_profile("ci" if os.environ.get("CI") and not LONG else "home")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A system with the managesoft agent, which other accounts can reach."""
    tmp_path.chmod(0o755)
    made = managesoft(system(tmp_path / "root"))
    made.chmod(0o755)
    return made


@pytest.fixture(autouse=True)
def no_thread_stays() -> Iterator[None]:
    """A process with threads does not fork for a walk, so a thread that a test leaves changes what later ones see."""
    before = set(threading.enumerate())
    yield
    left = set(threading.enumerate()) - before
    assert not left, f"threads left behind: {left}"


def pytest_configure(config: pytest.Config) -> None:
    """Only the process that collects the reports writes the page, and compiles what thousands of others will import."""
    if not hasattr(config, "workerinput"):
        compileall.compile_dir(PACKAGE, quiet=2)
        config.pluginmanager.register(Matrix(config))
