"""What is called, how often, and in which order: counts that no noise touches, from strace."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.worlds import REPO, reconciler, system

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")

FOLDERS, FILES = 150, 20
WANTED = """
deployment: counted
resources:
  - {group: aa}
  - {account: aa, group: aa}
  - tree: /srv/tr
    owner: aa
    group: aa
    file_mode: "0640"
    except: {3/3/helper: {owner: root, group: root, mode: "0755"}}
"""


def traced(tmp_path: Path, *words: str | Path) -> list[tuple[str, str]]:
    """The calls that succeeded of a run and all its processes, in order: name and arguments with paths spelt out."""
    log = tmp_path / "trace"
    calls = "openat,statx,newfstatat,getdents64,chown,lchown,fchown,fchownat,chmod,fchmod,fchmodat,listxattr,llistxattr,getxattr"
    command = [sys.executable, "-m", "reconciler", *map(str, words)]
    env = {**os.environ, "PYTHONPATH": str(REPO), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        ["strace", "-f", "-qq", "-y", "-e", f"trace={calls}", "-e", "signal=none", "-o", str(log), *command],
        env=env, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip
    assert done.returncode in (0, 5), done.stderr
    found, halves = [], {}
    for line in log.read_text(errors="replace").splitlines():
        pid, _, rest = line.partition(" ")
        rest = rest.strip()
        if rest.endswith("<unfinished ...>"):
            halves[pid] = rest.removesuffix("<unfinished ...>")
            continue
        if match := re.match(r"<\.\.\. \w+ resumed>(.*)", rest):
            rest = halves.pop(pid) + match[1]
        if match := re.match(r"(\w+)\((.*)\)\s+= \d+", rest):
            found.append((match[1], match[2]))
    return found


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A system with a tree large enough to be shared out."""
    made = system(tmp_path / "root")
    for number in range(FOLDERS):
        folder = made / f"srv/tr/{number % 15}/{number}"
        folder.mkdir(parents=True)
        for name in range(FILES):
            (folder / f"{name}.dat").touch()
    (made / "srv/tr/3/3/helper").write_text("runs as root")
    (tmp_path / "d.yaml").write_text(WANTED)
    return made


def about(calls: list[tuple[str, str]], top: Path, *names: str) -> list[str]:
    """The arguments of some calls that concern a tree."""
    return [text for name, text in calls if name in names and f"{top}" in text]


PATHS = FOLDERS * (FILES + 1) + 15 + 1 + 1


@pytest.mark.parametrize("pure", ["", "1"])
def test_a_tree_that_is_right_costs_one_look_at_each_path(
    pure: str, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECONCILER_PURE_PYTHON", pure)
    reconciler("apply", tmp_path / "d.yaml", "--yes", root=root, check=0)
    calls = traced(tmp_path, "plan", tmp_path / "d.yaml", "--root", root)
    top = root / "srv/tr"
    folders = FOLDERS + 15 + 1
    looks = about(calls, top, "statx", "newfstatat")
    assert PATHS <= len(looks) <= PATHS + 2 * folders + 20, "once a path, and a directory when it is opened"
    assert len(about(calls, top, "openat")) <= folders + 5, "every directory is opened once"
    assert not about(calls, top, "chown", "lchown", "fchown", "fchownat", "chmod", "fchmod", "fchmodat")
    assert not about(calls, top, "llistxattr", "listxattr"), "attributes matter only where something changes"


@pytest.mark.parametrize("order", [1, -1])
def test_trees_inside_each_other_are_looked_at_in_one_walk(order: int, root: Path, tmp_path: Path) -> None:
    trees = [
        "  - {tree: /srv/tr, owner: aa}",
        "  - {tree: /srv/tr/3, owner: root}",
        "  - {tree: /srv/tr/3/33, group: aa}",
    ]
    accounts = "deployment: n\nresources:\n  - {group: aa}\n  - {account: aa, group: aa}\n"
    (tmp_path / "n.yaml").write_text(accounts + "\n".join(trees[::order]) + "\n")
    calls = traced(tmp_path, "plan", tmp_path / "n.yaml", "--root", root)
    top = root / "srv/tr"
    folders = FOLDERS + 15 + 1
    walked = [text for text in about(calls, top, "openat") if "O_NONBLOCK" in text]
    assert len(walked) <= folders, "every directory is opened once"
    reconciler("apply", tmp_path / "n.yaml", "--yes", root=root, check=0)
    uid = (top / "1").stat().st_uid
    assert uid and (top / "3").stat().st_uid == 0 and (top / "3/33").stat().st_uid == 0 and (top / "3/33").stat().st_gid
    assert "Nothing to do" in reconciler("plan", tmp_path / "n.yaml", root=root, check=0).stdout


@pytest.mark.parametrize("pure", ["", "1"])
def test_an_apply_changes_each_path_once_and_looks_three_times(
    pure: str, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECONCILER_PURE_PYTHON", pure)
    top = root / "srv/tr"
    calls = traced(tmp_path, "apply", tmp_path / "d.yaml", "--yes", "--root", root)
    looks = about(calls, top, "statx", "newfstatat")
    assert len(looks) <= 3 * PATHS + 7 * (FOLDERS + 16) + 40, "to plan, before the change, after the change"
    owned = Counter(target(text, top) for text in about(calls, top, "chown", "lchown", "fchown", "fchownat"))
    assert set(owned.values()) == {1}
    assert len(owned) == PATHS - 1, "all but the exception"
    again = traced(tmp_path, "apply", tmp_path / "d.yaml", "--yes", "--root", root)
    assert not about(again, top, "chown", "lchown", "fchown", "fchownat", "chmod", "fchmod", "fchmodat"), (
        "twice is once"
    )


def target(text: str, top: Path) -> str:
    """The path that a call is about, below a tree."""
    match = re.match(r'(?:(?:AT_FDCWD|\d+)<([^>]*)>, )?"([^"]*)"', text)
    if match is None:
        match = re.match(r"\d+<([^>]*)>()", text)
    assert match is not None, text
    base, name = match[1] or "", match[2]
    if name.startswith("/proc/self/fd/"):
        raise AssertionError(text)
    return os.path.relpath(os.path.normpath(os.path.join(base, name)), top)


def test_what_is_given_is_given_from_the_leaves_and_taken_from_the_top(root: Path, tmp_path: Path) -> None:
    top = root / "srv/tr"
    os.chown(top / "3/3/helper", 12, 12)
    given = changes(traced(tmp_path, "apply", tmp_path / "d.yaml", "--yes", "--root", root), top)
    place = {path: number for number, path in enumerate(given)}
    assert given[0] == "3/3/helper", "exceptions first: no instant in which the account owns what root runs"
    for path in given[1:]:
        if path != ".":
            assert place[path] < place[os.path.dirname(path) or "."], "a directory after all that is in it"
    taken = changes(traced(tmp_path, "uninstall", "counted", "--yes", "--root", root), top)
    place = {path: number for number, path in enumerate(taken)}
    for path in taken:
        if path != ".":
            assert place[os.path.dirname(path) or "."] < place[path], "a directory before all that is in it"
    assert sorted(taken) == sorted(given)


def changes(calls: list[tuple[str, str]], top: Path) -> list[str]:
    """The paths whose owner was changed, in order."""
    return [
        target(text, top)
        for name, text in calls
        if name in ("chown", "lchown", "fchown", "fchownat") and str(top) in text
    ]
