"""Secrets taken out of what a host tells: files, values of the log, command lines.

In the place of a secret stands a digest keyed with the host's key: the same secret looks the same within one host's
snapshots, and nobody without the key can guess what it was.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from ..core.secret import SECRET_KEY, assigned, marked
from ..formats.ini import IniFile
from ..model import CONTENT, EXISTS, Address, Field, Json

UNITS = re.compile(r"^/(?:etc|run|lib|usr/lib|usr/local/lib)/systemd/")
ENVIRONMENT = re.compile(r"^(?:Environment|SetCredential|SetCredentialEncrypted)$")
HASHED = ("/etc/passwd", "/etc/shadow", "/etc/group", "/etc/gshadow")
Secrets = Mapping[str, frozenset[Field]]
"""By path: the keys of an ini file that are secret, or its content as a whole."""


class Redactor:
    """Takes secrets out, always in the same way."""

    def __init__(
        self,
        key: bytes,
        secrets: Secrets,
        clear: Iterable[str] = (),
        asked: Secrets | None = None,
        private: Iterable[str] = (),
    ) -> None:
        """``clear``: whole contents that the desired state has in clear, and that are no secret for that.

        ``asked``: by path, the keys that plans speak of; of ``private`` files no others are kept.
        """
        self._clear, self._asked, self._private = frozenset(clear), asked or {}, frozenset(private)
        self._key, self._secrets = hmac.new(key, b"snapshot", hashlib.sha256).digest(), secrets

    def word(self, text: str) -> str:
        """What stands in the place of a secret."""
        raw = text.encode("utf-8", "surrogateescape")
        return f"(redacted-{hmac.new(self._key, raw, hashlib.sha256).hexdigest()[:16]})"

    def password(self, text: str) -> str:
        """The password field of an account, with what says whether it is locked.

        >>> Redactor(b"", {}).password("!*"), Redactor(b"", {}).password("!$6$x")[:11]
        ('!*', '!(redacted-')
        """
        bare = text.lstrip("!")
        return text if bare in ("", "*", "x") else text[: len(text) - len(bare)] + self.word(bare)

    def file(self, path: str, data: bytes, *, private: bool = False) -> bytes | None:
        """The bytes of a file; None for one that is left out. ``private``: not everybody may read it."""
        text = data.decode("latin-1")
        if path in HASHED:
            lines = [line.split(":") for line in text.split("\n")]
            return "\n".join(
                ":".join([line[0], self.password(line[1]), *line[2:]]) if len(line) > 2 else ":".join(line)
                for line in lines
            ).encode("latin-1")
        known = self._secrets.get(path)
        if CONTENT in (known or ()) or "\0" in text:
            return self.whole(text).encode("latin-1")
        unit = bool(UNITS.match(path))
        if private and known is None and not unit:
            return None
        return self.lines(data, known or frozenset(), self._asked.get(path) if private and not unit else None)

    def whole(self, text: str) -> str:
        """A content that is a secret as a whole."""
        return text if text in self._clear or not text else self.word(text)

    def lines(self, data: bytes, secret: Iterable[Field] = (), asked: frozenset[Field] | None = None) -> bytes:
        """Lines as configuration files have them.

        ``secret``: section and key of what no name tells of; ``asked``: all that is kept of a private file.
        """
        if data.decode("latin-1") in self._clear:
            return data
        file = IniFile(data)
        lines = file.lines
        tainted = self._continued(lines)
        done = self._settings(file, lines, set(secret), asked)
        for number, line in enumerate(lines):
            if number not in done and line.strip():
                bare = line.rstrip("\r\n")
                kept = asked is None or bare.lstrip().startswith("[")
                lines[number] = (self.assigned(bare) if kept else f"# {self.word(bare)}") + line[len(bare) :]
        for number, told in tainted.items():
            lines[number] = told
        return "".join(lines).encode("utf-8", "surrogateescape")

    def _continued(self, lines: Sequence[str]) -> dict[int, str]:
        """The rest of a secret that goes on behind a backslash, by line."""
        tainted: dict[int, str] = {}
        for number, (before, line) in enumerate(pairwise(lines), 1):
            if before.rstrip("\r\n").endswith("\\") and (number - 1 in tainted or assigned(before) is not None):
                bare = line.rstrip("\r\n")
                tainted[number] = self.word(bare) + line[len(bare) :]
        return tainted

    def _settings(self, file: IniFile, lines: list[str], known: set[Field], asked: frozenset[Field] | None) -> set[int]:
        """Take secrets out of the lines with keys; answers which of the lines those are."""
        done: set[int] = set()
        starts = file.starts()
        for section, key in file.pairs():
            for line in file.find(section, key):
                name = (section, key)
                if SECRET_KEY.search(key) or name in known or (asked is not None and name not in asked):
                    value = self.whole(line.value)
                elif ENVIRONMENT.match(key) and assigned(line.raw) is not None:
                    value = self.word(line.value)
                else:
                    value = self.assigned(line.value)
                tail = line.tail.rstrip("\r\n")
                first = starts[id(line.part)] + line.start
                lines[first] = line.head + value + self.assigned(tail) + line.tail[len(tail) :]
                lines[first + 1 : first + line.count] = [""] * (line.count - 1)
                done |= set(range(first, first + line.count))
        return done

    def assigned(self, text: str) -> str:
        """A line or word with what is assigned to the name of a secret taken out."""

        at = assigned(text)
        return text if at is None or text.startswith("(redacted-", at) else text[:at] + self.word(text[at:])

    def words(self, args: Sequence[str]) -> list[str]:
        """A command line."""
        found: list[str] = []
        for before, word in zip(("", *args), args, strict=False):
            told = before.startswith("-") and "=" not in before and SECRET_KEY.search(before)
            found.append(self.whole(word) if told else self.assigned(word))
        return found

    def value(self, address: Address, field: Field, value: Json) -> Json:
        """A lossless value of the log."""
        if field == ("password",) and isinstance(value, str):
            return self.password(value)
        if field == EXISTS or not isinstance(value, dict | list | str):
            return value
        known = self._secrets.get(address.name, frozenset())
        hidden = marked(value) or (field == CONTENT and field in known)
        hidden = hidden or (len(field) == 2 and bool(SECRET_KEY.search(field[1]) or field in known))
        asked = self._asked.get(address.name) if address.name in self._private else None
        return self._inner(value, Told(known, field, hidden, asked), name="")

    def _inner(self, value: Json, told: Told, *, name: str) -> Json:
        if isinstance(value, dict):
            return {key: self._inner(part, told, name=key) for key, part in value.items()}
        if isinstance(value, list):
            return [self._inner(part, told, name=name) for part in value]
        if not isinstance(value, str):
            return value
        if name in ("whole", "data"):
            if told.hidden and name == "data":
                return self.whole(value)
            return self.lines(value.encode("latin-1"), told.known, told.asked).decode("latin-1")
        if told.hidden and name in ("value", "then"):
            return self.whole(value)
        if name in ("raw", "above"):
            # Such a line stands in no section here; what it is in the file is told.
            field = {("", told.field[-1])} if told.hidden else set()
            known = frozenset({*field, *(("", key[-1]) for key in told.known if len(key) == 2)})
            asked = None if told.asked is None else frozenset(("", key[-1]) for key in told.asked)
            raw = value.encode("utf-8", "surrogateescape")
            return self.lines(raw, known, asked).decode("utf-8", "surrogateescape")
        return self.assigned(value)


@dataclass(frozen=True)
class Told:
    """What is known of a value while it is gone through."""

    known: frozenset[Field]
    field: Field
    hidden: bool
    asked: frozenset[Field] | None
