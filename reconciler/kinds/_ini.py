"""An ini file as a whole, seen key by key."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from ..core.kind import absence
from ..errors import HostError
from ..formats.dialects import DIALECTS, INI, guessed
from ..formats.ini import IniFile, decoded, shown
from ..formats.replay import Keys, Name, replayed
from ..host.port import File as Bytes
from ..host.port import Host, Observer
from ..model import EXISTS, MARK, Absent, Change, Field, Hidden, Json, Seen, State
from ._file import FileState, WholeFile, described, digest, put, see
from ._located import MODE

PLAIN = {("owner",), ("group",), MODE}
FOLD: Field = ("fold",)
DIALECT: Field = ("dialect",)
STANDING: Field = ("standing",)
"""What else decides how a file is read and worked out: values of a target, never held and never seen."""
AIDS = {FOLD, DIALECT, STANDING}


class IniState(FileState):
    """The whole file, and how it is read."""

    fold: bool = False
    """Whether the case of its sections and keys does not count."""
    dialect: str = INI.name
    secrets: frozenset[tuple[str, str]] = frozenset()
    """Keys whose values are secret, whatever they are called."""
    made: tuple[tuple[str, bool], ...] = ()
    """Sections that we made, and whether with a blank line above: they go with the last key of ours in them."""
    inexact: bool = False
    """Whether this could not be worked out from what stood there first, so that no later undo is sure to be exact."""

    @property
    def file(self) -> IniFile:
        """Its lines, to be read and not changed."""
        return parsed(self.data, self.fold, self.dialect)

    def opened(self) -> IniFile:
        """Its lines, to be changed."""
        return IniFile(self.data.encode("latin-1"), fold=self.fold, dialect=DIALECTS[self.dialect])


class IniLens(WholeFile[IniState]):
    """Reads and writes the file as a whole, and tells and sets its keys."""

    state = IniState

    def read(self, host: Observer, name: str) -> Seen:
        """The whole file."""
        found = see(host, name)
        if not isinstance(found, Bytes):
            return found
        text, _, _ = decoded(found.data)
        return IniState.model_validate(described(host, found) | {"dialect": guessed(name, text).name})

    def write(self, host: Host, name: str, state: State) -> None:
        """Put the file in place as a whole, or remove it."""
        seen, aids = self.read(host, name), IniState.model_fields.keys() - FileState.model_fields.keys()
        usual = {aid: getattr(seen, aid) for aid in aids} if isinstance(seen, IniState) else {}
        put(host, name, seen, state, **usual)

    def fields(self, state: State) -> dict[Field, Json]:
        """What a file has beside its keys; the keys are those that somebody asks for."""
        if not isinstance(state, IniState):
            return {}
        mark = {"sha256": digest(state.data), "mtime": state.mtime_ns, "whole": state.data}
        return {EXISTS: True, MARK: mark, ("owner",): state.owner, ("group",): state.group, MODE: state.mode}

    def value(self, state: State, field: Field) -> Json:
        """A key with its raw lines, and how it was looked for."""
        if len(field) != 2:
            return super().value(state, field)
        base = state if isinstance(state, IniState) else IniState()
        found = base.file.get(*field)
        made = dict(base.made)
        if "absent" in found and field[0] in made:
            found["absent"] |= {"section": False, "blank": made[field[0]]}
        secret = {"secret": True} if field in base.secrets else {}
        return found | {"fold": base.fold, "dialect": base.dialect} | secret

    def patch(self, state: State, values: Mapping[Field, Json]) -> State:
        """Keys to give back come first, then keys to set."""
        if (absent := absence(state, values)) is not None:
            return absent
        base = state if isinstance(state, IniState) else IniState()
        told = [v for v in values.values() if isinstance(v, dict)]
        fold = bool(values.get(FOLD, base.fold)) or any(v.get("fold") for v in told)
        dialect = values.get(DIALECT) or next((v["dialect"] for v in told if "dialect" in v), base.dialect)
        base = base.model_copy(update={"fold": fold, "dialect": dialect})
        back = {(f[0], f[1]): v for f, v in values.items() if len(f) == 2 and isinstance(v, dict)}
        asked = {(f[0], f[1]): v for f, v in values.items() if len(f) == 2}
        wanted = {name: v for name, v in asked.items() if name not in back}
        wanted |= {name: v["then"] for name, v in back.items() if "then" in v}
        mark = values.get(MARK)
        standing = values.get(STANDING) or {"first": mark}
        first, mark = (_with_bytes(v, back) for v in (standing["first"], mark))
        data, inexact = base.data, base.inexact
        if isinstance(state, Absent) and mark and "whole" in mark:
            data = edited(base.model_copy(update={"data": mark["whole"]}), wanted)
        else:
            known = isinstance(state, IniState) and first and "whole" in first
            replay = worked_out(base, first["whole"], standing, back, wanted) if known else None
            data = replay if replay is not None else given_back(base, back, wanted)
            inexact = replay is None and bool(back or standing.get("held")) and data != base.data
        mtimes = {m["whole"]: m["mtime"] for m in (first, mark) if m and "whole" in m}
        mtime = base.mtime_ns if data == base.data else mtimes.get(data)
        if mark and mark["sha256"] == digest(data):
            mtime = mark["mtime"]
        inexact = inexact and data not in mtimes
        plain = {f[0]: v for f, v in values.items() if f in PLAIN}
        secrets = base.secrets | hidden_keys(values.items())
        update = plain | {"data": data, "mtime_ns": mtime, "inexact": inexact, "secrets": secrets}
        return base.model_copy(update=update)

    def aligned(self, state: State, values: Iterable[Json]) -> State:
        """Keys are looked up as they were told."""
        if not isinstance(state, IniState):
            return state
        told = [v for v in values if isinstance(v, dict)]
        update: dict[str, Any] = {"fold": True} if any(v.get("fold") for v in told) else {}
        dialect = next((v["dialect"] for v in told if "dialect" in v), state.dialect)
        return state.model_copy(update=update | {"dialect": dialect})

    def diff(self, before: State, after: State, asked: Iterable[Field] = ()) -> tuple[Change, ...]:
        """Differences in the keys that are asked for, and in owner, group and mode."""
        if isinstance(before, IniState) and isinstance(after, IniState):
            before = before.model_copy(update={"fold": after.fold, "dialect": after.dialect})
        return super().diff(before, after, [field for field in asked if field not in AIDS])

    def show(self, field: Field, value: Json) -> Json:
        """The text of a key; octal modes."""
        if len(field) == 2:
            return shown(value)
        if field == MARK:
            return None if value is None else value["sha256"]
        return super().show(field, value)


@lru_cache(maxsize=4)
def parsed(data: str, fold: bool, dialect: str) -> IniFile:
    """A file to be read and not changed, as its keys are asked for one by one."""
    return IniFile(data.encode("latin-1"), fold=fold, dialect=DIALECTS.get(dialect, INI))


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


def edited(base: IniState, wanted: Keys) -> str:
    """A file's bytes with these keys set, or taken out."""
    file = base.opened()
    for name, value in wanted.items():
        file.put(*name, value)
    return file.render().decode("latin-1")


