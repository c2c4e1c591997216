"""The parts of watch by themselves: where to look, fights, causes from recorded logs, what is said and how."""

from __future__ import annotations

import json
import os
import re
import socket
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.history.causes import Asked, cause, dpkg, logins, rpm, upgrading, zypp
from reconciler.host.actor import Who
from reconciler.host.files import FileObserver
from reconciler.host.port import Scope
from reconciler.model import Address
from reconciler.watching import notify
from reconciler.watching.affected import MOST, Concern, Places
from reconciler.watching.bus import label
from reconciler.watching.event_sources import Eyes
from reconciler.watching.fanotify import Fanotify
from reconciler.watching.flapping import AGAIN, FIRST, LONGEST, MANY, SOON, TIMES, Flapping
from reconciler.watching.inotify import Dogs
from reconciler.watching.notices import Lost, Notice

TREE, INI, DAEMON = Address("tree", "/opt/a"), Address("ini", "/etc/a/a.ini"), Address("daemon", "flxd.service")
PLACES = Places(
    files={"/etc/a/a.ini": {INI}},
    trees={"/opt/a": TREE},
    units={"flxd.service": DAEMON},
    desired=("/srv/desired",),
    log="/var/lib/reconciler/events.db",
)


@pytest.mark.parametrize(
    ("notice", "addresses"),
    [
        (Notice("/etc/a/a.ini"), {INI}),
        (Notice("/etc/a/b.ini"), set()),
        (Notice("/etc/a", whole=True), {INI}),
        (Notice("/etc/a"), set()),
        (Notice("/opt/a/x/y"), {TREE}),
        (Notice("/opt/ab"), set()),
        (Notice("/opt", whole=True), {TREE}),
        (Notice("/etc/systemd/system/flxd.service.d/zz.conf"), {DAEMON}),
        (Notice("/etc/systemd/system/multi-user.target.wants/flxd.service"), {DAEMON}),
        (Notice("/etc/systemd/system/other.service.d/zz.conf"), set()),
        (Notice("/opt/a/.reconciler-x"), {TREE}),
        (Notice("/opt/a/.reconciler-quarantine/r1/x"), {TREE}),
        (Notice("/var/lib/reconciler/events.db-journal"), set()),
    ],
)
def test_what_a_notice_concerns(notice: Notice, addresses: set[Address]) -> None:
    assert PLACES.concerned(notice).addresses == addresses


def test_desired_files_and_the_log_are_told_apart() -> None:
    assert PLACES.concerned(Notice("/srv/desired/x.yaml")).desired
    assert not PLACES.concerned(Notice("/srv/desired/.x.yaml.swp")).desired
    assert PLACES.concerned(Notice("/srv", whole=True)).desired
    assert PLACES.concerned(Notice("/var/lib/reconciler/events.db")).log
    assert not PLACES.concerned(Notice("/var/lib/reconciler/key"))


def test_a_path_of_a_tree_is_looked_at_alone_and_a_directory_that_came_as_a_whole() -> None:
    concern = PLACES.concerned(Notice("/opt/a/x/y"))
    concern.take(PLACES.concerned(Notice("/opt/a/new", whole=True)))
    assert concern.scope(TREE) == Scope(frozenset([b"x/y"]), frozenset([b"new"]))
    for number in range(MOST):
        concern.take(PLACES.concerned(Notice(f"/opt/a/{number}")))
    assert concern.scope(TREE) is None, "so many that the whole tree is cheaper"


@given(st.lists(st.floats(0, 10_000), max_size=60))
def test_no_field_is_corrected_for_ever(gaps: list[float]) -> None:
    """Whatever the rhythm of the other one: in any hour we correct a field so many times and no more."""
    fights, now, done = Flapping(), 1e9, []
    for gap in gaps:
        now += gap
        if fights.until(("ini:/x", "k"), now) is None:
            fights.corrected([("ini:/x", "k")], now)
            done.append(now)
    for start in done:
        assert sum(start <= at < start + 3600 for at in done) <= 60
        assert sum(start <= at < start + SOON for at in done) <= TIMES


