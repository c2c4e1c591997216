"""Hosts to test on: realistic roots, and digests of everything that must come back."""

from __future__ import annotations

import functools
import hashlib
import os
import stat
import subprocess
import sys
from pathlib import Path

from contrib.demo.agentroot import INI, managesoft, put, system
from tests.effort import LONG
from tests.forkserver import ForkServer

__all__ = ["INI", "REPO", "digest", "managesoft", "put", "reconciler", "stamps", "system"]

REPO = Path(__file__).resolve().parent.parent


def digest(
    root: Path, skip: tuple[str, ...] = ("var/lib/reconciler", "etc/.pwd.lock")
) -> dict[str, tuple[object, ...]]:
    """Everything that has to come back: type, owner, mode, xattrs, content, and the mtime of files.

    Left out, as the documentation says: a directory's mtime, ctime, atime, inode; mtime of the account files.
    """
    found: dict[str, tuple[object, ...]] = {}
    accounts = {"etc/passwd", "etc/group", "etc/shadow", "etc/gshadow"}
    pending = [root]
    while pending:
        path = pending.pop()
        name = str(path.relative_to(root))
        if name in skip:
            continue
        info = path.lstat()
        xattrs = tuple(
            (key, os.getxattr(path, key, follow_symlinks=False))
            for key in sorted(os.listxattr(path, follow_symlinks=False))
        )
        facts: tuple[object, ...] = (stat.filemode(info.st_mode), info.st_uid, info.st_gid, xattrs)
        if path.is_symlink():
            facts += (os.readlink(path),)
        elif path.is_dir():
            pending += list(path.iterdir())
        elif path.is_file():
            facts += (hashlib.sha256(path.read_bytes()).hexdigest(),)
            facts += () if name in accounts else (info.st_mtime_ns,)
        found[name] = facts
    return found


def stamps(root: Path) -> dict[str, tuple[int, ...]]:
    """What no plan may change: every inode, ctime, mtime, size, owner and mode."""
    found = {}
    for directory, directories, files in os.walk(root):
        for name in [*directories, *files, "."]:
            info = os.lstat(os.path.join(directory, name))
            found[os.path.join(directory, name)] = (
                info.st_ino,
                info.st_ctime_ns,
                info.st_mtime_ns,
                info.st_size,
                info.st_uid,
                info.st_gid,
                info.st_mode,
            )
    return found


@functools.cache
def forkserver() -> ForkServer:
    """The one of this process."""
    return ForkServer()


def reconciler(
    *arguments: str | Path,
    root: Path | None = None,
    check: int | None = None,
    env: dict[str, str] | None = None,
    cwd: Path | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run the command as a user would."""
    words = [*map(str, arguments), *([] if root is None else ["--root", str(root)])]
    environment = {**os.environ, "PYTHONPATH": str(REPO), "PYTHONDONTWRITEBYTECODE": "1", **(env or {})}
    if LONG or env:
        done = subprocess.run(
            [sys.executable, "-m", "reconciler", *words], capture_output=True, text=True, env=environment,
            stdin=subprocess.DEVNULL, timeout=300, cwd=cwd,
        )  # fmt: skip
    else:
        done = forkserver().run(words, environment, str(cwd or Path.cwd()))
    assert "Traceback" not in done.stderr, done.stderr
    if check is not None:
        assert done.returncode == check, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done
