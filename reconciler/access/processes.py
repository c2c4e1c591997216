"""The processes that run from a deployment's trees: as whom, with which groups and capabilities."""

from __future__ import annotations

from collections.abc import Iterable

from ..desired.documents import Document
from ..formats.modes import CAPABILITIES
from ..formats.text import printable
from ..host.names import Names
from ..host.port import Observer, Process
from ..host.services import run_by, running_from
from ..kinds import kinds
from ..model import Json, inside


def processes(host: Observer, document: Document) -> list[Json]:
    """Every process whose program lies in a tree of the deployment, and how it differs from what was declared.

    Whoever owns a tree, or is named by a daemon's ``run_as``, may run from it.  Root may where nothing was handed over,
    and what an exception of the tree leaves to root.
    """
    names = Names(host)
    trees = [w.resource for w in document.resources if kinds().spans(w.resource.address)]
    users = {name for wished in document.resources for name in wished.resource.may_run()}
    found: dict[int, Json] = {}
    for tree in trees:
        kept = tree.rooted()
        for process in running_from(host, tree.name):
            item = told(process, names)
            program = program_of(process, tree.name)
            item["helper"] = program.rpartition("/")[2] in document.helpers
            free = not users or program in kept or program.rpartition("/")[2] in document.as_root
            wrong = [user for user in item["users"] if user not in users]
            item["drift"] = None if free or not wrong else f"runs as {', '.join(map(str, wrong))}, not as {_or(users)}"
            found.setdefault(process.pid, item)
    return [found[pid] for pid in sorted(found)]


def told(process: Process, names: Names) -> Json:
    """One process in names."""
    return {
        "pid": process.pid,
        "name": printable(process.name),
        "users": [names.user(uid) for uid in sorted(process.uids)],
        "groups": [names.group(gid) for gid in sorted(process.gids | process.groups)],
        "capabilities": [f"cap_{name}" for bit, name in enumerate(CAPABILITIES) if process.permitted >> bit & 1],
        "no_new_privs": process.no_new_privs,
    }


def program_of(process: Process, top: str) -> str:
    """The program or script by which a process belongs to a tree."""
    paths = run_by(process)
    return next((path for path in paths if inside(path, top)), paths[0])


def _or(words: Iterable[str | None]) -> str:
    return " or ".join(sorted(str(word) for word in words))