def test_stepping_back_lasts_longer_each_time_and_ends_when_the_other_one_does() -> None:
    fights, now, waits = Flapping(), 1e9, []
    for _ in range(TIMES - 1):
        fights.corrected([("ini:/x", "k")], now)
        assert fights.until(("ini:/x", "k"), now) is None
    for _ in range(9):
        fights.corrected([("ini:/x", "k")], now, "sed")
        until = fights.until(("ini:/x", "k"), now)
        assert until is not None and fights.going_on(now)[("ini:/x", "k")].others["sed"]
        waits.append(until - now)
        now = until + 0.1
    assert waits[:3] == [FIRST, 2 * FIRST, 4 * FIRST] and waits[-1] == LONGEST
    now += LONGEST + AGAIN
    fights.corrected([("ini:/x", "k")], now)
    assert fights.until(("ini:/x", "k"), now) is None
    assert fights.until(("ini:/x", "other"), now) is None


def test_a_month_of_drift_needs_no_more_room_than_a_day() -> None:
    fights = Flapping()
    for number in range(40 * MANY):
        fights.corrected([("tree:/x", f"/x/{number}")], 1e9 + 60 * number)
    assert len(fights._known) <= 2 * MANY


def recorded(root: Path, files: dict[str, str | bytes]) -> FileObserver:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        path.chmod(0o644)
    return FileObserver(str(root))


NOW = datetime(2026, 11, 22, 12, 0, 30, tzinfo=UTC)
AUDIT = """\
type=SYSCALL msg=audit(1795348825.114:901): arch=c000003e syscall=260 success=yes exit=0 items=1 ppid=700 pid=712 auid=1000 uid=0 gid=0 tty=pts0 ses=3 comm="chown" exe="/usr/bin/chown" key="reconciler"
type=PATH msg=audit(1795348825.114:901): item=0 name="/opt/a/f1" inode=99 dev=fd:01 mode=0100640 ouid=0 ogid=0 nametype=NORMAL
type=SYSCALL msg=audit(1795348826.000:902): arch=c000003e syscall=260 success=no exit=-1 items=1 pid=713 auid=1001 uid=1001 comm="evil" exe="/tmp/evil"
type=PATH msg=audit(1795348826.000:902): item=0 name="/opt/a/f1" inode=99
type=SYSCALL msg=audit(1795348827.000:903): arch=c000003e syscall=82 success=yes items=2 pid=714 auid=4294967295 uid=0 comm=6E6577206E616D65 exe="/usr/bin/mv"
type=PATH msg=audit(1795348827.000:903): item=1 name=2F6F70742F612F616220
"""
DPKG = """\
2026-11-22 11:00:00 upgrade other:amd64 1 2
2026-11-22 12:00:10 upgrade agent:amd64 1.0 1.1
2026-11-22 12:00:11 upgrade libc6:amd64 2.35 2.36
2026-11-22 12:00:12 status installed libc6:amd64 2.36
2026-11-22 12:00:13 configure libc6:amd64 2.36 <none>
"""


def asked(*paths: str, **more: Any) -> Asked:
    return Asked(paths, NOW - timedelta(seconds=25), NOW, **more)


@pytest.fixture
def utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


