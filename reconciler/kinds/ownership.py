"""Who is to own the paths of a tree: rules, before-images, and how a walk is judged by them.

A rule looks at one path and says what it is to have.  There are two: a wish (from the desired state) and a
return (from before-images in the log).  Neither holds more than a line of the tree at a time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from ..host.names import Names, Owner
from ..host.port import Attributes, Entry, Observer
from ..host.resolve import printable, trusted
from ..model import Json
from .base import Vault
from .modes import SPECIAL, apply_mode, names_special, pack_capability, show_capability

CAPABILITY = "security.capability"
ACL = "system.posix_acl_access"
DEFAULT_ACL = "system.posix_acl_default"
SAMPLE = 20


@dataclass(frozen=True, slots=True)
class Look:
    """What a path has, or is to have; owners are names where the host has one."""

    owner: Owner
    group: Owner
    mode: int | None
    xattrs: tuple[tuple[str, str], ...] = ()
    digest: str = ""
    """Of a setuid or setgid file, or one with capabilities, in a before-image: the bytes that get those back."""

    def json(self) -> Json:
        """The form that images carry."""
        out: dict[str, Json] = {"owner": self.owner, "group": self.group, "mode": self.mode}
        out |= {"xattrs": dict(self.xattrs)} if self.xattrs else {}
        return out | ({"digest": self.digest} if self.digest else {})

    def shown(self) -> Json:
        """The form that plans carry."""
        return {
            "owner": self.owner,
            "group": self.group,
            "mode": None if self.mode is None else f"{self.mode:04o}",
        }

    def __str__(self) -> str:
        text = f"{self.owner}:{self.group}" + ("" if self.mode is None else f":{self.mode:04o}")
        capability = dict(self.xattrs).get(CAPABILITY)
        return f"{text} {show_capability(capability.encode('latin-1'))}" if capability else text

    @classmethod
    def parse(cls, raw: Mapping[str, Json]) -> Look:
        """Read what `json` wrote."""
        return cls(
            raw["owner"], raw["group"], raw["mode"], tuple(sorted(raw.get("xattrs", {}).items())), raw.get("digest", "")
        )


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


class Rule(Protocol):
    """Says what one path is to have; asked for every path in walking order."""

    def judge(self, entry: Entry, look: Look) -> Said: ...


@dataclass(frozen=True)
class Exemption:
    """A part of a tree that the tree's own rule does not cover."""

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

    def judge(self, entry: Entry, look: Look) -> Said:
        """What the most specific line that covers this path asks for."""
        path, directory = entry.path, entry.stat.type == "directory"
        records = [record for layer in self.layers if (record := layer.at(path)) is not None]
        if path in self.around or any(path == top or path.startswith(top + b"/") for top in self.nested):
            return Said(None)
        owner, group = self.owner, self.group
        spec = self.directory_mode if directory else self.file_mode
        for top in sorted(self.exceptions, key=len, reverse=True) if self.exceptions else ():
            if path == top or path.startswith(top + b"/"):
                part = self.exceptions[top]
                owner, group = part.owner, part.group
                below = part.directory_mode if directory else part.file_mode
                spec = (part.mode or below) if path == top else below
                break
        former = unasked(records, look)
        new = Look(owner if owner is not None else former.owner, group if group is not None else former.group, None)
        if entry.stat.type == "link":
            return Said(new)
        old = look.mode or 0
        mode = former.mode or 0 if spec is None else apply_mode(spec, old, directory=directory)
        origin = changed_first(records).before if records else look
        moves = (new.owner, new.group) != (origin.owner, origin.group)
        if moves and not directory and not names_special(spec):
            mode &= ~SPECIAL
        capability = self.capabilities.get(path) if entry.stat.type == "file" else None
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
        if records and mode & SPECIAL and not names_special(spec) and other_bytes(entry, changed_first(records).before):
            return Said(deprived(replace(new, mode=mode)), replaced=True)
        return Said(replace(new, mode=mode, xattrs=packed))


def unasked(records: Sequence[Record], look: Look) -> Look:
    """The path's look with every part that we once changed as it was before we did."""
    for part in ("owner", "group", "mode"):
        if any(r.after is not None and getattr(r.before, part) != getattr(r.after, part) for r in records):
            look = replace(look, **{part: getattr(changed_first(records).before, part)})
    return look


