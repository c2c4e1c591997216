"""What the desired state says of a mapping."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from dataclasses import replace as with_
from typing import Annotated, Any, Literal

from pydantic import Field as Described
from pydantic import ValidationError, model_validator

from ...core.kind import Context
from ...host.names import Names
from ...host.port import Observer
from ...model import (
    Address,
    Field,
    Json,
    Resource,
    State,
    clean_path,
)
from ...rscd.accounts import Account, Accounts, Unasked
from ...rscd.declared import YES_NO, ExportLine, ModeIn, UserLine, Word, unreachable
from ...rscd.edit import Ask
from ...rscd.resolver import AGENT, AGENT_ON_CONTROLLER, MODES, System
from ...rscd.text import EXPORTS, USERS, USERS_LOCAL, entries, unreached
from .files import MODE, MappingState


class RscdMapping(Resource):
    """The RSCD agent's mapping of callers to users of the host."""

    kind = "mapping"
    name: Annotated[
        str, Described(pattern=r"^/[^\x00]*[^/\x00]$", description="The directory of exports, users and users.local.")
    ]
    layout: Annotated[Literal["unix", "windows"], Described(description="Which system's rules count.")] = "unix"
    mode: Annotated[
        Literal["impersonation", "windows-user", "privilege-mapping", "system-only"] | None,
        Described(description="How callers are mapped; unix knows impersonation alone. Not given: left."),
    ] = None
    exports: Annotated[
        tuple[ExportLine, ...], Described(description="Lines of exports; others are left alone.")
    ] = ()  # fmt: skip
    users_local: Annotated[
        tuple[UserLine, ...],
        Described(description="Lines of users.local, kept where they decide; others are left alone."),
    ] = ()
    users: Annotated[tuple[UserLine, ...], Described(description="Lines of users; needs edit_generated.")] = ()
    fallback: Annotated[
        Word | None,
        Described(description="Whom callers without an account become (exports' anon=); deny: they are refused."),
    ] = None
    mode_in: Annotated[ModeIn, Described(description="Where the mode is kept (confirmed: false).")] = ModeIn()
    edit_generated: Annotated[bool, Described(description="Edit users, which the vendor's ACL push overwrites.")] = (
        False
    )

    def lines(self) -> dict[str, tuple[Ask, ...]]:
        """The lines of each file."""
        given: dict[str, Sequence[ExportLine | UserLine]] = {
            EXPORTS: self.exports, USERS_LOCAL: self.users_local, USERS: self.users,
        }  # fmt: skip
        found = {name: tuple(line.ask() for line in listed) for name, listed in given.items() if listed}
        if self.fallback is not None and EXPORTS in found:
            found[EXPORTS] = tuple(with_(ask, options=(*ask.options, self.anon)) for ask in found[EXPORTS])
        return found

    @property
    def anon(self) -> str:
        """The option that says whom strangers become."""
        return f"anon={'-1' if self.fallback == 'deny' else self.fallback}"

    def wishes(self, before: State) -> Mapping[Field, Json]:
        """Every line by its file and key, that the files are there, and the mode."""
        wanted: dict[Field, Json] = {}
        asked = {name: list(asks) for name, asks in self.lines().items()}
        if self.fallback is not None and isinstance(before, MappingState):
            keys = {ask.entry(EXPORTS).key for ask in asked.get(EXPORTS, ())}
            for entry in entries(before.bytes(), EXPORTS):
                if entry.key not in keys:
                    keys.add(entry.key)
                    kept = tuple(str(option) for option in entry.options if option.name != "anon")
                    asked.setdefault(EXPORTS, []).append(Ask(entry.names, (*kept, self.anon), settled=True))
        for name, asks in asked.items():
            order = [ask.entry(name).key for ask in asks if not ask.settled]
            wanted[(name,)] = True
            for ask in asks:
                value = {"names": list(ask.names), "ask": ",".join(ask.options), "order": order}
                wanted[(name, ask.entry(name).key)] = value | ({"settled": True} if ask.settled else {})
        if self.mode is not None and self.mode != "impersonation":
            wanted[self.place()] = self.mode
        return wanted

    def place(self) -> Field:
        """The field of the mode: the word, then file, section and key."""
        file = self.mode_in.file
        path = file if file.startswith("/") else f"{self.name}/{file}"
        return (MODE, clean_path(path), self.mode_in.section, self.mode_in.key)

    def spoken(self) -> dict[tuple[str, ...], Any]:
        """What two deployments can contradict each other in: each line by its key."""
        found: dict[tuple[str, ...], Any] = {
            (key,): getattr(self, key) for key in ("layout", "mode", "fallback") if getattr(self, key) is not None
        }
        for name, asks in self.lines().items():
            found |= {(name, ask.entry(name).key): ",".join(sorted(ask.options)) for ask in asks}
        return found

    def contradicts(self, other: Any) -> str:
        """Why one agent cannot have the lines of both; empty where it can, or where a field tells it."""
        mine, theirs = self.spoken(), other.spoken()
        if any(mine[key] != theirs[key] for key in mine.keys() & theirs.keys()):
            return ""
        try:
            other.joined(self)
        except ValidationError as error:
            return str(error.errors(include_url=False)[0]["msg"]).removeprefix("Value error, ")
        return ""

    def lints(self) -> list[tuple[str, str]]:
        """A fallback that gives everything away."""
        if self.fallback != "root":
            return []
        return [("whoever has no line becomes root", "name a fallback without rights, as in 'fallback: nobody'")]

    def requires(self) -> set[Address]:
        """The accounts that lines map to."""
        names = {
            option.values[0]
            for name, asks in self.lines().items()
            for ask in asks
            for option in ask.entry(name).options
            if option.name in ("map", "user", "anon") and option.values
        }
        return {Address("account", name) for name in names if not name.lstrip("-").isdecimal()}

    def joined(self, other: RscdMapping) -> RscdMapping:
        """This wish and that of another deployment as one; ValueError where one agent cannot have both."""
        told = other.model_dump(exclude_unset=True) | self.model_dump(exclude_unset=True)
        for name, model in (("exports", EXPORTS), ("users_local", USERS), ("users", USERS)):
            both = {line.ask().entry(model).key: line for line in (*getattr(other, name), *getattr(self, name))}
            mine = [line.ask().entry(model).key for line in getattr(self, name)]
            order = [*mine, *(key for key in both if key not in mine)]
            told[name] = [both[key].model_dump() for key in order]
        return RscdMapping.model_validate(told)

    @model_validator(mode="after")
    def _one_meaning(self) -> RscdMapping:
        system: System = self.layout
        if self.mode is not None and self.mode not in MODES[system]:
            raise ValueError(f"mode {self.mode!r} is not one of {system}'s: {', '.join(MODES[system])}")
        if self.users and not self.edit_generated:
            raise ValueError(
                "'users' is generated by the vendor's ACL push; put the lines into users_local, or say "
                "'edit_generated: true'"
            )
        if self.fallback is not None and system == "windows":
            raise ValueError("'fallback' counts on unix alone; on Windows strangers become Anonymous")
        if self.fallback is not None and (self.fallback in YES_NO or not self.fallback.replace("-", "").isalnum()):
            raise ValueError(f"'fallback' is {self.fallback!r}; write an account, or deny")
        anon = any(option.startswith("anon=") for line in self.exports for option in line.options)
        if self.fallback is not None and anon:
            raise ValueError("both 'fallback' and 'anon=' say whom strangers become; write one of them")
        if anon and system == "windows":
            raise ValueError("anon= counts on unix alone; on Windows strangers become Anonymous")
        if reason := unreachable(self.lines()):
            raise ValueError(reason)
        return self


