"""A single directory: what stays of it when it is not empty, and the copies of its skeleton."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from reconciler.host.files import FileHost
from tests.drive import Bench
from tests.laws.hosts import file_host, snapshot
from tests.worlds import reconciler

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="giving directories to accounts needs root")
HEAD = "deployment: d\nresources:\n"
SPOOL = HEAD + "  - {directory: /var/spool/agent, owner: svc, group: svc, mode: '2770'}\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir(mode=0o755)
    file_host(tmp_path / "root")
    return tmp_path / "root"


@pytest.fixture
def bench(root: Path, tmp_path: Path) -> Bench:
    (tmp_path / "log").mkdir()
    return Bench(FileHost(str(root)), tmp_path / "log")


def facts(path: Path) -> tuple[int, int, str]:
    found = os.lstat(path)
    return found.st_uid, found.st_gid, f"{found.st_mode & 0o7777:04o}"


def written(path: Path, *, mode: int = 0o644, uid: int = 999) -> Path:
    """What the account leaves there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("x")
    os.chown(path, uid, uid)
    path.chmod(mode)
    return path


def test_one_that_is_not_empty_stays_as_its_parents_and_nobody_elses(bench: Bench, root: Path) -> None:
    start = snapshot(bench.observer())
    assert bench.apply(SPOOL).exit_code == 0
    spool = root / "var/spool/agent"
    deep, bad = written(spool / "a/b"), written(spool / "su", mode=0o6755)
    there, seq = snapshot(bench.observer()), bench.seq()

    report = bench.uninstall("d")
    assert report.exit_code == 5
    assert [path for path, _ in report.skipped] == ["/var/spool/agent"]
    assert facts(spool) == (0, 0, "0750")
    assert facts(deep) == (0, 0, "0644")
    assert facts(bad) == (0, 0, "0755"), "newborn: nothing of it makes anybody root"

    again = bench.uninstall("d")
    assert again.exit_code == 5, "it is held as long as it stays"
    assert bench.rollback(seq).exit_code == 0
    assert {**snapshot(bench.observer()), "var/spool/agent/su": 0} == {**there, "var/spool/agent/su": 0}
    assert facts(bad)[:2] == (999, 999)

    assert bench.uninstall("d").exit_code == 5
    deep.unlink(), bad.unlink(), deep.parent.rmdir()
    assert bench.uninstall("d").exit_code == 0
    assert snapshot(bench.observer()) == start


def test_what_came_in_between_plan_and_turn_is_left_there(bench: Bench, root: Path) -> None:
    both = SPOOL + "  - {file: /var/spool/agent/f, content: x}\n  - {file: /etc/zz, content: x}\n"
    assert bench.apply(both).exit_code == 0

    class Late:
        """A host in which the account writes while the run is under way."""

        def __getattr__(self, name: str) -> object:
            if name == "remove" and not (root / "var/spool/agent/late").exists():
                written(root / "var/spool/agent/late")
            return getattr(bench.observer(), name)

    report = bench.uninstall("d", host=Late())
    assert report.exit_code == 5, report
    assert [outcome for _, outcome, _ in report.transitions] == ["succeeded"] * 3
    assert facts(root / "var/spool/agent") == (0, 0, "0750")
    assert facts(root / "var/spool/agent/late")[:2] == (0, 0)


def test_files_of_ours_in_it_keep_their_owners_when_it_goes_first(bench: Bench, root: Path) -> None:
    inner = "  - {file: /var/spool/agent/f, content: x, owner: svc}\n"
    assert bench.apply(SPOOL + inner).exit_code == 0
    written(root / "var/spool/agent/theirs")
    assert bench.apply(HEAD + inner).exit_code == 5
    assert facts(root / "var/spool/agent/f")[0] == 999
    assert facts(root / "var/spool/agent/theirs")[0] == 0