def privileged(look: Look) -> bool:
    """Whether whoever runs this file gets more than he has."""
    return bool((look.mode or 0) & SPECIAL) or CAPABILITY in dict(look.xattrs)


def deprived(look: Look) -> Look:
    """The look without all that gives whoever runs the file more than he has."""
    xattrs = {key: "" if key == CAPABILITY else value for key, value in look.xattrs}
    return replace(look, mode=None if look.mode is None else look.mode & ~SPECIAL, xattrs=tuple(sorted(xattrs.items())))


REPLACED = "holds other bytes than when it was setuid; it comes back without setuid, setgid and capabilities"


def other_bytes(entry: Entry, before: Look) -> bool:
    """Whether a file that was setuid holds other bytes than it did: the account may have put them there."""
    return bool(before.digest) and entry.stat.type == "file" and entry.digest() != before.digest


def changed_first(records: Sequence[Record]) -> Record:
    """The first record of a path that we changed; what others did to it before that is what was before us."""
    return next((record for record in records if record.after is not None), records[0])


@dataclass
class Record:
    """One line of an image: a path and its class."""

    path: bytes
    before: Look
    after: Look | None
    seq: int = 0


def order_of(path: bytes) -> tuple[bytes, ...]:
    """The walking order of a path: parents first, then by the bytes of the names."""
    return tuple(path.split(b"/")) if path else ()


@dataclass
class Layer:
    """One image: the classes from the event, the paths from the vault, read along with a walk."""

    total: bool
    records: Iterator[Record]
    part: bytes = b""
    """The part of the walked tree that the image is of; empty for all of it."""
    head: Record | None = None

    def knows_all_of(self, path: bytes) -> bool:
        """Whether a path that this image does not name was not there when it was made."""
        return self.total and (not self.part or path == self.part or path.startswith(self.part + b"/"))

    def at(self, path: bytes) -> Record | None:
        """This path's record; walks must ask in walking order."""
        key = order_of(path)
        while self.head is None or order_of(self.head.path) < key:
            self.head = next(self.records, None)
            if self.head is None:
                self.records = iter(())
                return None
        if self.head.path != path:
            return None
        found, self.head = self.head, next(self.records, None)
        return found


def _moved(path: bytes, layer_top: str, top: str) -> bytes | None:
    """A path of an image of one tree as a path of another; None where it lies outside."""
    if layer_top == top:
        return path
    here = top.encode("utf-8", "surrogateescape")
    whole = layer_top.encode("utf-8", "surrogateescape") + (b"/" + path if path else b"")
    if whole == here:
        return b""
    return whole[len(here) + 1 :] if whole.startswith(here + b"/") else None


def open_layer(value: Json, vault: Vault, top: str) -> Layer:
    """An image as `save_image` described it, seen from the tree ``top``."""
    origin = value.get("top", top)
    classes = [(Look.parse(before), Look.parse(after) if after else None) for before, after in value["classes"]]

    def records() -> Iterator[Record]:
        for line in vault.stream(value["image"]):
            number, _, path = line.partition(b"\t")
            place = _moved(unescape(path) if b"\\" in path else path, origin, top)
            if place is not None:
                yield Record(place, *classes[int(number)], int(value.get("seq", 0)))

    here, there = (text.encode("utf-8", "surrogateescape") for text in (top, origin))
    return Layer(bool(value["total"]), records(), there[len(here) + 1 :] if there.startswith(here + b"/") else b"")


def recorded_in(origin: Json, vault: Vault, path: str) -> Record | None:
    """What the oldest image that knows an absolute path says of it."""
    for value in origin["layers"] if isinstance(origin, dict) else ():
        # Seen from the path itself, the path is the top.
        for record in open_layer(value, vault, path).records:
            if not record.path:
                return record
    return None


def _escaped(path: bytes) -> bytes:
    return path.replace(b"\\", b"\\\\").replace(b"\n", b"\\n") if b"\\" in path or b"\n" in path else path


def unescape(path: bytes) -> bytes:
    """A path as it was before it was written on a line."""
    out, index = bytearray(), 0
    while index < len(path):
        if path[index : index + 1] == b"\\":
            out += b"\n" if path[index + 1 : index + 2] == b"n" else b"\\"
            index += 2
        else:
            out.append(path[index])
            index += 1
    return bytes(out)


