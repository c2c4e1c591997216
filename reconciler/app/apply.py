"""The aim of an apply: a request, and what must be true before its first event."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..core.plan import Plan
from ..engine.survey import Surveyor
from ..errors import Refused
from ..model import Json
from .guards import nothing_awaited
from .rehearsal import looks
from .request import Request

if TYPE_CHECKING:
    from .plan_file import Saved


class Apply(Request):
    """A request that may be bound to a saved plan, or be a rehearsal."""

    saved: Saved | None = None
    rehearsing: bool = False

    def __init__(self, *given: Any, saved: Saved | None = None, rehearsing: bool = False, **more: Any) -> None:
        """As a request; ``saved`` brings the contents of its files along."""
        super().__init__(*given, contents=saved.inputs if saved else None, **more)
        self.saved, self.rehearsing = saved, rehearsing
        self.before: dict[str, str] = {}
        """Of a rehearsal, how every thing of the plan looked before."""

    def prepare(self, surveyor: Surveyor) -> tuple[Any, Json, Mapping[str, Json]]:
        """As the documents say; the first event names the saved plan."""
        goals, desired, more = super().prepare(surveyor)
        return goals, desired, {**more, **({"saved_plan": self.saved.digest} if self.saved else {})}

    def examine(self, surveyor: Surveyor, plan: Plan) -> None:
        """Refuse a plan that is stale or was applied, and any run while another waits to be confirmed."""
        super().examine(surveyor, plan)
        nothing_awaited(surveyor)
        if self.saved is not None:
            for run in surveyor.ledger.runs():
                if run.plan == self.saved.digest:
                    raise Refused(f"this plan was applied already, by {run.id} at {run.at[:19]}Z; make a new one")
            moved = self.saved.moved(plan)
            if moved:
                listed = "".join(f"\n  {line}" for line in moved)
                raise Refused(f"the plan is stale, nothing was changed; make a new one. What moved:{listed}")
        if self.rehearsing:
            self.before = looks(surveyor.host, plan)
