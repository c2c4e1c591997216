"""The kernel's decision on one path: owner, group, others, ACL, capabilities.  Pure."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from ..host.port import Type

READ, WRITE, EXECUTE = 4, 2, 1
BITS: Mapping[str, int] = {"read": READ, "write": WRITE, "execute": EXECUTE}
USER_OBJ, USER, GROUP_OBJ, GROUP, MASK, OTHER = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
OVERRIDE, SEARCH = "dac_override", "dac_read_search"


@dataclass(frozen=True)
class Person:
    """Somebody who may ask for a path: an account, or a process that can more than its account."""

    name: str
    uid: int
    gids: frozenset[int] = frozenset()
    powers: frozenset[str] = frozenset()
    """Capabilities, without ``cap_``."""
    how: str = ""
    """Which process or unit it is; empty for the account itself."""

    @property
    def root(self) -> bool:
        """Whether modes do not count for it."""
        return self.uid == 0


@dataclass(frozen=True)
class Look:
    """What decides at one path."""

    type: Type
    uid: int
    gid: int
    mode: int
    acl: tuple[tuple[int, int, int], ...] = ()
    """Tag, permissions, number; empty where the mode says it all."""
    flags: frozenset[str] = frozenset()


def parse_acl(data: bytes | None) -> tuple[tuple[int, int, int], ...]:
    """The entries of a POSIX ACL attribute; none for one that only repeats the mode, or is damaged."""
    if data is None or len(data) < 4 or (len(data) - 4) % 8 or struct.unpack_from("<I", data)[0] != 2:
        return ()
    found = tuple(struct.unpack_from("<HHI", data, at) for at in range(4, len(data), 8))
    entries = tuple((int(tag), int(bits), int(who)) for tag, bits, who in found)
    return entries if any(tag in (USER, GROUP, MASK) for tag, _, _ in entries) else ()


def masked(look: Look, mode: int) -> Look:
    """A look after chmod, which moves an ACL's own entries and its mask."""
    kept = {USER_OBJ: mode >> 6 & 7, MASK: mode >> 3 & 7, OTHER: mode & 7}
    acl = tuple((tag, kept.get(tag, bits), who) for tag, bits, who in look.acl)
    return replace(look, mode=mode, acl=acl)


def may(person: Person, look: Look, wanted: int) -> str:
    """Why a person gets all of these bits at a path at once; empty where it does not."""
    said = f"{person.how}, " if person.how else ""
    if person.root or OVERRIDE in person.powers:
        if look.type == Type.DIRECTORY or not wanted & EXECUTE or look.mode & 0o111:
            return "root" if person.root else f"{said}cap_{OVERRIDE}"
    bits, why = _class(person, look, wanted)
    if bits & wanted == wanted:
        return said + why
    if SEARCH in person.powers and not wanted & ~(READ | (EXECUTE if look.type == Type.DIRECTORY else 0)):
        return f"{said}cap_{SEARCH}"
    return ""


def _class(person: Person, look: Look, wanted: int) -> tuple[int, str]:
    """The bits of the one entry that counts for a person, and which it is.

    Of several groups in an ACL one has to give all that is wanted; what two give together does not count.
    """
    if person.uid == look.uid:
        return look.mode >> 6 & 7, f"its owner ({look.mode:04o})"
    # Where the mode gives the group (that is, the ACL's mask) nothing, Linux does not ask the ACL at all.
    if not look.acl or not look.mode & 0o070:
        if look.gid in person.gids:
            return look.mode >> 3 & 7, f"its group ({look.mode:04o})"
        return look.mode & 7, f"everybody ({look.mode:04o})"
    mask = next((bits for tag, bits, _ in look.acl if tag == MASK), 7)
    named = next((bits for tag, bits, who in look.acl if tag == USER and who == person.uid), None)
    if named is not None:
        return named & mask, "its ACL, by name"
    groups = [
        bits & mask
        for tag, bits, who in look.acl
        if (tag == GROUP and who in person.gids) or (tag == GROUP_OBJ and look.gid in person.gids)
    ]
    if groups:
        return next((bits for bits in groups if bits & wanted == wanted), 0), "its ACL, by group"
    return next((bits for tag, bits, _ in look.acl if tag == OTHER), 0), "its ACL, for everybody"


def any_of(person: Person, way: Iterable[Look], looks: Iterable[Look]) -> frozenset[str]:
    """What a person can do with some file, behind these directories, among files of these looks.

    There may be thousands of looks: those that are the same to this person are asked once, until there is no more
    to gain.
    """
    if not all(may(person, directory, EXECUTE) for directory in way):
        return frozenset()
    alike = {
        (person.uid == look.uid, look.gid in person.gids, look.type, look.mode, look.acl, look.flags): look
        for look in looks
    }
    found: set[str] = set()
    for look in alike.values():
        found |= rights(person, (), look).keys()
        if len(found) == len(BITS):
            break
    return frozenset(found)


def rights(person: Person, way: Iterable[Look], look: Look) -> dict[str, str]:
    """What a person can do with a path behind these directories, each right with its reason.

    A directory is written by making something in it, which takes entering it too.  ``execute`` is entering for a
    directory.
    """
    if not all(may(person, directory, EXECUTE) for directory in way):
        return {}
    wanted = dict(BITS)
    if look.type == Type.DIRECTORY:
        wanted["write"] = WRITE | EXECUTE
    if look.flags & {"read-only", "immutable"} and look.type in (Type.FILE, Type.DIRECTORY):
        del wanted["write"]
    if "noexec" in look.flags and look.type == Type.FILE:
        del wanted["execute"]
    return {name: why for name, bits in wanted.items() if (why := may(person, look, bits))}