def save_image(judged: Iterable[tuple[Entry, Look, Said]], vault: Vault, *, total: bool) -> Json:
    """Keep what the paths have now; ``total``: also of those that stay as they are.

    Shape: ``{"image": name, "total": bool, "classes": [[before, after or null]]}``.
    """
    numbers: dict[tuple[Look, Look | None], int] = {}

    def lines() -> Iterator[bytes]:
        for entry, look, said in judged:
            changes = said.after is not None and differs(look, said.after)
            if not changes and not total:
                continue
            if changes and said.after is not None and said.after.xattrs:
                # An attribute that is not there is recorded as empty, so that a return takes it away again.
                have = {name for name, _ in look.xattrs}
                missing = tuple((name, "") for name, _ in said.after.xattrs if name not in have)
                look = replace(look, xattrs=look.xattrs + missing)  # noqa: PLW2901 - the record's own look
            if changes and entry.stat.type == "file" and privileged(look):
                look = replace(look, digest=entry.digest())  # noqa: PLW2901 - as above
            key = (look, said.after if changes else None)
            number = numbers.setdefault(key, len(numbers))
            yield b"%d\t%s\n" % (number, _escaped(entry.path))

    name = vault.put_stream(lines())
    classes = [[before.json(), after.json() if after else None] for before, after in numbers]
    return {"image": name, "total": total, "classes": classes}


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
    ancestors: list[tuple[bytes, Look]] = field(default_factory=list)

    def judge(self, entry: Entry, look: Look) -> Said:
        """The recorded look; for a path born since, its nearest recorded ancestor's owners."""
        path = entry.path
        found = [record for layer in self.layers if (record := layer.at(path)) is not None]
        while self.ancestors and not (path.startswith(self.ancestors[-1][0] + b"/") or not self.ancestors[-1][0]):
            self.ancestors.pop()
        covered = path in self.around or any(path == top or path.startswith(top + b"/") for top in self.nested)
        if found:
            # Of owner, group and mode the oldest image tells that changed the path; of an attribute the oldest that
            # names it.
            xattrs = {key: value for record in reversed(found) for key, value in record.before.xattrs}
            first = changed_first(found)
            before = replace(first.before, xattrs=tuple(sorted(xattrs.items())))
            replaced = other_bytes(entry, before)
            before = deprived(before) if replaced else before
            left = next((r.after for r in reversed(found) if r.after is not None), before)
            if entry.stat.type == "directory":
                self.ancestors.append((path, before))
            if covered or all(record.after is None for record in found):
                return Said(None, known=before)
            owners = (
                {before.owner, self.ours[0]}
                | {r.after.owner for r in found if r.after}
                | {r.before.owner for r in found}
            )
            groups = (
                {before.group, self.ours[1]}
                | {r.after.group for r in found if r.after}
                | {r.before.group for r in found}
            )
            spoken = self.spoken.get(path, {})
            own = {part: getattr(look, part) for part, seq in spoken.items() if seq < first.seq}
            # An owner or group that no image changed is not ours to return, whoever changed it since.
            for part, ours in (("owner", self.ours[0]), ("group", self.ours[1])):
                made = {ours} | {getattr(r.after, part) for r in found if r.after}
                changed = any(r.after and getattr(r.before, part) != getattr(r.after, part) for r in found)
                if not changed and getattr(look, part) not in made:
                    own.setdefault(part, getattr(look, part))
            foreign = ("owner" not in own and look.owner not in owners) or (
                "group" not in own and look.group not in groups
            )
            if foreign and self.keep_foreign:
                return Said(None, foreign=True, known=left)
            if own:
                return Said(replace(before, **own), foreign=foreign, known=left, replaced=replaced)
            modes = {before.mode, *(r.after.mode for r in found if r.after)}
            drifted = look.mode not in modes
            return Said(before, foreign=foreign, drifted=drifted, known=left, replaced=replaced)
        if (
            covered
            or path in self.spoken
            or not self.ancestors
            or not any(layer.knows_all_of(path) for layer in self.layers)
        ):
            return Said(None)
        parent = self.ancestors[-1][1]
        mode = None if look.mode is None else look.mode & ~SPECIAL
        return Said(Look(parent.owner, parent.group, mode, ((CAPABILITY, ""),)), newborn=True)


def differs(now: Look, after: Look) -> bool:
    """Whether a path is not yet as it is to be."""
    if (now.owner, now.group) != (after.owner, after.group):
        return True
    if after.mode is not None and now.mode is not None and now.mode != after.mode:
        return True
    have = dict(now.xattrs)
    return any(have.get(key, "") != value for key, value in after.xattrs)


