"""Trees that come and go as a whole: made and removed, into quarantine and back by renaming."""

from __future__ import annotations

from ..errors import HostError
from ..formats.text import printable
from ..host.names import Names
from ..host.port import Host, Observer, Type
from ..host.walk import QUARANTINE as OURS
from ..model import Json

QUARANTINE = OURS.decode()


def take_away(host: Host, name: str, exists: Json) -> list[tuple[str, str]]:
    store = exists["absent"].get("quarantine") if isinstance(exists, dict) else None
    if store is None:
        if not host.rmdir(name):
            return [(printable(name), "not empty any more; what is in it is not ours to delete")]
        return []
    made = store.rsplit("/", 1)[0]
    try:
        for directory in (made.rsplit("/", 1)[0], made):
            if host.stat(directory) is None:
                host.mkdir(directory, 0o700, *root_of(host))
            there = host.stat(directory)
            if there is None or there.type != Type.DIRECTORY or there.mode & 0o077 or there.uid != root_of(host)[0]:
                raise HostError(f"{printable(directory)}: not a directory of ours with mode 0700; move it away")
        if mounted(host, name):
            if host.stat(store) is None:
                host.mkdir(store, 0o700, *root_of(host))
            for child in host.names(name):
                if child != QUARANTINE:
                    host.rename(f"{name}/{child}", f"{store}/{child}")
        else:
            host.rename(name, store)
    except HostError:
        sweep(host, store)
        raise
    return []


def sweep(host: Host, store: str) -> None:
    """Remove the quarantine's directories where nothing is in them."""
    made = store.rsplit("/", 1)[0]
    for directory in (made, made.rsplit("/", 1)[0]):
        if host.stat(directory) is not None and not host.rmdir(directory):
            return


def erase(host: Host, store: str) -> int:
    """Empty a quarantine for good; answers how many paths went."""
    gone = host.erase(store)
    sweep(host, store)
    return gone


def bring(host: Host, name: str, absence: Json, presence: Json) -> None:
    """Make a tree's top, or bring the tree back from its quarantine."""
    store = absence["absent"].get("quarantine") if isinstance(absence, dict) else None
    if store is None:
        if host.stat(name) is None:
            look = presence.get("look") if isinstance(presence, dict) else None
            names = Names(host)
            owner = (names.need_uid(look["owner"]), names.need_gid(look["group"])) if look else root_of(host)
            host.mkdir(name, look["mode"] if look else 0o755, *owner)
        return
    if mounted(host, name):
        for child in host.names(store):
            host.rename(f"{store}/{child}", f"{name}/{child}")
        host.rmdir(store)
    elif host.stat(store) is not None:
        host.rename(store, name)
    sweep(host, store)


def mounted(host: Observer, path: str) -> bool:
    """Whether a file system is mounted at this very path."""
    return any(point == path for point, _ in host.mounts())


def emptied(host: Observer, path: str) -> bool:
    """Whether a mount point holds nothing but our quarantine, which is as gone as it can be."""
    return mounted(host, path) and host.names(path) == [QUARANTINE]


def root_of(host: Observer) -> tuple[int, int]:
    """Who owns what we make: root; in a root directory of an ordinary user, that user."""
    top = host.stat("/")
    return (top.uid, top.gid) if top else (0, 0)
