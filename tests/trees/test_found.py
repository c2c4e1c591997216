"""What hostile testers found, each as small as it could be made."""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import stat
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.trees.accounts import account, reachable
from tests.trees.test_odd import CAPABILITY
from tests.worlds import digest, reconciler, system

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")

UID = 4242
HEAD = "deployment: d\nresources:\n  - {group: aa, gid: 4242}\n  - {account: aa, uid: 4242, group: aa}\n"
PLAIN = HEAD + "  - {tree: /srv/tr, owner: aa, group: aa}\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A system with a small tree, which ordinary processes can reach."""
    made = system(tmp_path / "root")
    reachable(made)
    (made / "srv/tr/bin").mkdir(parents=True)
    for path in (made, made / "srv"):
        os.chmod(path, 0o755)
    return made


def applied(root: Path, text: str = PLAIN, check: int = 0) -> Path:
    """Apply a document to the system."""
    file = root.parent / "d.yaml"
    file.write_text(text)
    reconciler("apply", file, "--yes", root=root, check=check)
    return file


def overwriting(tool: Path) -> None:
    """Wait until somebody has read the file, and write over it at once."""
    libc = ctypes.CDLL(None)
    watch = libc.inotify_init()
    libc.inotify_add_watch(watch, os.fsencode(tool), 0x10)  # IN_CLOSE_NOWRITE
    handle = os.open(tool, os.O_WRONLY)
    while True:
        os.read(watch, 4096)
        os.pwrite(handle, b"EVIL", 0)


def swapping(tool: Path) -> None:
    """The same with another file renamed over it."""
    libc = ctypes.CDLL(None)
    watch = libc.inotify_init()
    libc.inotify_add_watch(watch, os.fsencode(tool), 0x10)
    evil = tool.with_name("evil")
    evil.write_bytes(b"EVIL" * 5)
    evil.chmod(stat.S_IMODE(tool.stat().st_mode))
    os.read(watch, 4096)
    os.rename(evil, tool)


