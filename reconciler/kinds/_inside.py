"""What lies in a directory, and what becomes of it: seen path by path, with an image of what was there before."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence

from ..core.kind import Context
from ..core.vault import Vault
from ..host.port import Facts, Host, Observer
from ..model import PATHS, Address, Change, Json, Owner, inside
from ..trees.apply import Task, bring_about
from ..trees.classify import linked, obstacle
from ..trees.images import Look, Record, open_layer
from ..trees.rules import Return, Rule
from ..trees.scan import SAMPLE, Question, Survey, Wants, look_at
from ..trees.verify import unlike
from . import kinds

PROTECTED = frozenset(
    f"/{name}"
    for name in (
        *("", "bin", "boot", "dev", "etc", "home", "lib", "lib32", "lib64", "libx32", "media", "mnt", "opt", "proc"),
        *("root", "run", "sbin", "srv", "sys", "tmp", "usr", "usr/bin", "usr/lib", "usr/lib64", "usr/local"),
        *("usr/sbin", "usr/share", "var", "var/lib", "var/log", "var/opt", "var/run", "var/spool", "var/tmp"),
    )
)
"""Directories of the system."""


def relative(top: str, paths: Iterable[str]) -> frozenset[bytes]:
    """The paths below ``top``, as a walk names them."""
    return frozenset(map(os.fsencode, relative_to(top, paths)))


def relative_to(top: str, paths: Iterable[str]) -> set[str]:
    """The paths below ``top``, as texts without it."""
    return {path[len(top.rstrip("/")) + 1 :] for path in paths if path != top and inside(path, top)}


def ours_below(context: Context, top: str, *, held: bool | None = None, wished: bool | None = None) -> set[str]:
    """The paths strictly below ``top`` at which something of ours stands or is to stand.

    ``held``: whether it stands there by now; ``wished``: whether this plan is to leave it there.
    """
    found = set()
    for address in context.inside(top):
        if kinds().located(address):
            target = context.targets.get(address)
            here, stays = address in context.current, target is None or target.wish is not None
            if held in (None, here) and wished in (None, stays) and (here or target is not None):
                found.add(address.name)
    return found


def owed(context: Context) -> set[str]:
    """The paths at which something stays that was to be given back."""
    return {a.name for a in context.owed if kinds().single(a)}


def comes_back(path: str, context: Context) -> bool:
    """Whether what stands at a path is what this plan gives back there, or nothing any more."""
    there = [context.planned[address] for address in filter(kinds().located, kinds().called(path, context.planned))]
    return bool(there) and all(each.target.wish is None and each.blocked is None and not each.owed for each in there)


def spanning(path: str, context: Context) -> Address | None:
    """The innermost thing that is asked about and spans a path."""
    return next(iter(kinds().around(path, context.targets)), None)


def given_by_others(host: Observer, path: str, context: Context) -> tuple[Owner, Owner] | None:
    """Whose a directory is once what spans it is as it is to be; None where that leaves it as it is."""
    address = spanning(path, context)
    return kinds()[address.kind].gives(host, context.targets[address], context, path) if address is not None else None


def others_in(host: Observer, name: str, context: Context) -> bool:
    """Whether anything is in a directory besides what this plan takes out of it."""
    pending = [name]
    for directory in pending:
        for child in host.names(directory):
            path = f"{directory}/{child}"
            if context.planned.made[path]:
                pending.append(path)
            elif not context.planned.going[path]:
                return True
    return False


def counted(found: Survey, *, every: bool) -> dict[str, Json]:
    """What a plan tells of a walk: counts, a sample (``every``: all paths) and the classes that change."""
    return {
        "counts": {"paths": found.paths, "differ": found.differ, "newborn": found.newborn},
        "sample": found.sample[:SAMPLE],
        **({"paths": found.sample} if every else {}),
        "classes": [
            {"type": kind, "before": before, "after": after, "count": count}
            for (kind, before, after), count in sorted(found.classes.items())
        ],
    }


def owners_before(facts: Mapping[str, Json]) -> set[Address]:
    """The accounts and groups that what is walked belongs to now."""
    return {address for item in facts.get("classes", ()) for address in owners_in(item["before"])}


def owners_in(look: str) -> set[Address]:
    """The account and group that a class ``owner:group:mode`` names."""
    owner, group = look.split(":")[:2]
    return {Address("account", owner), Address("group", group)}


def ours_in(
    host: Observer, name: str, context: Context, own: Iterable[str] = (), made: Iterable[str] = ()
) -> bool | None:
    """Whether something of ours stays in a directory, and nothing of others; None where others have something in it.

    What stays although it was to go counts as others'.
    ``own``: paths that go with the directory; ``made``: directories that do where nothing else is in them.
    """
    planned, own, made = context.planned, set(own), set(made)
    if relative_to(name, owed(context)):
        return None
    goes = {path for path in own if inside(path, name)} | {
        a.name for a in context.inside(name) if planned.going[a.name]
    }
    stays = {p for p in ours_below(context, name, held=True) - goes - made if not planned.made[p]}
    ways = {"/".join(parts[:n]) for each in stays for parts in [each.split("/")] for n in range(2, len(parts))}
    pending, found = [name], False
    for directory in pending:
        for child in host.names(directory):
            path = f"{directory}/{child}"
            if path in stays:
                found = True
            elif path in made or path in ways or planned.made[path]:
                pending.append(path)
            elif path not in own and not planned.going[path]:
                return None
    return found


def changed_paths(found: Survey, after: Json) -> Change:
    """The change of what was walked as a whole; its images are recorded at its turn."""
    was, now = (", ".join(sorted({look[n] for look in found.classes})) for n in (1, 2))
    return Change(PATHS, None, after, (was, now))


def top_owners(found: Survey) -> dict[str, Json]:
    """The owner and group that the top will have; None where it stays as it is."""
    look = found.top[1] if found.top else None
    return {"owner": look.owner if look else None, "group": look.group if look else None}


def layers_in(changes: Iterable[Change]) -> Sequence[dict[str, object]] | None:
    """The images that changes carry; None where they carry none."""
    return next((c.before["layers"] for c in changes if c.field == PATHS and c.before), None)


def paths_reached(host: Observer, name: str, changes: Iterable[Change], vault: Vault) -> str:
    """Empty where every recorded path has what it was to get (or is gone); else the first that has not."""
    kept = layers_in(changes)
    if kept is None:
        return ""

    def left(_: bytes, facts: Facts, records: Sequence[Record]) -> Look | None:
        return None if obstacle(facts) or linked(facts) else records[0].after

    return unlike(host, name, lambda: [open_layer(kept[0], vault, name)], left)


def paths_put_back(host: Host, name: str, changes: Iterable[Change], vault: Vault) -> str:
    """Give back path by path what is still as we left it; what somebody else changed meanwhile stays."""
    kept = layers_in(changes)
    if kept is None:
        return ""

    def rule() -> Rule:
        return Return([open_layer(layer, vault, name) for layer in kept], (None, None), keep_foreign=True)

    found = look_at(host, Question(Wants(name, total=False), rule))[0]
    bring_about(host, Task(name, found), rule, None)
    again = look_at(host, Question(Wants(name), rule))[0]
    if not again.differ:
        return ""
    first = again.sample[0]
    return f"{first['path']} is {_told(first['before'])} and was {_told(first['after'])}"


def _told(look: dict[str, object]) -> str:
    return ":".join(str(part) for part in look.values() if part is not None)
