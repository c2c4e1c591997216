"""Checkpoints as C2SP signed notes: the size and root of the log, signed with this host's Ed25519 key.

Formats: c2sp.org/signed-note, c2sp.org/tlog-checkpoint, c2sp.org/tlog-proof@v1.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass

from ..errors import LogError
from ..formats.text import printable

DASH = "\u2014"
ED25519 = b"\1"
PROOF = "c2sp.org/tlog-proof@v1"


@dataclass(frozen=True)
class Checkpoint:
    """What a note says: whose log, how many events, which root; further lines are kept as they are."""

    origin: str
    size: int
    root: bytes
    more: tuple[str, ...] = ()

    def text(self) -> str:
        """The text that is signed."""
        lines = [self.origin, str(self.size), base64.b64encode(self.root).decode(), *self.more]
        return "".join(f"{line}\n" for line in lines)

    @classmethod
    def parse(cls, text: str) -> Checkpoint:
        """Read a note's text; a `ValueError` where it is no checkpoint."""
        lines = text.split("\n")
        if len(lines) < 4 or lines[-1] or not all(lines[:-1]):
            raise ValueError("it is no checkpoint: origin, size and root are its first three lines")
        origin, size, root, *more = lines[:-1]
        if not size.isascii() or not size.isdecimal() or (size[0] == "0" and size != "0"):
            raise ValueError(f"{size!r} is no number of events")
        return cls(origin, int(size), _decoded(root, 32), tuple(more))


def _decoded(text: str, length: int | None = None) -> bytes:
    try:
        found = base64.b64decode(text, validate=True)
    except binascii.Error:
        raise ValueError(f"{text!r} is no base64") from None
    if length is not None and len(found) != length:
        raise ValueError(f"{text!r} is no hash of {length} bytes")
    return found


def key_id(name: str, public: bytes) -> bytes:
    """The four bytes by which a signature line names its key."""
    return hashlib.sha256(name.encode() + b"\n" + ED25519 + public).digest()[:4]


@dataclass(frozen=True)
class VerifierKey:
    """A public key with its name, written ``name+id+base64``."""

    name: str
    public: bytes

    def __str__(self) -> str:
        return f"{self.name}+{key_id(self.name, self.public).hex()}+{base64.b64encode(ED25519 + self.public).decode()}"

    @classmethod
    def parse(cls, text: str) -> VerifierKey:
        """Read a key; a `ValueError` where it is none."""
        name, _, rest = text.strip().partition("+")
        told, _, key = rest.partition("+")
        raw = _decoded(key)
        if not name or raw[:1] != ED25519 or len(raw) != 33 or key_id(name, raw[1:]).hex() != told:
            raise ValueError("it is no Ed25519 key of the form name+id+base64")
        return cls(name, raw[1:])

    def signed(self, note: str) -> str:
        """The text of a note that this key signed; a `ValueError` where it did not."""
        from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - start-up counts
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415

        text, gap, lines = note.rpartition("\n\n")
        if not gap:
            raise ValueError("it is no signed note")
        for name, raw in _signatures(lines):
            if name == self.name and raw[:4] == key_id(self.name, self.public):
                try:
                    Ed25519PublicKey.from_public_bytes(self.public).verify(raw[4:], (text + "\n").encode())
                except InvalidSignature:
                    raise ValueError(f"the signature of {self.name} does not fit; the text was changed") from None
                return text + "\n"
        raise ValueError(f"it is not signed by {self.name} with the key {key_id(self.name, self.public).hex()}")


def _signatures(lines: str) -> Iterator[tuple[str, bytes]]:
    for line in lines.splitlines():
        dash, _, rest = line.partition(" ")
        name, _, text = rest.partition(" ")
        if dash != DASH or not name:
            raise ValueError("a line below the text is no signature")
        yield name, _decoded(text)


class Signer:
    """The host's own key, beside the log; made when the first checkpoint is asked for."""

    def __init__(self, directory: str, stem: str) -> None:
        self.private = os.path.join(directory, f"{stem}.signing-key")
        self.public = os.path.join(directory, f"{stem}.verifier-key")

    def verifier(self) -> VerifierKey:
        """The public half; a `LogError` where there is none yet."""
        try:
            with open(self.public, encoding="ascii") as file:
                return VerifierKey.parse(file.read())
        except FileNotFoundError:
            raise LogError(
                f"{printable(self.public)}: there is no key yet; 'reconciler log checkpoint' makes it"
            ) from None
        except (OSError, ValueError) as error:
            raise LogError(f"{printable(self.public)}: {error}") from None

    def sign(self, checkpoint: Checkpoint) -> str:
        """The note; on the first call the key is made, readable by root alone."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415

        try:
            if not os.path.exists(self.private):
                fresh = Ed25519PrivateKey.generate()
                name = checkpoint.origin
                _keep(self.private, base64.b64encode(fresh.private_bytes_raw()) + b"\n", 0o600)
                _keep(self.public, f"{VerifierKey(name, fresh.public_key().public_bytes_raw())}\n".encode(), 0o644)
            with open(self.private, "rb") as file:
                key = Ed25519PrivateKey.from_private_bytes(base64.b64decode(file.read()))
        except (OSError, ValueError) as error:
            raise LogError(f"{printable(self.private)}: cannot be used: {error}") from None
        known = self.verifier()
        raw = key_id(known.name, known.public) + key.sign(checkpoint.text().encode())
        return f"{checkpoint.text()}\n{DASH} {known.name} {base64.b64encode(raw).decode()}\n"


def _keep(path: str, data: bytes, mode: int) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
    with os.fdopen(fd, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


@dataclass(frozen=True)
class Proof:
    """That one event is in the log that a checkpoint vouches for; complete in itself."""

    index: int
    entry: bytes
    hashes: tuple[bytes, ...]
    note: str

    def text(self) -> str:
        """The form that `log prove` writes; the event itself is its extra data."""
        lines = [PROOF, f"extra {base64.b64encode(self.entry).decode()}", f"index {self.index}"]
        lines += [base64.b64encode(digest).decode() for digest in self.hashes]
        return "".join(f"{line}\n" for line in lines) + "\n" + self.note

    @classmethod
    def parse(cls, text: str) -> Proof:
        """Read a proof; a `ValueError` where it is none."""
        head, _, note = text.partition("\n\n")
        lines = head.split("\n")
        if len(lines) < 3 or lines[0] != PROOF or lines[1][:6] != "extra " or lines[2][:6] != "index ":
            raise ValueError(f"it is no proof; its first line is {PROOF}")
        if not lines[2][6:].isascii() or not lines[2][6:].isdecimal():
            raise ValueError("its index is no number")
        hashes = tuple(_decoded(line, 32) for line in lines[3:])
        return cls(int(lines[2][6:]), _decoded(lines[1][6:]), hashes, note)
