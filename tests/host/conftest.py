"""Every test here gets a host of its own; where none can be booted, the tests say why they are skipped."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.host.agents import install_managesoft
from tests.host.machine import Machine, why_not


@pytest.fixture
def bare() -> Iterator[Machine]:
    """A booted Debian with the real agents on it."""
    reason = why_not()
    if reason is not None:
        if os.environ.get("RECONCILER_REQUIRE_HOST"):
            pytest.fail(f"this run must boot a host, but {reason}")
        pytest.skip(f"no real host here: {reason}")
    machine = Machine()
    try:
        machine.boot()
        yield machine
    finally:
        machine.stop()


@pytest.fixture
def machine(bare: Machine) -> Machine:
    """The same with the stand-in managesoft package, running as root."""
    install_managesoft(bare)
    return bare
