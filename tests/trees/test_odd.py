"""Trees as they are found, and as somebody makes them on purpose: nothing outside moves, and all comes back."""

from __future__ import annotations

import json
import os
import shutil
import socket
import stat
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.effort import many
from tests.worlds import REPO, digest, reconciler, system

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")

TAKEN = """
deployment: odd
resources:
  - {group: aa}
  - {account: aa, group: aa}
  - tree: /srv/tr
    owner: aa
    group: aa
    directory_mode: "0750"
    file_mode: "u=rwX,g=rX,o="
    except: {libexec/helper: {owner: root, group: root, mode: "0755"}}
"""
ACL = struct.pack("<I", 2) + b"".join(
    struct.pack("<HHI", tag, bits, who)
    for tag, bits, who in [(1, 6, 2**32 - 1), (2, 4, 33), (4, 4, 2**32 - 1), (16, 4, 2**32 - 1), (32, 0, 2**32 - 1)]
)
CAPABILITY = struct.pack("<5I", 0x02000001, 1 << 13, 0, 0, 0)


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """A system with a tree that has one of everything."""
    made = system(tmp_path / "root")
    top = made / "srv/tr"
    for name in ("libexec", "bin", "data/deep/er", "shut", "empty", "sticky", "group"):
        (top / name).mkdir(parents=True)
    for name in ("libexec/helper", "bin/tool", "bin/su", "bin/cap", "data/log", "data/deep/er/x", "shut/in", "group/f"):
        (top / name).write_text(name)
    os.chmod(top / "bin/su", 0o4755)
    os.setxattr(top / "bin/cap", "security.capability", CAPABILITY)
    os.setxattr(top / "data/log", "system.posix_acl_access", ACL)
    os.setxattr(top / "data", "system.posix_acl_default", ACL)
    os.chmod(top / "shut", 0)
    os.chmod(top / "sticky", 0o1777)
    os.chmod(top / "group", 0o2755)
    for name in (b"new\nline", b"\xff\xfe\x80", b"\x1b]0;title\x07", b"back\\slash/in it", b" leading and trailing "):
        whole = os.path.join(os.fsencode(top), b"data", name)
        os.makedirs(os.path.dirname(whole), exist_ok=True)
        with open(whole, "wb") as file:
            file.write(name)
    os.symlink("/etc/shadow", top / "data/to-shadow")
    os.symlink("../../../etc", top / "to-etc")
    os.symlink("nowhere", top / "dangling")
    os.mkfifo(top / "data/fifo")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(top / "data/socket"))
    os.link(top / "bin/tool", top / "data/tool-again")
    (made / "srv/outside").mkdir()
    (made / "srv/outside/victim").write_text("of somebody else")
    os.link(made / "srv/outside/victim", top / "data/planted")
    os.mknod(top / "data/null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    (top / "data/fixed").write_text("x")
    subprocess.run(["chattr", "+i", str(top / "data/fixed")], check=True)
    yield made
    subprocess.run(["chattr", "-i", str(top / "data/fixed")], check=True)


def grown(root: Path) -> None:
    """Make the tree so large that several processes walk it."""
    for number in range(120):
        folder = root / f"srv/tr/many/{number % 12}/{number}"
        folder.mkdir(parents=True)
        for name in range(20):
            (folder / f"{name}.dat").touch()


def written(tmp_path: Path, text: str = TAKEN) -> Path:
    """The desired state in a file."""
    (tmp_path / "d.yaml").write_text(text)
    return tmp_path / "d.yaml"


@pytest.mark.parametrize("back", ["uninstall", "rollback", "edit"])
@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("pure", ["", "1"])
def test_a_tree_with_one_of_everything_comes_back(
    back: str, large: bool, pure: str, root: Path, tmp_path: Path
) -> None:
    if large:
        grown(root)
    env = {"RECONCILER_PURE_PYTHON": pure}
    before = digest(root)
    wanted = written(tmp_path)
    told = reconciler("apply", wanted, "--yes", root=root, check=5, env=env).stdout
    named = " ".join(told.split())
    for words in ("data/planted", "hard links", "data/null", "character device", "data/fixed", "immutable"):
        assert words in named
    assert "\x1b" not in told and "\x07" not in told
    uid = (root / "srv/tr").stat().st_uid
    assert uid != 0
    top = root / "srv/tr"
    owners = {p: os.lstat(p).st_uid for p in top.rglob("*")}
    kept = {top / "data/planted", top / "data/null", top / "data/fixed", top / "libexec/helper"}
    assert {p for p, owner in owners.items() if owner != uid} == kept
    assert (root / "srv/outside/victim").stat().st_uid == 0 and (root / "etc/shadow").stat().st_uid == 0
    assert stat.S_IMODE((top / "bin/su").stat().st_mode) == 0o750, "setuid is for the owner it was meant for"
    assert os.getxattr(top / "bin/cap", "security.capability") == CAPABILITY
    assert stat.S_IMODE((top / "group").stat().st_mode) == 0o2750, "octal never clears a directory's setgid"
    again = reconciler("apply", wanted, "--yes", root=root, check=5, env=env).stdout
    assert "own" not in again.split("Plan")[0].replace("of its own", "").split(), again
    if back == "edit":
        written(tmp_path, "deployment: odd\nresources:\n  - {group: other}\n")
        reconciler("apply", wanted, "--yes", root=root, check=0, env=env)
        reconciler("uninstall", "odd", "--yes", root=root, check=0, env=env)
    else:
        words = ["rollback"] if back == "rollback" else ["uninstall", "odd"]
        reconciler(*words, "--yes", root=root, env=env)
    assert digest(root) == before


def test_the_plan_names_what_differs_and_nothing_else(root: Path, tmp_path: Path) -> None:
    grown(root)
    wanted = written(tmp_path)
    reconciler("apply", wanted, "--yes", root=root, check=5)
    drifted = {root / f"srv/tr/many/{n % 12}/{n}/{n % 20}.dat" for n in range(0, 120, 5)}
    for path in drifted:
        os.chmod(path, 0o666)
    told = json.loads(reconciler("plan", wanted, "--format", "json", "--all-paths", root=root).stdout)
    (tree,) = [t for t in told["transitions"] if t["verb"] == "own"]
    assert {item["path"] for item in tree["paths"]} == {"/" + str(p.relative_to(root)) for p in drifted}
    assert tree["counts"]["differ"] == len(drifted)
    assert all(item["before"]["mode"] == "0666" and item["after"]["mode"] == "0640" for item in tree["paths"])


def test_names_that_are_no_text_are_told_as_bytes_too(root: Path, tmp_path: Path) -> None:
    told = reconciler("plan", written(tmp_path), "--format", "json", "--all-paths", root=root)
    (tree,) = [t for t in json.loads(told.stdout)["transitions"] if t["verb"] == "own"]
    odd = [item for item in tree["paths"] if "path_bytes" in item]
    assert len(odd) == 1 and "\\xff\\xfe\\x80" in odd[0]["path"]


def test_a_chain_deeper_than_any_path_may_be_long(tmp_path: Path) -> None:
    root, depth = system(tmp_path / "root"), 3000
    (root / "srv").mkdir()
    here = os.open(root / "srv", os.O_RDONLY)
    name = "tr"
    try:
        for level in range(depth):
            os.mkdir(name, 0o755, dir_fd=here)
            inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY, dir_fd=here)
            os.close(here)
            here, name = inner, "dd"
            if level % 500 == 499:
                os.close(os.open("file", os.O_CREAT | os.O_WRONLY, 0o644, dir_fd=here))
    finally:
        os.close(here)

    def owners() -> set[tuple[str, str]]:
        listed = subprocess.run(
            ["find", "tr", "-printf", "%U %y %m\n"], cwd=root / "srv", check=True, capture_output=True, text=True
        ).stdout.split("\n")
        assert len(listed) == depth + 6 + 1
        return {tuple(line.split(maxsplit=1)) for line in listed if line}  # type: ignore[misc]

    before = owners()
    wanted = written(tmp_path)
    reconciler("apply", wanted, "--yes", root=root, check=0)
    assert len({uid for uid, _ in owners()}) == 1 and owners() != before
    assert "Nothing to do" in reconciler("plan", wanted, root=root, check=0).stdout
    reconciler("uninstall", "odd", "--yes", root=root, check=0)
    assert owners() == before
    subprocess.run(["rm", "-rf", str(root / "srv/tr")], check=True)