def test_causes_from_the_packages_log(tmp_path: Path, utc: None) -> None:
    lists = {"var/lib/dpkg/info/agent.list": "/.\n/opt/a\n/opt/a/f1\n", "var/log/dpkg.log": DPKG}
    host = recorded(tmp_path, lists)
    found = cause(host, asked("/opt/a/f1"))
    assert (found.kind, found.text) == (
        "package", "package agent was upgraded from 1.0 to 1.1 at 12:00:10Z (dpkg.log)",
    )  # fmt: skip
    assert "libc6" in cause(host, asked("/etc/else")).text, "nobody owns it: what was there at that time"
    vim = Who(7, "vim", "/usr/bin/vim", 0, 0)
    assert cause(host, asked("/etc/else", whos=(vim,))).kind == "process", "who was seen goes before a mere coincidence"
    assert cause(host, asked("/opt/a/f1", whos=(Who(8, "dpkg", "/usr/bin/dpkg", 0),))).kind == "package"
    assert cause(host, asked("/etc/else", whos=(Who(8, "dpkg", "/usr/bin/dpkg", 0),))).kind == "package"
    liar = Who(9, "dpkg", "/tmp/evil", 1234)
    assert cause(host, asked("/etc/else", whos=(liar,))).kind == "process", "a name anybody can give himself"
    both = cause(host, asked("/etc/else", whos=(vim, Who(10)))).text
    assert both == "process 7 (vim) of root, or process 10, which has ended"
    assert Who(1, "vi) of root", "", 0).text == 'process 1 ("vi) of root") of root'
    late = Asked(("/opt/a/f1",), NOW + timedelta(hours=1), NOW + timedelta(hours=2))
    assert cause(host, late).kind == "unknown"


def test_other_package_managers(utc: None) -> None:
    dnf = "2026-11-22T12:00:01+0000 SUBDEBUG Upgrade: agent-1.1-1.x86_64\n2026-11-22T12:00:02+0000 INFO nothing\n"
    assert [(p.package, p.verb) for p in rpm(dnf)] == [("agent-1.1-1.x86_64", "upgraded")]
    assert [p.package for p in rpm("Nov 22 12:00:01 Updated: agent-1.1.x86_64\n")] == ["agent-1.1.x86_64"]
    assert [
        (p.package, p.verb) for p in zypp("2026-11-22 12:00:01|install|agent|1.1-1|x86_64||repo|\n# comment\n")
    ] == [("agent", "installed")]
    for broken in ("", "x", "2026-11-22", "2026-99-99 12:00:00 upgrade a b c\n", "|||\n", "\0\xff" * 50):
        assert not [*dpkg(broken), *zypp(broken)]
        list(rpm(broken))


def test_causes_from_the_audit_log(tmp_path: Path, utc: None) -> None:
    moment = datetime.fromtimestamp(1795348826, UTC)
    host = recorded(tmp_path, {"var/log/audit/audit.log": AUDIT})

    def at(path: str) -> Any:
        return cause(host, Asked((path,), moment - timedelta(seconds=3), moment + timedelta(seconds=3)))

    assert (at("/opt/a/f1").kind, at("/opt/a/f1").details["process"]["login_uid"]) == ("audit", 1000)
    assert "(chown)" in at("/opt/a/f1").text and "record 901" in at("/opt/a/f1").text
    assert '("new name")' in at("/opt/a/ab ").text, "names in hexadecimal are read, and what failed is no cause"
    assert at("/opt/a/f2").kind == "unknown"


def test_a_log_that_others_can_write_is_believed_by_nobody(tmp_path: Path, utc: None) -> None:
    host = recorded(tmp_path, {"var/log/dpkg.log": DPKG})
    os.chmod(tmp_path / "var/log/dpkg.log", 0o666)
    assert cause(host, asked("/opt/a/f1")).kind == "unknown"
    os.chmod(tmp_path / "var/log/dpkg.log", 0o644)
    os.chown(tmp_path / "var/log/dpkg.log", 1234, 0)
    assert cause(host, asked("/opt/a/f1")).kind == "unknown"


def utmp(kind: int, user: str, line: str, place: str, at: int) -> bytes:
    return struct.pack("=h2xi32s4s32s256s2hiii16s20s", kind, 1, line.encode(), b"", user.encode(), place.encode(),
                       0, 0, 0, at, 0, b"", b"")  # fmt: skip


