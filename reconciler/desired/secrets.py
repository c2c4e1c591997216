"""Secrets that the desired state names, read from where they are; no value ever stands in a message."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence

from ..core.secret import From, Secret
from ..errors import HostError
from ..formats.text import printable
from .documents import Document

SECONDS = 30
ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}


def reveal(documents: Iterable[Document]) -> None:
    """Read every secret of these documents; what cannot be read blocks its resource alone, with the reason."""
    known: dict[From, tuple[str | None, str]] = {}
    for secret in secrets(documents):
        if secret.from_ not in known:
            try:
                known[secret.from_] = (found(secret.from_), "")
            except HostError as error:
                known[secret.from_] = (None, str(error))
        secret.read(*known[secret.from_])


def conceal(documents: Iterable[Document]) -> None:
    """Read no secret of these documents: what they are is not known here, and compares as unknown."""
    for secret in secrets(documents):
        secret.read("(secret)")


def secrets(documents: Iterable[Document]) -> Iterator[Secret]:
    """Every secret that documents name."""
    for wished in (wished for document in documents for wished in document.resources):
        yield from wished.resource.secrets().values()


def found(place: From) -> str:
    """The value at a place, on the running host."""
    if place.file is not None:
        from ..host.files import FileObserver  # noqa: PLC0415 - start-up counts

        file = FileObserver("/").read(place.file)
        if file is None:
            raise HostError(f"{printable(place.file)}: no such file")
        return file.data.decode("utf-8", "surrogateescape")
    if place.env is not None:
        if place.env not in os.environ:
            raise HostError(f"the variable {place.env} is not set")
        return os.environ[place.env]
    assert place.command is not None
    return _told(place.command)


def _told(command: Sequence[str]) -> str:
    """What a command prints."""
    import subprocess  # noqa: PLC0415 - start-up counts

    name = printable(command[0])
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, env=ENVIRONMENT, timeout=SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise HostError(f"{name}: no answer within {SECONDS} seconds") from None
    except (OSError, ValueError):
        raise HostError(f"{name}: cannot be started") from None
    if done.returncode:
        raise HostError(f"{name}: exit code {done.returncode}; what it said is left out, since it may hold the secret")
    return done.stdout.decode("utf-8", "surrogateescape")