@dataclass
class Survey:
    """What one walk found: counts, classes and a sample, never the whole list unless it was asked for."""

    paths: int = 0
    differ: int = 0
    newborn: int = 0
    drifted: int = 0
    foreign: list[tuple[bytes, Look, Look]] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    mounts: list[str] = field(default_factory=list)
    classes: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    sample: list[Json] = field(default_factory=list)
    links: dict[tuple[int, int], int] = field(default_factory=dict)
    exposed: bool = False
    """Whether somebody else can rename things in the tree, so that counting hard links proves nothing."""
    top: tuple[Look, Look | None] | None = None
    coming: dict[bytes, Look] = field(default_factory=dict)
    """How paths that other resources speak of will look once the tree is done."""


def looker(host: Observer) -> Callable[[Entry, bool], Look]:
    """A function that tells a path's look, with its attributes where they matter."""
    names = Names(host)
    users: dict[int, Owner] = {}
    groups: dict[int, Owner] = {}

    def look(entry: Entry, attributes: bool) -> Look:
        stat = entry.stat
        owner = users.get(stat.uid)
        if owner is None:
            owner = users.setdefault(stat.uid, names.user(stat.uid))
        group = groups.get(stat.gid)
        if group is None:
            group = groups.setdefault(stat.gid, names.group(stat.gid))
        xattrs: tuple[tuple[str, str], ...] = ()
        if attributes and stat.type in ("file", "directory"):
            found = entry.xattrs()
            kept = (CAPABILITY, ACL, DEFAULT_ACL)
            xattrs = tuple((k, found[k].decode("latin-1")) for k in kept if k in found)
        return Look(owner, group, None if stat.type == "link" else stat.mode, xattrs)

    return look


def judged(
    host: Observer, top: str, rule: Rule, survey: Survey, forecast: Mapping[bytes, Look | None] | None = None
) -> Iterator[tuple[Entry, Look, Said]]:
    """Walk a tree and judge every path.

    ``forecast``: how paths will look when their turn comes, since another transition of the plan changes them first.
    """
    coming = forecast or {}
    look = looker(host)
    wanted = getattr(rule, "capabilities", {})
    for entry in host.walk(top):
        if entry.mount:
            survey.mounts.append(printable(entry.path))
            continue
        stat = entry.stat
        survey.paths += 1
        if stat.type == "directory" and (not trusted(stat.uid) or (stat.mode & 0o022 and not stat.mode & 0o1000)):
            survey.exposed = True
        if stat.nlink > 1 and stat.type != "directory":
            key = (stat.dev, stat.ino)
            survey.links[key] = survey.links.get(key, 0) + 1
        now = look(entry, entry.path in wanted)
        if entry.path in coming:
            told = coming[entry.path]
            if told is None:
                continue  # it will be gone
            now = told
        said = rule.judge(entry, now)
        if said.after is not None and (differs(now, said.after) or said.after.xattrs) and entry.path not in coming:
            now = look(entry, True)
            if not said.after.xattrs and now.xattrs:
                # Capabilities outlive a change of owner here; both looks say so.
                kept = tuple(x for x in now.xattrs if x[0] == CAPABILITY)
                said = replace(said, after=replace(said.after, xattrs=kept))
        yield entry, now, said


def proven(survey: Survey, entry: Entry) -> bool:
    """Whether all hard links of this inode lie inside the tree."""
    stat = entry.stat
    return not survey.exposed and survey.links.get((stat.dev, stat.ino)) == stat.nlink


def obstacle(survey: Survey, entry: Entry, *, counted: bool) -> str:
    """Why a path must not be touched; empty where it may."""
    stat = entry.stat
    if stat.type in ("character", "block"):
        return f"a {stat.type} device"
    if stat.nlink > 1 and stat.type != "directory" and counted and not proven(survey, entry):
        return "has hard links that are not proven to lie inside the tree"
    if entry.frozen():
        return "immutable or append-only (chattr -i -a to allow it)"
    return ""


def attributes(names: Names, look: Look) -> Attributes:
    """What the port is to set."""
    values = {key: value.encode("latin-1") if value else None for key, value in look.xattrs}
    return Attributes(names.need_uid(look.owner), names.need_gid(look.group), look.mode, values)