def test_who_was_logged_in(tmp_path: Path) -> None:
    seconds = int(NOW.timestamp())
    table = utmp(2, "reboot", "~", "", 1) + utmp(7, "alice", "pts/0", "10.0.0.5", seconds - 60)
    table += utmp(7, "bob", "pts/1", "", seconds + 60) + utmp(8, "gone", "pts/2", "", 5) + b"torn"
    host = recorded(tmp_path, {"run/utmp": table})
    assert logins(host, NOW) == ["alice on pts/0 from 10.0.0.5"]
    assert cause(host, asked("/x")).text == "somebody who was logged in? alice on pts/0 from 10.0.0.5"
    gone = cause(host, asked("/x", whos=(Who(9),)))
    assert gone.text == "process 9, which has ended; logged in then: alice on pts/0 from 10.0.0.5"
    (tmp_path / "run/utmp").unlink()
    sessions = {"run/systemd/sessions/3": "USER=carol\nTTY=pts/3\nSTATE=active\nCLASS=user\n",
                "run/systemd/sessions/4": "USER=gdm\nSTATE=active\nCLASS=greeter\n"}  # fmt: skip
    assert logins(recorded(tmp_path, dict(sessions)), NOW) == ["carol on pts/3"]


def test_a_lock_of_a_package_manager_is_seen_while_it_is_held(tmp_path: Path) -> None:
    import fcntl
    import subprocess
    import sys

    lock = tmp_path / "lock"
    lock.touch()
    assert upgrading((str(lock),)) == ""
    script = f"import fcntl,time; f=open({str(lock)!r},'w'); fcntl.lockf(f, fcntl.LOCK_EX); print(1, flush=True); time.sleep(60)"
    holder = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    try:
        assert holder.stdout is not None and holder.stdout.readline()
        assert upgrading((str(lock),)) == str(lock)
    finally:
        holder.kill()
        holder.communicate()
    assert upgrading((str(lock), "/nowhere")) == ""
    with open(lock, "w") as mine:
        fcntl.lockf(mine, fcntl.LOCK_EX)
        assert upgrading((str(lock),)) == "", "our own lock is no hindrance"


def waited(eye: Any, want: Callable[[list[Any]], bool]) -> list[Any]:
    """What an eye tells until somebody has what he waits for."""
    found: list[Any] = []
    limit = time.monotonic() + 10
    while not want(found):
        assert time.monotonic() < limit, found
        found += eye.notices()
        time.sleep(0.01)
    return found


def paths(found: list[Any]) -> set[str]:
    return {each.path for each in found if isinstance(each, Notice)}


def kernel(matters: Callable[[str], bool] = lambda path: True) -> Fanotify:
    try:
        return Fanotify(matters)
    except OSError as error:
        pytest.skip(f"no fanotify here: {error}")


def test_fanotify_tells_who_did_what_in_a_directory_and_nothing_of_reading(tmp_path: Path) -> None:
    import subprocess
    import sys

    eye, odd = kernel(), os.fsencode(tmp_path) + b"/n\xff\nw"
    (tmp_path / "old").write_text("x")
    try:
        assert eye.directory(str(tmp_path))
        (tmp_path / "old").read_text()
        list(tmp_path.iterdir())
        assert not list(eye.notices())
        script = (
            f"import os,time; open({odd!r},'w').write('x'); os.chmod({str(tmp_path / 'old')!r}, 0o600); time.sleep(60)"
        )
        other = subprocess.Popen([sys.executable, "-c", script])
        try:
            found = waited(eye, lambda seen: {os.fsdecode(odd), str(tmp_path / "old")} <= paths(seen))
            assert {each.who.pid for each in found if each.who} == {other.pid}
            assert all(each.who.uid == 0 and "python" in each.who.program for each in found if each.who)
        finally:
            other.kill()
            other.wait()
        (tmp_path / "old").unlink()
        assert all(each.who is None for each in waited(eye, lambda seen: str(tmp_path / "old") in paths(seen)))
    finally:
        eye.close()


