"""Who is to own the paths of a tree: the rules.

A rule says what one path is to have.  There are two: a wish (from the desired state) and a return (from
before-images in the log).  What a rule says of a path hangs on the region that the path lies in, on its facts and
on its records; where that is so, the verdict on one path holds for all that are alike.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from ..formats.modes import SPECIAL, apply_mode, names_special, pack_capability
from ..host.names import Names
from ..host.port import ACL, CAPABILITY, DEFAULT_ACL, Attributes, Facts, Observer, Type
from ..model import Owner
from .images import Layer, Look, Record, beneath, within

Holds = Callable[[str], bool]
"""Whether the path is a regular file with the bytes of a digest."""
GRANTS = ((ACL, ""), (CAPABILITY, ""), (DEFAULT_ACL, ""))
"""What whoever had a path may have given to himself or to others beside owner and mode."""


@dataclass(slots=True)
class Said:
    """The verdict on one path: what it is to have (None: leave it), and what kind of path it is."""

    after: Look | None
    foreign: bool = False
    newborn: bool = False
    drifted: bool = False
    known: Look | None = None
    replaced: bool = False
    """Whether the bytes are not those that were setuid, so that nothing of that kind comes back."""
    excepted: bool = False
    """Whether an exception of the tree covers it."""
    bare: bool = False
    """Whether ACLs go that are not among the attributes it is to have."""


class Rule(Protocol):
    """Says what one path is to have; asked in walking order."""

    @property
    def layers(self) -> Sequence[Layer]:
        """The images that it goes by, the oldest first."""

    @property
    def named(self) -> Mapping[bytes, frozenset[bytes]]:
        """By directory, the names in it that have a verdict of their own."""

    def region(self, directory: bytes, own: Sequence[Record]) -> Hashable: ...
    def judge(self, path: bytes, facts: Facts, look: Look, records: Sequence[Record], holds: Holds) -> Said: ...


def by_directory(paths: Iterable[bytes]) -> dict[bytes, frozenset[bytes]]:
    """The names among these paths, by the directory they are in; a path also names the directory itself."""
    found: dict[bytes, set[bytes]] = {}
    for path in paths:
        parent, _, name = path.rpartition(b"/")
        found.setdefault(parent, set()).add(name)
        found.setdefault(path, set()).add(b"")
    return {parent: frozenset(names) for parent, names in found.items()}


@dataclass(frozen=True)
class Exemption:
    """What a part of a tree is to have in place of what the tree's rule says of it.

    What it does not name is as in the tree; where it names nothing at all, the part is left as it is.
    """

    owner: Owner | None = None
    group: Owner | None = None
    mode: str | None = None
    directory_mode: str | None = None
    file_mode: str | None = None


@dataclass
class Wish:
    """The rule of a tree in the desired state."""

    owner: Owner | None
    group: Owner | None
    directory_mode: str | None
    file_mode: str | None
    exceptions: Mapping[bytes, Exemption] = field(default_factory=dict)
    capabilities: Mapping[bytes, str] = field(default_factory=dict)
    around: frozenset[bytes] = frozenset()
    nested: tuple[bytes, ...] = ()
    layers: Sequence[Layer] = ()
    """What we changed before: parts that nobody asks for any more go back to what they were."""

    def __post_init__(self) -> None:
        self.named = by_directory([*self.exceptions, *self.capabilities, *self.around, *self.nested])
        self._tops = sorted(self.exceptions, key=len, reverse=True)

    def _covering(self, path: bytes) -> bytes | None:
        """The most specific exception that covers a path."""
        return next((top for top in self._tops if within(path, top)), None)

    def region(self, directory: bytes, own: Sequence[Record]) -> Hashable:
        """The exception or nested tree that the directory lies in."""
        return beneath(directory, self.nested), self._covering(directory)

    def judge(self, path: bytes, facts: Facts, look: Look, records: Sequence[Record], holds: Holds) -> Said:
        """What the most specific line that covers this path asks for."""
        directory = facts.type == Type.DIRECTORY
        if path in self.around or beneath(path, self.nested):
            return Said(None)
        owner, group = self.owner, self.group
        spec = self.directory_mode if directory else self.file_mode
        top = self._covering(path)
        if top is not None:
            part = self.exceptions[top]
            if part == Exemption():
                owner = group = spec = None
            else:
                owner = owner if part.owner is None else part.owner
                group = group if part.group is None else part.group
                own = part.mode if path == top else None
                spec = own or (part.directory_mode if directory else part.file_mode) or spec
        excepted = top is not None
        former = unasked(records, look)
        new = Look(owner if owner is not None else former.owner, group if group is not None else former.group, None)
        if facts.type == Type.LINK:
            return Said(new, excepted=excepted)
        old = look.mode or 0
        mode = former.mode or 0 if spec is None else apply_mode(spec, old, directory=directory)
        origin = changed_first(records).before if records else look
        moves = (new.owner, new.group) != (origin.owner, origin.group)
        if moves and not directory and not names_special(spec):
            mode &= ~SPECIAL
        capability = self.capabilities.get(path) if facts.type == Type.FILE else None
        packed = ((CAPABILITY, pack_capability(capability).decode("latin-1")),) if capability else ()
        for record in records if not packed else ():
            # A capability that we gave, and that nobody asks for any more, goes back to what was there.
            had, gave = (
                dict(record.before.xattrs).get(CAPABILITY),
                dict(record.after.xattrs if record.after else ()).get(CAPABILITY),
            )
            if gave is not None and had is not None and had != gave:
                packed = ((CAPABILITY, had),)
                break
        if records and mode & SPECIAL and not names_special(spec):
            if other_bytes(facts, changed_first(records).before, holds):
                return Said(deprived(replace(new, mode=mode)), replaced=True, excepted=excepted)
        bytes_of = changed_first(records).before.digest if records and not names_special(spec) else ""
        return Said(replace(new, mode=mode, xattrs=packed, digest=bytes_of), excepted=excepted)


def unasked(records: Sequence[Record], look: Look) -> Look:
    """The path's look with every part that we once changed as it was before we did."""
    for part in ("owner", "group", "mode"):
        if any(r.after is not None and getattr(r.before, part) != getattr(r.after, part) for r in records):
            look = replace(look, **{part: getattr(changed_first(records).before, part)})
    return look


