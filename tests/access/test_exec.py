"""exec: nothing of root is left, signals and exit codes pass, the trace file is the account's, the log says who ran what."""

from __future__ import annotations

import json
import os
import pwd
import shlex
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


ENVIRONMENT = {**os.environ, "PYTHONPATH": str(REPO)}


def started_as(place: Path, *words: str | Path) -> list[str]:
    """The command line of exec, for those who start it by other means than `run`."""
    line = [sys.executable, "-m", "reconciler", "--log", place / "log/e.db", "exec", "--as", WHO, "--", *words]
    return list(map(str, line))


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
    words = started_as(place, str(place / "state"))
    done = subprocess.run(
        ["setpriv", "--inh-caps", "+net_raw,+kill", "--ambient-caps", "+net_raw", *words],
        capture_output=True, text=True, env=ENVIRONMENT, check=True,
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
    words = started_as(place, "/bin/sh", "-c", script)
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(getattr(signal, name))
    assert process.stdout.readline() == f"got {name[3:]}\n"
    assert process.wait(10) == 9
    process.stdout.close()


def on_a_terminal(line: str, keys: str = "", after: float = 0) -> str:
    """What a shell line prints on a terminal of its own, with these keys typed some seconds later."""
    process = subprocess.Popen(["script", "-qec", line, "/dev/null"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                               env=ENVIRONMENT)  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    time.sleep(after)
    process.stdin.write(keys)
    process.stdin.flush()
    told = process.stdout.read()
    process.stdin.close()
    process.stdout.close()
    process.wait(30)
    return told.replace("\r", "")


def test_it_neither_types_into_roots_terminal_nor_reads_from_it_later(place: Path) -> None:
    """The terminal that it has is one of its own, which ends with it."""
    push = "import fcntl, termios\nfor c in b'echo pushed\\n':\n  try: fcntl.ioctl(0, termios.TIOCSTI, bytes([c]))\n  except OSError: break\n"
    theft = "import os, time\nif os.fork() == 0:\n  time.sleep(0.5)\n  print('STOLEN', os.read(1, 100))\n"
    (place / "push").write_text("#!/usr/bin/python3\n" + push)
    (place / "theft").write_text("#!/usr/bin/python3\n" + theft)
    for name in ("push", "theft"):
        (place / name).chmod(0o755)
        run_it = f"{shlex.join(started_as(place))} {place}/{name}"
        told = on_a_terminal(f"{run_it}; sleep 1; read line; echo got=$line", "hunter2\n", 3)
        assert "got=hunter2" in told, told
        assert "STOLEN" not in told
        assert "pushed" not in told.partition("got=")[2]


def test_a_terminal_goes_through(place: Path) -> None:
    script = "test -t 0 && test -t 1 && echo terminal $(stty size); read word; echo said $word; exit 5"
    line = f"stty rows 33 cols 77; {shlex.join(started_as(place))} /bin/sh -c '{script}'; echo code=$?; stty -a | grep -o -- '-\\?icanon'"
    told = on_a_terminal(line, "hello\n")
    assert "terminal 33 77" in told, told
    assert "said hello" in told
    assert "code=5" in told
    assert "-icanon" not in told, "the terminal is as it was"


def test_control_c_reaches_the_program_alone(place: Path) -> None:
    script = "trap 'echo caught; exit 4' INT; echo ready; sleep 5"
    line = f'{shlex.join(started_as(place))} /bin/sh -c "{script}"; echo code=$?'
    process = subprocess.Popen(["script", "-qec", line, "/dev/null"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                               env=ENVIRONMENT, bufsize=0)  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    while "ready" not in process.stdout.readline():
        pass
    process.stdin.write("\x03")
    told = process.stdout.read()
    process.wait(20)
    process.stdin.close()
    process.stdout.close()
    assert "caught" in told, told
    assert "code=4" in told


def test_a_signal_right_after_the_start_is_not_lost(place: Path) -> None:
    lost = 0
    for _ in range(12):
        words = started_as(place, "/bin/sleep", "20")
        process = subprocess.Popen(words, env=ENVIRONMENT)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        while not children.read_text().strip():
            pass
        process.terminate()
        lost += process.wait(30) != -signal.SIGTERM
    assert lost == 0


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_its_death_is_ours_and_leaves_no_core_of_roots_memory(number: int, place: Path) -> None:
    words = f"ulimit -c unlimited; cd {place}; exec {shlex.join(started_as(place))} /bin/sh -c 'ulimit -c 0; kill -{int(number)} $$'"
    done = subprocess.run(["sh", "-c", words], env=ENVIRONMENT, check=False)
    assert done.returncode == -number
    assert not list(place.glob("core*"))


def test_the_keys_of_roots_session_stay_roots(place: Path) -> None:
    """Even where the account has no room left for a keyring of its own."""
    asked = (
        "import ctypes, os\nc = ctypes.CDLL(None, use_errno=True)\n"
        "k = c.syscall(249, b'user', b'root:secret', None, 0)\n"
        "print('FOUND' if k > 0 else 'none', flush=True)\n"
    )
    fill = (
        "import ctypes, os, signal\nc = ctypes.CDLL(None, use_errno=True)\n"
        f"os.setresgid(*[{NUMBERS.pw_gid}]*3); os.setresuid(*[{NUMBERS.pw_uid}]*3)\n"
        "n = 0\nwhile c.syscall(248, b'user', b'f%d' % n, b'x', 1, -4) > 0: n += 1\nprint('full', flush=True)\nsignal.pause()\n"
    )
    (place / "asked").write_text("#!/usr/bin/python3\n" + asked)
    (place / "asked").chmod(0o755)
    filler = subprocess.Popen([sys.executable, "-c", fill], stdout=subprocess.PIPE)
    assert filler.stdout is not None
    try:
        assert filler.stdout.readline() == b"full\n"
        add = (
            "import ctypes, os, sys\nc = ctypes.CDLL(None, use_errno=True)\nassert c.syscall(250, 1, None) > 0\n"
            "assert c.syscall(248, b'user', b'root:secret', b'TOP', 3, -3) > 0\nos.execv(sys.argv[1], sys.argv[1:])\n"
        )
        if os.uname().machine != "x86_64":
            pytest.skip("the numbers of these calls are those of x86_64")
        words = started_as(place, str(place / "asked"))
        done = subprocess.run([sys.executable, "-c", add, *words], capture_output=True, text=True, env=ENVIRONMENT, check=False)  # fmt: skip
        assert done.stdout.strip() == "none", done
    finally:
        filler.kill()
        filler.wait()
        filler.stdout.close()


def test_whoever_could_change_the_interpreter_decides_what_runs(place: Path) -> None:
    (place / "theirs").mkdir()
    (place / "theirs/sh").symlink_to("/bin/sh")
    (place / "script").write_text(f"#!{place}/theirs/sh\necho hi\n")
    (place / "script").chmod(0o755)
    run(place, "--as", WHO, "--", place / "script", check=0)
    os.chown(place / "theirs", pwd.getpwnam("daemon").pw_uid, 0)
    refused = run(place, "--as", WHO, "--", place / "script")
    assert refused.returncode == 125
    assert "daemon owns a directory on the way" in refused.stderr


def test_dots_behind_a_link_lead_where_the_kernel_goes(place: Path) -> None:
    (place / "real/in").mkdir(parents=True)
    (place / "l").symlink_to(place / "real/in")
    for directory, word in ((place, "wrong"), (place / "real", "right")):
        (directory / "prog").write_text(f"#!/bin/sh\necho {word}\n")
        (directory / "prog").chmod(0o755)
    assert run(place, "--as", WHO, "--", place / "l/../prog", check=0).stdout == "right\n"
    run(place, "--trace", place / "l/../t.log", "--as", WHO, "--", place / "real/prog", check=0)
    assert (place / "real/t.log").read_text() == "right\n"


def test_a_percent_sign_means_something_in_the_last_part_alone(place: Path) -> None:
    (place / "x%").mkdir()
    for name in ("x%%/t", "%n/t", "%p/t"):
        assert run(place, "--trace", place / name, "--as", WHO, "--", place / "state").returncode == 125


def test_a_default_acl_lets_nobody_read_the_trace(place: Path) -> None:
    (place / "acl").mkdir()
    subprocess.run(["setfacl", "-d", "-m", "u:daemon:rw", str(place / "acl")], check=True)
    run(place, "--trace", place / "acl/t", "--as", WHO, "--", place / "state", check=0)
    told = subprocess.run(["getfacl", "-pc", str(place / "acl/t")], capture_output=True, text=True, check=True).stdout
    assert "daemon" not in told


def test_closed_files_are_nothing(place: Path) -> None:
    line = f"{shlex.join(started_as(place))} /bin/sh -c 'exit 6'"
    for closed in ("0<&-", "0<&- 1>&-", "0<&- 1>&- 2>&-"):
        done = subprocess.run(["sh", "-c", f"{line} {closed}"], capture_output=True, text=True, env=ENVIRONMENT, check=False)  # fmt: skip
        assert (done.returncode, done.stderr) == (6, "")


def test_roots_standing_with_the_scheduler_is_not_passed_on(place: Path) -> None:
    words = started_as(place, "/bin/sh", "-c", "nice; cat /proc/self/oom_score_adj")
    told = subprocess.run(
        ["nice", "-n", "-5", *words],
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        check=True,
    )
    assert told.stdout.split()[0] == "0"


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
    assert run(place, "--print", "--as", WHO, "--", place / "state", "a\nb").returncode == 125
    told = run(place, "--print", "--as", WHO, "--", place / "state", "a b", "$x", check=0)
    line = f"{place}/state 'a b' '$x'"
    assert told.stdout.splitlines()[0] == f"sudo -u {WHO} {line}"
    assert told.stdout.splitlines()[1].startswith(f"su - {WHO} -c ")
    assert "the su line will fail" in told.stderr
    assert not (place / "log").exists()


def test_the_log_says_who_ran_what_and_no_secret(place: Path) -> None:
    words = (
        "--password",
        "hunter2",
        "token=abc",
        "x",
        "--passphrase",
        "-hunter3",
        "https://u:hunter4@h/",
        "a --pwd hunter5 b",
        "Authorization: Bearer hunter6",
    )
    run(place, "--as", WHO, "--", "/bin/true", *words, check=0)
    start, end = events(place)
    told = start["data"]
    assert (start["type"], end["type"]) == ("run.started", "run.finished")
    assert told["exec"]["account"] == WHO  # type: ignore[index]
    assert told["exec"]["argv"][:5] == ["/usr/bin/true", "--password", "(secret)", "token=(secret)", "x"]  # type: ignore[index]
    assert "hunter" not in json.dumps([start, end])
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
    (rsc / "users.local").chmod(0o666)
    refused = run(place, "--dir", rsc, "--mapped", "Ops:joe@h1", "--", place / "state")
    assert "would decide who the caller becomes" in refused.stderr
    (rsc / "users.local").chmod(0o644)
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
