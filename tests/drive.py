"""The product driven in process: the engine on any host, with a log of its own."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from reconciler.cli.runs import intact, refused
from reconciler.cli.undo import Moment
from reconciler.desired.documents import parse
from reconciler.engine import Engine, Report
from reconciler.host.port import Through
from reconciler.log.store import LogReader
from reconciler.log.writer import LogWriter
from reconciler.survey import Options
from reconciler.targets import Goals, from_desired, from_uninstall


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

    def change(self, names: Any, facts: Any, wanted: Any) -> Any:
        return [left for name in names for left in self._mortal._one(partial(self._at.change, [name], facts, wanted))]


class Bench:
    """One host and one log."""

    def __init__(self, host: Any, directory: Path) -> None:
        self.host, self.log = host, str(directory / "events.db")

    def _run(
        self, verb: str, goals: Callable[[Engine], tuple[Goals, dict[str, Any]]], options: Options, host: Any
    ) -> Report:
        log = LogWriter(self.log, verb)
        try:
            intact(log)
            engine = Engine(host or self.host, log)
            engine.recover()
            wanted, more = goals(engine)
            plan = engine.survey(wanted, options)
            if refused(plan, options):
                return Report(outcome="refused", blocked=plan.blocked)
            listed = [t.node for t in plan.transitions]
            report = engine.execute(plan, wanted, options, {"v": 1, "verb": verb, **more})
            assert [t.node for t, _, _ in report.transitions] == listed, "what was planned is what happens"
            return report
        finally:
            log.close()

    def apply(self, *texts: str, options: Options | None = None, host: Any = None, prune: bool = False) -> Report:
        """Apply documents."""
        documents = parse({f"{n}.yaml": text.encode() for n, text in enumerate(texts)}).documents
        names = [d.name for d in documents]
        return self._run(
            "apply",
            lambda e: (from_desired(documents, e.ledger, e.unseal, prune=prune), {"deployments": names}),
            options or Options(),
            host,
        )

    def plan(self, *texts: str) -> Any:
        """Plan documents, with nothing that could write."""
        documents = parse({f"{n}.yaml": text.encode() for n, text in enumerate(texts)}).documents
        engine = Engine(self.host, LogReader(self.log))
        return engine.survey(from_desired(documents, engine.ledger, engine.unseal), Options())

    def uninstall(
        self, name: str, *, options: Options | None = None, host: Any = None, destroy: bool = False
    ) -> Report:
        """Uninstall a deployment."""

        def goals(engine: Engine) -> tuple[Goals, dict[str, Any]]:
            found = from_uninstall(engine.ledger, name, engine.unseal, run=engine.next_run(), destroy=destroy)
            return found, {"deployments": [name]}

        return self._run("uninstall", goals, options or Options(keep_going=True), host)

    def rollback(self, to: int | None = None, *, options: Options | None = None, host: Any = None) -> Report:
        """Roll back to right after an event; by default to before the last forward run."""

        def goals(engine: Engine) -> tuple[Goals, dict[str, Any]]:
            found, _, more = Moment(None if to is None else str(to), None).prepare(engine)
            return found, dict(more)

        return self._run("rollback", goals, options or Options(keep_going=True), host)

    def seq(self) -> int:
        """The number of the last event."""
        return Engine(self.host, LogReader(self.log)).ledger.seq