def special(look: Look) -> bool:
    """Whether a look has setuid, setgid or a capability."""
    return bool((look.mode or 0) & SPECIAL) or bool(dict(look.xattrs).get(CAPABILITY))


def deprived(look: Look) -> Look:
    """The look without all that gives whoever runs the file more than he has."""
    xattrs = {key: "" if key == CAPABILITY else value for key, value in look.xattrs}
    return replace(look, mode=None if look.mode is None else look.mode & ~SPECIAL, xattrs=tuple(sorted(xattrs.items())))


def other_bytes(facts: Facts, before: Look, holds: Holds) -> bool:
    """Whether a file that was setuid holds other bytes than it did: the account may have put them there."""
    return bool(before.digest) and facts.type == Type.FILE and not holds(before.digest)


def changed_first(records: Sequence[Record]) -> Record:
    """The first record of a path that we changed; what others did to it before that is what was before us."""
    return next((record for record in records if record.after is not None), records[0])


@dataclass
class Return:
    """The rule that gives a tree back what it had: the first image that knows a path decides."""

    layers: Sequence[Layer]
    ours: tuple[Owner | None, Owner | None]
    around: frozenset[bytes] = frozenset()
    nested: tuple[bytes, ...] = ()
    keep_foreign: bool = False
    spoken: Mapping[bytes, Mapping[str, int]] = field(default_factory=dict)
    """Files whose owner, group or mode is held by themselves: path → part → the event that first changed it.

    The earlier event counts; -1 stands for a part that stays with the file.
    """

    def __post_init__(self) -> None:
        self.named = by_directory([*self.around, *self.nested, *self.spoken])

    def region(self, directory: bytes, own: Sequence[Record]) -> Hashable:
        """Whether a nested tree has it, and whose what was born in it since is to be."""
        nearest = changed_first(own).before if own else self._nearest(directory)
        return beneath(directory, self.nested), nearest

    def _nearest(self, directory: bytes) -> Look | None:
        """What the nearest recorded directory on the way to this one (or itself) is given back."""
        ways = [dict(layer.above(directory)) for layer in self.layers]
        nearest = max((top for way in ways for top in way), key=len, default=None)
        found = [way[nearest] for way in ways if nearest in way] if nearest is not None else []
        return changed_first(found).before if found else None

    def judge(self, path: bytes, facts: Facts, look: Look, records: Sequence[Record], holds: Holds) -> Said:
        """The recorded look; for a path born since, its nearest recorded ancestor's owners."""
        covered = path in self.around or beneath(path, self.nested)
        if records:
            return self._recorded(path, facts, look, records, holds, covered=covered)
        if covered or path in self.spoken or not any(layer.knows_all_of(path) for layer in self.layers):
            return Said(None)
        parent = self._nearest(path.rpartition(b"/")[0]) if path else None
        if parent is None:
            return Said(None)
        mode = None if look.mode is None else look.mode & ~SPECIAL
        return Said(Look(parent.owner, parent.group, mode, GRANTS), newborn=True)

    def _recorded(
        self, path: bytes, facts: Facts, look: Look, found: Sequence[Record], holds: Holds, *, covered: bool
    ) -> Said:
        # Of owner, group and mode the oldest image tells that changed the path; of an attribute the oldest that
        # names it.
        xattrs = {key: value for record in reversed(found) for key, value in record.before.xattrs}
        first = changed_first(found)
        before = replace(first.before, xattrs=tuple(sorted(xattrs.items())))
        replaced = other_bytes(facts, before, holds)
        before = deprived(before) if replaced else before
        left = next((r.after for r in reversed(found) if r.after is not None), before)
        if covered:
            return Said(None, known=before)
        own = {part: getattr(look, part) for part, seq in self.spoken.get(path, {}).items() if seq < first.seq}
        if all(record.after is None for record in found):
            # We changed nothing here. But what is now the account's, and was not, is not what was here.
            if not self._became_ours(replace(before, **own), look):
                return Said(None, known=before)
            return Said(replace(deprived(before), **own), known=before, replaced=special(before), bare=True)
        owners = {
            before.owner,
            self.ours[0],
            *(r.before.owner for r in found),
            *(r.after.owner for r in found if r.after),
        }
        groups = {
            before.group,
            self.ours[1],
            *(r.before.group for r in found),
            *(r.after.group for r in found if r.after),
        }
        # An owner or group that no image changed is not ours to return, whoever changed it since.
        for part, ours in (("owner", self.ours[0]), ("group", self.ours[1])):
            made = {ours} | {getattr(r.after, part) for r in found if r.after}
            changed = any(r.after and getattr(r.before, part) != getattr(r.after, part) for r in found)
            if not changed and getattr(look, part) not in made:
                own.setdefault(part, getattr(look, part))
        foreign = ("owner" not in own and look.owner not in owners) or ("group" not in own and look.group not in groups)
        if foreign and self.keep_foreign:
            return Said(None, foreign=True, known=left)
        if own:
            return Said(replace(before, **own), foreign=foreign, known=left, replaced=replaced, bare=True)
        modes = {before.mode, *(r.after.mode for r in found if r.after)}
        drifted = look.mode not in modes
        return Said(before, foreign=foreign, drifted=drifted, known=left, replaced=replaced, bare=True)

    def _became_ours(self, before: Look, look: Look) -> bool:
        """Whether a path belongs to whom we gave the tree, and did not before."""
        owner, group = self.ours
        return (owner is not None and look.owner == owner != before.owner) or (
            group is not None and look.group == group != before.group
        )


def looker(host: Observer) -> Callable[[Facts], Look]:
    """A function that tells the look of a path by its facts, without attributes."""
    names = Names(host)
    known: dict[Facts, Look] = {}

    def look(facts: Facts) -> Look:
        found = known.get(facts)
        if found is None:
            mode = None if facts.type == Type.LINK else facts.mode
            found = known[facts] = Look(names.user(facts.uid), names.group(facts.gid), mode)
        return found

    return look


def attributes(names: Names, look: Look) -> Attributes:
    """What the port is to set."""
    values = {key: value.encode("latin-1") if value else None for key, value in look.xattrs}
    digest = look.digest if special(look) else ""
    return Attributes(names.need_uid(look.owner), names.need_gid(look.group), look.mode, values, digest)
