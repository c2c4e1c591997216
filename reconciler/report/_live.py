"""The view of `status --live`: what is held, what drifted, what is due, the last events.  Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ..core.events import Event
from ..formats.text import printable
from ..model import Json
from ._text import Paint

QUIET = {"run.started", "transition.started", "run.finished"}
"""Events that others tell of better."""


@dataclass(frozen=True)
class View:
    """What is shown at one moment."""

    held: Mapping[str, int]
    """How many things each deployment holds."""
    watch: Json
    """What the watch of this host says of itself; None where none runs."""
    suspended: Json
    events: Sequence[Event]


def live_lines(view: View, paint: Paint) -> Iterator[str]:
    """The whole view."""
    yield from _watch_lines(view, paint)
    yield ""
    held = ", ".join(f"{printable(name)} {count}" for name, count in view.held.items()) or "nothing"
    yield f"held       {held}"
    told = view.watch or {}
    drifted = ", ".join(map(printable, told.get("drift", ()))) or "nothing that is left as it is"
    yield f"drifted    {paint('33', drifted) if told.get('drift') else drifted}"
    for fight in told.get("fights", ()):
        who = ", ".join(map(printable, fight["with"])) or "somebody who could not be named"
        where = printable(" ".join(fight["field"]))
        yield paint("31", "fight      ") + f"{where}: rewritten by {who}; left alone until {fight['until']}"
    if told:
        yield f"due        a look at everything in {_span(told['full'])}"
    yield ""
    for event in view.events:
        yield event_line(event, paint)


def _watch_lines(view: View, paint: Paint) -> Iterator[str]:
    told = view.watch
    if told is None:
        yield paint("33", "watch      does not run here; 'reconciler watch' or systemctl start reconciler-watch")
    else:
        by = ", ".join(f"{count} by {printable(name)}" for name, count in told["by"].items())
        state = paint("32" if told["state"] in ("converged", "done") else "33", printable(told["state"]))
        yield f"watch      {state}, process {told['pid']} since {printable(told['since'])}; {by}"
        if told["message"]:
            yield from (f"           {printable(line)}" for line in told["message"].splitlines()[:6])
    if view.suspended is not None:
        since, why = view.suspended["at"][:19], printable(view.suspended["why"])
        yield paint("33", f"suspended  since {since}Z: {why}")


def event_line(event: Event, paint: Paint) -> str:
    """One event."""
    what, data = event.type, event.data
    text = f"{event.at[11:19]}  {event.run:<6} {what:<22} {printable(event.address or '')}"
    if what == "drift.found" and "cause" in data:
        text += f"  ({printable(str(data['cause'].get('text', '')))})"
    if what == "run.finished":
        text += printable(str(data.get("outcome", "")))
    colour = "33" if what == "drift.found" else "31" if what.endswith(("failed", "stuck")) else None
    return paint(colour, text) if colour else text


def _span(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
