"""Secrets taken out of what a host tells: files, values of the log, command lines.

In the place of a secret stands a digest keyed with the host's key: the same secret looks the same within one host's
snapshots, and nobody without the key can guess what it was.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping, Sequence

from .inifile import IniFile
from .kinds.ini import SECRET_KEY
from .model import EXISTS, Address, Field, Json

NAMED = r"[\w.-]*(?:passw|secret|token)[\w.-]*"
ASSIGNED = re.compile(rf"(?i)({NAMED}\s*[=:]\s*|(?<!\S)-{NAMED}[ \t]+)(\"[^\"\n]*\"|'[^'\n]*'|[^\s\"']+)")
"""NAME=VALUE or --NAME VALUE anywhere in a line, where the name says that the value is a secret."""
HASHED = ("/etc/passwd", "/etc/shadow", "/etc/group", "/etc/gshadow")
CONTENT: Field = ("content",)
Secrets = Mapping[str, frozenset[Field]]
"""By path: the keys of an ini file that are secret, or its content as a whole."""


class Redactor:
    """Takes secrets out, always in the same way."""

    def __init__(self, key: bytes, secrets: Secrets, clear: Iterable[str] = ()) -> None:
        """``clear``: whole contents that the desired state has in clear, and that are no secret for that."""
        self._clear = frozenset(clear)
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

    def file(self, path: str, data: bytes) -> bytes:
        """The bytes of a file."""
        text = data.decode("latin-1")
        if path in HASHED:
            lines = [line.split(":") for line in text.split("\n")]
            return "\n".join(
                ":".join([line[0], self.password(line[1]), *line[2:]]) if len(line) > 2 else ":".join(line)
                for line in lines
            ).encode("latin-1")
        if CONTENT in self._secrets.get(path, ()) or "\0" in text:
            return self.whole(text).encode("latin-1")
        return self.text(text, self._secrets.get(path, frozenset())).encode("latin-1")

    def whole(self, text: str) -> str:
        """A content that is a secret as a whole."""
        return text if text in self._clear or not text else self.word(text)

    def text(self, text: str, secret: Iterable[Field] = ()) -> str:
        """Lines as configuration files have them; ``secret``: section and key of what no name tells of."""
        if text in self._clear:
            return text
        file, known = IniFile(text.encode("latin-1", "replace")), set(secret)
        for section, key in file.pairs():
            if SECRET_KEY.search(key) or (section, key) in known:
                for line in reversed(file.find(section, key)):
                    if line.value:
                        file.lines[line.start : line.start + line.count] = [
                            line.head + self.word(line.value) + line.tail
                        ]
        return "".join(map(self.assigned, file.lines))

    def assigned(self, text: str) -> str:
        """A line or word with what is assigned to the name of a secret taken out."""

        def one(match: re.Match[str]) -> str:
            value = match[2]
            return match[0] if value.startswith("(redacted-") else match[1] + self.word(value)

        return ASSIGNED.sub(one, text)

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
        hidden = isinstance(value, dict) and bool(value.get("secret") or value.get("private"))
        hidden = hidden or (field == CONTENT and field in known)
        hidden = hidden or (len(field) == 2 and bool(SECRET_KEY.search(field[1]) or field in known))
        whole = (
            known
            | {("", name[-1]) for name in known}
            | ({("", field[1]), field} if hidden and len(field) == 2 else set())
        )
        return self._inner(value, frozenset(whole), hidden=hidden, name="")

    def _inner(self, value: Json, known: frozenset[Field], *, hidden: bool, name: str) -> Json:
        if isinstance(value, dict):
            return {key: self._inner(part, known, hidden=hidden, name=key) for key, part in value.items()}
        if isinstance(value, list):
            return [self._inner(part, known, hidden=hidden, name=name) for part in value]
        if not isinstance(value, str):
            return value
        if hidden and name in ("value", "then", "data"):
            return self.whole(value)
        return self.text(value, known) if name in ("raw", "whole", "data", "above") else self.assigned(value)