def given_back(base: IniState, back: Mapping[Name, Json], wanted: Keys) -> str:
    """A file's bytes with some keys as they were, line by line, and others set."""
    if not back:
        return edited(base, wanted)
    file = base.opened()
    file.restore_all(back)
    return edited(base.model_copy(update={"data": file.render().decode("latin-1")}), wanted)


def worked_out(base: IniState, first: str, standing: Json, back: Mapping[Name, Json], wanted: Keys) -> str | None:
    """A file's bytes worked out from those of another moment; None where that does not show what stands.

    ``standing``: ``held``, the keys that were set since then; or ``left``, the file as a whole as we left it; with
    neither, all that is given back is what was changed since.
    """
    was, told = parsed(first, base.fold, base.dialect), {(s, k): v for s, k, v in standing.get("held", ())}
    held = told | {name: base.file.text(*name) for name in back if name not in told}
    # A key of somebody else's, or one that is left alone, stays as it stands.
    coming = {name: base.file.text(*name) for name in held if name not in back or name in wanted}
    coming |= {name: value for name, v in back.items() if (value := shown(v)) != was.text(*name)} | {**wanted}
    if not was.dialect.repeats and any(isinstance(value, list) for value in (*held.values(), *coming.values())):
        return None
    left = (standing.get("left") or {}).get("whole")
    found = replayed(
        first.encode("latin-1"), base.data.encode("latin-1"), None if left is None else left.encode("latin-1"),
        held, coming, fold=base.fold, dialect=DIALECTS[base.dialect],
    )  # fmt: skip
    return None if found is None else found.decode("latin-1")


def _with_bytes(mark: Json, back: Mapping[Name, Json]) -> Json:
    """A file as a whole, with its bytes where a key still tells of them, as logs before 0.2 have it."""
    if mark and "whole" not in mark:
        wholes = (v["whole"] for v in back.values() if "whole" in v)
        return next(({**mark, "whole": whole} for whole in wholes if digest(whole) == mark["sha256"]), mark)
    return mark
