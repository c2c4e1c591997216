"""One walk, four ways: in Python or in C, by one process or by several.  All have to see and do the same."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import socket
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reconciler.errors import HostError
from reconciler.host import native, parallel, walk
from reconciler.host.files import FileHost
from reconciler.host.port import Attributes, Visitor
from reconciler.host.statx import kernel
from tests.effort import many

WAYS = [(fast, several) for fast in (False, True) for several in (False, True)]
NAMES = st.sampled_from(
    [b"a", b"b", b"a b", b"new\nline", b"\xff\xfe", b"back\\slash", b"\x1b[31m", "ä".encode(), b"z" * 200]
)
PATHS = st.lists(NAMES, min_size=1, max_size=4).map(b"/".join)
THINGS = st.sampled_from(["file", "file", "directory", "directory", "link", "fifo", "socket", "again"])


@contextmanager
def way(fast: bool, several: bool) -> Iterator[None]:
    """Walk in C or not, by several processes or one, whatever the size of the tree."""
    with pytest.MonkeyPatch.context() as patch:
        if not fast:
            patch.setattr(walk, "native", lambda: None)
        patch.setattr(parallel, "LARGE", 1 if several else 10**9)
        patch.setattr(parallel, "ENOUGH", 3)
        for module in (parallel, walk):
            patch.setattr(module, "SLICE", 2)
        yield


class Seen(Visitor[Any]):
    """Tells everything, and from which process."""

    def __init__(self) -> None:
        self.found: list[tuple[Any, ...]] = []

    def enter(self, at: Any) -> None:
        self._note(at, b"", at.facts)

    def files(self, at: Any, groups: Any) -> None:
        for facts, names in groups.items():
            assert names == sorted(names)
            attributed = at.attributed(names, ("user.other", "user.note"))
            assert at.attributed(names, ("user.other",)) == []
            for name in names:
                assert ("user.note" in at.xattrs(name)) == (name in attributed)
                self._note(at, name, facts)

    def _note(self, at: Any, name: bytes, facts: Any) -> None:
        digest = at.digest(name) if name and facts.type == "file" else ""
        path = at.path + b"/" + name if at.path and name else at.path or name
        told = (facts.type, facts.mode, facts.uid, facts.gid, facts.nlink, facts.frozen)
        self.found.append((path, told, dict(at.xattrs(name)), at.inode(name) if name else None, digest, os.getpid()))

    def told(self) -> Any:
        told, self.found = self.found, []
        return told


class Changing(Visitor[Any]):
    """Gives everything but links the same mode, on the way down or up."""

    def __init__(self) -> None:
        self.wanted = Attributes(os.geteuid(), os.getegid(), 0o751)

    def enter(self, at: Any) -> None:
        assert at.change([([b""], at.facts, self.wanted)]) == []

    def files(self, at: Any, groups: Any) -> None:
        for facts, names in groups.items():
            assert at.change([(names, facts, self.wanted)]) == []


def build(top: Path, things: list[tuple[bytes, str]]) -> None:
    """Make what can be made of a list of things."""
    here = os.fsencode(top)
    os.mkdir(top)
    for path, thing in things:
        whole = here + b"/" + path
        try:
            os.makedirs(os.path.dirname(whole), exist_ok=True)
            if os.path.lexists(whole):
                continue
            if thing == "file":
                with open(whole, "wb") as file:
                    file.write(path)
                os.chmod(whole, 0o4755 if len(path) % 3 == 0 else 0o640)
                if len(path) % 2:
                    os.setxattr(whole, "user.note", b"1")
            elif thing == "directory":
                os.mkdir(whole)
            elif thing == "link":
                os.symlink(b"/etc/passwd", whole)
            elif thing == "fifo":
                os.mkfifo(whole)
            elif thing == "again":
                files = [entry.path for entry in os.scandir(here) if entry.is_file(follow_symlinks=False)]
                if files:
                    os.link(files[0], whole)
            else:
                with socket.socket(socket.AF_UNIX) as listening:
                    listening.bind(whole)
        except (FileExistsError, NotADirectoryError):
            continue
        except OSError as error:
            assert "too long" in str(error) or thing == "socket", error


def filled(top: Path, folders: list[str], files: int) -> None:
    """Make directories with as many files in each."""
    for folder in folders:
        (top / folder).mkdir(parents=True)
        for name in range(files):
            (top / folder / str(name)).touch()


def seen(host: FileHost) -> tuple[list[tuple[Any, ...]], set[int]]:
    """What a walk shows, and how many processes saw it."""
    found = [item for told in host.visit("/t", lambda: Seen) for item in told]
    return sorted(item[:-1] for item in found), {item[-1] for item in found}


@settings(max_examples=many(60), suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(PATHS, THINGS), max_size=25))
def test_all_ways_of_walking_see_and_do_the_same(things: list[tuple[bytes, str]]) -> None:
    assert native.native() is not None or os.environ.get("RECONCILER_PURE_PYTHON"), "the C part was not built"
    with tempfile.TemporaryDirectory() as scratch:
        os.chmod(scratch, 0o755)
        build(Path(scratch) / "t", things)
        host = FileHost(scratch)
        stories = []
        for fast, several in WAYS:
            with way(fast, several):
                stories.append(seen(host)[0])
        assert all(story == stories[0] for story in stories)
        listed = [path for path, *_ in stories[0]]
        assert len(listed) == len(set(listed))
        real = {b""}
        for folder, directories, files in os.walk(os.path.join(os.fsencode(scratch), b"t")):
            real |= {
                os.path.relpath(os.path.join(folder, name), os.path.join(os.fsencode(scratch), b"t"))
                for name in directories + files
            }
        assert set(listed) == real
        for number, (fast, several) in enumerate(WAYS):
            copy = Path(scratch) / f"copy{number}"
            copy.mkdir()
            os.chmod(copy, 0o755)
            build(copy / "t", things)
            with way(fast, several):
                list(FileHost(str(copy)).amend("/t", lambda: Changing))
                after = seen(FileHost(str(copy)))[0]
            assert all(told[1] == (0o777 if told[0] == "link" else 0o751) for _, told, *_ in after)


def test_a_large_tree_is_shared_out_and_told_in_order(tmp_path: Path) -> None:
    filled(tmp_path / "t", [f"{number % 7}/{number:02d}" for number in range(40)], 60)
    found = [item for told in FileHost(str(tmp_path)).visit("/t", lambda: Seen) for item in told]
    if len(os.sched_getaffinity(0)) > 1:
        assert len({item[-1] for item in found}) >= 3, "the first process and at least two others"
    directories = [path for path, told, *_ in found if told[0] == "directory"]
    assert directories == sorted(directories, key=lambda path: path.split(b"/") if path else [])
    assert len(found) == 1 + 7 + 40 + 2400


def test_no_part_is_taken_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "LARGE", 1)
    monkeypatch.setattr(parallel, "ENOUGH", 1)
    monkeypatch.setattr(parallel, "PARTS", 10**6)
    for number in range(400):
        (tmp_path / f"t/{number % 2}/{number}").mkdir(parents=True)
        (tmp_path / f"t/{number % 2}/{number}/file").touch()

    class Counting(Visitor[Any]):
        def enter(self, at: Any) -> None:
            os.write(notes, at.path + b"\n")

    for round_ in range(25):
        notes = os.open(tmp_path / f"notes{round_}", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        list(FileHost(str(tmp_path)).visit("/t", lambda: Counting))
        os.close(notes)
        listed = (tmp_path / f"notes{round_}").read_bytes().split(b"\n")[:-1]
        assert len(listed) == len(set(listed)) == 403


def test_members_die_with_the_first_process(tmp_path: Path) -> None:
    filled(tmp_path / "t", [str(number) for number in range(80)], 40)

    class Slow(Visitor[Any]):
        def files(self, at: Any, groups: Any) -> None:
            with open(tmp_path / f"pid{os.getpid()}", "w", encoding="ascii"):
                pass
            signal.pause()

    first = os.fork()
    if first == 0:
        try:
            list(FileHost(str(tmp_path)).visit("/t", lambda: Slow))
        finally:
            os._exit(1)
    until = time.monotonic() + 20
    while len(members := [int(p.name[3:]) for p in tmp_path.glob("pid*")]) < 2 and time.monotonic() < until:
        time.sleep(0.01)
    assert len(members) >= 2 and first not in members
    os.kill(first, signal.SIGKILL)
    os.waitpid(first, 0)
    while any(alive(pid) for pid in members) and time.monotonic() < until:
        time.sleep(0.01)
    assert not any(alive(pid) for pid in members)


def alive(pid: int) -> bool:
    """Whether a process still runs (and is not one that ended and waits to be noticed)."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            return file.read().rpartition(") ")[2][0] not in "ZX"
    except FileNotFoundError:
        return False


