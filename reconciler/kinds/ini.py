"""Keys of an ini file: each key is held by itself, and gives back its own bytes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, WrapValidator, field_validator, model_validator
from pydantic import Field as Described

from ..errors import HostError
from ..host.port import File as Bytes
from ..host.port import Host, Observer, Stat
from ..inifile import IniFile, shown, undone
from ..model import EXISTS, MARK, Absent, Address, Change, Field, Hidden, Json, Resource, Seen, State, Target
from ..modes import check_mode, odd_mode
from ..trees.images import Vault
from .base import SECRET, Conflict, Context, Effects, Kind, Prospect, Trial, empty_left, gone
from .file import (
    MODE,
    FileState,
    described,
    digest,
    entry,
    new_mode,
    owned,
    owned_values,
    put,
    returned_look,
    see,
    told_of,
)
from .secrets import ASSIGNED, LEFT_OUT, SECRET_KEY, Secret, either

PLAIN = {("owner",), ("group",), MODE}
Text = Annotated[str, Described(pattern=r"^[^\r\n\x00]*$")]


class IniState(FileState):
    """The whole file, and whether the case of its sections and keys counts."""

    fold: bool = False
    secrets: frozenset[tuple[str, str]] = frozenset()
    """Keys whose values are secret, whatever they are called."""
    made: tuple[tuple[str, bool], ...] = ()
    """Sections that we made, and whether with a blank line above: they go with the last key of ours in them."""


class Ini(Resource):
    """Keys that an ini file is to have, and keys that it is not to have."""

    kind = "ini"
    name: Annotated[str, Described(pattern=r"^/[^\x00]*[^/\x00]$", description="The absolute path.")]
    set: Annotated[
        dict[Text, dict[Text, Annotated[Text | Secret, WrapValidator(either)]]],
        Described(description='section: {key: value, or a secret}; section "" is what stands before any section.'),
    ] = {}
    unset: Annotated[dict[Text, tuple[Text, ...]], Described(description="section: [key].")] = {}
    ignore_case: Annotated[bool, Described(description="Whether Key and KEY are the same key.")] = False
    owner: Annotated[str | None, Described(description="The owner; not given: left as it is, root for a new file.")] = (
        None
    )
    group: Annotated[str | None, Described(description="The group, likewise.")] = None
    mode: Annotated[
        str | None, BeforeValidator(lambda v: check_mode(v) if isinstance(v, str) else v),
        Described(description="Octal or symbolic, likewise; 0644 for a new file."),
    ] = None  # fmt: skip

    def wishes(self, before: State) -> Mapping[Field, Json]:
        """The keys, and the owner, group and mode where they are named."""
        wanted: dict[Field, Json] = {EXISTS: True} if self.set or not isinstance(before, Absent) else {}
        wanted |= {(key,): value for key in ("owner", "group") if (value := getattr(self, key)) is not None}
        wanted |= new_mode(self.mode, wanted, before, secret=bool(self.secrets()))
        if self.ignore_case:
            wanted[("fold",)] = True
        for section, keys in self.set.items():
            for key, value in keys.items():
                wanted[(section, key)] = one_line(value.told()) if isinstance(value, Secret) else value
        for section, names in self.unset.items():
            wanted |= {(section, key): None for key in names}
        return wanted

    def secrets(self) -> Mapping[Field, Secret]:
        """The keys whose values are ones."""
        pairs = ((section, key, value) for section, keys in self.set.items() for key, value in keys.items())
        return {(section, key): value for section, key, value in pairs if isinstance(value, Secret)}

    def spoken(self) -> dict[tuple[str, ...], Any]:
        """Its keys; one that is not to be there contradicts one that is."""
        said = {path: value for path, value in super().spoken().items() if path[0] != "unset"}
        return said | {("set", section, key): None for section, keys in self.unset.items() for key in keys}

    def lints(self) -> list[tuple[str, str]]:
        """Modes that give too much away, and secrets in clear."""
        found = odd_mode("mode", self.mode)
        for section, keys in self.set.items():
            for key, value in keys.items():
                if isinstance(value, str) and value and SECRET_KEY.search(key):
                    found.append((f"[{section}] {key} stands here in clear", "write {secret: true, from: {file: …}}"))
        return found

    def requires(self) -> set[Address]:  # type: ignore[valid-type] # the field named set hides the type here only
        """Its owner and group."""
        return {Address(k, n) for k, n in (("account", self.owner), ("group", self.group)) if n}

    @field_validator("set", "unset")
    @classmethod
    def _writable(cls, value: dict[str, Any]) -> dict[str, Any]:
        for section, keys in value.items():
            if "]" in section or section != section.strip():
                raise ValueError(f"{section!r} cannot be the name of a section")
            for key in keys:
                if not key or key != key.strip() or key[0] in "#;[" or "=" in key or ":" in key:
                    raise ValueError(f"{key!r} cannot be the name of a key")
        return value

    @model_validator(mode="after")
    def _one_wish(self) -> Ini:
        fold = str.casefold if self.ignore_case else str
        asked = [(fold(s), fold(k)) for s, keys in self.set.items() for k in keys]
        asked += [(fold(s), fold(k)) for s, keys in self.unset.items() for k in keys]
        doubled = next((pair for pair in asked if asked.count(pair) > 1), None)
        if doubled:
            raise ValueError(f"[{doubled[0]}] {doubled[1]} is asked for twice; one file cannot have both")
        return self


class IniKind(Kind[IniState]):
    """Ini files, key by key."""

    name = "ini"
    verb = "write"
    rank = 41
    located = True
    state = IniState
    resource = Ini
    attributes: ClassVar[frozenset[str]] = frozenset({"owner", "group", "mode"})
    defaults: ClassVar[Mapping[Field, Json]] = {("owner",): "root", ("group",): "root", MODE: 0o644}

    def read(self, host: Observer, name: str) -> Seen:
        """The whole file."""
        found = see(host, name)
        if not isinstance(found, Bytes):
            return found
        IniFile(found.data)
        return IniState.model_validate(described(host, found))

    def write(self, host: Host, name: str, state: State) -> None:
        """Put the file in place as a whole, or remove it."""
        put(host, name, self.read(host, name), state, fold=False, secrets=frozenset())

    def fields(self, state: State) -> dict[Field, Json]:
        """What a file has beside its keys; the keys are those that somebody asks for."""
        if not isinstance(state, IniState):
            return {}
        mark = {"sha256": digest(state.data), "mtime": state.mtime_ns}
        return {EXISTS: True, MARK: mark, ("owner",): state.owner, ("group",): state.group, MODE: state.mode}

    def value(self, state: State, field: Field) -> Json:
        """A key with its raw lines, and the whole file that it stood in."""
        if len(field) != 2:
            return super().value(state, field)
        data, fold, mtime = (
            ("", False, None) if not isinstance(state, IniState) else (state.data, state.fold, state.mtime_ns)
        )
        found = IniFile(data.encode("latin-1"), fold=fold).get(*field)
        made = {} if not isinstance(state, IniState) else dict(state.made)
        if "absent" in found and field[0] in made:
            found["absent"] |= {"section": False, "blank": made[field[0]]}
        secret = {"secret": True} if isinstance(state, IniState) and field in state.secrets else {}
        return found | {"whole": data, "mtime": mtime, "fold": fold} | secret

    def see(self, host: Observer, name: str, told: Iterable[tuple[Field, Json]]) -> Seen:
        """With the keys that are told as secret kept so."""
        listed = list(told)
        return hiding(super().see(host, name, listed), listed)

    def look(self, host: Observer, target: Target, context: Context) -> Seen:
        """With the keys that were told, or are asked for, as secret kept so, and the sections that we made."""
        seen = hiding(super().look(host, target, context), told_of(target, SECRET))
        if not isinstance(seen, IniState):
            return seen
        absences = ((f[0], v["absent"]) for f, v in target.give_back.items() if len(f) == 2 and v and "absent" in v)
        made = {section: bool(around.get("blank", True)) for section, around in absences if not around["section"]}
        return seen.model_copy(update={"made": tuple(sorted(made.items()))})

    def display(self, field: Field, value: Json) -> Json:
        """A value that was told as secret is, whatever its key is called."""
        return SECRET if hidden(value) and self.show(field, value) is not None else super().display(field, value)

    def values(self, host: Observer, target: Target, seen: State, context: Context) -> dict[Field, Json]:
        """As for every kind, with owners as the host names them."""
        found = super().values(host, target, seen, context)
        for field, origin in target.give_back.items():
            # "Not there" is what was before us: what we made round the key goes with it.
            if (
                len(field) == 2
                and field in found
                and found[field] is None
                and isinstance(origin, dict)
                and "absent" in origin
            ):
                found[field] = origin
            elif isinstance(origin, dict) and "places" in origin and isinstance(found.get(field), str):
                # A key that we took out comes back to where it stood, and then gets its new value.
                now = self.value(seen, field)
                if "absent" in now:
                    found[field] = {**origin, "then": found[field]}
        if host.recorded:
            # Whether a secret is as it is to be, its host alone can tell.
            secret = target.wish.secrets() if target.wish is not None else {}
            for field in [f for f, wish in found.items() if len(f) == 2 and isinstance(wish, str)]:
                now = shown(self.value(seen, field))
                if now is not None and (field in secret or LEFT_OUT.search(str(now))):
                    del found[field]
        return (
            owned_values(host, target, seen, context, found)
            if EXISTS in found or not isinstance(seen, Absent)
            else found
        )

    def patch(self, state: State, values: Mapping[Field, Json]) -> State:
        """Keys to give back come first, then keys to set."""
        exists = values.get(EXISTS, not isinstance(state, Absent))
        if gone(exists):
            return Absent(around=exists["absent"]) if isinstance(exists, dict) else Absent()
        base = state if isinstance(state, IniState) else IniState()
        fold = bool(values.get(("fold",), base.fold)) or any(
            isinstance(v, dict) and v.get("fold") for v in values.values()
        )
        update: dict[str, Any] = {f[0]: v for f, v in values.items() if f in PLAIN}
        back = {(f[0], f[1]): v for f, v in values.items() if len(f) == 2 and isinstance(v, dict)}
        data, mtime = give_back(base, back, fold=fold)
        asked = {(f[0], f[1]): v for f, v in values.items() if len(f) == 2}
        wanted = {name: v for name, v in asked.items() if not isinstance(v, dict)}
        wanted |= {name: v["then"] for name, v in asked.items() if isinstance(v, dict) and "then" in v}
        edited = IniFile(data, fold=fold)
        for (section, key), value in wanted.items():
            if value is None:
                edited.unset(section, key)
            elif not agrees(edited, section, key, value):
                edited.set(section, key, value)
        if edited.render() != data:
            data, mtime = edited.render(), None
        mark = values.get(MARK)
        if mark and mark["sha256"] == digest(data.decode("latin-1")):
            mtime = mark["mtime"]
        update |= {"data": data.decode("latin-1"), "mtime_ns": mtime, "fold": fold}
        return base.model_copy(update=update | {"secrets": base.secrets | hidden_keys(values.items())})

    def aligned(self, state: State, values: Iterable[Json]) -> State:
        """Keys that were told without regard to case are looked up so."""
        if isinstance(state, IniState) and any(isinstance(v, dict) and v.get("fold") for v in values):
            return state.model_copy(update={"fold": True})
        return state

    def diff(self, before: State, after: State, asked: Iterable[Field] = ()) -> tuple[Change, ...]:
        """Differences in the keys that are asked for, and in owner, group and mode."""
        fold = isinstance(after, IniState) and after.fold
        if fold and isinstance(before, IniState):
            before = before.model_copy(update={"fold": True})
        return super().diff(before, after, [field for field in asked if field != ("fold",)])

    def show(self, field: Field, value: Json) -> Json:
        """The text of a key; octal modes."""
        if len(field) == 2:
            return shown(value)
        if field == MODE and isinstance(value, int):
            return f"{value:04o}"
        if field == MARK:
            return None if value is None else value["sha256"]
        return super().show(field, value)

    def returns(self, field: Field, origin: Json, *, made: bool) -> tuple[bool, Json]:
        """The mark always goes back: it only counts where the bytes are the old ones again."""
        return (True, origin) if field == MARK else super().returns(field, origin, made=made)

    def secret(self, field: Field) -> bool:
        """Keys whose names say so."""
        return len(field) == 2 and bool(SECRET_KEY.search(field[1]))

    def bulky(self, field: Field) -> bool:
        """A key's value holds the file it stood in, and the mark a digest of it."""
        return len(field) == 2 or field == MARK

    def needs(self, name: str, state: State) -> set[Address]:
        """Its owner and group."""
        if not isinstance(state, IniState):
            return set()
        return {Address("account", str(state.owner)), Address("group", str(state.group))}

    def edits(self, name: str) -> tuple[str, ...]:
        """The file itself."""
        return (name,)

    def keys(self, fields: Iterable[Field]) -> set[Field]:
        """Section and key."""
        return {field for field in fields if len(field) == 2}

    def recognises(self, host: Observer, path: str, there: Stat | None) -> bool:
        """By its name."""
        return path.endswith(".ini") and (there is None or there.type != "directory")

    def described(self, seen: IniState, trial: Trial) -> Iterator[tuple[str, Any]]:
        """Its keys, but for secrets; owner, group and mode."""
        file = IniFile(seen.data.encode("latin-1"))
        asked = trial.asked()
        for section, key in file.pairs() if asked is None else asked:
            value = shown(file.get(section, key))
            where = f"[{section}] {key}"
            if not seen.mode & 0o004 and asked is None:
                trial.remark(f"{where} is left out: not everybody may read the file; ask for it with --key")
            elif not isinstance(value, str):
                trial.remark(f"{where} is not there" if value is None else f"{where} stands there more than once")
            elif SECRET_KEY.search(key) or ASSIGNED.search(value) or trial.secret((section, key)):
                trial.remark(f"{where} is a secret; write {{secret: true, from: {{file: …}}}}")
            else:
                yield "set", {section: {key: value}}
        yield from owned(seen)

    def symptom(self, host: Observer, where: Mapping[str, str]) -> tuple[Address, Json] | None:
        """The value of a key, whatever its case."""
        if not {"file", "section", "key"} <= where.keys():
            return None
        file = host.read(where["file"])
        value = shown(IniFile(file.data, fold=True).get(where["section"], where["key"])) if file is not None else None
        return Address(self.name, where["file"]), value

    def effects(self, found: Prospect, state: State) -> Effects:
        """The file."""
        here = {found.target.address.name: entry(state)} if isinstance(state, FileState) else None
        return super().effects(found, state) if here is None else Effects(files=here)

    def foreseen(self, seen: State, name: str, context: Context) -> State:
        """With the owner, group and mode that a tree gives back to it first."""
        return returned_look(seen, name, context)

    def reached(self, host: Observer, name: str, changes: Sequence[Change], vault: Vault) -> str:
        """As for every kind; with a file that goes, so do the directories that were made for it."""
        problem = super().reached(host, name, changes, vault)
        return problem or empty_left(host, [c.after for c in changes if c.field == EXISTS and gone(c.after)])

    def foreign(self, host: Observer, prospect: Prospect, context: Context) -> list[Conflict]:
        """What others put into a file that we made would go with it."""
        if not isinstance(prospect.before, IniState) or not isinstance(prospect.after, Absent):
            return []
        rest = IniFile(prospect.before.data.encode("latin-1"))
        for field, value in prospect.target.give_back.items():
            if len(field) == 2 and isinstance(value, dict):
                rest.restore(field[0], field[1], value)
        left = [line.strip() for line in rest.lines if line.strip()]
        return [Conflict(prospect.target.address, ("content",), None, f"{len(left)} more lines")] if left else []


