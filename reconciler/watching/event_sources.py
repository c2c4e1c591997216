"""All eyes together: for every place the best that works there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

from ..host.live import REMOTE
from ..model import inside
from .affected import Places
from .fanotify import Fanotify
from .notices import Lost, Notice

if TYPE_CHECKING:
    from .inotify import Dogs


class Eyes:
    """Looks after places: by fanotify where the kernel allows it, else by inotify, else by polling."""

    def __init__(self, *, live: bool = True) -> None:
        self.places = Places()
        self.blind: set[str] = set()
        """Trees and directories that nothing looks after but the slow look."""
        self.by: dict[str, int] = {}
        """How many places are looked after by what."""
        self._kernel: Fanotify | None = None
        self._dogs: Dogs | None = None
        # In a root directory only files matter to us, and inotify sees them.
        if live:
            with suppress(OSError):
                self._kernel = Fanotify(self._matters)

    def _matters(self, path: str) -> bool:
        return self.places.inside_tree(path)

    @property
    def files(self) -> list[Fanotify | Dogs]:
        """What to wait for."""
        return [eye for eye in (self._kernel, self._dogs) if eye is not None]

    def look_after(self, places: Places, mounts: list[tuple[str, str]]) -> None:
        """Look after these places from now on, and no others."""
        self.places, self.blind = places, set()
        if self._kernel is not None:
            self._kernel.forget()
        left: set[tuple[str, bool]] = set()
        named = 0
        wanted = [*((path, False) for path in places.directories()), *((top, True) for top in places.trees)]
        for path, whole in sorted(wanted, key=lambda item: (item[1], item[0])):
            if not os.path.isdir(path):
                continue
            if not self._remote(path, mounts) and self._seen(path, whole=whole):
                named += 1
            else:
                left.add((path, whole))
        if left or self._dogs is not None:
            self._release(left, mounts)
        polled = len(self._dogs.polled) if self._dogs is not None else 0
        seen = {"fanotify": named, "inotify": len(left) - polled - len(self.blind), "polling": polled}
        self.by = {name: count for name, count in seen.items() if count}

    def _seen(self, path: str, *, whole: bool) -> bool:
        """Whether the kernel's own eye looks after a directory, or a whole tree."""
        if self._kernel is None:
            return False
        return self._kernel.tree(path) if whole else self._kernel.directory(path)

    def _release(self, left: set[tuple[str, bool]], mounts: list[tuple[str, str]]) -> None:
        """Dogs for what the kernel's own eye does not see."""
        if self._dogs is None:
            from .inotify import Dogs  # noqa: PLC0415 - threads, and memory, only where they are needed

            self._dogs = Dogs()
        self._dogs.keep(left)
        for path, whole in sorted(left):
            if not self._dogs.watch(path, whole=whole, poll=self._remote(path, mounts)):
                self.blind.add(path)

    @staticmethod
    def _remote(path: str, mounts: list[tuple[str, str]]) -> bool:
        """Whether other machines can change what is here, which no event tells."""
        near = max((item for item in mounts if inside(path, item[0])), key=lambda item: len(item[0]), default=("", ""))
        return near[1] in REMOTE

    def notices(self) -> Iterator[Notice | Lost]:
        """What happened since this was last asked."""
        for eye in self.files:
            yield from eye.notices()

    def close(self) -> None:
        """Look no more."""
        for eye in self.files:
            eye.close()