def test_fanotify_marks_a_whole_file_system_for_trees(tmp_path: Path) -> None:
    top = tmp_path / "tree"
    (top / "a/b/c").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    eye = kernel(lambda path: path.startswith(str(top)))
    try:
        if not eye.tree(str(top)):
            pytest.skip("this file system cannot be marked")
        (top / "a/b/c/f").write_text("x")
        os.chmod(top / "a/b/c/f", 0o600)
        (tmp_path / "elsewhere/f").write_text("x")
        os.rename(top / "a/b", top / "a/moved")
        (top / "a/moved/c/g").write_text("x")
        found = waited(eye, lambda seen: str(top / "a/moved/c/g") in paths(seen))
        assert str(top / "a/b/c/f") in paths(found) or str(top / "a/moved/c/f") in paths(found)
        assert Notice(str(top / "a/moved"), whole=True) in found
        assert not any("elsewhere" in path for path in paths(found))
    finally:
        eye.close()


def test_where_handles_cannot_be_opened_the_file_system_is_not_marked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    eye = kernel()
    try:
        monkeypatch.setattr(eye, "_reached", lambda mount, handle: None)
        assert not eye.tree(str(tmp_path)) and not eye._tops
    finally:
        eye.close()


def test_one_file_system_at_two_places(tmp_path: Path) -> None:
    """What lies in one mount has no path in another one of the same file system."""
    import subprocess

    (tmp_path / "a/one").mkdir(parents=True)
    (tmp_path / "b/two").mkdir(parents=True)
    (tmp_path / "here").mkdir()
    if subprocess.run(["mount", "--bind", tmp_path / "b", tmp_path / "here"], check=False).returncode:
        pytest.skip("nothing can be mounted here")
    eye = kernel()
    try:
        tops = [str(tmp_path / "a/one"), str(tmp_path / "here/two")]
        eye.matters = lambda path: any(path.startswith(top) for top in tops)
        if not all(map(eye.tree, tops)):
            pytest.skip("this file system cannot be marked")
        for top in tops:
            (Path(top) / "f").touch()
        waited(eye, lambda seen: {f"{top}/f" for top in tops} <= paths(seen))
    finally:
        eye.close()
        subprocess.run(["umount", tmp_path / "here"], check=True)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_who_owns_a_tree_cannot_blind_the_dogs(tmp_path: Path) -> None:
    """Fast renames break watchdog's bookkeeping, and its thread with that: it is noticed, told, and started anew."""
    dogs = Dogs()
    try:
        for name in ("tree", "other"):
            (tmp_path / name).mkdir()
            assert dogs.watch(str(tmp_path / name), whole=name == "tree")
        native = dogs._native
        dogs._native._inotify_fd.handle_event = lambda event: 1 / 0
        (tmp_path / "tree/x").touch()
        waited(dogs, lambda seen: any(isinstance(each, Lost) for each in seen))
        assert dogs._native is not native
        time.sleep(0.2)
        (tmp_path / "tree/y").touch()
        (tmp_path / "other/z").touch()
        waited(dogs, lambda seen: {str(tmp_path / "tree/y"), str(tmp_path / "other/z")} <= paths(seen))
        limit = time.monotonic() + 3
        while time.monotonic() < limit:
            churn(tmp_path / "tree")
        list(dogs.notices())
        time.sleep(max(0.0, dogs._again - time.monotonic()) + 0.2)
        list(dogs.notices())
        time.sleep(0.3)
        (tmp_path / "tree/after").touch()
        waited(dogs, lambda seen: str(tmp_path / "tree/after") in paths(seen))
    finally:
        dogs.close()


def churn(top: Path) -> None:
    """Make and rename directories as fast as can be."""
    for number in range(40):
        one, two, three = top / f"d{number % 7}", top / f"e{number % 5}{number % 3}", top / f"q{number % 4}"
        for act in (
            partial((one / "a/b").mkdir, parents=True, exist_ok=True), partial(one.rename, two),
            partial((two / "a").rename, three), (three / "b").rmdir, three.rmdir,
        ):  # fmt: skip
            with suppress(OSError):
                act()