def test_no_more_processes_are_no_reason_to_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "LARGE", 1)
    with tempfile.TemporaryDirectory() as scratch:
        os.chmod(scratch, 0o755)
        for name in range(30):
            (Path(scratch) / f"t/{name}").mkdir(parents=True)
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                if os.geteuid() == 0:
                    # Root is not bound by the limit on processes; an ordinary user is.
                    os.setgid(65534)
                    os.setuid(65534)
                resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
                found, processes = seen(FileHost(scratch))
                code = 0 if len(found) == 31 and processes == {os.getpid()} else 2
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_what_goes_wrong_in_a_member_is_said_once(tmp_path: Path) -> None:
    filled(tmp_path / "t", [str(number) for number in range(80)], 40)

    class Failing(Visitor[Any]):
        def files(self, at: Any, groups: Any) -> None:
            raise HostError(f"{at.path.decode()}: no good")

    with pytest.raises(HostError, match="no good"):
        list(FileHost(str(tmp_path)).visit("/t", lambda: Failing))


def test_a_name_on_another_mount_is_no_part_of_the_tree(tmp_path: Path) -> None:
    if os.geteuid():
        pytest.skip("only root can mount")
    (tmp_path / "t/file").mkdir(parents=True)
    (tmp_path / "t/bound").touch()
    (tmp_path / "outside").write_text("x")
    (tmp_path / "elsewhere/inner").mkdir(parents=True)

    class Mounts(Seen):
        def mount(self, path: bytes) -> None:
            self.found.append((path, "mount", os.getpid()))

    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            unshare()
            for source, target in (("elsewhere", "t/file"), ("outside", "t/bound")):
                mount(str(tmp_path / source), str(tmp_path / target))
            for fast, several in WAYS:
                with way(fast, several):
                    found = [i for told in FileHost(str(tmp_path)).visit("/t", lambda: Mounts) for i in told]
                listed = {item[0]: item[1] for item in found}
                assert len(listed) == len(found), "each path is told once"
                assert listed[b"file"] == listed[b"bound"] == "mount", listed
                assert b"file/inner" not in listed
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def unshare() -> None:
    """A mount namespace of our own, in which mounts are nobody else's."""
    libc = ctypes.CDLL(None)
    assert libc.unshare(0x00020000) == 0
    assert libc.mount(b"none", b"/", None, 0x4000 | 0x40000, None) == 0  # MS_REC | MS_PRIVATE


