"""Merkle tree hashing as in RFC 6962 and RFC 9162, in one pass over the leaves.  Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable


def leaf(data: bytes) -> bytes:
    """The hash of one entry."""
    return hashlib.sha256(b"\0" + data).digest()


def node(left: bytes, right: bytes) -> bytes:
    """The hash of two subtrees."""
    return hashlib.sha256(b"\1" + left + right).digest()


EMPTY = hashlib.sha256(b"").digest()
"""The root of a tree without leaves."""


class Tree:
    """A tree that is grown leaf by leaf and keeps only its perfect subtrees; for one leaf also its neighbours."""

    def __init__(self, watched: int | None = None, peaks: Iterable[tuple[int, bytes]] = ()) -> None:
        """``watched``: the index of the leaf whose inclusion is to be proven; ``peaks``: what was grown before."""
        self.size = 0
        self.peaks: list[tuple[int, bytes]] = []
        """The perfect subtrees, the biggest first: level and root."""
        self._watched, self._siblings = watched, {}  # type: int | None, dict[int, bytes]
        for level, digest in peaks:
            self._note(level, self.size >> level, digest)
            self.peaks.append((level, digest))
            self.size += 1 << level

    def grow(self, digest: bytes) -> None:
        """Add one leaf by its hash."""
        level, index = 0, self.size
        self.size += 1
        self._note(level, index, digest)
        while self.peaks and self.peaks[-1][0] == level:
            digest = node(self.peaks.pop()[1], digest)
            level, index = level + 1, index >> 1
            self._note(level, index, digest)
        self.peaks.append((level, digest))

    def _note(self, level: int, index: int, digest: bytes) -> None:
        if self._watched is not None and index == (self._watched >> level) ^ 1:
            self._siblings[level] = digest

    def root(self) -> bytes:
        """The root of all leaves so far."""
        return _folded([digest for _, digest in self.peaks]) if self.peaks else EMPTY

    def proof(self) -> list[bytes]:
        """The hashes that lead from the watched leaf to the root, the nearest first."""
        assert self._watched is not None and self._watched < self.size
        start = 0
        for place, (level, _) in enumerate(self.peaks):
            if self._watched < start + (1 << level):
                inner = [self._siblings[low] for low in range(level)]
                right = [digest for _, digest in self.peaks[place + 1 :]]
                left = [digest for _, digest in reversed(self.peaks[:place])]
                return inner + ([_folded(right)] if right else []) + left
            start += 1 << level
        raise AssertionError("every leaf lies below one peak")


def _folded(peaks: list[bytes]) -> bytes:
    found = peaks[-1]
    for digest in reversed(peaks[:-1]):
        found = node(digest, found)
    return found


def included(digest: bytes, index: int, size: int, proof: list[bytes], root: bytes) -> bool:
    """Whether a proof shows that a leaf is in the tree of that size and root (RFC 9162, 2.1.3.2)."""
    if not 0 <= index < size:
        return False
    place, last = index, size - 1
    for sibling in proof:
        if last == 0:
            return False
        if place & 1 or place == last:
            digest = node(sibling, digest)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            digest = node(digest, sibling)
        place, last = place >> 1, last >> 1
    return last == 0 and digest == root
