"""The product driven in process: the engine on any host, with a log of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from reconciler.app.request import Request
from reconciler.app.run import Aim, View, carry_out, look
from reconciler.app.undo import Rollback, Uninstall
from reconciler.core.ledger import Ledger
from reconciler.core.options import Options
from reconciler.engine.execute import Engine
from reconciler.engine.outcome import Report
from reconciler.host.port import Through
from reconciler.log.store import LogReader
from reconciler.log.writer import LogWriter


class Killed(BaseException):
    """The process is gone: nothing of ours runs after this."""


MUTATORS = {"replace", "remove", "mkdir", "rmdir", "symlink", "rename", "erase"}


class Mortal:
    """A host on which the process dies at the n-th change: before it, or right after it."""

    def __init__(self, host: Any, at: int, *, after: bool) -> None:
        self._host, self._left, self._after = host, at, after
        self.calls = 0

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._host, name)
        if name not in MUTATORS:
            return found

        def mortal(*args: Any, **more: Any) -> Any:
            return self._one(lambda: found(*args, **more))

        return mortal

    def _one(self, act: Callable[[], Any]) -> Any:
        self.calls += 1
        self._left -= 1
        if self._left == 0 and not self._after:
            raise Killed
        result = act()
        if self._left == 0:
            raise Killed
        return result

    def amend(self, top: str, begin: Any, scope: Any = None) -> Any:
        """Die in the middle of a walk, at one of its paths."""

        def mortal() -> Any:
            make = begin()
            return lambda: Through(make(), partial(MortalDirectory, self))

        yield from self._host.amend(top, mortal, scope)


class MortalDirectory:
    """A directory in which the process dies at a change."""

    def __init__(self, mortal: Mortal, at: Any) -> None:
        self._mortal, self._at = mortal, at

    def __getattr__(self, name: str) -> Any:
        return getattr(self._at, name)

    def change(self, those: Any) -> Any:
        one = [([name], facts, wanted) for names, facts, wanted in those for name in names]
        return [left for each in one for left in self._mortal._one(partial(self._at.change, [each]))]


class Bench:
    """One host and one log, asked as commands ask: what runs here is what ships."""

    def __init__(self, host: Any, directory: Path) -> None:
        self._host, self.log = host, str(directory / "events.db")
        self._instead: Any = None
        self.remembered: Ledger | None = None

    def observer(self) -> Any:
        return self._host

    def host(self) -> Any:
        """Of a run that is to die, the host on which it does."""
        return self._instead or self._host

    def reader(self) -> LogReader:
        return LogReader(self.log)

    @contextmanager
    def writer(self, doing: str, patience: float) -> Iterator[LogWriter]:
        log = LogWriter(self.log, doing, patience)
        try:
            yield log
        finally:
            log.close()

    def identity(self, facts: Any) -> Any:
        return {"name": "bench", "id": "bench"}

    def started(self, verb: str, facts: Any, **more: Any) -> dict[str, Any]:
        return {"v": 1, "verb": verb, **more}

    def run(self, aim: Aim, host: Any = None) -> Report:
        """Carry an aim out."""
        self._instead = host
        try:
            ended = carry_out(self, aim, View())
        finally:
            self._instead = None
        if ended.reason is None:
            listed = [t.node for t in ended.plan.transitions]
            assert [t.node for t, _, _ in ended.report.transitions] == listed, "what was planned is what happens"
        return ended.report

    def request(self, *texts: str, options: Options | None = None, prune: bool = False) -> Request:
        """The aim of documents."""
        contents = {f"{n}.yaml": text.encode() for n, text in enumerate(texts)}
        return Request(self._host, (), contents=contents, prune=prune, options=options)

    def apply(self, *texts: str, options: Options | None = None, host: Any = None, prune: bool = False) -> Report:
        """Apply documents."""
        return self.run(self.request(*texts, options=options, prune=prune), host)

    def plan(self, *texts: str) -> Any:
        """Plan documents, with nothing that could write."""
        return look(self, self.request(*texts))[0]

    def uninstall(
        self, name: str, *, options: Options | None = None, host: Any = None, destroy: bool = False
    ) -> Report:
        """Uninstall a deployment; of one that no run ever named there is nothing to give back."""
        if not self.known(name):
            return Report()
        return self.run(Uninstall(name, destroy=destroy, options=options), host)

    def rollback(self, to: int | None = None, *, options: Options | None = None, host: Any = None) -> Report:
        """Roll back to right after an event; by default to before the last forward run."""
        return self.run(Rollback(None if to is None else str(to), options=options), host)

    def known(self, name: str) -> bool:
        """Whether any run ever named a deployment."""
        return name in self.ledger().names

    def seq(self) -> int:
        """The number of the last event."""
        return self.ledger().seq

    def ledger(self) -> Ledger:
        """The books as they are now."""
        return Engine(self._host, LogReader(self.log)).ledger
