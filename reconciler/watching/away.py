"""Which deployments somebody uninstalled, and so stay away until their files change or somebody resumes.

The runs tell it: of those that name a deployment the last one counts, whatever was done for others since.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from ..app.request import Request
from ..core.ledger import Ledger, Run
from ..log.store import LogReader
from ..model import Json

ENDED = ("converged", "partial")


@dataclass
class Away:
    """What the runs tell, read once and then only on from there."""

    upto: int = 0
    """The number of the last run that was taken into account."""
    brought: dict[str, int] = field(default_factory=dict)
    """By deployment, the first event of the last run that brought it about from files."""
    gone: set[str] = field(default_factory=set)

    def stays(self, log: LogReader, ledger: Ledger, wanted: Request) -> frozenset[str]:
        """The deployments of a desired state that are left out."""
        self._read_on(ledger)
        files = wanted.desired.files
        sources = {d.name: d.source.file for d in wanted.desired.documents if d.name in self.gone}
        return frozenset(n for n, file in sources.items() if files.get(file) in self._files(log, n))

    def _files(self, log: LogReader, name: str) -> set[str]:
        """The digests of the files that a deployment was last brought about from."""
        if name not in self.brought:
            return set()
        event = next(log.events(self.brought[name] - 1), None)
        desired: Json = event.data.get("desired") if event is not None else None
        return {file["sha256"] for file in (desired or {}).get("files", ())}

    def _read_on(self, ledger: Ledger) -> None:
        new: list[Run] = []
        for run in ledger.runs():
            if run.number <= self.upto:
                break
            new.append(run)
        if any(run.verb == "rollback" for run in new) and self.upto:
            # What was undone before may be in force again, and the other way round.
            self.__init__()  # type: ignore[misc] # from the first run on
            new = list(ledger.runs())
        if new:
            self._take(reversed(new), ledger.undone())

    def _take(self, runs: Iterable[Run], undone: set[int]) -> None:
        for run in runs:
            if run.outcome is None and run.verb == "uninstall":
                return  # under way, or cut off: what comes of it is told by whoever settles it
            self.upto = run.number
            if run.verb == "resume":
                self.gone.clear()
            elif run.verb == "uninstall":
                self.gone |= set(run.deployments) if run.outcome in ENDED and run.number not in undone else set()
            elif run.input is not None:
                self.gone -= set(run.deployments)
                self.brought |= dict.fromkeys(run.deployments, run.first)
