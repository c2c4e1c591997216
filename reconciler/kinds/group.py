"""A group in the local files; one that only a name service knows counts as there and is never edited."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, ClassVar

from pydantic import Field as Described

from ..core.kind import Conflict, Context, Effects, Kind, Proposal, Trial
from ..core.vault import Vault
from ..errors import HostError
from ..host.accounts import CREATING, REMOVING
from ..host.held import account_files
from ..host.names import Names
from ..host.numbers import free_number
from ..host.port import Entity, Host, Observer
from ..model import EXISTS, Absent, Address, Change, Field, Json, Number, Resource, Seen, State, Target, Unknown
from ._leftovers import left_behind
from ._numbered import NAME, comes_free, plain, taken


class GroupState(State):
    """Everything that the files hold of a group."""

    gid: int | None
    """None: any free number of the system range; ``system`` says which range."""
    system: bool = True
    password: str = "x"  # noqa: S105 - the marker of shadowed passwords
    members: tuple[str, ...] = ()
    shadow: str | None = "!::"
    """What gshadow holds behind the name; None where it has no such line."""
    below: tuple[str | None, str | None] = (None, None)
    """The entries above it in both files, so that it can come back to its place."""
    remote: bool = False


class Group(Resource):
    """A group that is to be there."""

    kind = "group"
    name: Annotated[str, Described(pattern=NAME, description="The group's name.")]
    system: Annotated[bool, Described(description="Take a number from the system range.")] = True
    gid: Annotated[
        Number | None, Described(ge=0, le=4294967294, description="The number; free to choose if not given.")
    ] = None
    implied_by: str | None = Described(default=None, exclude=True)

    @property
    def implied(self) -> bool:
        """Whether an account brought it along."""
        return self.implied_by is not None

    def numbers(self) -> Mapping[str, int]:
        """Its number."""
        return {} if self.gid is None else {"gid": self.gid}

    def wishes(self, before: State) -> Mapping[Field, Json]:
        """That it exists, and its number where one is named."""
        wanted: dict[Field, Json] = {EXISTS: True}
        if isinstance(before, Absent):
            wanted[("system",)] = self.system
        if self.gid is not None:
            wanted[("gid",)] = self.gid
        return wanted


class GroupKind(Kind[GroupState]):
    """Groups through /etc/group and /etc/gshadow."""

    name = "group"
    owns = True
    together = shares = True
    rank = 10
    state = GroupState
    resource = Group
    attributes: ClassVar[frozenset[str]] = frozenset({"gid"})

    def read(self, host: Observer, name: str) -> Seen:
        """The group's lines; a remote source that does not answer makes it unknown."""
        files = account_files(host)
        table = files.need("group")
        columns = table.get(name)
        shadow = files.table("gshadow")
        hidden = shadow.get(name) if shadow else None
        if columns is None:
            found = host.remote("group", name)
            if isinstance(found, str):
                return Unknown(f"group {name} is not in the local files, and {found}")
            if isinstance(found, Entity):
                return GroupState(gid=found.number, remote=True)
            if hidden is not None:
                return Unknown(f"/etc/gshadow has a line for {name} but /etc/group has none; run grpck")
            return Absent()
        if len(columns) < 4 or not plain(columns[2]):
            return Unknown(f"/etc/group: the line of {name} is damaged; run grpck", unknown=False)
        return GroupState(
            gid=int(columns[2]),
            password=columns[1],
            members=tuple(table.members(name)),
            shadow=":".join(hidden[1:]) if hidden else None,
            below=(table.before(name), shadow.before(name) if shadow and hidden else None),
        )

    def write(self, host: Host, name: str, state: State) -> None:
        """Put the lines in place, or take them out."""
        with host.accounts_locked():
            files = account_files(host)
            table, shadow = files.need("group"), files.table("gshadow")
            if not isinstance(state, GroupState):
                table.drop(name)
                if shadow:
                    shadow.drop(name)
                files.save(host, REMOVING)
                return
            if state.remote:
                return
            if state.gid is None:
                raise HostError(f"group {name}: no number was chosen")
            old = table.get(name)
            listed = [",".join(state.members)] if old is None else old[3:]
            table.put([name, state.password, str(state.gid), *listed], state.below[0])
            now = table.members(name)
            for member in [each for each in now if each not in state.members]:
                table.delist(name, member)
            for member in [each for each in state.members if each not in now]:
                table.enlist(name, member)
            if shadow and state.shadow is not None:
                shadow.put([name, *state.shadow.split(":")], state.below[1])
            files.save(host, CREATING)

    def fields(self, state: State) -> dict[Field, Json]:
        """Existence and number; members belong to the accounts that ask for them."""
        if not isinstance(state, GroupState):
            return {}
        place = {"below": list(state.below), "shadow": state.shadow, "password": state.password}
        return {EXISTS: place, ("gid",): {"system": state.system} if state.gid is None else state.gid}

    def stored_aside(self, field: Field) -> bool:
        """A group's password may hide in its line."""
        return field == EXISTS

    def patch(self, state: State, values: Mapping[Field, Json]) -> State:
        """A new group takes the place that the log remembers, if any."""
        exists = values.get(EXISTS)
        gid = values.get(("gid",), Ellipsis)
        if isinstance(gid, dict):
            gid = None
        if isinstance(state, GroupState) or not exists or (isinstance(exists, dict) and "absent" in exists):
            kept = {k: v for k, v in values.items() if k == EXISTS}
            if gid is not Ellipsis and isinstance(state, GroupState) and not state.remote and gid is not None:
                kept[("gid",)] = gid
            half = isinstance(state, GroupState) and state.shadow is None
            if half and isinstance(exists, dict) and "shadow" in exists:
                # Half of a group: its line in /etc/gshadow comes back.
                state = state.model_copy(update={"shadow": exists["shadow"], "below": tuple(exists["below"])})
            return super().patch(state, kept)
        place = exists if isinstance(exists, dict) else {}
        return GroupState(
            gid=None if gid is Ellipsis else gid,
            system=bool(values.get(("system",), True)),
            password=place.get("password", "x"),
            shadow=place.get("shadow", "!::"),
            below=tuple(place.get("below", (None, None))),
        )

    def show(self, field: Field, value: Json) -> Json:
        """A number still to be chosen is unknown."""
        if field == ("gid",) and isinstance(value, dict):
            return {"unknown": True}
        return super().show(field, value)

    def effects(self, found: Proposal, state: State) -> Effects:
        """The group."""
        number = [] if not isinstance(state, GroupState) or state.gid is None else [state.gid]
        return Effects(groups={found.target.address.name: number if isinstance(state, GroupState) else None})

    def described(self, seen: GroupState, trial: Trial) -> Iterator[tuple[str, Any]]:
        """Its number."""
        yield "gid", str(seen.gid)

    def numbers(self, state: State) -> set[tuple[str, int]]:
        """Its number."""
        return {("gid", state.gid)} if isinstance(state, GroupState) and state.gid is not None else set()

    def edits(self, name: str) -> tuple[str, ...]:
        """Both files."""
        return ("/etc/group", "/etc/gshadow")

    def prospect(self, host: Observer, target: Target, context: Context) -> Proposal:
        """As for every kind; a group that an account implies is not made where the account is there without it."""
        wish = target.wish
        if isinstance(wish, Group) and wish.implied_by and Names(host).uid(wish.implied_by) is not None:
            seen = self.read(host, target.address.name)
            if isinstance(seen, Absent):
                return Proposal(target, seen, seen)
        return super().prospect(host, target, context)

    def complete(self, host: Observer, name: str, state: State, context: Context) -> State:
        """Choose a free number; a remembered one that is taken needs force."""
        if not isinstance(state, GroupState) or isinstance(self.read(host, name), GroupState):
            return state
        if state.gid is None:
            return state.model_copy(update={"gid": free_number(host, "GID", system=state.system)})
        holder = Names(host).group(state.gid)
        if holder not in (state.gid, name):
            if not context.force:
                raise HostError(f"group {name}: number {state.gid} is taken by {holder}; --force takes a new one")
            return state.model_copy(update={"gid": free_number(host, "GID", system=True)})
        return state

    def extra_conflicts(self, host: Observer, prospect: Proposal, context: Context) -> list[Conflict]:
        """Members that are not ours would lose their membership with the group."""
        name, after = prospect.target.address.name, prospect.after
        if (
            isinstance(after, GroupState)
            and after.gid is not None
            and after.gid != getattr(prospect.before, "gid", None)
        ):
            holder = Names(host).group(after.gid)
            free = comes_free(context, Address("group", str(holder)), ("gid",), after.gid)
            return [] if free or holder in (after.gid, name) else [taken(prospect, ("gid",), after.gid, holder)]
        if not isinstance(prospect.before, GroupState) or not isinstance(after, Absent):
            return []
        held, field = context.current, ("groups", name)
        others = [m for m in prospect.before.members if field not in held.get(Address("account", m), ())]
        return [Conflict(prospect.target.address, ("members",), [], others)] if others else []

    def reached(self, host: Observer, name: str, changes: Sequence[Change], vault: Vault) -> str:
        """As for every kind; a group with a line in only one of the two files is half a group."""
        if problem := super().reached(host, name, changes, vault):
            return problem
        place = next((c.after for c in changes if c.field == EXISTS), None)
        seen = self.read(host, name)
        whole = not isinstance(seen, GroupState) or seen.remote or seen.shadow is not None
        if whole or not isinstance(place, dict) or not place.get("shadow") or not account_files(host).table("gshadow"):
            return ""
        return f"group {name} has no line in /etc/gshadow"

    def blocks_removal(self, host: Observer, prospect: Proposal, context: Context) -> list[str]:
        """Files outside the deployment, and accounts, that still have this group."""
        state = prospect.before
        if not isinstance(state, GroupState) or state.gid is None:
            return []
        primary = account_files(host).need("passwd").grouped(str(state.gid))
        staying = [who for who in primary if not _leaves(context, who, prospect.target.address.name)]
        reasons = [f"it is the primary group of {who}" for who in staying]
        return reasons + left_behind(host, context, prospect.target.address.name, None, state.gid)


def _leaves(context: Context, account: str, group: str) -> bool:
    """Whether this plan takes an account out of its primary group, or away."""
    planned = context.planned.get(Address("account", account))
    if context.fix or planned is None or not planned.steps:
        return context.fix
    return isinstance(planned.after, Absent) or getattr(planned.after, "group", group) != group


KIND = GroupKind()
