"""The account itself attacks: a real process of it swaps names as fast as it can while root works in its tree."""

from __future__ import annotations

import ctypes
import os
import random
import signal
import time
from collections import Counter
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from reconciler.host import parallel
from reconciler.host.files import FileHost
from tests.drive import Bench
from tests.effort import many
from tests.trees.accounts import account, reachable
from tests.worlds import system

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")

ROUNDS = many(30, 200)
UID = 4242
EXCHANGE, AT_FDCWD = 2, -100
WANTED = """
deployment: raced
resources:
  - {group: aa, gid: 4242}
  - {account: aa, uid: 4242, group: aa}
  - {tree: /srv/tr, owner: aa, group: aa, directory_mode: "0755", file_mode: "0644"}
"""


def swap(one: str, other: str) -> bool:
    """Exchange two names in one step; False where that is not allowed now."""
    libc = ctypes.CDLL(None)
    return libc.renameat2(AT_FDCWD, one.encode(), AT_FDCWD, other.encode(), EXCHANGE) == 0


def tree(root: Path) -> Path:
    """A tree, and next to it what must never be touched."""
    top, outside = root / "srv/tr", root / "srv/outside"
    for folder in range(8):
        (top / f"d{folder}/inner/deep").mkdir(parents=True)
        for name in range(6):
            (top / f"d{folder}/f{name}").write_text("x")
            (top / f"d{folder}/inner/deep/g{name}").write_text("x")
    (top / "open").mkdir()
    os.chmod(top / "open", 0o777)
    for name in range(6):
        (top / f"open/f{name}").write_text("x")
    (outside / "inner/deep").mkdir(parents=True)
    for name in range(6):
        for place in ("", "inner/", "inner/deep/"):
            for letter in "fgs":
                victim = outside / f"{place}{letter}{name}"
                victim.write_text("root's")
                # Everybody may write it, so that anybody may make further names for it.
                os.chmod(victim, 0o666)
    for path in (outside, outside / "inner", outside / "inner/deep"):
        os.chmod(path, 0o755)
    return top


def attack(top: Path, outside: Path, dice: random.Random) -> None:
    """Swap whatever can be swapped, for ever."""
    base, away = str(top), str(outside)
    while True:
        folder = f"{base}/{dice.choice(['d0', 'd1', 'd2', 'd3', 'open'])}"
        with suppress(OSError):
            match dice.randrange(7):
                case 0:  # a directory becomes a link to one outside
                    os.symlink(away, f"{base}/evil")
                    swap(f"{base}/evil", folder)
                case 1:  # and one further down
                    os.symlink(f"{away}/inner", f"{folder}/evil")
                    swap(f"{folder}/evil", f"{folder}/inner")
                case 2:  # a file becomes a link
                    os.symlink(f"{away}/f1", f"{folder}/link")
                    swap(f"{folder}/link", f"{folder}/f1")
                case 3:  # a file becomes a second name of one outside
                    os.link(f"{away}/f2", f"{folder}/hard")
                    swap(f"{folder}/hard", f"{folder}/f2")
                case 4:  # two directories change places
                    swap(f"{base}/d1/inner", f"{base}/d2/inner")
                    swap(f"{base}/d0", f"{base}/d3")
                case 5:  # one goes down into another
                    os.rename(f"{base}/d3/inner/deep", f"{base}/d0/inner/deep/deeper")
                    os.rename(f"{base}/d0/inner/deep/deeper", f"{base}/d3/inner/deep")
                case _:
                    for name in ("evil", "link", "hard"):
                        with suppress(OSError):
                            os.unlink(f"{folder}/{name}")
                    with suppress(OSError):
                        os.unlink(f"{base}/evil")
                    os.symlink(f"{away}/inner/deep/g1", f"{folder}/f{dice.randrange(9)}")


def looks(outside: Path) -> dict[str, tuple[int, int, int]]:
    """Owner, group and mode of everything outside the tree."""
    found = {}
    for path in [outside, *outside.rglob("*")]:
        info = path.lstat()
        found[str(path)] = (info.st_uid, info.st_gid, info.st_mode)
    return found


@pytest.mark.parametrize("several", [False, True])
def test_nothing_outside_is_ever_given_or_taken(several: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if several:
        monkeypatch.setattr(parallel, "LARGE", 1)
        monkeypatch.setattr(parallel, "ENOUGH", 2)
    reachable(tmp_path)
    root = system(tmp_path / "root")
    top, outside = tree(root), root / "srv/outside"
    for path in (root, root / "srv"):
        os.chmod(path, 0o755)
    before = looks(outside)
    bench = Bench(FileHost(str(root)), tmp_path)
    outcomes: Counter[str] = Counter()
    with ExitStack() as attackers:
        for number in range(2):
            attackers.enter_context(account(UID, partial(attack, top, outside, random.Random(number))))
        for number in range(ROUNDS):
            for run in (
                partial(bench.apply, WANTED),
                bench.rollback if number % 2 else partial(bench.uninstall, "raced"),
            ):
                outcomes[run().outcome] += 1
                assert looks(outside) == before, (number, run)
    assert outcomes.keys() <= {"converged", "partial", "unchanged", "refused"}, outcomes
    assert outcomes["converged"] + outcomes["partial"] > ROUNDS / 4, f"it gets its work done: {outcomes}"
    # Once the attack is over, all that is the account's is what was before, or is named.
    were = owned(top)
    bench.apply(WANTED)
    last: Any = bench.uninstall("raced")
    assert looks(outside) == before
    assert owned(top) <= were | {str(root) + path for path, _ in last.skipped}


def owned(top: Path) -> set[str]:
    """What in a tree is the account's."""
    return {str(path) for path in top.rglob("*") if path.lstat().st_uid == UID}


def test_what_vanishes_while_it_is_walked_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "LARGE", 500)
    root = system(tmp_path / "root")
    top = root / "srv/tr"
    top.mkdir(parents=True)

    def restless() -> None:
        dice = random.Random(1)
        while True:
            folder = top / f"n{dice.randrange(60)}"
            with suppress(OSError):
                folder.mkdir()
            for name in range(30):
                with suppress(OSError):
                    (folder / str(name)).touch()
            folder = top / f"n{dice.randrange(60)}"
            for name in range(30):
                with suppress(OSError):
                    (folder / str(name)).unlink()
            with suppress(OSError):
                folder.rmdir()

    pid = os.fork()
    if pid == 0:
        try:
            restless()
        finally:
            os._exit(1)
    try:
        while not os.listdir(top):
            time.sleep(0.01)
        bench = Bench(FileHost(str(root)), tmp_path)
        for _ in range(20):
            # partial: a path was exchanged between the look and the change, and left alone
            assert bench.apply(WANTED).outcome in ("converged", "unchanged", "partial")
            # refused: born as the account's just now
            assert bench.uninstall("raced").outcome in ("converged", "refused", "partial")
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
