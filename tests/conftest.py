"""Hypothesis looks for new examples at home; CI tries the same ones every time, so that red means a change."""

from __future__ import annotations

import os

from hypothesis import settings

settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")