def mount(source: str, target: str) -> None:
    """A bind mount."""
    assert ctypes.CDLL(None).mount(source.encode(), target.encode(), None, 0x1000, None) == 0


def test_what_is_made_immutable_is_known_without_opening_it(tmp_path: Path) -> None:
    (tmp_path / "t").mkdir()
    (tmp_path / "t/i").touch()
    if (
        os.geteuid()
        or subprocess.run(["chattr", "+i", str(tmp_path / "t/i")], check=False, capture_output=True).returncode
    ):
        pytest.skip("this file system keeps no immutable flag, or we are not root")
    try:
        for fast, several in WAYS:
            with way(fast, several):
                told = {path: told for path, told, *_ in seen(FileHost(str(tmp_path)))[0]}
            assert told[b"i"][-1] is True and told[b""][-1] is False
    finally:
        subprocess.run(["chattr", "-i", str(tmp_path / "t/i")], check=True)


def test_statx_answers_the_same_on_an_old_kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before 5.8 statx told no mount; before 2.28 a C library has no statx."""
    (tmp_path / "f").touch()
    os.chmod(tmp_path / "f", stat.S_ISUID | 0o751)
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        look = kernel()
        assert look(fd, b"f")
        told = (look.facts(), look.mount(), look.inode())
        monkeypatch.setattr(look, "call", None)
        assert look(fd, b"f")
        assert (look.facts(), look.mount(), look.inode()) == told
        assert not look(fd, b"missing")
        assert look(fd, b"") and look.facts().type == "directory"
    finally:
        os.close(fd)
