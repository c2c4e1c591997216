"""What a pass over a tree is told, and what it finds out."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import replace as with_

from ...core.kind import Context, Proposal
from ...host.names import Names
from ...host.port import Observer
from ...model import (
    Absent,
    Json,
    Owner,
    inside,
)
from ...trees.images import Look
from ...trees.rules import Wish
from ...trees.scan import Survey
from .. import kinds
from .._inside import (
    relative,
)

FRESH = 5.0
"""How many seconds a run goes by what it found when it planned; after that it looks again first."""


@dataclass(frozen=True)
class Work:
    """What planning found in a tree, to be carried out by the same run if nothing came between."""

    survey: Survey
    names: Mapping[tuple[int, int], tuple[Owner, Owner]]
    """The names of the owners that were met, as the image has them."""
    numbers: Mapping[tuple[str, Owner], int | None]
    """The numbers of owners and groups to whom something goes; None for one that is made by the same plan."""
    when: float

    def holds(self, host: Observer, found: Proposal, context: Context) -> bool:
        """Whether what was found moments ago can be relied on: each path is compared once more before it is touched."""
        top = found.target.address.name
        return (
            self.survey.album is not None
            and time.monotonic() - self.when < FRESH
            and names_of(host, self.survey) == self.names
            and all(self.numbers[one] in (None, now) for one, now in numbers_of(host, self.survey).items())
            and not any(
                prospect.steps and address != found.target.address and inside(address.name, top)
                for address, prospect in context.planned.items()
                if kinds().located(address)
            )
        )


def names_of(host: Observer, survey: Survey) -> dict[tuple[int, int], tuple[Owner, Owner]]:
    """The names of all owners and groups that a pass met."""
    names = Names(host)
    return {(uid, gid): (names.user(uid), names.group(gid)) for uid, gid in survey.owners}


def numbers_of(host: Observer, survey: Survey) -> dict[tuple[str, Owner], int | None]:
    """The numbers of all owners and groups to whom a pass would give something."""
    names, looks = Names(host), {after for _, after in survey.album.classes if after} if survey.album else set()
    who = {("owner", look.owner) for look in looks} | {("group", look.group) for look in looks}
    return {(part, owner): names.number(part, owner) for part, owner in who}


def _unasked(rule: Wish, layer: Json) -> bool:
    """Whether an image changed an owner, group or mode that the wish leaves open now."""
    parts = [(rule.owner, rule.group, rule.directory_mode, rule.file_mode)]
    parts += [(e.owner, e.group, e.mode or e.directory_mode, e.mode or e.file_mode) for e in rule.exceptions.values()]
    opened = {
        name
        for owner, group, *modes in parts
        for name, asked in (("owner", owner), ("group", group), ("mode", all(modes) or None))
        if asked is None
    }
    gave = any(after and after.get("xattrs") for _, after in layer["classes"])
    return gave or any(after and before[name] != after[name] for before, after in layer["classes"] for name in opened)


def forecast(top: str, context: Context) -> dict[bytes, Look | None]:
    """How the files that this plan gives back inside a tree will look once that is done."""
    if context.fix:
        return {}
    coming: dict[bytes, Look | None] = {}
    for address, prospect in context.planned.items():
        if kinds().single(address) and inside(address.name, top) and prospect.target.wish is None and prospect.steps:
            told = prospect.after.model_dump()
            gone_then = isinstance(prospect.after, Absent)
            look = None if gone_then else Look(told["owner"], told["group"], told.get("mode"))
            coming |= dict.fromkeys(relative(top, [address.name]), look)
    return coming


def known_owners(host: Observer, rule: Wish) -> Wish:
    """The rule with numbers as the names that the host has for them, as states hold them."""
    names = Names(host)
    rule.owner, rule.group = names.known_user(rule.owner), names.known_group(rule.group)
    rule.exceptions = {
        path: with_(part, owner=names.known_user(part.owner), group=names.known_group(part.group))
        for path, part in rule.exceptions.items()
    }
    return rule
