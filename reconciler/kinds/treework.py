"""Acting on trees: owners and modes in walks, quarantine by renaming."""

from __future__ import annotations

from typing import Literal

from ..errors import HostError
from ..host.names import Names
from ..host.port import Attributes, Entry, Host, Observer
from ..host.resolve import printable
from ..model import Json
from .ownership import REPLACED, Rule, Survey, Wish, attributes, differs, looker, obstacle

QUARANTINE = ".reconciler-quarantine"


def amend(
    host: Host,
    name: str,
    rule: Rule,
    survey: Survey,
    *,
    handing_over: bool,
    directories: bool = False,
) -> list[tuple[str, str]]:
    names, look = Names(host), looker(host)
    left: list[tuple[str, str]] = []
    wanted_caps = getattr(rule, "capabilities", {})

    def decide(entry: Entry) -> Attributes | None:
        if entry.mount:
            return None
        now = look(entry, entry.path in wanted_caps)
        said = rule.judge(entry, now)
        if said.after is None or (directories and entry.stat.type != "directory"):
            return None
        if said.replaced:
            left.append((printable(absolute(name, entry.path)), REPLACED))
        if said.after.xattrs:
            now = look(entry, True)
        if not differs(now, said.after):
            return None
        if hindrance := obstacle(survey, entry, counted=True):
            left.append((printable(absolute(name, entry.path)), hindrance))
            return None
        return attributes(names, said.after)

    passes: list[tuple[Literal["pre", "post"], bool]] = [("pre", False)]
    if handing_over and not getattr(rule, "layers", ()):
        passes = [("post", False)]
        if isinstance(rule, Wish) and rule.exceptions:
            passes.insert(0, ("post", True))
    for order, only_exceptions in passes:
        choose = decide
        if only_exceptions and isinstance(rule, Wish):
            tops = tuple(rule.exceptions)

            def choose(entry: Entry, tops: tuple[bytes, ...] = tops) -> Attributes | None:
                covered = any(entry.path == t or entry.path.startswith(t + b"/") for t in tops)
                return decide(entry) if covered else None

        for path, reason in host.amend(name, order, choose):
            left.append((printable(absolute(name, path)), reason))
    return list(dict.fromkeys(left))


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
            if there is None or there.type != "directory" or there.mode & 0o077 or there.uid != root_of(host)[0]:
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


def absolute(top: str, path: bytes) -> str:
    """A walked path as an absolute one."""
    return f"{top.rstrip('/')}/{path.decode('utf-8', 'surrogateescape')}" if path else top


def root_of(host: Observer) -> tuple[int, int]:
    """Who owns what we make: root; in a root directory of an ordinary user, that user."""
    top = host.stat("/")
    return (top.uid, top.gid) if top else (0, 0)
