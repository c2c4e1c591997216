"""An ini file as a whole, seen key by key."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from ..core.kind import absence
from ..errors import HostError
from ..formats.ini import IniFile, shown, undone
from ..host.port import File as Bytes
from ..host.port import Host, Observer
from ..model import EXISTS, MARK, Absent, Change, Field, Hidden, Json, Seen, State
from ._file import FileState, WholeFile, described, digest, put, see
from ._located import MODE

PLAIN = {("owner",), ("group",), MODE}


class IniState(FileState):
    """The whole file, and whether the case of its sections and keys counts."""

    fold: bool = False
    secrets: frozenset[tuple[str, str]] = frozenset()
    """Keys whose values are secret, whatever they are called."""
    made: tuple[tuple[str, bool], ...] = ()
    """Sections that we made, and whether with a blank line above: they go with the last key of ours in them."""


class IniLens(WholeFile[IniState]):
    """Reads and writes the file as a whole, and tells and sets its keys."""

    state = IniState

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
        found = parsed(data, fold).get(*field)
        made = {} if not isinstance(state, IniState) else dict(state.made)
        if "absent" in found and field[0] in made:
            found["absent"] |= {"section": False, "blank": made[field[0]]}
        secret = {"secret": True} if isinstance(state, IniState) and field in state.secrets else {}
        return found | {"whole": data, "mtime": mtime, "fold": fold} | secret

    def patch(self, state: State, values: Mapping[Field, Json]) -> State:
        """Keys to give back come first, then keys to set."""
        if (absent := absence(state, values)) is not None:
            return absent
        base = state if isinstance(state, IniState) else IniState()
        fold = bool(values.get(("fold",), base.fold)) or any(
            isinstance(v, dict) and v.get("fold") for v in values.values()
        )
        update: dict[str, Any] = {f[0]: v for f, v in values.items() if f in PLAIN}
        back = {(f[0], f[1]): v for f, v in values.items() if len(f) == 2 and isinstance(v, dict)}
        mark = values.get(MARK)
        data, mtime = give_back(base, back, fold=fold)
        if isinstance(state, Absent) and mark:
            # A file that comes back as a whole is the one that went, where one of its keys still tells of that.
            wholes = (v["whole"] for v in back.values())
            data = next((w.encode("latin-1") for w in wholes if digest(w) == mark["sha256"]), data)
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
        if field == MARK:
            return None if value is None else value["sha256"]
        return super().show(field, value)


@lru_cache(maxsize=4)
def parsed(data: str, fold: bool) -> IniFile:
    """A file to be read and not changed, as its keys are asked for one by one."""
    return IniFile(data.encode("latin-1"), fold=fold)


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