def test_dogs_see_owners_modes_and_new_directories_deep_in_a_tree(tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/f").write_text("x")
    dogs = Dogs()
    try:
        assert dogs.watch(str(tmp_path), whole=True)
        time.sleep(0.2)
        (tmp_path / "a/b/f").read_text()
        (tmp_path / "a/b/f").write_text("other bytes are no business of a tree's")
        os.chmod(tmp_path / "a/b/f", 0o600)
        (tmp_path / "a/new/deep").mkdir(parents=True)
        came = Notice(str(tmp_path / "a/new"), whole=True)
        waited(dogs, lambda seen: came in seen and str(tmp_path / "a/b/f") in paths(seen))
    finally:
        dogs.close()


def test_more_events_than_the_kernel_keeps_call_for_a_look_at_everything(tmp_path: Path) -> None:
    dogs = Dogs()
    try:
        assert dogs.watch(str(tmp_path), whole=False)
        time.sleep(0.2)
        for number in range(dogs._room + 10):
            (tmp_path / str(number % 100)).touch()
            if number % 100 == 99:
                for name in range(100):
                    (tmp_path / str(name)).unlink()
        waited(dogs, lambda seen: any(isinstance(each, Lost) for each in seen))
    finally:
        dogs.close()


def test_network_file_systems_are_polled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reconciler.watching.inotify.POLL", 0.2)
    (tmp_path / "share").mkdir()
    eyes = Eyes()
    try:
        places = Places(files={f"{tmp_path}/share/x.ini": {INI}})
        eyes.look_after(places, [("/", "ext4"), (str(tmp_path / "share"), "nfs4")])
        assert eyes.by["polling"] == 1 and not eyes.blind
        (tmp_path / "share/x.ini").write_text("x")
        waited(eyes, lambda seen: f"{tmp_path}/share/x.ini" in paths(seen))
    finally:
        eyes.close()


def test_the_journal_gets_fields_and_no_field_can_be_smuggled_in() -> None:
    line = notify.Line(
        "done", "x", notify.NOTICE, {"address": "file:/a\nPRIORITY=0", "fields": [{"a": "\n"}], "run": None}
    )
    raw = notify.entry(line, "repaired\\nMESSAGE_ID=evil")
    found: dict[str, str] = {}
    while raw:
        head, _, rest = raw.partition(b"\n")
        if b"=" in head:
            key, _, value = head.partition(b"=")
            raw = rest
        else:
            (size,) = struct.unpack("<Q", rest[:8])
            key, value, raw = head, rest[8 : 8 + size], rest[9 + size :]
        assert key.decode() not in found
        found[key.decode()] = value.decode()
    assert found["PRIORITY"] == "5" and found["RECONCILER_ADDRESS"] == "file:/a\nPRIORITY=0"
    assert len(found["MESSAGE_ID"]) == 32 and "RECONCILER_RUN" not in found


def test_the_service_manager_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as there:
        there.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "2000000")
        manager = notify.Manager()
        assert "NOTIFY_SOCKET" not in os.environ, "no child speaks for us"
        manager.ready()
        manager.reloading()
        manager.status("a\nREADY=0")
        manager.ping()
        manager.ping()
        there.settimeout(1)
        told = [there.recv(4096).decode() for _ in range(4)]
        assert told[0] == "READY=1" and re.fullmatch(r"RELOADING=1\nMONOTONIC_USEC=\d+", told[1])
        assert "\n" not in told[2] and told[3] == "WATCHDOG=1" and manager.every == 1.0
        there.setblocking(False)
        with pytest.raises(BlockingIOError):
            there.recv(10)
        manager.stopping()
        assert there.recv(100) == b"STOPPING=1"


def test_names_on_the_bus() -> None:
    assert label("getty@tty1.service") == "getty_40tty1_2eservice" and label("1a.service") == "_31a_2eservice"


def test_a_concern_of_everything_has_no_scope() -> None:
    assert Concern(everything=True, alone={TREE: {b"x"}}).scope(TREE) is None and not Concern()
    assert json.dumps(sorted(map(str, Concern(addresses={TREE}).addresses)))
