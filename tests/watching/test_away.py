"""What somebody uninstalled stays away, whatever watch does for others, until its files change or somebody resumes."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from reconciler.app.request import Request
from reconciler.app.run import record
from reconciler.core.options import Options
from reconciler.log.store import LogReader
from reconciler.log.writer import LogWriter
from reconciler.watching.affected import Concern
from reconciler.watching.reconcile import Reconciler, Settings
from tests.drive import Bench
from tests.effort import many
from tests.laws.hosts import memory_host

NAMES = ("a", "b", "c")


class Home(Bench):
    """A host in memory with a log, as watch knows them."""

    between: Any = None
    """What somebody else does after watch looked and before it has the lock."""

    @contextmanager
    def writer(self, doing: str, patience: float) -> Iterator[LogWriter]:
        act, self.between = self.between, None
        if act is not None:
            act()
        with super().writer(doing, patience) as log:
            yield log


class Watching(RuleBasedStateMachine):
    """Three deployments in three files, a watch, and people who uninstall, edit, apply and resume."""

    @initialize()
    def begin(self) -> None:
        self.scratch = Path(tempfile.mkdtemp())
        self.host = memory_host()
        self.bench = Bench(self.host, self.scratch)
        self.home = Home(self.host, self.scratch)
        self.texts = dict.fromkeys(NAMES, 0)
        self.audit: set[str] = set()
        self.brought: dict[str, str] = {}
        """By deployment, the text that it was last brought about from."""
        self.gone_from: dict[str, str] = {}
        """By what somebody uninstalled, the text from which it had been brought about."""
        self.anew()
        self.watch()

    def teardown(self) -> None:
        shutil.rmtree(self.scratch)

    @property
    def away(self) -> set[str]:
        """What stays away: uninstalled, and its file says what it said when it was brought about."""
        return {name for name, text in self.gone_from.items() if self.document(name) == text}

    def document(self, name: str) -> str:
        policy = "policy: audit\n" if name in self.audit else ""
        return f"deployment: {name}\n{policy}resources:\n  - {{file: /etc/{name}, content: '{self.texts[name]}'}}\n"

    def files(self) -> dict[str, bytes]:
        return {f"{name}.yaml": self.document(name).encode() for name in NAMES}

    @rule()
    def anew(self) -> None:
        """Watch is started anew, and knows of before only what the log says."""
        self.turns = Reconciler(self.home, Settings())
        self.turns.remember(LogReader(self.bench.log))

    @rule()
    def watch(self) -> None:
        outcome = self.turns.turn(Request(self.host, (), contents=self.files()), Concern(everything=True))
        if outcome.state not in ("waiting", "refused"):
            due = set(NAMES) - self.away - self.audit
            for name in set(NAMES) - self.away:
                self.brought[name] = self.document(name)
                self.gone_from.pop(name, None)
            assert not {name for name in due if f"/etc/{name}" not in self.host.nodes}, "the others are kept"

    def gone(self, name: str) -> None:
        if f"/etc/{name}" in self.host.nodes:
            assert self.bench.uninstall(name, options=Options(force=True, keep_going=True)).exit_code == 0
            self.gone_from[name] = self.brought[name]

    @rule(name=st.sampled_from(NAMES))
    def uninstall(self, name: str) -> None:
        self.gone(name)

    @rule(name=st.sampled_from(NAMES), drifting=st.sampled_from(NAMES))
    def uninstalled_under_its_hands(self, name: str, drifting: str) -> None:
        """Between the look and the lock."""
        self.drift(drifting)
        self.home.between = lambda: self.gone(name)
        self.watch()
        self.home.between = None

    @rule(name=st.sampled_from(NAMES))
    def drift(self, name: str) -> None:
        if f"/etc/{name}" in self.host.nodes:
            self.host.add(f"/etc/{name}", "drifted")

    @rule(name=st.sampled_from(NAMES))
    def edit(self, name: str) -> None:
        self.texts[name] += 1

    @rule(name=st.sampled_from(NAMES))
    def report_only(self, name: str) -> None:
        """An edit too: the policy stands in the file."""
        self.audit ^= {name}

    @rule()
    def resume(self) -> None:
        record(self.bench, "resume", {}, "resumed", {"v": 1})
        self.gone_from.clear()

    @rule()
    def roll_back(self) -> None:
        """Whatever comes back by that was meant to."""
        if self.bench.reader().exists:
            self.bench.rollback(options=Options(force=True, keep_going=True))
            for name in NAMES:
                if f"/etc/{name}" in self.host.nodes:
                    self.gone_from.pop(name, None)

    @invariant()
    def what_was_uninstalled_is_away(self) -> None:
        there = {
            name for name in (self.away if hasattr(self, "gone_from") else ()) if f"/etc/{name}" in self.host.nodes
        }
        assert not there, f"{sorted(there)} came back by itself"


def test_what_was_uninstalled_stays_away() -> None:
    run_state_machine_as_test(
        Watching,
        settings=settings(max_examples=many(60), stateful_step_count=12, suppress_health_check=list(HealthCheck)),
    )
