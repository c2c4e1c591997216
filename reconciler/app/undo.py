"""The aims of the ways back: to a moment in the log, or out of a deployment; and the way out as a script."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .. import __version__
from ..core.goals import Goals, as_left, destroys, from_past, from_uninstall
from ..core.holds import HOLD, Holds, holds_of
from ..core.options import Options
from ..core.plan import Plan
from ..core.rewind import Past, rewind
from ..desired.words import nearest
from ..engine.survey import Surveyor
from ..errors import ReconcilerError, Refused
from ..history.moments import moment
from ..model import Address, Field, Json
from .guards import refused
from .run import Reach, Where, look
from .script import script


class Rollback(Reach):
    """Every thing as it was at a moment; by default before the last run that changed the host."""

    verb = "rollback"

    def __init__(self, to: str | None, deployment: str | None = None, options: Options | None = None) -> None:
        """``to``: a run, an event, a time or a commit; ``deployment``: the one that alone is rolled back."""
        self.to, self.deployment = to, deployment
        self.options = options or Options(keep_going=True)
        self.drifted: list[tuple[Address, list[Field]]] = []
        """What the run that is rolled back had found changed by somebody else, and corrected."""

    def examine(self, surveyor: Surveyor, plan: Plan) -> None:
        """Say what comes back that was never ours."""
        super().examine(surveyor, plan)
        for address, fields in self.drifted:
            named = ", ".join(".".join(map(str, name)) for name in fields)
            plan.notes.append(
                f"{address}: somebody else had changed {named}, and the run that is rolled back corrected it; "
                "that change comes back. 'rollback --to RUN' brings back what RUN had left"
            )

    def prepare(self, surveyor: Surveyor) -> tuple[Goals, Json, Mapping[str, Json]]:
        """The goals: every thing as it was then."""
        ledger = surveyor.ledger
        if self.to is None:
            last = ledger.last_forward()
            if last is None:
                if ledger.holds and surveyor.log.archived().seq:
                    raise Refused("the runs that could be rolled back were archived; 'uninstall' still gives all back")
                return Goals(), None, {}
            seq = last.first - 1
        else:
            seq = moment(surveyor.log, ledger, self.to)
        pasts, left = rewind(surveyor.log.events(), seq, self.deployment), holds_of(ledger.books.at(seq, HOLD))
        if self.to is None:
            self.drifted = list(_drifted(pasts, left, surveyor))
        goals = from_past(pasts, ledger, surveyor.unseal, left if self.to is not None else None)
        names = sorted({target.deployment for target in goals.targets.values()})
        return goals, None, {"to": seq, "only": self.deployment, "deployments": names}


def _drifted(pasts: Mapping[Address, Past], left: Holds, surveyor: Surveyor) -> Iterator[tuple[Address, list[Field]]]:
    """The fields that were found otherwise than we had left them."""
    for address, past in pasts.items():
        found = {name: surveyor.unseal(value) for name, value in past.values.items()}
        ours = as_left(address, found, left.get(address, {}), surveyor.ledger.kinds, surveyor.unseal)
        if ours:
            yield address, list(ours)


class Uninstall(Reach):
    """Everything that a deployment ever took, given back."""

    verb = "uninstall"

    def __init__(self, deployment: str, *, destroy: bool = False, options: Options | None = None) -> None:
        """``destroy``: trees that are declared so go, with what is in them, into quarantine."""
        self.deployment, self.destroy = deployment, destroy
        self.options = options or Options(keep_going=True)

    def prepare(self, surveyor: Surveyor) -> tuple[Goals, Json, Mapping[str, Json]]:
        """The goals: everything that it holds, given back."""
        known = set(surveyor.ledger.names)
        if self.deployment not in known:
            hint = nearest(self.deployment, known) or "it has none yet"
            raise ReconcilerError(f"the log knows no deployment {self.deployment!r}; {hint}")
        doomed = destroys(surveyor.ledger, self.deployment)
        if doomed and not self.destroy:
            listed = ", ".join(map(str, doomed))
            raise Refused(
                f"{listed}: 'on_uninstall: delete' would take its data; say --destroy-data, or change the declaration"
            )
        goals = from_uninstall(
            surveyor.ledger, self.deployment, surveyor.unseal, run=surveyor.next_run(), destroy=self.destroy
        )
        return goals, None, {"deployments": [self.deployment]}


class Scripted(Uninstall):
    """An uninstall that is written down and not carried out."""

    text = ""

    def examine(self, surveyor: Surveyor, plan: Plan) -> None:
        """Write down what would be done."""
        super().examine(surveyor, plan)
        if reason := refused(plan, self.options):
            raise Refused(f"no script is written: {reason}")
        about: dict[str, Any] = {
            "title": f"Gives back everything that the deployment {self.deployment} took.",
            "version": __version__,
            "host": f"{plan.host['name']} ({plan.host['id']})",
            "seq": surveyor.ledger.seq,
        }
        sealed = {
            address: ", ".join(
                sorted(
                    {
                        h.origin["$sealed"]
                        for h in fields.values()
                        if isinstance(h.origin, dict) and "$sealed" in h.origin
                    }
                )
            )
            for address, fields in surveyor.ledger.holds.items()
        }
        self.text = script(surveyor.host, plan, surveyor.vault, about, sealed)


def uninstall_script(where: Where, deployment: str, options: Options, *, destroy: bool) -> str:
    """The uninstall of a deployment as a shell script; nothing is changed."""
    aim = Scripted(deployment, destroy=destroy, options=options)
    look(where, aim)
    return aim.text
