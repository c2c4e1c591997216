"""The emitted script, run by a plain shell: the first digest comes back, and no secret stands in it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from reconciler.app.script import checksum, quoted, shell_bytes
from tests.worlds import digest, managesoft, reconciler, system

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="giving files to accounts needs root")
NASTY = ["it's", "two\nlines", "-rf", "$(touch x)", "`id`", "sp ace", "\\back", "caf\udce9", "tab\t", "*", "ends\n"]
PATH = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}


def run(script: Path, root: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", str(script)], env={**PATH, "ROOT": str(root)}, capture_output=True, text=True, errors="replace"
    )


def test_the_script_gives_everything_back_without_us(tmp_path: Path) -> None:
    root = managesoft(system(tmp_path / "root"))
    data = root / "var/opt/managesoft"
    for name in NASTY:
        (data / name).write_text("x")
        (data / f"d{name}").mkdir(mode=0o711)
    (root / "etc/crlf.ini").write_bytes(b"; caf\xe9\r\n[S]\r\nk = 1 ; x%d\\n\r\nlast=1")
    os.utime(root / "etc/crlf.ini", ns=(10**18, 10**18 + 123456789))
    os.setxattr(data / "it's", "user.x", b"1")
    if shutil.which("setcap"):
        subprocess.run(["setcap", "cap_net_raw+ep", str(root / "opt/managesoft/bin/ndtrack")], check=False)
    before = digest(root)
    (tmp_path / "d.yaml").write_text(
        "deployment: m\nprofile: managesoft\nmode: least-privilege\nwith: {sudoers: 'false'}\nresources:\n"
        "  - ini: /etc/crlf.ini\n    set: {S: {k: '2', n: \"a'b%\"}}\n    owner: daemon\n"
        "  - file: /etc/new/deep/f\n    content: x\n  - tree: /srv/made\n    create: true\n"
    )
    (root / "srv").mkdir(exist_ok=True)
    before = digest(root)
    reconciler("apply", tmp_path / "d.yaml", "--yes", root=root, check=0)
    left = digest(root)
    reconciler("uninstall", "m", "--emit-script", tmp_path / "undo.sh", root=root, check=0)
    assert digest(root) == left, "only a script was written"
    shutil.rmtree(root / "var/lib/reconciler")
    done = run(tmp_path / "undo.sh", root)
    assert done.returncode == 0, done.stderr
    assert digest(root) == before
    assert run(tmp_path / "undo.sh", root).returncode in (0, 1)
    assert digest(root) == before, "twice is once"


def test_a_secret_is_named_and_not_written_down(tmp_path: Path) -> None:
    root = system(tmp_path / "root")
    (root / "etc/s.ini").write_text("[S]\npassword=hunter2\nopen=1\n")
    (root / "etc/o.ini").write_text("[S]\nk=1\nother_password=hunter3\n")
    (root / "etc/private").write_text("hunter4")
    (root / "etc/private").chmod(0o600)
    (tmp_path / "d.yaml").write_text(
        "deployment: d\nresources:\n  - ini: /etc/s.ini\n    set: {S: {password: swordfish}}\n"
        "  - ini: /etc/o.ini\n    set: {S: {k: '2'}}\n  - file: /etc/private\n    content: other\n"
    )
    reconciler("apply", tmp_path / "d.yaml", "--yes", root=root, check=0)
    reconciler("uninstall", "d", "--emit-script", tmp_path / "undo.sh", root=root, check=0)
    text = (tmp_path / "undo.sh").read_text()
    assert not any(secret in text for secret in ("hunter2", "hunter3", "hunter4", "swordfish"))
    done = run(tmp_path / "undo.sh", root)
    assert done.returncode == 1 and "/etc/s.ini" in done.stderr and "/etc/private" in done.stderr
    blobs = os.listdir(root / "var/lib/reconciler/blobs")
    assert any(name in done.stderr for name in blobs)
    assert (root / "etc/o.ini").read_text() == "[S]\nk=1\nother_password=hunter3\n"


def test_what_was_changed_since_is_left_and_named(tmp_path: Path) -> None:
    root = system(tmp_path / "root")
    (root / "etc/x.ini").write_text("[S]\nk=1\n")
    (tmp_path / "d.yaml").write_text(
        "deployment: d\nresources:\n  - ini: /etc/x.ini\n    set: {S: {k: '2'}}\n  - file: /etc/f\n    content: x\n"
    )
    reconciler("apply", tmp_path / "d.yaml", "--yes", root=root, check=0)
    reconciler("uninstall", "d", "--emit-script", tmp_path / "undo.sh", root=root, check=0)
    (root / "etc/x.ini").write_text("[S]\nk=3\n")
    (root / "etc/f").unlink()
    os.symlink("/etc/hostname", root / "etc/f")
    done = run(tmp_path / "undo.sh", root)
    assert done.returncode == 1 and "/etc/x.ini: is not as it was left" in done.stderr and "/etc/f" in done.stderr
    assert (root / "etc/x.ini").read_text() == "[S]\nk=3\n" and (root / "etc/f").is_symlink()
    # What would be refused is no script either.
    refused = reconciler("uninstall", "d", "--emit-script", tmp_path / "other.sh", root=root, check=3)
    assert "no script is written" in refused.stderr and not (tmp_path / "other.sh").exists()
    reconciler("uninstall", "nobody", "--emit-script", tmp_path / "other.sh", root=root, check=1)


@given(st.binary(max_size=60))
@example(b"-n\0")
def test_bytes_come_out_of_the_shell_as_they_went_in(data: bytes) -> None:
    assert subprocess.run(["sh", "-c", shell_bytes(data)], capture_output=True, check=True).stdout == data
    told = subprocess.run(["cksum"], input=data, capture_output=True, check=True).stdout.decode().strip()
    assert checksum(data) == told


@given(st.binary(min_size=1, max_size=30).filter(lambda raw: b"\0" not in raw))
def test_a_word_is_one_word_whatever_is_in_it(raw: bytes) -> None:
    text = raw.decode("utf-8", "surrogateescape")
    command = f"printf %s. {quoted(text)}".encode("utf-8", "surrogateescape")
    assert subprocess.run([b"sh", b"-c", command], capture_output=True, check=True).stdout == raw + b"."


TAKEN = "deployment: t\nresources:\n  - account: aa\n  - tree: /srv/tr\n    owner: aa\n    group: aa\n"


def taken_over(tmp_path: Path) -> Path:
    """A root whose tree with a setuid program belongs to an account now."""
    root = system(tmp_path / "root")
    tool = root / "srv/tr/sub/su"
    tool.parent.mkdir(parents=True)
    for path in (tool, root / "srv/tr/sub/kept"):
        path.write_text("the vendor's")
        path.chmod(0o4755)
    (root / "srv/elsewhere").mkdir()
    (root / "srv/elsewhere/su").write_text("planted")
    (root / "srv/elsewhere/su").chmod(0o755)
    (tmp_path / "d.yaml").write_text(TAKEN)
    reconciler("apply", tmp_path / "d.yaml", "--yes", root=root, check=0)
    return root


@pytest.mark.parametrize("by", ["uninstall", "rollback", "edit", "script"])
def test_no_other_bytes_become_setuid(by: str, tmp_path: Path) -> None:
    root = taken_over(tmp_path)
    tool = root / "srv/tr/sub/su"
    uid = tool.stat().st_uid
    if by == "script":
        reconciler("uninstall", "t", "--emit-script", tmp_path / "undo.sh", root=root, check=0)
    tool.unlink()
    tool.write_text("the attacker's")
    os.chown(tool, uid, uid)
    tool.chmod(0o4755)
    if by == "script":
        done = run(tmp_path / "undo.sh", root)
        assert done.returncode == 1
        told = done.stderr
    elif by == "edit":
        (tmp_path / "d.yaml").write_text(TAKEN.split("  - tree", maxsplit=1)[0])
        told = reconciler("apply", tmp_path / "d.yaml", "--yes", root=root, check=5).stdout
    else:
        words = ["uninstall", "t"] if by == "uninstall" else ["rollback"]
        told = reconciler(*words, "--yes", root=root, check=5).stdout
    assert "other bytes" in " ".join(told.split())
    assert tool.stat().st_mode & 0o7777 == 0o755 and tool.stat().st_uid == 0
    assert (root / "srv/tr/sub/kept").stat().st_mode & 0o7777 == 0o4755, "what is still the vendor's comes back whole"


def test_the_script_is_led_nowhere_by_a_link_in_the_way(tmp_path: Path) -> None:
    root = taken_over(tmp_path)
    reconciler("uninstall", "t", "--emit-script", tmp_path / "undo.sh", root=root, check=0)
    shutil.rmtree(root / "srv/tr/sub")
    os.symlink("../elsewhere", root / "srv/tr/sub")
    before = digest(root / "srv/elsewhere")
    done = run(tmp_path / "undo.sh", root)
    assert done.returncode == 1 and "not where it was" in done.stderr
    assert digest(root / "srv/elsewhere") == before


def test_the_script_knows_files_that_only_changed_their_mode(tmp_path: Path) -> None:
    root = system(tmp_path / "root")
    (root / "etc/f").write_text("x")
    (root / "etc/f").chmod(0o644)
    before = digest(root)
    (tmp_path / "d.yaml").write_text('deployment: d\nresources:\n  - {file: /etc/f, mode: "0600"}\n')
    reconciler("apply", tmp_path / "d.yaml", "--yes", root=root, check=0)
    reconciler("uninstall", "d", "--emit-script", tmp_path / "undo.sh", root=root, check=0)
    shutil.rmtree(root / "var/lib/reconciler")
    assert run(tmp_path / "undo.sh", root).returncode == 0
    assert digest(root) == before


@pytest.mark.parametrize("changed", [True, False])
def test_a_file_of_other_bytes_does_not_become_setuid_again(changed: bool, tmp_path: Path) -> None:
    root = system(tmp_path / "root")
    tool = root / "srv/su"
    tool.parent.mkdir(exist_ok=True)
    tool.write_text("the vendor's")
    tool.chmod(0o4755)
    before = digest(root)
    (tmp_path / "d.yaml").write_text("deployment: d\nresources:\n  - {file: /srv/su, owner: daemon}\n")
    reconciler("apply", tmp_path / "d.yaml", "--yes", root=root, check=0)
    assert tool.stat().st_mode & 0o7777 == 0o755
    if changed:
        tool.write_text("the attacker's")
    told = reconciler("uninstall", "d", "--yes", root=root, check=5 if changed else 0)
    if changed:
        assert "other bytes" in " ".join(told.stdout.split())
        assert tool.stat().st_mode & 0o7777 == 0o755 and tool.stat().st_uid == 0
    else:
        assert digest(root) == before
    assert reconciler("uninstall", "d", "--yes", root=root, check=0)


STAMP = 10**18 + 123456789
ACCOUNTS = "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1::/:/bin/false\nsvc:x:999:999::/:/bin/sh\n"
LOCATED = """deployment: d
resources:
  - {file: /data/a/file, content: ours, owner: svc, mode: '0664'}
  - {file: /data/a/made, content: ours, owner: svc}
  - {ini: /data/a/ini, set: {S: {k: v}}, owner: svc}
  - {link: /data/a/link, target: ours, owner: svc}
  - {link: /data/a/new, target: ours, owner: svc}
  - {directory: /data/a/dir, owner: svc, group: svc, mode: '2770'}
  - {directory: /data/a/fresh, owner: svc}
  - {tree: /data/a/tree, owner: svc, group: svc, directory_mode: g+s}
  - {file: /data/a/tree/own, mode: '0600'}
