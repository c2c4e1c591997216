"""Copies of a skeleton: made with a directory, and gone with it as long as they are as they were made."""

from __future__ import annotations

from collections.abc import Mapping

from ...core.kind import Proposal
from ...core.planned import Foretold
from ...errors import HostError
from ...formats.modes import SPECIAL
from ...formats.text import printable
from ...host.port import File, Host, Link, Observer, Type
from ...host.resolve import shut
from ...model import Json, inside
from ...trees.whole import root_of
from .state import DirectoryState

SKEL = "skel"


MOST, LARGEST = 1000, 4 * 1024 * 1024
"""Paths and bytes that a skeleton may have."""


def alike(one: Json, other: Json) -> bool:
    """Whether two copies are the same but for their times."""
    return bool({**(one or {}), "mtime": None} == {**(other or {}), "mtime": None})


def copied(host: Observer, path: str) -> Json:
    """What stands where a copy was made; None where nothing does."""
    there = host.stat(path)
    if there is None:
        return None
    if there.type == Type.LINK:
        return {"type": Type.LINK, "target": host.readlink(path)}
    if there.type == Type.FILE and there.nlink == 1 and there.size <= LARGEST:
        file = host.read(path)
        if file is not None:
            data = file.data.decode("latin-1")
            return {"type": Type.FILE, "mode": there.mode, "data": data, "mtime": there.mtime_ns}
    return {"type": there.type, "mode": there.mode}


def put_copy(host: Host, path: str, copy: Json, uid: int, gid: int) -> None:
    """Make a copy of a path of a skeleton."""
    if copy["type"] == Type.DIRECTORY:
        host.mkdir(path, copy["mode"], uid, gid)
    elif copy["type"] == Type.LINK:
        host.symlink(path, Link(copy["target"], uid, gid))
    else:
        host.replace(path, File(copy["data"].encode("latin-1"), copy["mode"], uid, gid, {}, copy["mtime"]))


def take_copies(host: Host, name: str, copies: Mapping[str, Json]) -> None:
    """Remove the copies that are as they were made, what is inside before what is round it."""
    for path in sorted(copies, reverse=True):
        if copies[path] is None or not alike(copied(host, f"{name}/{path}"), copies[path]):
            continue
        if copies[path]["type"] == Type.DIRECTORY:
            host.rmdir(f"{name}/{path}")
        else:
            host.discard(f"{name}/{path}")
            host.remove(f"{name}/{path}")


def drop_copies(host: Host, name: str, copies: Mapping[str, Json]) -> None:
    """Remove copies from a directory that nobody but root could enter yet, half-made ones too."""
    for path in sorted(copies, reverse=True):
        where = f"{name}/{path}"
        host.discard(where)
        if (there := host.stat(where)) is None:
            continue
        if there.type == Type.DIRECTORY:
            host.rmdir(where)
        else:
            host.remove(where)


def skeleton(host: Observer, top: str) -> dict[str, Json]:
    """What a new directory gets copies of: all of it root's own, and no link is followed."""
    if (there := host.stat(top)) is None or there.type != Type.DIRECTORY:
        raise HostError(f"skel: {printable(top)} is not a directory; make it first")
    size, found, pending = 0, dict[str, Json](), [""]
    for inner in pending:
        where = f"{top}/{inner}".rstrip("/")
        _only_roots(host, where)
        for name in host.names(where):
            path = f"{inner}/{name}".lstrip("/")
            copy = copied(host, f"{top}/{path}")
            if copy is None:
                continue
            if copy["type"] == Type.DIRECTORY:
                pending.append(path)
            elif "data" in copy:
                _only_roots(host, f"{top}/{path}")
            elif copy["type"] != Type.LINK:
                what = f"not a plain file of at most {LARGEST >> 20} MiB"
                raise HostError(f"skel: {printable(f'{top}/{path}')} is {what}; take it out")
            found[path] = copy | ({"mode": copy["mode"] & ~SPECIAL, "mtime": None} if "mode" in copy else {})
            size += len(copy.get("data", ""))
            if len(found) > MOST or size > LARGEST:
                raise HostError(f"skel: {printable(top)} has more than {MOST} paths or {LARGEST >> 20} MiB")
    return found


def _only_roots(host: Observer, path: str) -> None:
    there = host.stat(path)
    if there is None or not (shut(there.uid, there.mode) or (there.uid == root_of(host)[0] and not there.mode & 0o022)):
        raise HostError(f"skel: {printable(path)} could be changed by others than root; give it to root, mode 0755")


def spoken_for(path: str, copy: Json, spoken: set[str]) -> bool:
    """Whether a copy would stand where something else is declared, or in its way."""
    around = copy["type"] != Type.DIRECTORY and any(inside(each, path) for each in spoken)
    return around or any(inside(path, each) for each in spoken)


def bringing(found: Proposal) -> dict[str, Foretold]:
    """The copies that come into being with a directory, each as a state has it."""
    after, name = found.after, found.target.address.name
    if not isinstance(after, DirectoryState):
        return {}
    owners = {"owner": after.owner, "group": after.group}
    return {
        f"{name}/{path}": Foretold({**copy, **owners, "mtime_ns": copy.get("mtime")}, copy["type"], anew=True)
        for path, copy in after.skel.items()
        if copy is not None
    }
