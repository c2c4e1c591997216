"""Before-images beside the log: compressed, named by a keyed digest, sealed with the host's key.

The key never leaves the host, so that a copied event file says nothing of what a file or a password was.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import BinaryIO

from ..core.events import canonical
from ..errors import LogError
from ..formats.text import printable
from ..model import Json
from .durable import sync

SEALED = b"RCS1"
STREAM = b"RCZ1"
FRAMES = b"RCZ2"
CHUNK = 1 << 16
LONGEST = 1 << 30
"""No frame is nearly as long, in bytes: what claims to be was changed."""


REMEMBERED = 16 << 20
"""How much of what was unsealed is kept at hand, in bytes."""
LONG = 256
"""From how many characters on a text that occurs again is kept once."""


def packed(boxes: Sequence[Json]) -> Json:
    """Values with long texts that occur in several places kept once; undone by `unpacked`."""
    seen: dict[str, int] = {}
    plain = True

    def count(value: Json) -> None:
        nonlocal plain
        if isinstance(value, str):
            if len(value) >= LONG:
                seen[value] = seen.get(value, 0) + 1
        elif isinstance(value, dict):
            plain = plain and "$text" not in value
            for part in value.values():
                count(part)
        elif isinstance(value, (list, tuple)):
            for part in value:
                count(part)

    def shared(value: Json) -> Json:
        if isinstance(value, str):
            return {"$text": places[value]} if value in places else value
        if isinstance(value, dict):
            return {key: shared(part) for key, part in value.items()}
        return [shared(part) for part in value] if isinstance(value, (list, tuple)) else value

    count(boxes)
    texts = [text for text, times in seen.items() if times > 1] if plain else []
    places = {text: index for index, text in enumerate(texts)}
    return {"boxes": shared(boxes) if places else boxes, "texts": texts}


def unpacked(told: Json) -> Json:
    """What `packed` was given; what version 0.1 sealed is as it is.

    >>> long = "x" * 300
    >>> unpacked(packed([[long, {"a": long}]])) == [[long, {"a": long}]]
    True
    """
    if not (isinstance(told, dict) and "boxes" in told):
        return told
    texts = told["texts"]

    def whole(value: Json) -> Json:
        if isinstance(value, dict):
            return texts[value["$text"]] if "$text" in value else {key: whole(part) for key, part in value.items()}
        return [whole(part) for part in value] if isinstance(value, list) else value

    return whole(told["boxes"]) if texts else told["boxes"]


class Vault:
    """The blobs of one log.  Made on the first write; reading makes nothing."""

    def __init__(self, directory: str) -> None:
        self.blobs = os.path.join(directory, "blobs")
        self._key_file = os.path.join(directory, "key")
        self._key: bytes | None = None
        self._open: dict[str, tuple[Json, int]] = {}
        """What was unsealed last, with its length."""

    def key(self, *, make: bool = False) -> bytes | None:
        """The host's key; None where there is none yet."""
        if self._key is None:
            with suppress(FileNotFoundError), open(self._key_file, "rb") as file:
                self._key = file.read()
            if self._key is None and make:
                os.makedirs(self.blobs, mode=0o700, exist_ok=True)
                self._key = os.urandom(32)
                self._write(self._key_file, [self._key])
        return self._key

    def seal(self, boxes: Sequence[Json]) -> str:
        """Keep values together, encrypted, in one blob; answers its name."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 - start-up counts

        key = self.key(make=True)
        assert key is not None
        plain = canonical(packed(boxes)).encode()
        name = hmac.new(key, plain, hashlib.sha256).hexdigest()[:40]
        path = os.path.join(self.blobs, name)
        if not os.path.exists(path):
            nonce = os.urandom(12)
            sealing = hmac.new(key, b"sealing", hashlib.sha256).digest()
            box = AESGCM(sealing).encrypt(nonce, zlib.compress(plain), name.encode())
            self._write(path, [SEALED, nonce, box])
        return name

    def unseal(self, name: str, part: int | None = None) -> Json:
        """A value that `seal` kept, or all of a blob; a `LogError` where it is gone or was changed."""
        if name not in self._open:
            found, size = self._unsealed(name)
            self._open[name] = (found, size)
            while len(self._open) > 1 and sum(size for _, size in self._open.values()) > REMEMBERED:
                del self._open[next(iter(self._open))]
        boxes = self._open[name][0]
        return boxes if part is None else boxes[part]

    def value(self, reference: Json) -> Json:
        """The value that a reference into the vault stands for; what is none stands for itself."""
        if not (isinstance(reference, dict) and "$sealed" in reference):
            return reference
        box = self.unseal(reference["$sealed"], reference.get("part"))
        return box["values"][reference["index"]][reference["side"]]

    def _unsealed(self, name: str) -> tuple[Json, int]:
        from cryptography.exceptions import InvalidTag  # noqa: PLC0415
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415

        key = self.key()
        path = os.path.join(self.blobs, name)
        if key is None and os.path.exists(path):
            raise self._no_key()
        try:
            with open(path, "rb") as file:
                data = file.read()
        except OSError:
            raise LogError(f"{printable(path)}: the before-image is missing, so this cannot be given back") from None
        try:
            if key is None or not data.startswith(SEALED):
                raise ValueError
            sealing = hmac.new(key, b"sealing", hashlib.sha256).digest()
            plain = zlib.decompress(AESGCM(sealing).decrypt(data[4:16], data[16:], name.encode()))
            return unpacked(json.loads(plain)), len(plain)
        except (InvalidTag, ValueError, zlib.error):
            raise LogError(f"{printable(path)}: the before-image was changed, so this cannot be given back") from None

    def put_frames(self, frames: Iterable[bytes]) -> str:
        """Keep pieces that are compressed already, each of whole lines; answers the name."""
        key = self.key(make=True)
        assert key is not None
        digest = hmac.new(key, FRAMES, hashlib.sha256)

        def headed() -> Iterator[bytes]:
            yield FRAMES
            for frame in frames:
                digest.update(frame)
                yield len(frame).to_bytes(8, "big") + frame

        return self._put(headed(), digest)

    def _put(self, pieces: Iterable[bytes], digest: hmac.HMAC) -> str:
        """Write what may be longer than memory, under a name that is known at its end."""
        spare = os.path.join(self.blobs, "new.tmp")
        self._write(spare, pieces, rename=False)
        name = digest.hexdigest()[:40]
        os.rename(spare, os.path.join(self.blobs, name))
        sync(self.blobs)
        return name

    def stream(self, name: str) -> Iterator[bytes]:
        """The lines that were kept, without their newlines; checked against the name at the end."""
        path = os.path.join(self.blobs, name)
        key = self.key()
        if key is None:
            raise self._no_key()
        changed = LogError(f"{printable(path)}: the before-image was changed, so this cannot be given back")
        try:
            with open(path, "rb") as file:
                kind = file.read(4)
                if kind not in (STREAM, FRAMES):
                    raise changed
                digest = hmac.new(key, b"stream" if kind == STREAM else FRAMES, hashlib.sha256)
                yield from (_lines if kind == STREAM else _framed)(file, digest)
        except FileNotFoundError:
            raise LogError(f"{printable(path)}: the before-image is missing, so this cannot be given back") from None
        except (zlib.error, EOFError):
            raise changed from None
        if digest.hexdigest()[:40] != name:
            raise changed

    def _no_key(self) -> LogError:
        where = printable(self._key_file)
        return LogError(f"{where}: the key that seals before-images is missing; restore it from a backup of the log")

    def check(self, name: str) -> str:
        """What is wrong with a blob; empty where it is whole."""
        try:
            with open(os.path.join(self.blobs, name), "rb") as file:
                kind = file.read(4)
            if kind in (STREAM, FRAMES):
                for _ in self.stream(name):
                    pass
            else:
                self.unseal(name)
        except FileNotFoundError:
            return f"the before-image {name} is missing"
        except LogError as error:
            return str(error)
        return ""

    def _write(self, path: str, pieces: Iterable[bytes], *, rename: bool = True) -> None:
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        spare = path + ".tmp" if rename else path
        try:
            fd = os.open(spare, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            with os.fdopen(fd, "wb") as file:
                for piece in pieces:
                    file.write(piece)
                file.flush()
                os.fsync(file.fileno())
            if rename:
                os.rename(spare, path)
                sync(os.path.dirname(path))
        except OSError as error:
            raise LogError(
                f"{printable(path)}: cannot be written: {(error.strerror or '').lower()}; nothing was changed"
            ) from None


def _lines(file: BinaryIO, digest: hmac.HMAC) -> Iterator[bytes]:
    """The lines of one long compressed stream, as version 0.1 kept them."""
    squeeze, rest = zlib.decompressobj(), b""
    while piece := file.read(CHUNK):
        plain = squeeze.decompress(piece)
        digest.update(plain)
        lines = (rest + plain).split(b"\n")
        rest = lines.pop()
        yield from lines


def _framed(file: BinaryIO, digest: hmac.HMAC) -> Iterator[bytes]:
    """The lines of pieces that were compressed one by one."""
    while head := file.read(8):
        length = int.from_bytes(head, "big")
        frame = file.read(length) if length < LONGEST else b""
        if len(frame) != length or len(head) != 8:
            raise EOFError
        digest.update(frame)
        yield from zlib.decompress(frame).split(b"\n")[:-1]