def hidden(value: Json) -> bool:
    """Whether a value was told as a secret, whatever its key is called."""
    return isinstance(value, Hidden) or (isinstance(value, dict) and bool(value.get("secret")))


def hidden_keys(told: Iterable[tuple[Field, Json]]) -> frozenset[tuple[str, str]]:
    """The keys that were told as secret."""
    return frozenset((f[0], f[1]) for f, v in told if len(f) == 2 and hidden(v))


def hiding(seen: Seen, told: Iterable[tuple[Field, Json]]) -> Seen:
    """A state with these keys secret that are told so."""
    if not isinstance(seen, IniState):
        return seen
    return seen.model_copy(update={"secrets": seen.secrets | hidden_keys(told)})


def one_line(value: Hidden) -> Hidden:
    """A secret as the value of a key: without the newline that its file ends with."""
    text = value.removesuffix("\n").removesuffix("\r")
    if any(char in text for char in "\r\n\0"):
        raise HostError("its secret has several lines, which the value of a key cannot have")
    return Hidden(text)


def agrees(file: IniFile, section: str, key: str, value: str) -> bool:
    """Whether a key has this value already, in every place where it stands."""
    found = file.find(section, key)
    return bool(found) and all(
        line.value == value or (line.value + line.tail).rstrip("\r\n") == value for line in found
    )


def give_back(base: IniState, back: Mapping[tuple[str, str], Json], *, fold: bool) -> tuple[bytes, int | None]:
    """The file's bytes with these keys as they were, and its time if that makes it the file it was."""
    data = base.data.encode("latin-1")
    if not back:
        return data, base.mtime_ns
    for value in {v["whole"]: v for v in back.values()}.values():
        then = undone(data, value["whole"].encode("latin-1"), back, fold=fold)
        if then is not None:
            return then, value["mtime"] if then != data else base.mtime_ns
    edited = IniFile(data, fold=fold)
    edited.restore_all(back)
    made = edited.render()
    known = next((v["mtime"] for v in back.values() if v["whole"].encode("latin-1") == made), None)
    return made, base.mtime_ns if made == data else known


KIND = IniKind()