@dataclass(frozen=True)
class Planned:
    """The host's accounts as a plan will leave them."""

    now: Accounts
    context: Context

    def user(self, name: str) -> Account | Unasked | None:
        """The account of that name."""
        comes = self.context.comes(Address("account", name))
        if comes is None:
            return self.now.user(name)
        after = self.context.planned[Address("account", name)].after
        return Account(name, getattr(after, "uid", None), frozenset(getattr(after, "groups", ()))) if comes else None

    def number(self, uid: int) -> Account | Unasked | None:
        """The first account of that number."""
        return self.now.number(uid)


def _shadowed(after: State, wish: RscdMapping) -> str:
    """A line for users that no caller can reach, since users.local is read first."""
    local = entries(after.bytes(), USERS_LOCAL) if isinstance(after, MappingState) else []
    for line in wish.users:
        entry = line.ask().entry(USERS)
        if not unreached(entry, local):
            above = next((other for other in local if other.covers(entry)), local[0])
            return f"the line for {entry.key!r} in users can never decide: users.local:{above.number} fits first"
    return ""


def _needless(host: Observer, wish: RscdMapping) -> str:
    """In system-only mode there is to be no account of the agent's own."""
    if wish.mode != "system-only":
        return ""
    names = Names(host)
    for name in (AGENT, AGENT_ON_CONTROLLER):
        profile = f"/Users/{name}"
        if names.uid(name) is not None or host.stat(profile) is not None:
            where = "an account" if names.uid(name) is not None else f"a profile directory {profile}"
            return (
                f"in system-only mode the account {name} is not used and must not be there, and this host has {where} "
                "of it; remove the account with the vendor's means first"
            )
    return ""