def mapping(tool: Path) -> None:
    """Hold the file mapped, to write into it once it is setuid."""
    handle = os.open(tool, os.O_RDWR)
    view = mmap.mmap(handle, 20, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
    os.close(handle)
    while not os.stat(tool).st_mode & 0o4000:
        time.sleep(0.001)
    view[:4] = b"EVIL"


@pytest.mark.parametrize("how", [overwriting, swapping, mapping])
@pytest.mark.parametrize("caps", [False, True])
def test_no_bytes_of_the_account_ever_become_setuid(how: Callable[[Path], None], caps: bool, root: Path) -> None:
    tool = root / "srv/tr/bin/su"
    tool.write_bytes(b"good" * 5)
    os.chmod(tool, 0o755 if caps else 0o4755)
    if caps:
        os.setxattr(tool, "security.capability", CAPABILITY)
    applied(root)
    if caps:
        os.removexattr(tool, "security.capability")
    os.chown(tool, UID, UID)
    os.chmod(tool, 0o755)
    with account(UID, lambda: how(tool)):
        done = reconciler("uninstall", "d", "--yes", root=root)
        time.sleep(0.2)
    raised = bool(tool.stat().st_mode & 0o6000) or "security.capability" in os.listxattr(tool)
    assert not (raised and tool.read_bytes() != b"good" * 5)
    assert done.returncode == 5 and "other bytes" in " ".join(done.stdout.split())
    assert tool.stat().st_uid == 0


def test_untouched_bytes_are_setuid_again_while_others_only_read_them(root: Path) -> None:
    tool = root / "srv/tr/bin/su"
    tool.write_bytes(b"good")
    os.chmod(tool, 0o4755)
    before = digest(root)
    applied(root)
    with open(tool, "rb"):
        reconciler("uninstall", "d", "--yes", root=root, check=0)
    assert digest(root) == before


def test_a_huge_hole_is_known_by_its_size(root: Path) -> None:
    tool = root / "srv/tr/bin/su"
    tool.write_bytes(b"good")
    os.chmod(tool, 0o4755)
    applied(root)
    os.truncate(tool, 1 << 40)
    began = time.monotonic()
    reconciler("uninstall", "d", "--yes", root=root, check=5)
    assert time.monotonic() - began < 60


def test_what_took_the_place_of_an_untouched_file_is_no_longer_the_accounts(root: Path) -> None:
    helper = root / "srv/tr/bin/helper"
    helper.write_text("root runs this")
    os.chmod(helper, 0o755)
    applied(
        root,
        HEAD
        + "  - tree: /srv/tr\n    owner: aa\n    group: aa\n    except: {bin/helper: {owner: root, group: root}}\n",
    )
    os.rename(helper, helper.with_name("old"))
    helper.write_text("evil")
    os.chown(helper, UID, UID)
    os.chmod(helper, 0o777)
    reconciler("uninstall", "d", "--yes", root=root, check=0)
    assert (helper.stat().st_uid, stat.S_IMODE(helper.stat().st_mode)) == (0, 0o755)


@pytest.mark.parametrize("mode", [0o775, 0o777, 0o1777])
@pytest.mark.parametrize("acl", [False, True])
def test_a_directory_that_was_open_to_others_is_open_again(mode: int, acl: bool, root: Path) -> None:
    log = root / "srv/tr/log"
    log.mkdir()
    (log / "a").write_text("x")
    os.link(log / "a", root / "srv/tr/b")
    if acl:
        subprocess.run(["setfacl", "-m", "u:daemon:rwx,d:u:daemon:rx", str(log)], check=True)
    os.chmod(log, mode)
    before = digest(root)
    applied(root, check=5)
    reconciler("uninstall", "d", "--yes", root=root, check=0)
    assert digest(root) == before


@pytest.mark.parametrize("inner", ["exception", "tree"])
def test_names_of_one_file_under_two_rules_are_left_alone(inner: str, root: Path) -> None:
    (root / "srv/tr/safe").mkdir()
    (root / "srv/tr/safe/helper").write_text("root runs this")
    os.link(root / "srv/tr/safe/helper", root / "srv/tr/bin/tool")
    text = {
        "exception": HEAD + "  - tree: /srv/tr\n    owner: aa\n    except: {safe: {owner: root, group: root}}\n",
        "tree": HEAD + "  - {tree: /srv/tr, owner: aa}\n  - {tree: /srv/tr/safe, owner: root}\n",
    }[inner]
    applied(root, text, check=5)
    assert (root / "srv/tr/safe/helper").stat().st_uid == 0
    assert "bin/tool" in reconciler("apply", root.parent / "d.yaml", "--yes", root=root, check=5).stdout


def test_acls_that_the_account_gave_go_with_it(root: Path) -> None:
    (root / "srv/tr/bin/conf").write_text("x")
    applied(root)
    born = root / "srv/tr/bin/born"
    born.mkdir()
    os.chown(born, UID, UID)
    for path in (root / "srv/tr/bin", root / "srv/tr/bin/conf", born):
        rules = "u:4242:rwx" if path.is_file() else "u:4242:rwx,d:u:4242:rwx"
        subprocess.run(["setfacl", "-m", rules, str(path)], check=True)
    reconciler("uninstall", "d", "--yes", root=root, check=0)
    for path in (root / "srv/tr/bin", root / "srv/tr/bin/conf", born):
        assert not [key for key in os.listxattr(path) if "acl" in key], path
        assert path.stat().st_uid == 0


@pytest.mark.parametrize("large", [False, True])
def test_what_is_born_while_the_tree_is_taken_back_is_taken_too(large: bool, root: Path) -> None:
    for number in range(120 if large else 4):
        (root / f"srv/tr/{number % 9}/{number}").mkdir(parents=True)
        for name in range(20):
            (root / f"srv/tr/{number % 9}/{number}/{name}").touch()
    applied(root)

    def breeding() -> None:
        count = 0
        while True:
            time.sleep(0.002)  # fast enough to be in every race, and not a million paths to look at afterwards
            for folder in range(9):
                count += 1
                try:
                    (root / f"srv/tr/{folder}/n{count}").mkdir()
                    (root / f"srv/tr/{folder}/n{count}/x").touch()
                except OSError:
                    continue

    with account(UID, breeding):
        done = reconciler("uninstall", "d", "--yes", root=root)
    named = done.stdout
    found = subprocess.check_output(["find", "srv/tr", "-uid", str(UID)], cwd=root, text=True)
    assert not [path for path in found.splitlines() if path not in named], done.stdout


def test_an_image_forgets_no_name(root: Path) -> None:
    top = root / "srv/tr/bin"
    for name in ("a", "m1", "y", "z"):
        (top / name).write_text(name)
        os.chmod(top / name, 0o600)
    os.link(top / "m1", top / "m2")
    applied(root, HEAD + '  - {tree: /srv/tr, owner: aa, group: aa, file_mode: "0640"}\n')
    for name in ("a", "m1", "m2", "y"):
        (top / name).unlink()
    told = json.loads(reconciler("explain", "/srv/tr/bin/z", "--format", "json", root=root, check=0).stdout)
    assert all(field["by"] for field in told["fields"]), told
    reconciler("uninstall", "d", "--yes", root=root, check=0)
    assert stat.S_IMODE((top / "z").stat().st_mode) == 0o600


def test_nested_trees_do_not_see_each_others_paths(root: Path) -> None:
    sub = root / "srv/tr/in/sub"
    sub.mkdir(parents=True)
    for name in ("a", "b", "z"):
        (sub / name).touch()
    (root / "srv/out").touch()
    os.link(root / "srv/out", sub / "m1")
    file = root.parent / "d.yaml"
    file.write_text(HEAD + "  - {tree: /srv/tr, owner: aa}\n  - {tree: /srv/tr/in, owner: aa}\n")
    planned = json.loads(reconciler("plan", file, "--format", "json", root=root).stdout)
    done = json.loads(reconciler("apply", file, "--yes", "--format", "json", root=root, check=5).stdout)
    counts = [{t["address"]: t.get("counts") for t in told["transitions"]} for told in (planned, done)]
    assert counts[0] == counts[1]


def test_the_accounts_own_files_outside_are_not_taken_through_a_sticky_directory(root: Path) -> None:
    (root / "srv/tr/tmp").mkdir()
    os.chmod(root / "srv/tr/tmp", 0o1777)
    applied(root, HEAD + "  - {tree: /srv/tr, owner: aa, except: {tmp: {owner: root, group: root}}}\n")
    (root / "srv/home").mkdir()
    (root / "srv/home/f").write_text("x")
    os.chown(root / "srv/home/f", UID, UID)
    os.link(root / "srv/home/f", root / "srv/tr/tmp/one")
    reconciler("uninstall", "d", "--yes", root=root)
    assert (root / "srv/home/f").stat().st_uid == UID


def test_the_quarantine_is_no_part_of_the_tree_round_it(root: Path) -> None:
    (root / "srv/tr/in").mkdir()
    (root / "srv/tr/in/secret").write_text("s")
    file = root.parent / "d.yaml"
    file.write_text(PLAIN)
    other = root.parent / "e.yaml"
    other.write_text("deployment: e\nresources:\n  - {tree: /srv/tr/in, owner: daemon, on_uninstall: delete}\n")
    reconciler("apply", file, other, "--yes", root=root, check=0)
    reconciler("uninstall", "e", "--yes", "--destroy-data", root=root, check=0)
    reconciler("apply", file, "--yes", root=root, check=0)
    store = root / "srv/tr/.reconciler-quarantine"
    assert store.stat().st_uid == 0 and UID not in {p.stat().st_uid for p in store.rglob("*")}


def test_a_link_planted_by_the_account_is_skipped_and_no_conflict(root: Path) -> None:
    (root / "srv/tr/bin/b").write_text("x")
    (root / "srv/other").write_text("y")
    os.chown(root / "srv/other", 1, 1)
    applied(root)
    (root / "srv/tr/bin/b").unlink()
    os.link(root / "srv/other", root / "srv/tr/bin/b")
    told = reconciler("uninstall", "d", "--yes", root=root, check=5).stdout
    assert "hard links" in " ".join(told.split()) and (root / "srv/other").stat().st_uid == 1


def test_what_could_not_be_given_back_stays_held_until_it_is(root: Path) -> None:
    path = root / "srv/tr/bin/b"
    path.write_text("x")
    before = digest(root)
    applied(root, "deployment: d\nresources:\n  - {tree: /srv/tr, owner: daemon, group: daemon}\n")
    subprocess.run(["chattr", "+i", str(path)], check=True)
    try:
        reconciler("uninstall", "d", "--yes", root=root, check=5)
    finally:
        subprocess.run(["chattr", "-i", str(path)], check=True)
    reconciler("uninstall", "d", "--yes", root=root, check=0)
    assert digest(root) == before
    assert "Nothing to do" in reconciler("uninstall", "d", "--yes", root=root, check=0).stdout


def test_an_owner_who_flips_modes_vetoes_nothing(root: Path) -> None:
    for name in range(400):
        (root / f"srv/tr/bin/{name}").touch()
    text = HEAD + '  - {tree: /srv/tr, owner: aa, group: aa, file_mode: "0640"}\n'
    applied(root, text)

    def flipping() -> None:
        while True:
            for name in range(400):
                for mode in (0o600, 0o666):
                    try:
                        os.chmod(root / f"srv/tr/bin/{name}", mode)
                    except OSError:
                        continue

    with account(UID, flipping):
        for _ in range(4):
            assert reconciler("apply", root.parent / "d.yaml", "--yes", root=root).returncode in (0, 5)
        assert reconciler("rollback", "--yes", root=root).returncode in (0, 5)


def test_a_purge_is_not_stopped_by_who_stands_in_it(root: Path) -> None:
    for name in range(30):
        (root / f"srv/tr/bin/{name}/x").mkdir(parents=True)
    applied(root, HEAD + "  - {tree: /srv/tr, owner: aa, group: aa, on_uninstall: delete}\n")

    def dancing() -> None:
        os.chdir(root / "srv/tr/bin")
        while True:
            for name in range(30):
                for one, other in ((f"{name}/x", f"{(name + 1) % 30}/y"), (f"{(name + 1) % 30}/y", f"{name}/x")):
                    try:
                        os.rename(one, other)
                    except OSError:
                        continue

    with account(UID, dancing):
        reconciler("uninstall", "d", "--yes", "--destroy-data", root=root)
        reconciler("purge", "d", "--yes", root=root, check=0)
    assert not (root / "srv/.reconciler-quarantine").exists()
