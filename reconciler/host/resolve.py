"""Reaching a path through directory descriptors, inside a root, without trusting what lies on the way.

A symbolic link is followed only where nobody but root (or ourselves) could have put it there;
absolute links and ``..`` stay inside the root, as they would after a chroot.
"""

from __future__ import annotations

import errno
import os
import stat as st
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ..errors import HostError, Unsafe
from ..formats.text import printable
from .port import Stat, Type

LINKS = 40
TYPES: dict[int, Type] = {
    st.S_IFREG: Type.FILE,
    st.S_IFDIR: Type.DIRECTORY,
    st.S_IFLNK: Type.LINK,
    st.S_IFIFO: Type.FIFO,
    st.S_IFSOCK: Type.SOCKET,
    st.S_IFCHR: Type.CHARACTER,
    st.S_IFBLK: Type.BLOCK,
}


def facts(raw: os.stat_result) -> Stat:
    """The port's form of a stat result."""
    return Stat(
        TYPES[st.S_IFMT(raw.st_mode)],
        st.S_IMODE(raw.st_mode),
        raw.st_uid,
        raw.st_gid,
        raw.st_nlink,
        raw.st_size,
        raw.st_mtime_ns,
        raw.st_dev,
        raw.st_ino,
        raw.st_ctime_ns,
    )


@dataclass(frozen=True)
class Place:
    """An open parent directory and the name in it; ``path`` is the canonical path inside the root."""

    parent: int
    name: str
    path: str


def why(error: OSError) -> str:
    """The reason of a system error, in words an administrator knows."""
    return {
        errno.EPERM: "not permitted (immutable file, or not root)",
        errno.EACCES: "permission denied",
        errno.EROFS: "the file system is read-only",
        errno.ENOSPC: "no space left on the device",
        errno.EBUSY: "busy (a mount point)",
        errno.ELOOP: "a symbolic link where none may be",
    }.get(error.errno or 0, (error.strerror or str(error)).lower())


def trusted(uid: int) -> bool:
    """Whether what this user puts in our way can be relied on: root, or the user who runs us."""
    return uid in (0, os.geteuid())


def shut(uid: int, mode: int) -> bool:
    """Whether nobody but root can put other things behind the names in a directory with this owner and mode.

    A sticky bit is not enough: who owns a file may rename it there.
    """
    return trusted(uid) and not mode & 0o022


def safe_link(directory: os.stat_result, link: os.stat_result) -> bool:
    """Whether nobody but a trusted user could have made this link."""
    if not trusted(link.st_uid) or not trusted(directory.st_uid):
        return False
    shared = directory.st_mode & 0o022
    return not shared or bool(directory.st_mode & st.S_ISVTX)


@contextmanager
def place(  # noqa: C901, PLR0912 - one walk along a path, whose every step has to be judged before the next
    root: str, path: str, *, follow: bool = True
) -> Iterator[Place | None]:
    """Open the directory that holds ``path``; None where a directory on the way is missing.

    With ``follow`` a symbolic link at the end is followed too, if it is safe.
    Raises `Unsafe` for a link that another account could have made.
    """
    fds = [os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)]
    names: list[str] = []
    links = 0
    pending = [part for part in reversed(path.split("/")) if part not in ("", ".")]
    try:
        while True:
            if not pending:
                # The path ended in ".." or is the root: name the directory from within itself.
                yield Place(fds[-1], ".", "/" + "/".join(names))
                return
            part = pending.pop()
            if part == "..":
                if names:
                    names.pop()
                    os.close(fds.pop())
                continue
            last = not pending
            try:
                fd = os.open(part, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fds[-1])
            except (FileNotFoundError, NotADirectoryError):
                yield Place(fds[-1], part, "/" + "/".join([*names, part])) if last else None
                return
            raw = os.fstat(fd)
            if st.S_ISLNK(raw.st_mode) and (follow or not last):
                links += 1
                whole = "/" + "/".join([*names, part])
                try:
                    if links > LINKS:
                        raise HostError(f"{printable(path)}: more than {LINKS} symbolic links on the way")
                    if not safe_link(os.fstat(fds[-1]), raw):
                        raise Unsafe(
                            f"{printable(path)}: {printable(whole)} is a symbolic link that another account "
                            "could have made; replace it by what it points to, or name that place"
                        )
                    target = os.readlink("", dir_fd=fd)
                finally:
                    os.close(fd)
                if target.startswith("/"):
                    names.clear()
                    while len(fds) > 1:
                        os.close(fds.pop())
                pending.extend(p for p in reversed(target.split("/")) if p not in ("", "."))
                continue
            if last:
                os.close(fd)
                yield Place(fds[-1], part, "/" + "/".join([*names, part]))
                return
            if not st.S_ISDIR(raw.st_mode):
                os.close(fd)
                yield None
                return
            fds.append(fd)
            names.append(part)
    finally:
        for fd in fds:
            os.close(fd)
