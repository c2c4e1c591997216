"""Keys of an ini file: each key is held by itself, and gives back its own bytes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace as with_
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, WrapValidator, field_validator, model_validator
from pydantic import Field as Described

from ..core.kind import SECRET, Conflict, Context, Proposal, Trial
from ..core.secret import LEFT_OUT, SECRET_KEY, Secret, assigned, either
from ..errors import HostError
from ..formats.dialects import DIALECTS, Dialect, guessed, other_by_name, other_language, reading
from ..formats.ini import IniFile, decoded, shown
from ..formats.modes import apply_mode, check_mode, odd_mode
from ..formats.readers import Placed, unread
from ..formats.text import printable
from ..host.port import Observer, Stat, Type
from ..model import EXISTS, MARK, Absent, Address, Field, Json, Resource, Seen, State, Target
from ._file import digest, new_mode, told_of
from ._ini import DIALECT, FOLD, STANDING, IniLens, IniState, hidden, hiding, one_line, parsed
from ._located import LocatedKind, asked_owners, ownership, owning

Text = Annotated[str, Described(pattern=r"^[^\r\n\x00]*$")]
Several = Annotated[tuple[Text, ...], Described(min_length=1)]


CLOSED = re.compile(r"\][ \t]*(?:[#;].*)?$")
"""The end of a header, which cannot be in the name of a section."""
OVERRIDE = "say dialect: ini (or another one) if it is a file of lines all the same"


class Ini(Resource):
    """Keys that an ini file is to have, and keys that it is not to have."""

    kind = "ini"
    name: Annotated[str, Described(pattern=r"^/[^\x00]*[^/\x00]$", description="The absolute path.")]
    set: Annotated[
        dict[Text, dict[Text, Annotated[Text | Several | Secret, WrapValidator(either)]]],
        Described(
            description='section: {key: value, a secret, or a list where the dialect repeats keys}; section "" is '
            "what stands before any section."
        ),
    ] = {}
    unset: Annotated[dict[Text, tuple[Text, ...]], Described(description="section: [key].")] = {}
    dialect: Annotated[
        Literal["ini", "configparser", "systemd", "git", "hg", "properties", "php", "mysql", "samba"] | None,
        Described(description="How the file's readers take it; not given: guessed from its name and its lines."),
    ] = None
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
        wanted |= asked_owners(self)
        wanted |= new_mode(self.mode, wanted, before, secret=bool(self.secrets()))
        if self.ignore_case:
            wanted[FOLD] = True
        if self.dialect:
            wanted[DIALECT] = self.dialect
        for section, keys in self.set.items():
            for key, value in keys.items():
                wanted[(section, key)] = _wish(value)
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
        if self.dialect is None and (language := other_by_name(self.name)):
            found.append((f"{self.name} is {language} by its name, and ini would break it", OVERRIDE))
        for section, keys in self.set.items():
            for key, value in keys.items():
                if not isinstance(value, Secret) and any(value) and SECRET_KEY.search(key):
                    found.append((f"[{section}] {key} stands here in clear", "write {secret: true, from: {file: …}}"))
        return found

    def unread(self) -> list[tuple[str, str]]:
        """By its name, and by the mode and owner that are named."""
        mode = apply_mode(self.mode, 0o644, directory=False) if self.mode else None
        return unread(Placed(self.name, mode, None, self.owner in (None, "root", "0")))

    def requires(self) -> set[Address]:  # type: ignore[valid-type] # the field named set hides the type here only
        """Its owner and group."""
        return owning(self.owner, self.group)

    @field_validator("set", "unset")
    @classmethod
    def _writable(cls, value: dict[str, Any]) -> dict[str, Any]:
        for section, keys in value.items():
            if section != section.strip() or CLOSED.search(section):
                raise ValueError(f"{section!r} cannot be the name of a section")
            for key in keys:
                if not key or key != key.strip() or key[0] in "#;[" or "=" in key:
                    raise ValueError(f"{key!r} cannot be the name of a key")
        return value

    @model_validator(mode="after")
    def _one_wish(self) -> Ini:
        fold = str.casefold if self.ignore_case else str
        asked = [(fold(s), fold(k)) for s, keys in self.set.items() for k in keys]
        asked += [(fold(s), fold(k)) for s, keys in self.unset.items() for k in keys]
        doubled = next((pair for pair, times in Counter(asked).items() if times > 1), None)
        if doubled:
            raise ValueError(f"[{doubled[0]}] {doubled[1]} is asked for twice; one file cannot have both")
        return self


def _wish(value: str | tuple[str, ...] | Secret) -> Json:
    """A value as states have it: a list of one is that one."""
    if isinstance(value, Secret):
        return one_line(value.told())
    return value if isinstance(value, str) else value[0] if len(value) == 1 else list(value)


class IniKind(IniLens):
    """Ini files, key by key."""

    name = "ini"
    elsewhere = ("ini_file", "inifile", "lineinfile")
    verb = "write"
    rank = 41
    replays = True
    resource = Ini
    examples: ClassVar[tuple[str, ...]] = (
        "{ini: PATH, set: {S: {k: v}}}",
        "{ini: PATH, set: {S: {k: w}, '': {top: '1'}}, owner: svc, mode: '0600'}",
        "{ini: PATH, dialect: systemd, set: {S: {k: [v, w], j: '#1'}}}",
    )

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

    def _dialect(self, target: Target, seen: State) -> Dialect:
        """The dialect that a target is worked out in: the one that is asked for, told, or guessed."""
        wish, told = target.wish, [*target.held.items(), *target.recorded.items(), *target.give_back.items()]
        known = (v["dialect"] for f, v in told if len(f) == 2 and isinstance(v, dict) and "dialect" in v)
        asked = getattr(wish, "dialect", None) or next(known, None)
        if asked in DIALECTS:
            return DIALECTS[asked]
        return guessed(target.address.name, _text(seen), [*getattr(wish, "set", ()), *getattr(wish, "unset", ())])

    def display(self, field: Field, value: Json) -> Json:
        """A value that was told as secret is, whatever its key is called."""
        return SECRET if hidden(value) and self.show(field, value) is not None else super().display(field, value)

    def _aided(self, values: dict[Field, Json], target: Target, seen: State) -> dict[Field, Json]:
        """Values with how the file is read and what it is worked out from; `HostError` where readers would misread."""
        dialect, fold = self._dialect(target, seen), bool(values.get(FOLD))
        if target.held:
            values = _as_held(values, target.held, reading(dialect, "=", fold=fold))
            told = [[*f, shown(value)] for f, value in target.held.items() if len(f) == 2]
            values[STANDING] = {"first": target.first or EMPTY, "held": told}
        elif target.left and target.give_back.get(MARK):
            values[STANDING] = {"first": target.give_back[MARK], "left": target.left}
        if target.wish is not None:
            if getattr(target.wish, "dialect", None) is None and not target.held:
                _one_of_ours(target.address.name, seen)
            _check(dialect, seen, values, fold=fold)
        return values | {DIALECT: dialect.name}

    def values(self, host: Observer, target: Target, seen: State, context: Context) -> dict[Field, Json]:
        """As for every kind, with owners as the host names them, and with what the file is worked out from."""
        found = self._aided(super(LocatedKind, self).values(host, target, seen, context), target, seen)
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
            elif isinstance(origin, dict) and "places" in origin and isinstance(found.get(field), (str, list)):
                # A key that we took out comes back to where it stood, and then gets its new value.
                now = self.value(seen, field)
                if "absent" in now:
                    found[field] = {**origin, "then": found[field]}
        if host.recorded:
            # Whether a secret is as it is to be, its host alone can tell.
            secret = target.wish.secrets() if target.wish is not None else {}
            for field in [f for f, wish in found.items() if len(f) == 2 and isinstance(wish, (str, list))]:
                now = shown(self.value(seen, field))
                if now is not None and (field in secret or LEFT_OUT.search(str(now))):
                    del found[field]
        stays = EXISTS in found or not isinstance(seen, Absent)
        return self.owned(host, target, seen, context, found) if stays else found

    def prospect(self, host: Observer, target: Target, context: Context) -> Proposal:
        """With the dialect in which it was worked out, and whether that can come back to the byte."""
        found = super().prospect(host, target, context)
        if not found.steps or not isinstance(found.after, IniState):
            return found
        facts = {**found.facts, "dialect": found.after.dialect}
        return with_(found, facts=facts, reversible="semantic" if found.after.inexact else found.reversible)

    def given_back(self, field: Field, origin: Json, *, made: bool) -> tuple[bool, Json]:
        """The mark always goes back: it only counts where the bytes are the old ones again."""
        return (True, origin) if field == MARK else super().given_back(field, origin, made=made)

    def secret(self, field: Field) -> bool:
        """Keys whose names say so."""
        return len(field) == 2 and bool(SECRET_KEY.search(field[1]))

    def stored_aside(self, field: Field) -> bool:
        """A key may be a secret, and the mark holds the whole file."""
        return len(field) == 2 or field == MARK

    def keys(self, fields: Iterable[Field]) -> set[Field]:
        """Section and key."""
        return {field for field in fields if len(field) == 2}

    def recognises(self, host: Observer, path: str, there: Stat | None) -> bool:
        """By its name."""
        return path.endswith(".ini") and (there is None or there.type != Type.DIRECTORY)

    def described(self, seen: IniState, trial: Trial) -> Iterator[tuple[str, Any]]:
        """Its keys, but for secrets; owner, group and mode."""
        file = seen.file
        asked = trial.asked()
        for section, key in file.pairs() if asked is None else asked:
            value = shown(file.get(section, key))
            where = f"[{section}] {key}"
            if not seen.mode & 0o004 and asked is None:
                trial.remark(f"{where} is left out: not everybody may read the file; ask for it with --key")
            elif isinstance(value, list) and file.dialect.repeats:
                yield "set", {section: {key: value}}
            elif not isinstance(value, str):
                trial.remark(f"{where} is not there" if value is None else f"{where} stands there more than once")
            elif SECRET_KEY.search(key) or assigned(value) is not None or trial.secret((section, key)):
                trial.remark(f"{where} is a secret; write {{secret: true, from: {{file: …}}}}")
            else:
                yield "set", {section: {key: value}}
        yield from ownership(seen)

    def symptom(self, host: Observer, where: Mapping[str, str]) -> tuple[Address, Json] | None:
        """The value of a key, whatever its case."""
        if not {"file", "section", "key"} <= where.keys():
            return None
        file = host.read(where["file"])
        value = shown(IniFile(file.data, fold=True).get(where["section"], where["key"])) if file is not None else None
        return Address(self.name, where["file"]), value

    def extra_conflicts(self, host: Observer, prospect: Proposal, context: Context) -> list[Conflict]:
        """What others put into a file that we made would go with it."""
        if not isinstance(prospect.before, IniState) or not isinstance(prospect.after, Absent):
            return []
        rest = prospect.before.opened()
        back = prospect.target.give_back.items()
        rest.restore_all({(f[0], f[1]): value for f, value in back if len(f) == 2 and isinstance(value, dict)})
        left = [line.strip() for line in rest.lines if line.strip()]
        return [Conflict(prospect.target.address, ("content",), None, f"{len(left)} more lines")] if left else []


EMPTY = {"sha256": digest(""), "mtime": None, "whole": ""}
"""What a file that we made was before."""


def _as_held(values: Mapping[Field, Json], held: Iterable[Field], dialect: Dialect) -> dict[Field, Json]:
    """Values whose keys are called as they are held: a dialect may take two spellings for one name."""

    def same(field: Field) -> Field:
        return (dialect.fold_section(field[0]), dialect.fold(field[1])) if len(field) == 2 else field

    known = {same(field): field for field in held}
    back = {known.get(same(f), f): v for f, v in values.items() if isinstance(v, dict)}
    return back | {known.get(same(f), f): v for f, v in values.items() if not isinstance(v, dict)}


def _one_of_ours(path: str, seen: State) -> None:
    """Raise `HostError` where the file is in a language that edits of lines would break."""
    if language := other_language(path, _text(seen)):
        raise HostError(f"{printable(path)} is {language} by its name or its lines, and ini would break it; {OVERRIDE}")


def _text(seen: State) -> str:
    return decoded(seen.data.encode("latin-1"))[0] if isinstance(seen, IniState) else ""


def _check(dialect: Dialect, seen: State, values: Mapping[Field, Json], *, fold: bool) -> None:
    """Raise `HostError` where the readers of a file would take what is asked for as something else."""
    file = parsed(seen.data if isinstance(seen, IniState) else "", fold, dialect.name)
    for (section, key), value in ((f, v) for f, v in values.items() if len(f) == 2):
        wanted = [value] if isinstance(value, str) else value if isinstance(value, list) else []
        known = bool(file.find(section, key))
        reasons = [why for text in wanted if (why := dialect.unreadable(text))]
        if section and not dialect.sections:
            reasons.append("has a section, and these files have none")
        elif ":" in key and ":" in file.dialect.delimiters and not known:
            reasons.append("has a colon in its name, and this file ends names with colons")
        elif len(wanted) > 1 and not dialect.repeats:
            reasons.append("is a list, and readers take one value")
        if reasons and not (known and file.agrees(section, key, value)):
            where = f"[{printable(section)}] {printable(key)}"
            raise HostError(f"{where} {reasons[0]} (dialect {dialect.name}; say another one if that is wrong)")


KIND = IniKind()
