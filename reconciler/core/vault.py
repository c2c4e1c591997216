"""Where big before-images are kept beside the log, as those see it who keep them there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol


class Vault(Protocol):
    """Where big before-images are kept beside the log."""

    def put_frames(self, frames: Iterable[bytes]) -> str: ...
    def stream(self, name: str) -> Iterator[bytes]: ...
