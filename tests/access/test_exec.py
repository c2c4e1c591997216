"""exec: nothing of root is left, signals and exit codes pass, the trace file is the account's, the log says who ran what."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.trees.accounts import reachable
from tests.worlds import REPO, reconciler

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="becoming another account needs root")

WHO = "nobody"
NUMBERS = pwd.getpwnam(WHO)
STATE = """#!/bin/sh
echo "id $(id -u) $(id -g) $(id -G)"
echo "env $(env | grep -v '^_=' | grep -v '^SHLVL=' | sort | tr '\\n' '|')"
grep -E '^(Cap(Inh|Prm|Eff|Amb)|Uid|Gid|Groups|NoNewPrivs)' /proc/self/status
echo "umask $(umask) cwd $(pwd) session $(ps -o sid= -p $$ | tr -d ' ') pid $$"
echo "fds $(ls /proc/$$/fd | grep -v '^255$' | tr '\\n' ' ')"
echo "nofile $(ulimit -n)"
echo "args $*"
"""


@pytest.fixture
def place() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(dir="/var/tmp"))
    reachable(made)
    (made / "state").write_text(STATE)
    (made / "state").chmod(0o755)
    yield made
    shutil.rmtree(made)


def run(
    place: Path, *words: str | Path, check: int | None = None, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return reconciler("--log", place / "log/events.db", "exec", *words, check=check, env=env)


def events(place: Path) -> list[dict[str, object]]:
    told = reconciler("history", "--format", "json", "--log", place / "log/events.db", check=0).stdout
    return json.loads(told)["events"]  # type: ignore[no-any-return]


def test_nothing_of_root_is_left(place: Path) -> None:
    secret = {"ROOTS_SECRET": "hunter2", "LD_PRELOAD": "", "PYTHONSTARTUP": "x"}
    told = run(place, "--as", WHO, "--", place / "state", "a b", "--debug", check=0, env=secret).stdout
    assert f"id {NUMBERS.pw_uid} {NUMBERS.pw_gid} {NUMBERS.pw_gid}\n" in told
    lines = dict(line.split(":\t", 1) for line in told.splitlines() if ":\t" in line)
    assert {lines[name] for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")} == {"0" * 16}
    assert set(lines["Uid"].split()) == {str(NUMBERS.pw_uid)}
    assert set(lines["Gid"].split()) == {str(NUMBERS.pw_gid)}
    assert lines["NoNewPrivs"] == "0", "or sudo would not work for it"
    environment = told.split("env ")[1].split("\n")[0].strip("|").split("|")
    assert {word.partition("=")[0] for word in environment} <= {
        "PATH",
        "HOME",
        "SHELL",
        "USER",
        "LOGNAME",
        "LANG",
        "PWD",
        "OLDPWD",
    }
    assert "hunter2" not in told
    assert "umask 0027 cwd / " in told
    assert "fds 0 1 10 2" in told or "fds 0 1 2" in told, "no file of ours but the first three"
    session, pid = told.split("session ")[1].split("\n")[0].split(" pid ")
    assert session == pid, "a session of its own"
    assert "args a b --debug" in told, "what stands behind the program belongs to it"


def test_the_way_back_is_closed(place: Path) -> None:
    tries = "import os\nfor f in (lambda: os.setuid(0), lambda: os.setresuid(0,0,0), lambda: os.setgroups([0]), lambda: os.setgid(0)):\n"
    tries += "    try:\n        f(); print('OPEN')\n    except PermissionError: print('closed')\n"
    told = run(place, "--as", WHO, "--", "/usr/bin/python3", "-c", tries, check=0).stdout
    assert told.split() == ["closed"] * 4


def test_what_a_process_of_root_inherits_is_cleared_too(place: Path) -> None:
    """Inheritable and ambient capabilities of the caller do not get through."""
    words = [
        sys.executable,
        "-m",
        "reconciler",
        "--log",
        str(place / "log/e.db"),
        "exec",
        "--as",
        WHO,
        "--",
        str(place / "state"),
    ]
    environment = {**os.environ, "PYTHONPATH": str(REPO)}
    done = subprocess.run(
        ["setpriv", "--inh-caps", "+net_raw,+kill", "--ambient-caps", "+net_raw", *words],
        capture_output=True, text=True, env=environment, check=True,
    )  # fmt: skip
    assert "CapInh:\t0000000000000000" in done.stdout
    assert "CapAmb:\t0000000000000000" in done.stdout


def test_cwd_umask_limits_and_variables_are_as_asked(place: Path) -> None:
    words = (
        "--cwd",
        "/usr",
        "--umask",
        "077",
        "--limit",
        "nofile=77",
        "--env",
        "A=b c",
        "--as",
        WHO,
        "--",
        place / "state",
    )
    told = run(place, *words, check=0).stdout
    assert "umask 0077 cwd /usr" in told
    assert "nofile 77" in told
    assert "A=b c|" in told


@pytest.mark.parametrize("code", [0, 3, 64, 125, 200])
def test_the_exit_code_is_the_programs(code: int, place: Path) -> None:
    assert run(place, "--as", WHO, "--", "/bin/sh", "-c", f"exit {code}").returncode == code
    finished = [e for e in events(place) if e["type"] == "run.finished"]
    assert finished[-1]["data"]["exit"] == code  # type: ignore[index]


def test_a_signal_that_ends_it_ends_us(place: Path) -> None:
    assert run(place, "--as", WHO, "--", "/bin/sh", "-c", "kill -TERM $$").returncode == -signal.SIGTERM


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGINT", "SIGUSR1"])
def test_signals_are_passed_on(name: str, place: Path) -> None:
    script = f"trap 'echo got {name[3:]}; exit 9' {name[3:]}; echo ready; while :; do sleep 0.05; done"
    words = [
        sys.executable,
        "-m",
        "reconciler",
        "--log",
        str(place / "log/e.db"),
        "exec",
        "--as",
        WHO,
        "--",
        "/bin/sh",
        "-c",
        script,
    ]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(REPO)})
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(getattr(signal, name))
    assert process.stdout.readline() == f"got {name[3:]}\n"
    assert process.wait(10) == 9
    process.stdout.close()


def test_it_cannot_type_into_roots_terminal(place: Path) -> None:
    """TIOCSTI needs the terminal to be the process's own; here it is root's."""
    push = (
        "import fcntl, termios, sys\n"
        "try:\n    fcntl.ioctl(0, termios.TIOCSTI, b'x'); print('PUSHED')\n"
        "except OSError as e: print('refused', e.errno)\n"
    )
    line = f'{sys.executable} -m reconciler --log {place}/log/e.db exec --as {WHO} -- /usr/bin/python3 -c "{push}"'
    done = subprocess.run(["script", "-qec", line, "/dev/null"], capture_output=True, text=True, stdin=subprocess.DEVNULL,
                          env={**os.environ, "PYTHONPATH": str(REPO)}, check=False)  # fmt: skip
    assert "refused" in done.stdout, done.stdout
    assert "PUSHED" not in done.stdout


def test_the_trace_is_made_for_the_account_where_only_root_may_write(place: Path) -> None:
    (place / "log").mkdir(mode=0o755)
    told = run(place, "--trace", place / "log/%n.%p.%%", "--as", WHO, "--", place / "state", check=0)
    assert told.stdout == ""
    (trace,) = (place / "log").glob("state.*")
    assert trace.name.endswith(".%")
    info = trace.stat()
    assert (info.st_uid, info.st_gid, info.st_mode & 0o777) == (NUMBERS.pw_uid, NUMBERS.pw_gid, 0o640)
    text = trace.read_text()
    assert f"id {NUMBERS.pw_uid}" in text
    assert trace.name == f"state.{text.split(' pid ')[1].split()[0]}.%"


def test_the_trace_in_a_directory_of_others_is_no_way_to_write_as_root(place: Path) -> None:
    theirs = place / "theirs"
    theirs.mkdir()
    os.chown(theirs, NUMBERS.pw_uid, NUMBERS.pw_gid)
    victim = place / "victim"
    victim.write_text("root's\n")
    (theirs / "link").symlink_to(victim)
    os.link(victim, theirs / "hard")
    for name in ("link", "hard"):
        refused = run(place, "--trace", theirs / name, "--as", WHO, "--", place / "state")
        assert refused.returncode == 125
        assert f"--trace {theirs}/{name}: " in refused.stderr
    (place / "dir").symlink_to(theirs)
    assert victim.read_text() == "root's\n"
    run(place, "--trace", theirs / "new", "--as", WHO, "--", place / "state", check=0)
    assert (theirs / "new").stat().st_uid == NUMBERS.pw_uid


def test_a_program_that_others_could_change_is_not_started(place: Path) -> None:
    (place / "state").chmod(0o777)
    refused = run(place, "--as", WHO, "--", place / "state")
    assert refused.returncode == 125
    assert "so it could be anything" in refused.stderr
    (place / "state").chmod(0o755)
    place.chmod(0o777)
    assert run(place, "--as", WHO, "--", place / "state").returncode == 125
    place.chmod(0o755)
    os.chown(place / "state", 12345, 0)
    told = run(place, "--as", WHO, "--", place / "state")
    assert told.returncode == 0, "a bare number is nobody who could come"


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ((), 125, "name a component"),
        (("--bogus",), 125, "No such option"),
        (("ndtrak", "-t"), 125, "did you mean 'ndtrack'?"),
        (("--as", "ghost", "--", "/bin/true"), 125, "account ghost does not exist"),
        (("--as", WHO, "--", "/no/such"), 127, "no such file"),
        (("--as", WHO, "--", "nosuchprogram"), 127, "no such program"),
        (("--as", WHO, "--", "/etc/passwd"), 126, "may not execute it"),
        (("--as", WHO, "--", "/usr/bin"), 126, "a directory, not a program"),
        (("--as", WHO, "--mapped", "a@b", "--", "/bin/true"), 125, "not both"),
        (("--as", WHO, "--umask", "9", "--", "/bin/true"), 125, "no octal number"),
        (("--as", WHO, "--limit", "nofile", "--", "/bin/true"), 125, "no limit"),
        (("--as", WHO, "--env", "1=2", "--", "/bin/true"), 125, "NAME=VALUE"),
        (("--as", WHO, "--cwd", "/root", "--", "/bin/true"), 125, "cannot start there"),
        (("--mapped", "nonsense", "--", "/bin/true"), 125, "no caller"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_with_the_reason(words: tuple[str, ...], code: int, said: str, place: Path) -> None:
    done = run(place, *words)
    assert (done.returncode, done.stdout) == (code, "")
    assert said in done.stderr, done.stderr


def test_a_root_directory_runs_nothing(place: Path) -> None:
    done = reconciler("exec", "--root", place, "--as", WHO, "--", "/bin/true", check=125)
    assert "no program of a root directory is executed" in done.stderr


def test_print_says_the_lines_and_does_nothing(place: Path) -> None:
    told = run(place, "--print", "--as", WHO, "--", place / "state", "a b", "$x", check=0)
    line = f"{place}/state 'a b' '$x'"
    assert told.stdout.splitlines()[0] == f"sudo -u {WHO} {line}"
    assert told.stdout.splitlines()[1].startswith(f"su - {WHO} -c ")
    assert "the su line will fail" in told.stderr
    assert not (place / "log").exists()


def test_the_log_says_who_ran_what_and_no_secret(place: Path) -> None:
    run(place, "--as", WHO, "--", "/bin/true", "--password", "hunter2", "token=abc", "x", check=0)
    start, end = events(place)
    told = start["data"]
    assert (start["type"], end["type"]) == ("run.started", "run.finished")
    assert told["exec"]["account"] == WHO  # type: ignore[index]
    assert told["exec"]["argv"] == ["/bin/true", "--password", "(secret)", "token=(secret)", "x"]  # type: ignore[index]
    assert "hunter2" not in json.dumps([start, end])
    assert json.loads(
        reconciler("log", "verify", "--format", "json", "--log", place / "log/events.db", check=0).stdout
    )["ok"]
    assert reconciler("rollback", "--yes", "--log", place / "log/events.db", check=0).stdout, (
        "nothing to roll back in it"
    )


def test_mapped_callers_run_as_the_files_say(place: Path) -> None:
    rsc = place / "rsc"
    rsc.mkdir()
    (rsc / "exports").write_text("* rw\n")
    (rsc / "users.local").write_text(
        f"Ops:* rw,map={WHO}\nRo:* ro,map={WHO}\nJail:* rw,rootdir=/x,map={WHO}\nGone:* rw,map=ghost\nnouser\n"
    )
    told = run(place, "--dir", rsc, "--mapped", "Ops:joe@h1", "--", place / "state", check=0).stdout
    assert f"id {NUMBERS.pw_uid} " in told
    for caller, said in (
        ("Ro:joe", "limited by ro"),
        ("Jail:j", "limited by rootdir=/x"),
        ("Gone:g", "denied"),
        ("joe", "denied"),
    ):
        refused = run(place, "--dir", rsc, "--mapped", f"{caller}@h1", "--", place / "state")
        assert refused.returncode == 125
        assert said in refused.stderr


def test_a_run_that_holds_the_lock_does_not_let_it_start_unlogged(place: Path) -> None:
    run(place, "--as", WHO, "--", "/bin/true", check=0)
    holder = subprocess.Popen([sys.executable, "-c", "import fcntl,os,sys,time; fd=os.open(sys.argv[1],os.O_RDWR); fcntl.flock(fd,2); print(1,flush=True); time.sleep(3)", str(place / "log/events.lock")], stdout=subprocess.PIPE)  # fmt: skip
    assert holder.stdout is not None
    holder.stdout.readline()
    before = time.monotonic()
    run(place, "--as", WHO, "--", "/bin/true", check=0)
    assert time.monotonic() - before > 1
    holder.stdout.close()
    assert holder.wait() == 0