def test_one_that_files_of_ours_stand_in_goes_with_the_last_of_them(bench: Bench, root: Path) -> None:
    start = snapshot(bench.observer())
    inner = "  - {file: /var/spool/agent/a/f, content: x, owner: svc}\n  - {link: /var/spool/agent/l, target: a}\n"
    assert bench.apply(SPOOL + inner).exit_code == 0
    there, seq = snapshot(bench.observer()), bench.seq()
    assert bench.apply(HEAD + inner).exit_code == 0
    assert facts(root / "var/spool/agent") == (0, 0, "0755")
    assert bench.apply(HEAD + inner).run is None
    assert bench.rollback(seq).exit_code == 0
    assert snapshot(bench.observer()) == there
    assert bench.apply(HEAD + inner).exit_code == 0
    assert bench.apply(HEAD + inner.splitlines()[0] + "\n").exit_code == 0
    assert bench.uninstall("d").exit_code == 0
    assert snapshot(bench.observer()) == start


def test_copies_go_where_they_are_as_they_were_made(bench: Bench, root: Path) -> None:
    skel = root / "etc/skel/.config"
    skel.mkdir(parents=True)
    (skel / "rc").write_text("one\n")
    (root / "etc/skel/l").symlink_to("/etc/shadow")
    start = snapshot(bench.observer())
    text = HEAD + "  - {directory: /home/svc, owner: svc, group: svc, mode: '0700', skel: /etc/skel}\n"
    assert bench.apply(text).exit_code == 0
    home = root / "home/svc"
    assert facts(home / ".config/rc") == (999, 999, "0644")
    assert os.readlink(home / "l") == "/etc/shadow"
    (root / "etc/skel/.config/rc").write_text("two\n")
    assert bench.apply(text).run is None, "copies are made once"
    (root / "etc/skel/.config/rc").write_text("one\n")
    (home / ".config/rc").write_text("mine\n")
    assert bench.uninstall("d").exit_code == 5, "what the account wrote is not ours to delete"
    assert (home / ".config/rc").read_text() == "mine\n"
    (home / ".config/rc").write_text("one\n")
    assert bench.uninstall("d").exit_code == 0
    found = snapshot(bench.observer())
    assert found.keys() == start.keys()


@pytest.mark.parametrize("what", ["owner", "mode", "fifo", "huge", "directory"])
def test_a_skeleton_that_others_can_change_is_none(bench: Bench, root: Path, what: str) -> None:
    skel = root / "etc/skel"
    skel.mkdir()
    file = skel / "rc"
    file.write_text("x")
    match what:
        case "owner":
            os.chown(file, 999, 999)
        case "mode":
            file.chmod(0o666)
        case "fifo":
            os.mkfifo(skel / "p")
        case "huge":
            os.truncate(file, 1 << 40)
        case _:
            skel.chmod(0o777)
    start = snapshot(bench.observer()) if what != "huge" else None
    report = bench.apply(HEAD + "  - {directory: /home/svc, skel: /etc/skel}\n")
    assert report.outcome == "refused"
    assert "skel: /etc/skel" in report.blocked[0].reason
    assert start is None or snapshot(bench.observer()) == start


def test_an_acl_that_is_there_is_kept(bench: Bench, root: Path) -> None:
    spool = root / "srv/spool"
    spool.mkdir(parents=True)
    acl = bytes.fromhex("0200000001000700ffffffff02000700e703000004000500ffffffff10000700ffffffff20000500ffffffff")
    os.setxattr(spool, "system.posix_acl_default", acl)
    os.setxattr(spool, "system.posix_acl_access", acl)
    start = snapshot(bench.observer())
    assert bench.apply(HEAD + "  - {directory: /srv/spool, owner: svc, mode: '0750'}\n").exit_code == 0
    assert os.getxattr(spool, "system.posix_acl_default") == acl
    assert bench.uninstall("d").exit_code == 0
    assert snapshot(bench.observer()) == start


@pytest.mark.parametrize("target", ["-t/elsewhere", "-f", "--help", "it's $(id)"])
def test_a_script_takes_no_target_for_an_option(root: Path, tmp_path: Path, target: str) -> None:
    (root / "opt/l").symlink_to(target)
    (tmp_path / "d.yaml").write_text(HEAD + "  - {link: /opt/l, target: new}\n")
    reconciler("apply", tmp_path / "d.yaml", "--yes", root=root)
    reconciler("uninstall", "d", "--emit-script", tmp_path / "s.sh", root=root)
    done = subprocess.run(["sh", tmp_path / "s.sh"], env={**os.environ, "ROOT": str(root)}, check=False)
    assert done.returncode == 0
    assert os.readlink(root / "opt/l") == target
