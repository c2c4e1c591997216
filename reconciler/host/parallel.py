"""A large tree is walked by as many processes as there are processors.

The first process lists the upper directories, and shows a visitor each of them; what hangs below, and the files in
them, are parts that the others take one after the other, in walking order.  They are forked when the tree turns out
to be large, die with the first one, and hold its lock as long as they live: while one of them still works, no other
run can begin.
"""

from __future__ import annotations

import ctypes
import gc
import os
import pickle
import selectors
import signal
import struct
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple, NoReturn

from ..errors import HostError, LogError, ReconcilerError
from .port import Begin, Visitor
from .resolve import why
from .walk import SLICE, Opened, Standing, Walker

LARGE = 1500
"""A tree with fewer names is walked by one process: forking would cost more than it saves."""
ENOUGH = 64
"""Directories below those listed ahead that are worth sharing out."""
PARTS = 100
"""About as many parts are made of them."""
AHEAD = 2000
"""Directories to list ahead at most: a tree that is one deep chain has no parts to share."""
TOKENS = 8000
"""Numbers that surely fit into a pipe."""
NUMBER, LENGTH = struct.Struct("=I"), struct.Struct("=Q")
DIE_WITH_PARENT = 1


class Trouble(NamedTuple):
    """Why a part could not be shown."""

    reason: str
    host: bool
    """Whether it is the host's; else it is the log's."""


class Part(NamedTuple):
    """Something to be shown to one visitor: some files of a directory, or some directories below it."""

    at: Opened
    files: list[bytes]
    below: list[bytes]


@dataclass
class Bough:
    """A directory that was listed ahead, with the visitor that is shown it."""

    at: Opened
    visitor: Visitor[Any]
    boughs: dict[bytes, Bough] = field(default_factory=dict)


