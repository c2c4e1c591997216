"""A plan, a result, a status and a history for a terminal of 80 columns.  Pure.

Nothing that comes from a host reaches a line without having been escaped.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..core.kind import SECRET
from ..formats.text import printable
from ..kinds import kinds
from ..model import MARK, Address, Change, Json

if TYPE_CHECKING:
    from ..core.plan import Plan, Transition
    from ..engine.outcome import Report

WIDTH = 80
FEW = 12
"""So many of a list are shown in a text."""
SYMBOLS = {
    "create": ("+", "32"), "remove": ("-", "31"), "restart": ("↻", "36"), "start": ("▸", "36"), "stop": ("■", "36"),
}  # fmt: skip
OUTCOMES = {
    "succeeded": ("✓", "32"), "skipped": ("·", "2"), "failed": ("✗", "31"), "undone": ("↩", "33"),
    "stuck": ("!", "31;1"), "stale": ("~", "33"),
}  # fmt: skip


@dataclass(frozen=True)
class Paint:
    """Colours, where they are wanted."""

    on: bool

    def __call__(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self.on else text


def short(address: Address) -> str:
    """An address as people write it: services without their suffix."""
    return printable(kinds().short(address))


def conflict_text(recorded: Json, found: Json) -> str:
    """Why a field is in conflict.

    >>> conflict_text(810, "taken by other"), conflict_text("a", "b")
    ('810 is taken by other', 'we left a, and found b')
    """
    if isinstance(found, str) and found.startswith("taken by "):
        return f"{value_text(recorded)} is {value_text(found)}"
    return f"we left {value_text(recorded)}, and found {value_text(found)}"


def value_text(value: Json) -> str:
    """A value on one line."""
    if value is None:
        return "(none)"
    if value == SECRET:
        return "(secret)"
    if isinstance(value, dict) and value.get("unknown"):
        return "(chosen at apply)"
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = printable(", ".join(map(str, value)) if isinstance(value, list) else str(value))
    return text if text else '""'


def symbol(verb: str) -> tuple[str, str]:
    """The sign of a verb, and its colour."""
    return SYMBOLS.get(verb, ("~", "33"))


def plan_lines(plan: Plan, paint: Paint) -> Iterator[str]:
    """The whole plan, as a colleague would want to read it."""
    last = ""
    for transition in plan.transitions:
        if transition.target.deployment != last:
            last = transition.target.deployment
            yield ""
            yield paint("1", f"deployment {printable(last)}") + _origin(plan)
            yield ""
        yield from transition_lines(transition, paint)
    for title, listed in (("Audit only, nothing is written", plan.audit),):
        if listed:
            yield ""
            yield paint("1", title)
            for transition in listed:
                yield from transition_lines(transition, paint)
    yield from _access_lines(plan, paint)
    yield from _hindrances(plan, paint)
    yield ""
    yield summary_line(plan)


def _origin(plan: Plan) -> str:
    name = (plan.host or {}).get("name")
    return f" on {printable(str(name))}" if name else ""


def summary_line(plan: Plan) -> str:
    """How much there is to do, in one line."""
    if not plan.transitions and not plan.blocked and not plan.conflicts:
        return f"Nothing to do: {len(plan.converged)} resources are as they should be."
    s = plan.summary()
    return (
        f"Plan: {s['create']} create, {s['change']} change, {s['remove']} remove, "
        f"{s['restart']} start/stop/restart; {s['unchanged']} unchanged."
    )


def transition_lines(transition: Transition, paint: Paint) -> Iterator[str]:
    """One transition with its changes below it."""
    sign, colour = symbol(transition.verb)
    left = f"  {paint(colour, sign)} {transition.verb:<8} {short(transition.address)}"
    plain = len(transition.verb.ljust(8)) + len(short(transition.address)) + 5
    source = f"{transition.target.source}" if transition.target.source else ""
    if transition.step.pause:
        source = "for the hand-over"
    gap = WIDTH - plain - len(source)
    yield left + (" " * gap + paint("2", source) if source and gap > 1 else "")
    if source and gap <= 1:
        yield paint("2", f"      {source}")
    if transition.verb == "own":
        yield from _tree_lines(transition, paint)
    elif transition.verb not in ("start", "stop", "restart", "remove"):
        for change in transition.step.changes:
            yield from change_lines(change, paint)
    if transition.step == transition.prospect.steps[-1]:
        yield from _rights_lines(transition.prospect.facts.get("rights", ()), paint)
    if transition.prospect.reversible == "semantic":
        yield "      " + paint("33", "comes back in meaning and not to the byte: others changed lines beside ours")
    if (dialect := transition.prospect.facts.get("dialect", "ini")) != "ini":
        yield "      " + paint("2", f"read as {dialect}")
    store = transition.prospect.facts.get("quarantine")
    if store:
        yield f"      into quarantine {printable(store)}"


def _rights_lines(rights: Sequence[Json], paint: Paint) -> Iterator[str]:
    """Whose rights through an agent change."""
    if rights:
        yield paint("1", "      who acts as whom:")
    for item in rights[:FEW]:
        yield from _hanging("        ", "          ", item["text"])
    yield from _more(rights, "        ")


def _tree_lines(transition: Transition, paint: Paint) -> Iterator[str]:
    facts = transition.prospect.facts
    counts = facts["counts"]
    born = f", {counts['newborn']} born since" if counts["newborn"] else ""
    yield f"      {counts['differ']} of {counts['paths']} paths{born}"
    for item in facts["classes"][:8]:
        yield f"      {item['before']} → {item['after']}  ×{item['count']} ({item['type']})"
        if _loses(item["before"], item["after"]):
            yield "      " + paint("33", "loses setuid or setgid, since its owner changes")
    if len(facts["classes"]) > 8:
        yield f"      … and {len(facts['classes']) - 8} more classes"
    if "paths" in facts:
        for item in facts["paths"]:
            yield f"      {item['path']}"


def _loses(before: str, after: str) -> bool:
    then, now = (look.split(" ")[0].rpartition(":")[2] for look in (before, after))
    return then.isdigit() and now.isdigit() and bool(int(then, 8) & ~int(now, 8) & 0o6000)


def change_lines(change: Change, paint: Paint) -> Iterator[str]:
    """One change: a diff for text of several lines, else before → after."""
    name = ".".join(change.field)
    before, after = change.shown
    if name == "exists" or change.field == MARK:
        return
    if len(change.field) == 4 and change.field[0] == "mode":
        name = "mode"
    if len(change.field) == 2 and change.field[0] not in ("groups", "run_as"):
        name = f"[{change.field[0]}] {change.field[1]}"
    if change.field == ("content",) and isinstance(after, str) and (before is None or isinstance(before, str)):
        old = (before or "").splitlines()
        for line in list(difflib.unified_diff(old, after.splitlines(), lineterm="", n=1))[2:42]:
            if not line.startswith("@@"):
                yield "      " + paint({"+": "32", "-": "31"}.get(line[:1], "2"), printable(line))
        return
    then = "" if before is None else f"{value_text(before)} "
    text = f"      {printable(name):<12} {then}→ {value_text(after)}"
    if len(text) <= WIDTH:
        yield text
        return
    yield f"      {printable(name)}"
    for line in _wrapped(f"{then}→ {value_text(after)}", WIDTH - 8):
        yield f"        {line}"


def _wrapped(text: str, width: int) -> Iterator[str]:
    import textwrap  # noqa: PLC0415 - only for long lines

    yield from textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False) or [""]


def _hanging(first: str, rest: str, text: str, width: int | None = None) -> Iterator[str]:
    """A text behind ``first``, its further lines behind ``rest``."""
    for number, line in enumerate(_wrapped(printable(text), width or WIDTH - len(rest))):
        yield (rest if number else first) + line


def _more(listed: Sequence[object], indent: str) -> Iterator[str]:
    """That a list is cut, where it is."""
    if len(listed) > FEW:
        yield f"{indent}… and {len(listed) - FEW} more; all of them with --format json"


def _access_lines(plan: Plan, paint: Paint) -> Iterator[str]:
    """Whose rights change, what that opens, and where a policy is broken already."""
    told = plan.access or {}
    if told.get("changes"):
        yield ""
        yield paint("1", "  access after this")
    for item in told.get("changes", ())[:FEW]:
        yield from _hanging("      ", "      ", item["text"])
    yield from _more(told.get("changes", ()), "      ")
    for word, colour, texts in (
        ("escalation", "31;1", told.get("escalation", ())),
        ("policy", "33;1", [item["text"] for item in told.get("policy", ())]),
    ):
        if texts:
            yield ""
        for text in texts[:FEW]:
            yield from _hanging(paint(colour, f"  ! {word:<11}"), " " * 15, text)
        yield from _more(texts, "      ")


def _hindrances(plan: Plan, paint: Paint) -> Iterator[str]:
    for blocked in plan.blocked:
        yield ""
        yield paint("31;1", f"  ✗ blocked  {short(blocked.address)}")
        source = blocked.source
        where = f" ({source['file']}:{source['line']})" if source else ""
        for line in _wrapped(printable(blocked.reason) + where, WIDTH - 6):
            yield f"      {line}"
    for conflict in plan.conflicts:
        yield ""
        yield paint("33;1", f"  ! conflict {short(conflict.address)}  {printable('.'.join(conflict.field))}")
        yield f"      {conflict_text(conflict.recorded, conflict.found)}"
    if plan.skipped:
        yield ""
        for path, reason in plan.skipped[:20]:
            yield paint("33", f"  ! skipped  {printable(path)}")
            yield from (f"      {line}" for line in _wrapped(printable(reason), WIDTH - 6))
        if len(plan.skipped) > 20:
            yield f"  … and {len(plan.skipped) - 20} more paths are skipped"
    if plan.orphaned:
        yield ""
        names = ", ".join(map(printable, plan.orphaned))
        yield f"  orphaned: {names} (held by the log, not in the input; never touched)"
    for note in plan.notes:
        yield from (
            f"  note: {line}" if n == 0 else f"        {line}"
            for n, line in enumerate(_wrapped(printable(note), WIDTH - 10))
        )


def outcome_lines(report: Report, paint: Paint) -> Iterator[str]:
    """What came of a run."""
    for transition, outcome, error in report.transitions:
        if outcome == "succeeded":
            continue
        symbol, colour = OUTCOMES[outcome]
        yield f"  {paint(colour, symbol)} {outcome:<9} {transition.verb} {short(transition.address)}"
        for line in _wrapped(printable(error or ""), WIDTH - 6):
            yield f"      {line}"
    for path, reason in report.skipped[:20]:
        yield f"  {paint('33', '!')} left      {printable(path)}"
        yield from (f"      {line}" for line in _wrapped(printable(reason), WIDTH - 6))
    done = sum(outcome == "succeeded" for _, outcome, _ in report.transitions)
    run = report.run or ""
    yield {
        "converged": f"{run}: done, {done} transitions. Undo with: reconciler rollback",
        "unchanged": "Nothing was changed.",
        "failed": f"{run}: failed, and nothing of it remains.",
        "undone": f"{run}: failed, and all of it was undone.",
        "partial": f"{run}: {done} transitions done, some not. See: reconciler show {run}",
    }.get(report.outcome, f"{run}: {report.outcome}")


def status_lines(deployments: Iterable[Mapping[str, Json]], paint: Paint) -> Iterator[str]:
    """Two columns a resource: last applied ↔ actual, actual ↔ desired."""
    colours = {"converged": "32", "drifted": "33", "pending": "36", "blocked": "31", "orphaned": "35"}
    for deployment in deployments:
        mode = f" ({deployment['mode']})" if deployment["mode"] else ""
        policy = ", audit only" if deployment["policy"] == "audit" else ""
        state = paint(colours[deployment["state"]], deployment["state"])
        yield f"{printable(deployment['name'])}{mode}: {state}{policy}"
        yield from _beside_lines(deployment, paint)
        for item in deployment["resources"]:
            marks = item["applied_actual"] + item["actual_desired"]
            if marks == "  " and not item.get("reason"):
                continue
            yield f"  {paint('33', marks)} {short(Address.parse(item['address']))}" + (
                f"  (cause: {item['cause']})" if item["cause"] else ""
            )
            if item.get("reason"):
                yield from (f"       {line}" for line in _wrapped(printable(item["reason"]), WIDTH - 8))
            for part in item["fields"][:12]:
                applied, actual, desired = (value_text(part[key]) for key in ("applied", "actual", "desired"))
                name = printable(".".join(part["field"]))
                yield f"       {name}: applied {applied}, actual {actual}, desired {desired}"


def _beside_lines(deployment: Mapping[str, Json], paint: Paint) -> Iterator[str]:
    """What holds of a deployment besides its resources."""
    for process in deployment.get("processes", ()):
        who = ", ".join(map(str, process["users"]))
        more = f", capabilities {', '.join(process['capabilities'])}" if process["capabilities"] else ""
        more += ", NoNewPrivs" if process["no_new_privs"] else ""
        more += ", comes and goes" if process["helper"] else ""
        drift = f": {process['drift']}" if process["drift"] else ""
        text = f"process {process['pid']} {process['name']} as {who}, groups {', '.join(map(str, process['groups']))}"
        yield (paint("33", "  !  ") if drift else "     ") + printable(f"{text}{more}{drift}")
    texts = [("policy", item["text"]) for item in deployment.get("access", ())]
    texts += [("escalation", text) for text in deployment.get("escalation", ())]
    for word, text in texts[:FEW]:
        yield from _hanging(paint("33", "  !  "), " " * 7, f"{word}: {text}", WIDTH - 6)
    yield from _more(texts, "     ")


def run_lines(runs: Iterable[Mapping[str, Json]], paint: Paint) -> Iterator[str]:
    """One run a line."""
    for run in runs:
        outcome = run["outcome"] or "cut off"
        colour = {"converged": "32", "unchanged": "2"}.get(outcome, "31")
        names = ", ".join(run["deployments"]) or "-"
        who = run["actor"] or {}
        name = who.get("sudo_user") or (f"uid {who.get('uid')}")
        yield (
            printable(f"{run['id']:<5} {run['at'][:19]}Z {run['verb']:<9} ")
            + paint(colour, f"{outcome:<9}")
            + printable(f" {run['transitions']:>3} done  {names}  by {name}")
            + printable(f"  of {run['commit'][:12]}" if run.get("commit") else "")
        )


def event_lines(event: Mapping[str, Json]) -> Iterator[str]:
    """One event with what matters in it."""
    data = event["data"]
    what = (
        f"{data['verb']} {event['address']}"
        if event["address"] and "verb" in data
        else event["address"] or data.get("verb", "")
    )
    yield printable(f"{event['seq']:>6} {event['at'][:19]}Z {event['run']:<4} {event['type']:<21} {what}")
    for change in data.get("changes", ()):
        if change["field"] not in (["exists"], list(MARK)):
            before, after = (value_text(v) for v in change["shown"])
            yield printable(f"{'':>8}{'.'.join(change['field'])}: {before[:60]} → {after[:60]}")
    for key in ("error", "left", "outcome", "why", "repository"):
        if data.get(key):
            yield printable(f"{'':>8}{key}: {data[key]}")
    if event["type"] == "commit.quarantined":
        yield printable(f"{'':>8}held back, since run {data['run']} is undone: {data['input']}")
    origin = data.get("origin")
    if origin and event["type"] == "run.started":
        yield printable(f"{'':>8}of commit {origin['commit']}")
        yield printable(f"{'':>8}{origin_text(origin)}")
    source = data.get("source")
    if source:
        yield printable(f"{'':>8}asked by {source['file']}:{source['line']}")


def origin_text(origin: Mapping[str, Json]) -> str:
    """Where a desired state is from, and by whom."""
    signer = f"signed by {origin['signer']}" if origin["signer"] else "not signed"
    return f"in {origin['repository']} ({origin['ref']}), {signer}"


def state_lines(held: Iterable[Mapping[str, Json]]) -> Iterator[str]:
    """What is held, a thing and its fields."""
    for item in held:
        yield printable(f"{short(Address.parse(item['address']))}  ({item['deployment']})")
        for part in item["fields"]:
            if part["field"] == ["exists"]:
                if not part["origin"]:
                    yield "    made by us"
                continue
            name, value, origin = ".".join(part["field"]), value_text(part["value"]), value_text(part["origin"])
            yield printable(f"    {name}: {value[:60]}  (before us: {origin[:60]})")


def difference_lines(changes: Iterable[Mapping[str, Json]]) -> Iterator[str]:
    """The fields that differ between two moments, below their things."""
    last = None
    for item in changes:
        if item["address"] != last:
            last = item["address"]
            yield printable(short(Address.parse(item["address"])))
        before, after = value_text(item["from"])[:60], value_text(item["to"])[:60]
        yield printable(f"    {'.'.join(item['field'])}: {before} → {after}")


def blame_lines(things: Iterable[Mapping[str, Json]]) -> Iterator[str]:
    """Every field with who wrote it, and why."""
    for thing in things:
        inside_it = f"{thing['path']}, in " if thing.get("path") else ""
        yield printable(f"{inside_it}{short(Address.parse(thing['address']))}")
        for item in thing["fields"]:
            name = "there" if item["field"] == ["exists"] else ".".join(item["field"])
            yield printable(f"    {name}: {value_text(item['value'])[:60]}")
            by = item["by"]
            if by is None:
                yield "        never changed by us"
                continue
            if by == "drift":
                first, last = item["between"]
                yield f"        drifted: written by nobody of us, after event {first} (the log ends at {last})"
                continue
            who = by["actor"] or {}
            name = who.get("sudo_user") or f"uid {who.get('uid')}"
            if by["run"] is None:
                yield f"        by event {by['seq']}, which was archived; look into the archive that holds it"
            else:
                yield printable(f"        by {name} in run {by['run']}, event {by['seq']}, {str(by['at'])[:19]}Z")
            if by["source"]:
                yield printable(f"        because of {by['source']['file']}:{by['source']['line']}")
            if by["commit"]:
                yield printable(f"        of commit {by['commit']}")
            if by.get("origin"):
                yield printable(f"        {origin_text(by['origin'])}")
            if item["field"] != ["exists"]:
                yield printable(f"        before us: {value_text(item['before_us'])[:60]}")