MOST = 95_000
"""Forty for the program and its libraries, thirty-five for the names; facts kept by name would be twice as much again."""


def test_three_hundred_thousand_names_in_one_directory(tmp_path: Path) -> None:
    root, many = system(tmp_path / "root"), 300_000
    (root / "srv/tr").mkdir(parents=True)
    here = os.open(root / "srv/tr", os.O_RDONLY)
    for number in range(many):
        os.close(os.open(f"some-file-{number}", os.O_CREAT | os.O_WRONLY, 0o644, dir_fd=here))
    os.close(here)
    wanted = written(tmp_path)
    _, peak = measured("apply", str(wanted), "--yes", "--root", str(root))
    assert peak < MOST, "kilobytes"
    uid = (root / "srv/tr").stat().st_uid
    count = "find srv/tr -uid {} | wc -l"
    assert int(subprocess.check_output(count.format(uid), shell=True, cwd=root)) == many + 1
    _, peak = measured("rollback", "--yes", "--root", str(root))
    assert peak < MOST, "kilobytes"
    assert int(subprocess.check_output(count.format(0), shell=True, cwd=root)) == many + 1
    shutil.rmtree(root / "srv/tr")


def measured(*words: str) -> tuple[int, int]:
    """Exit code and peak memory in kilobytes of a run, the largest of its processes."""
    program = (
        "import resource, subprocess, sys; "
        "code = subprocess.run([sys.executable, '-m', 'reconciler', *sys.argv[1:]], stdout=2).returncode; "
        "print(code, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    env = {**os.environ, "PYTHONPATH": str(REPO)}
    done = subprocess.run([sys.executable, "-c", program, *words], env=env, capture_output=True, text=True, check=True)
    code, peak = map(int, done.stdout.split())
    assert code == 0, done.stderr
    return code, peak


def test_memory_does_not_grow_with_the_number_of_files(tmp_path: Path) -> None:
    peaks = {}
    for count in (200, 3000):
        root = system(tmp_path / f"root{count}")
        for folder in range(count):
            (root / f"srv/tr/{folder % 30}/{folder}").mkdir(parents=True)
            here = os.open(root / f"srv/tr/{folder % 30}/{folder}", os.O_RDONLY)
            for name in range(20):
                os.close(os.open(f"{name}.dat", os.O_CREAT | os.O_WRONLY, 0o644, dir_fd=here))
            os.close(here)
        peaks[count] = [
            measured(*words, "--root", str(root))[1]
            for words in (
                ["plan", str(written(tmp_path))],
                ["apply", str(written(tmp_path)), "--yes"],
                ["rollback", "--yes"],
            )
        ]
        kept = sum(p.stat().st_size for p in (root / "var/lib/reconciler/blobs").iterdir())
        assert kept < count * 20 * 40, "four megabytes for a hundred thousand files"
    assert all(large < small + 6_000 for small, large in zip(peaks[200], peaks[3000], strict=True)), peaks


LINKED = """
deployment: twice
resources:
  - {group: aa}
  - {account: aa, group: aa}
  - {tree: /srv/twice, owner: aa, group: aa, directory_mode: "0750", file_mode: "0640"}
"""


@pytest.mark.parametrize("pure", ["", "1"])
def test_names_of_one_file_that_several_processes_meet_at_once(pure: str, tmp_path: Path) -> None:
    """Each file has names in parts of the tree that are changed at the same time."""
    root = system(tmp_path / "root")
    for number in range(200):
        folder = root / f"srv/twice/{number:03d}"
        folder.mkdir(parents=True)
        for name in range(10):
            (folder / f"{name}").touch(0o604) if number % 8 == 0 else os.link(
                root / f"srv/twice/{number // 8 * 8:03d}/{name}", folder / f"{9 - name}"
            )
    env = {"RECONCILER_PURE_PYTHON": pure}
    before = digest(root)
    for _ in range(many(2, 30)):
        reconciler("apply", written(tmp_path, LINKED), "--yes", root=root, check=0, env=env)
        owners = {os.lstat(path).st_uid for path in (root / "srv/twice").rglob("*")}
        assert len(owners) == 1 and 0 not in owners
        reconciler("uninstall", "twice", "--yes", root=root, check=0, env=env)
        assert digest(root) == before