def walk(walker: Walker, begin: Begin[Any]) -> Iterator[Any]:
    """Show the whole tree to visitors; yields what each told, in walking order."""
    if walker.top is None:
        return
    workers = min(len(os.sched_getaffinity(0)), 8)
    make = begin()
    # A process with threads must not fork: a lock that another thread holds would be held for ever.
    ahead = _ahead(walker, make) if workers > 1 and threading.active_count() == 1 else []
    try:
        if not ahead:
            visitor = make()
            walker.whole(visitor)
            yield visitor.told()
            return
        for bough in ahead:
            walker.enter(bough.at, bough.visitor)
        parts = list(_parts(ahead[0], 1 + sum(len(bough.at.below) for bough in ahead) // PARTS))
        told = _shared(walker, [part for part in parts if isinstance(part, Part)], begin, workers)
        for part in parts:
            yield part.visitor.told() if isinstance(part, Bough) else next(told)
        for bough in reversed(ahead):
            bough.visitor.leave(bough.at)
        # What leaving found out comes last.
        yield from (bough.visitor.told() for bough in ahead)
    finally:
        for bough in ahead:
            os.close(bough.at.fd)


def _ahead(walker: Walker, make: Callable[[], Visitor[Any]]) -> list[Bough]:
    """The upper directories of a large tree, in walking order; none where the tree is small."""
    assert walker.top is not None
    top = Bough(walker.top, make())
    walker.read(top.at, top.visitor)
    found, pending, seen = [top], deque((top, name) for name in top.at.below), len(top.at.names) + len(top.at.below)
    while pending and (seen < LARGE or len(pending) < ENOUGH) and len(found) < AHEAD:
        parent, name = pending.popleft()
        # What cannot be entered is told by whoever is shown the part that it stays in.
        at = walker.open(parent.at, name, Visitor())
        if at is None:
            continue
        walker.read(at, parent.visitor)
        bough = parent.boughs[name] = Bough(at, make())
        found.append(bough)
        pending += [(bough, inner) for inner in at.below]
        seen += len(at.names) + len(at.below)
    if seen < LARGE:
        for bough in found[1:]:
            os.close(bough.at.fd)
        return []
    walker.top = None
    return sorted(found, key=lambda bough: bough.at.path.split(b"/") if bough.at.path else [])


def _parts(top: Bough, together: int) -> Iterator[Bough | Part]:
    """What each visitor is shown, in walking order."""
    stack: list[Iterator[Bough | Part]] = [_near(top, together)]
    while stack:
        item = next(stack[-1], None)
        if item is None:
            stack.pop()
            continue
        yield item
        if isinstance(item, Bough) and item is not top:
            stack.append(_near(item, together))


def _near(bough: Bough, together: int) -> Iterator[Bough | Part]:
    """One directory, its files in slices, and what hangs below it in parts of a few directories."""
    if not bough.at.path:
        yield bough
    names = bough.at.names
    for start in range(0, len(names), SLICE):
        yield Part(bough.at, names[start : start + SLICE], [])
    some: list[bytes] = []
    for name in bough.at.below:
        if name in bough.boughs or len(some) >= together:
            if some:
                yield Part(bough.at, [], some)
            some = []
        if name in bough.boughs:
            yield bough.boughs[name]
        else:
            some.append(name)
    if some:
        yield Part(bough.at, [], some)


def _shared(walker: Walker, parts: list[Part], begin: Begin[Any], workers: int) -> Iterator[Any]:
    """Let several processes take the parts; yields what they tell, in the order of the parts."""
    # Whoever reads a number next has the next parts; what is read from a pipe nobody else reads.
    queue, feed = os.pipe()
    together = 1 + len(parts) // TOKENS
    os.write(feed, b"".join(NUMBER.pack(start) for start in range(0, len(parts), together)))
    os.close(feed)
    links = os.memfd_create("links", os.MFD_CLOEXEC)
    members: dict[int, int] = {}
    try:
        for _ in range(min(workers, len(parts))):
            ours, theirs = os.pipe()
            try:
                parent, pid = os.getpid(), os.fork()
            except OSError:  # no more processes allowed
                os.close(ours)
                os.close(theirs)
                break
            if pid == 0:
                Standing.links = links
                _member(walker, parts, together, begin, queue, theirs, parent)
            os.close(theirs)
            members[ours] = pid
        if members:
            yield from _in_order(members, len(parts))
        else:
            make = begin()
            yield from map(_sound, (_told(walker, part, make) for part in parts))
    finally:
        os.close(queue)
        os.close(links)
        for ours, pid in members.items():
            os.close(ours)
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def _member(
    walker: Walker, parts: list[Part], together: int, begin: Begin[Any], queue: int, out: int, parent: int
) -> NoReturn:
    """The life of one of the others: take a part, show it, tell what came of it."""
    code = 1
    try:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        ctypes.CDLL(None).prctl(DIE_WITH_PARENT, signal.SIGKILL)
        # A parent that died before that was asked for has left an orphan.
        if os.getppid() == parent:
            gc.disable()
            Standing.free = True
            make = begin()
            with os.fdopen(out, "wb") as answers:
                while token := os.read(queue, NUMBER.size):
                    first = NUMBER.unpack(token)[0]
                    for number, part in enumerate(parts[first : first + together], first):
                        raw = pickle.dumps(_told(walker, part, make), pickle.HIGHEST_PROTOCOL)
                        answers.write(NUMBER.pack(number) + LENGTH.pack(len(raw)) + raw)
                        answers.flush()
            code = 0
    finally:
        os._exit(code)


def _told(walker: Walker, part: Part, make: Callable[[], Visitor[Any]]) -> Any:
    try:
        visitor = make()
        walker.files(part.at, part.files, visitor)
        for name in part.below:
            walker.below(part.at, name, visitor)
        return visitor.told()
    except ReconcilerError as error:
        return Trouble(str(error), isinstance(error, HostError))
    except OSError as error:
        return Trouble(why(error), host=True)


def _in_order(members: Mapping[int, int], count: int) -> Iterator[Any]:
    """What the members tell, part by part; a `HostError` where one of them had trouble or died."""
    waiting: dict[int, Any] = {}
    rest = dict.fromkeys(members, b"")
    with selectors.DefaultSelector() as ready:
        for fd in members:
            ready.register(fd, selectors.EVENT_READ)
        for number in range(count):
            while number not in waiting:
                if not ready.get_map():
                    raise HostError("a process that walked the tree ended before its time (out of memory?)")
                for key, _ in ready.select():
                    piece = os.read(key.fd, 1 << 20)
                    if not piece:
                        ready.unregister(key.fd)
                    rest[key.fd] = _unpacked(rest[key.fd] + piece, waiting)
            yield _sound(waiting.pop(number))


def _sound(told: Any) -> Any:
    """What a visitor told; raises the trouble that it had."""
    if isinstance(told, Trouble):
        raise (HostError if told.host else LogError)(told.reason)
    return told


def _unpacked(data: bytes, waiting: dict[int, Any]) -> bytes:
    """Take the whole answers out of what was read; gives what is left of it."""
    start, head = 0, NUMBER.size + LENGTH.size
    while len(data) - start >= head:
        length = LENGTH.unpack_from(data, start + NUMBER.size)[0]
        if len(data) - start - head < length:
            break
        body = start + head
        # Written by a fork of this very process.
        waiting[NUMBER.unpack_from(data, start)[0]] = pickle.loads(data[body : body + length])  # noqa: S301 - no other data
        start = body + length
    return data[start:]
