"""Hypothesis looks for new examples at home; CI tries the same ones every time, so that red means a change.

A whole run writes the page of faults.
"""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

from tests.matrix import Matrix

settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")


def pytest_configure(config: pytest.Config) -> None:
    """Only the process that collects the reports writes the page."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Matrix(config))
