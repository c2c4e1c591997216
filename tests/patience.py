"""Waiting in tests: for a condition, with a bound; and for one that has to go on being so."""

from __future__ import annotations

import time
from collections.abc import Callable

EVERY = 0.05
"""How long nobody asks again, in seconds."""


def until(done: Callable[[], object], seconds: float = 40, told: Callable[[], object] = lambda: "") -> float:
    """Wait until something is so; answers how long that took.  ``told``: what is said where it never comes."""
    began = time.monotonic()
    while not done():
        assert time.monotonic() - began < seconds, told()
        time.sleep(EVERY)
    return time.monotonic() - began


def stays(so: Callable[[], object], seconds: float, told: Callable[[], object] = lambda: "") -> None:
    """Something is so now, and whenever it is asked in the next seconds."""
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        assert so(), told()
        time.sleep(EVERY)
    assert so(), told()
