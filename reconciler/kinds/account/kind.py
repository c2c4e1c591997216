"""An account in the local files: passwd, shadow, and its memberships in group and gshadow.

Locked means the password field starts with ``!``: no expiry, and the shell stays usable for ``su -c``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

from ...core.kind import Conflict, Context, Effects, Kind, Person, Proposal, Trial, absence, gone
from ...core.vault import Vault
from ...errors import HostError
from ...host.accounts import CREATING, REMOVING
from ...host.held import account_files
from ...host.names import Names, absent
from ...host.numbers import free_number, today
from ...host.port import Entity, Host, Observer
from ...model import EXISTS, Absent, Address, Change, Field, Json, Seen, State, Target, Unknown
from .._leftovers import left_behind
from .._numbered import comes_free, plain, taken
from .resource import Account
from .state import SHADOW_TAIL, AccountState, Membership, agree, join, memberships


class AccountKind(Kind[AccountState]):
    """Accounts through the four files."""

    name = "account"
    elsewhere = ("user", "users")
    owns = True
    together = shares = True
    rank = 20
    state = AccountState
    resource = Account
    attributes: ClassVar[frozenset[str]] = frozenset({"uid", "group", "comment", "home", "shell", "password"})
    defaults: ClassVar[Mapping[Field, Json]] = {("comment",): "", ("home",): "/", ("shell",): "/bin/sh"}

    def read(self, host: Observer, name: str) -> Seen:
        """The account's lines; half of them, or a silent name service, make it unknown."""
        files = account_files(host)
        passwd, shadow = files.need("passwd"), files.table("shadow")
        columns = passwd.get(name)
        hidden = shadow.get(name) if shadow else None
        stale = memberships(files, name)
        if columns is None:
            found = host.remote("passwd", name)
            if isinstance(found, str):
                return Unknown(f"account {name} is not in the local files, and {found}")
            if isinstance(found, Entity):
                return AccountState(uid=found.number, group="", remote=True)
            if hidden is not None:
                return Unknown(f"/etc/shadow has a line for {name} but /etc/passwd has none; run pwck")
            around = {"groups": {g: m.model_dump() for g, m in stale.items()}} if stale else {}
            return Absent(around=around)
        if len(columns) != 7 or not plain(columns[2]) or not plain(columns[3]):
            return Unknown(f"/etc/passwd: the line of {name} is damaged; run pwck", unknown=False)
        return AccountState(
            uid=int(columns[2]),
            group=Names(host).group(int(columns[3])),
            comment=columns[4],
            home=columns[5],
            shell=columns[6],
            password=hidden[1] if hidden else columns[1],
            aging=":".join(hidden[2:]) if hidden else None,
            shadowed=hidden is not None,
            groups=stale,
            below=(passwd.before(name), shadow.before(name) if shadow and hidden else None),
        )

    def write(self, host: Host, name: str, state: State) -> None:
        """Put the lines in place, or take them out."""
        with host.accounts_locked():
            files = account_files(host)
            passwd, shadow = files.need("passwd"), files.table("shadow")
            if not isinstance(state, AccountState):
                passwd.drop(name)
                if shadow:
                    shadow.drop(name)
                kept = state.around.get("groups", {}) if isinstance(state, Absent) else {}
                join(files, name, {g: Membership.model_validate(m) for g, m in kept.items()})
                files.save(host, REMOVING)
                return
            if state.remote:
                return
            if state.uid is None:
                raise HostError(f"account {name}: no number was chosen")
            gid = str(Names(host).need_gid(state.group))
            hide = shadow is not None and state.shadowed
            password = "x" if hide else state.password
            old = passwd.get(name)
            if hide and old is not None:
                password = old[1]
            passwd.put([name, password, str(state.uid), gid, state.comment, state.home, state.shell], state.below[0])
            if shadow is not None and hide:
                tail = state.aging if state.aging is not None else today() + SHADOW_TAIL
                shadow.put([name, state.password, *tail.split(":")], state.below[1])
            join(files, name, state.groups)
            files.save(host, CREATING)

    def reached(self, host: Observer, name: str, changes: Sequence[Change], vault: Vault) -> str:
        """As for every kind; and the name services of a running host say what the files say."""
        if problem := super().reached(host, name, changes, vault):
            return problem
        seen = self.read(host, name) if host.live else None
        return agree(host, name, seen.uid) if isinstance(seen, AccountState) and not seen.remote else ""

    def fields(self, state: State) -> dict[Field, Json]:
        """One field a column, one for each membership."""
        if not isinstance(state, AccountState):
            return {}
        if state.remote:
            return {EXISTS: {"remote": True}, ("uid",): state.uid}
        found: dict[Field, Json] = {
            EXISTS: {"below": list(state.below), "aging": state.aging, "shadowed": state.shadowed},
            ("uid",): {"system": state.system} if state.uid is None else state.uid,
        }
        for key in ("group", "comment", "home", "shell", "password"):
            found[(key,)] = getattr(state, key)
        for group, place in state.groups.items():
            found[("groups", group)] = place.model_dump()
        return found

    def value(self, state: State, field: Field) -> Json:
        """As for every kind; a list may name an account that is not there, and then goes on doing so."""
        if isinstance(state, Absent) and field[0] == "groups":
            return state.around.get("groups", {}).get(field[1])
        return super().value(state, field)

    def patch(self, state: State, values: Mapping[Field, Json]) -> State:
        """Columns and memberships at these values."""
        if (absent := absence(state, values)) is not None:
            return absent
        exists = values.get(EXISTS, True)
        if isinstance(state, AccountState):
            if state.remote:
                return state
            base = state.model_dump()
        else:
            known = exists if isinstance(exists, dict) else {}
            around = state.around.get("groups", {}) if isinstance(state, Absent) else {}
            base = {"uid": None, "group": "", "groups": dict(around)} | {
                k: v for k, v in known.items() if k != "remote"
            }
        groups = dict(base.pop("groups", {}))
        for field, value in values.items():
            if field[0] == "groups":
                if value is None:
                    groups.pop(field[1], None)
                elif field[1] not in groups or (groups[field[1]] or {}).get("half") or value.get("half"):
                    groups[field[1]] = value
            elif field != EXISTS:
                base[field[0]] = None if isinstance(value, dict) else value
        return AccountState.model_validate({**base, "groups": groups})

    def show(self, field: Field, value: Json) -> Json:
        """A membership is there or not; a number to be chosen is unknown; of a password only whether it locks."""
        if field[0] == "groups":
            return None if value is None else "half" if value.get("half") else True
        if field == ("uid",) and isinstance(value, dict):
            return {"unknown": True}
        if field == ("password",) and isinstance(value, str):
            return "locked" if value.startswith("!") else "no password" if value == "" else "unlocked"
        return super().show(field, value)

    def same(self, field: Field, a: Json, b: Json) -> bool:
        """Two passwords are the same only byte by byte; gone is gone only with the same memberships left."""
        if field == EXISTS and gone(a) and gone(b):
            left = [value["absent"].get("groups", {}) if isinstance(value, dict) else {} for value in (a, b)]
            return bool(left[0].keys() == left[1].keys())
        return bool(a == b) if field == ("password",) else super().same(field, a, b)

    def secret(self, field: Field) -> bool:
        """The shadow field is secret."""
        return field == ("password",)

    def display(self, field: Field, value: Json) -> Json:
        """Whether a password is locked may be told, and says all that is needed."""
        return self.show(field, value)

    def needs(self, name: str, state: State) -> set[Address]:
        """Its groups."""
        if not isinstance(state, AccountState):
            return set()
        return {Address("group", str(group)) for group in (state.group, *state.groups)}

    def edits(self, name: str) -> tuple[str, ...]:
        """All four files."""
        return ("/etc/passwd", "/etc/shadow", "/etc/group", "/etc/gshadow")

    def values(self, host: Observer, target: Target, seen: State, context: Context) -> dict[Field, Json]:
        """Optional groups count where the group is there, or comes with this plan."""
        found = super().values(host, target, seen, context)
        wish = target.wish
        names = Names(host)
        if isinstance(wish, Account) and not (isinstance(seen, AccountState) and seen.remote):
            for group in wish.groups:
                name = group.rstrip("?")
                address = Address("group", name)
                there = context.comes(address)
                if there is None:
                    there = names.gid(name) is not None
                if group.endswith("?") and there:
                    found[("groups", name)] = {}
                elif not there and not group.endswith("?"):
                    raise HostError(
                        f"group {name} does not exist; declare it with '- group: {name}', or ask for '{name}?'"
                    )
            primary = found.get(("group",))
            if isinstance(primary, str) and names.gid(primary) is None and not context.comes(Address("group", primary)):
                raise HostError(absent("group", primary))
        return found

    def complete(self, host: Observer, name: str, state: State, context: Context) -> State:
        """Choose a free number, the group's own if it can be had; a remembered one that is taken needs force."""
        if not isinstance(state, AccountState) or state.remote or isinstance(self.read(host, name), AccountState):
            return state
        names = Names(host)
        if state.uid is not None:
            holder = names.user(state.uid)
            if holder in (state.uid, name):
                return state
            if not context.force:
                raise HostError(f"account {name}: number {state.uid} is taken by {holder}; --force takes a new one")
        gid = names.gid(state.group)
        wanted = [gid] if gid is not None else []
        return state.model_copy(update={"uid": free_number(host, "UID", system=state.system, wanted=wanted)})

    def extra_conflicts(self, host: Observer, prospect: Proposal, context: Context) -> list[Conflict]:
        """A remembered number that is taken by now."""
        name, after = prospect.target.address.name, prospect.after
        if not isinstance(after, AccountState) or after.uid in (None, getattr(prospect.before, "uid", None)):
            return []
        assert after.uid is not None
        holder = Names(host).user(after.uid)
        free = comes_free(context, Address("account", str(holder)), ("uid",), after.uid)
        return [] if free or holder in (after.uid, name) else [taken(prospect, ("uid",), after.uid, holder)]

    def effects(self, found: Proposal, state: State) -> Effects:
        """The account, where the local files hold it."""
        name = found.target.address.name
        if isinstance(state, AccountState) and state.remote:
            return Effects()
        if not isinstance(state, AccountState):
            return Effects(accounts={name: None})
        locked = state.password[:1] in ("!", "*")
        return Effects(accounts={name: Person(state.uid, state.group, frozenset(state.groups), locked)})

    def described(self, seen: AccountState, trial: Trial) -> Iterator[tuple[str, Any]]:
        """Its columns and memberships."""
        yield "uid", str(seen.uid)
        yield "group", str(seen.group)
        if seen.groups:
            yield "groups", sorted(seen.groups)
        if seen.comment:
            yield "comment", seen.comment
        yield "shell", seen.shell
        yield "home", seen.home
        if seen.password.startswith("!"):
            yield "password", "locked"

    def numbers(self, state: State) -> set[tuple[str, int]]:
        """Its number."""
        return {("uid", state.uid)} if isinstance(state, AccountState) and state.uid is not None else set()

    def blocks_removal(self, host: Observer, prospect: Proposal, context: Context) -> list[str]:
        """Live processes and files outside the deployment that belong to the account."""
        state = prospect.before
        if not isinstance(state, AccountState) or state.uid is None:
            return []
        return left_behind(host, context, prospect.target.address.name, state.uid, None)


KIND = AccountKind()
