"""Plans for hosts that are not here, from their snapshots; nothing is executed, and no host is touched."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from ..app.place import Place
from ._common import paint, print_json, talk

if TYPE_CHECKING:
    from ..core.options import Options
    from ..core.plan import Plan
    from ..snapshots.snapshot import Snapshot

UNTOLD = (
    "from snapshots: secrets compare as unknown, no validator runs, and whose rights change is told where it was asked"
)


class Elsewhere(Place):
    """A host as its snapshot tells of it."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self.root = self.given_log = None

    def observer(self) -> Any:
        """What can be asked of it."""
        return self.snapshot.observer

    def reader(self) -> Any:
        """What its log amounts to."""
        return self.snapshot.log


def checked(files: Sequence[str], signers: str | None) -> None:
    """Refuse a snapshot that nobody who may has signed."""
    from ..app.signatures import signer_of
    from ..errors import Refused
    from ..formats.text import printable
    from .observe import NAMESPACE

    for file in files if signers is not None else ():
        assert signers is not None
        if signer_of(file, signers, NAMESPACE) is None:
            raise Refused(
                f"{printable(file)}: is signed by nobody in {printable(signers)}; 'observe --sign KEY' signs it"
            )


def plans(
    files: Sequence[str], paths: tuple[str, ...], options: Options, *, prune: bool, for_host: str | None
) -> list[tuple[str, Plan, str | None]]:
    """By host: its plan, and why it would be refused."""
    from ..app.request import Request
    from ..app.run import look
    from ..errors import HostError, Refused
    from ..formats.text import printable
    from ..snapshots.snapshot import readable

    found = []
    for snapshot in readable(files):
        name = str(snapshot.host["name"])
        if for_host not in (None, name):
            continue
        place = Elsewhere(snapshot)
        request = Request(place.observer(), paths, prune=prune, options=options)
        try:
            plan, reason = look(place, request)
        except (TypeError, ValueError, KeyError, IndexError, AttributeError, AssertionError, RecursionError):
            raise HostError(f"the snapshot of {printable(name)} tells what no host does; take it again there") from None
        found.append((name, plan, reason))
    if not found:
        raise Refused(f"no snapshot of host {for_host} among these")
    return found


def show(found: Sequence[tuple[str, Plan, str | None]], style: str, *, detailed: bool) -> int:
    """Print the plans, those that are equal once; the exit code."""
    from ..report import forms
    from ..report._preview import grouped, hosts_text
    from ..report._text import plan_lines
    from ._terminal import report

    if style == "json" and len(found) == 1:
        print_json(found[0][1].json())
    else:
        groups = grouped({name: plan.json() for name, plan, _ in found})
        if style == "json":
            listed = [{"hosts": list(group.hosts), "plan": group.plan} for group in groups]
            print_json({"format_version": "1.0", "groups": listed})
        elif style in forms():
            report(style, groups)
        else:
            by_name = {name: plan for name, plan, _ in found}
            counts = [f"{len(g.hosts)} host{'s' * (len(g.hosts) > 1)}: {g.says}" for g in groups]
            for group, count in zip(groups, counts, strict=True):
                click.echo(f"━━ {count} ({hosts_text(group.hosts)})")
                for line in plan_lines(by_name[group.hosts[0]], paint()) if group.transitions or group.refused else ():
                    click.echo(line)
            click.echo("; ".join(counts))
    talk(UNTOLD)
    if any(reason for _, _, reason in found):
        for name, _, reason in found:
            if reason:
                talk(f"refused on {name}: {reason}")
        return 3
    return 2 if detailed and any(plan.transitions for _, plan, _ in found) else 0
