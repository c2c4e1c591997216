"""Values that the desired state names and does not hold: read when a host is looked at, and shown to nobody."""

from __future__ import annotations

import re
import shlex
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    PrivateAttr,
    ValidationError,
    ValidatorFunctionWrapHandler,
    field_validator,
    model_validator,
)
from pydantic import Field as Described

from ..errors import HostError
from ..model import Hidden, Json

SECRET_KEY = re.compile(r"passw|secret|token", re.IGNORECASE)
"""What in the name of a key says that its value is a secret."""
WORD, GIVEN, NEXT = re.compile(r"[\w.-]+"), re.compile(r"[\"']?\s*[=:]\s*(?=\S)"), re.compile(r"[ \t]+(?=\S)")
LEFT_OUT = re.compile(r"\(redacted-[0-9a-f]{16}\)")
"""What stands in a snapshot in the place of a secret."""


def assigned(text: str) -> int | None:
    """Where what is assigned to the name of a secret begins; all that follows is taken for it.

    ``NAME=VALUE`` or ``--NAME VALUE`` anywhere, where the name says that it is a secret.

    >>> [assigned(text) for text in ("a token=x", "--token x", "-a token", "token:", "x")]
    [8, 8, None, None, None]
    """
    for word in WORD.finditer(text):
        if SECRET_KEY.search(word[0]):
            option = word[0].startswith("-") and (not word.start() or text[word.start() - 1].isspace())
            found = GIVEN.match(text, word.end()) or (NEXT.match(text, word.end()) if option else None)
            if found is not None:
                return found.end()
    return None


def words(value: Any) -> Any:
    """A command as an argument list; a line is split without a shell."""
    if isinstance(value, str):
        try:
            found = tuple(shlex.split(value))
            if not found:
                raise ValueError("it is empty")
            return found
        except ValueError as error:
            raise ValueError(f"cannot be split into words: {error}") from None
    return value


class From(BaseModel):
    """Where a secret is read; one of the three."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    file: Annotated[str | None, Described(pattern=r"^/[^\x00]+$", description="A file of the running host.")] = None
    env: Annotated[str | None, Described(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", description="A variable.")] = None
    command: Annotated[
        tuple[str, ...] | None, BeforeValidator(words), Described(description="A program that prints it.")
    ] = None  # fmt: skip

    @model_validator(mode="after")
    def _one(self) -> From:
        if sum(value is not None for value in (self.file, self.env, self.command)) != 1 or self.command == ():
            raise ValueError("'from' names one of file, env and command")
        return self


class Secret(BaseModel):
    """A secret in place of a value."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    secret: bool
    from_: Annotated[From, Described(alias="from")]
    _value: Hidden | None = PrivateAttr(None)
    _problem: str = PrivateAttr("nobody asked for it")

    @field_validator("secret")
    @classmethod
    def _meant(cls, value: bool) -> bool:
        if not value:
            raise ValueError("write 'secret: true', or the value itself")
        return value

    def read(self, value: str | None, problem: str = "") -> None:
        """Keep what was found at its place, or why nothing was."""
        self._value, self._problem = None if value is None else Hidden(value), problem

    @property
    def seen(self) -> tuple[Hidden | None, str]:
        """What was read, or why nothing was."""
        return self._value, self._problem

    def told(self) -> Hidden:
        """The value; `HostError` where it was not read."""
        if self._value is None:
            raise HostError(f"its secret cannot be read: {self._problem}")
        return self._value


def marked(value: Json) -> bool:
    """Whether a lossless value of the log says itself that it is shown to nobody."""
    return isinstance(value, dict) and bool(value.get("secret") or value.get("private"))


def either(value: Any, meant: ValidatorFunctionWrapHandler) -> Any:
    """A secret where one is meant, else the text; a mistake is told of that one alone."""
    if isinstance(value, dict) and value.keys() & {"secret", "from"}:
        return Secret.model_validate(value)
    try:
        return meant(value)
    except ValidationError as error:
        first = error.errors()[0]
        told: Any = {"type": first["type"], "input": first["input"], "ctx": first.get("ctx", {})}
        raise ValidationError.from_exception_data("text", [told]) from None