"""


def located(tmp_path: Path) -> tuple[Path, dict[str, tuple[object, ...]]]:
    """A root in which something of every kind stands where an account can move it."""
    root = system(tmp_path / "root")
    (root / "etc/passwd").write_text(ACCOUNTS)
    (root / "etc/group").write_text("root:x:0:\ndaemon:x:1:\nsvc:x:999:\n")
    data = root / "data/a"
    (data / "tree/sub").mkdir(parents=True)
    (data / "dir").mkdir()
    for name in ("file", "tree/sub/f", "tree/own"):
        (data / name).write_text("theirs\n")
    (data / "ini").write_text("[S]\nk=theirs\n")
    (data / "link").symlink_to("theirs")
    os.utime(data / "link", ns=(STAMP, STAMP), follow_symlinks=False)
    os.setxattr(data / "link", "trusted.mark", b"1", follow_symlinks=False)
    (root / "etc/victim").mkdir()
    for name in ("file", "made", "ini", "link", "new", "dir", "fresh", "tree", "f", "own", "sub"):
        (root / "etc/victim" / name).write_text("the victim's\n")
    before = digest(root)
    (tmp_path / "d.yaml").write_text(LOCATED)
    reconciler("apply", tmp_path / "d.yaml", "--yes", root=root, check=0)
    reconciler("uninstall", "d", "--emit-script", tmp_path / "undo.sh", root=root, check=0)
    return root, before


def test_what_stands_at_a_path_comes_back_by_the_script_as_it_does_by_us(tmp_path: Path) -> None:
    root, before = located(tmp_path)
    done = run(tmp_path / "undo.sh", root)
    assert done.returncode == 0, done.stderr
    assert digest(root) == before
    assert (root / "data/a/link").lstat().st_mtime_ns == STAMP


def test_what_stands_at_a_path_comes_back_by_us(tmp_path: Path) -> None:
    root, before = located(tmp_path)
    reconciler("uninstall", "d", "--yes", root=root, check=0)
    assert digest(root) == before
    assert (root / "data/a/link").lstat().st_mtime_ns == STAMP


@pytest.mark.parametrize("way", ["data", "data/a", "data/a/tree", "data/a/tree/sub", "data/a/dir"])
def test_the_script_reaches_nothing_through_a_directory_that_was_moved(way: str, tmp_path: Path) -> None:
    root, _ = located(tmp_path)
    (root / way).rename(root / "elsewhere")
    (root / way).symlink_to(f"{'../' * way.count('/')}etc/victim")
    if way == "data":
        (root / "etc/victim/a").symlink_to(".")
    victim = digest(root / "etc")
    done = run(tmp_path / "undo.sh", root)
    assert digest(root / "etc") == victim
    assert done.returncode == 1
    assert ("is a link by now" if way.endswith("dir") else "not where it was") in done.stderr


def test_the_script_reaches_nothing_by_another_name_of_it(tmp_path: Path) -> None:
    root, _ = located(tmp_path)
    leaves = [path for path in (root / "data/a").rglob("*") if path.is_symlink() or path.is_file()]
    for leaf in leaves:
        leaf.unlink()
        os.link(root / "etc/victim" / leaf.name, leaf)
    victim = digest(root / "etc")
    done = run(tmp_path / "undo.sh", root)
    assert digest(root / "etc") == victim
    assert done.returncode == 1 and "other names" in done.stderr
