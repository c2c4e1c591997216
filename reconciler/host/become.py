"""Starting a program as somebody else: all of root is given up, which is proven before anything of the program runs.

The child gets groups, group and user of the account and no way back, no capability, an environment and a session of its
own (so that it cannot type into root's terminal), and no open file but the first three.  Signals are passed on to it.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import platform
import pwd
import resource
import select
import signal
import stat as st
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ..errors import HostError, ReconcilerError
from ..formats.text import printable
from .accounts import PATHS
from .port import ACL, Observer
from .resolve import why
from .terminal import Relay
from .userdb import Table

OURS, CANNOT, MISSING = 125, 126, 127
"""Exit codes as env(1) has them: our own trouble, a program that cannot be started, one that is not there."""
PATH = "/usr/local/bin:/usr/bin:/bin"
ROOTS_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
DAY = 86400
KEEPCAPS, AMBIENT, CLEAR_ALL, DUMPABLE = 8, 47, 4, 4
CAPSET = 0x20080522
KEYCTL = {"x86_64": 250, "aarch64": 219, "ppc64le": 271, "s390x": 280, "riscv64": 219}
PASSED = ("SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM", "SIGUSR1", "SIGUSR2", "SIGWINCH", "SIGCONT")
KEYCTL_ID, KEYCTL_JOIN, SESSION = 0, 1, -3
TYPED = {signal.SIGINT, signal.SIGQUIT}
"""Signals that a terminal sends to everything that runs in front."""


@dataclass(frozen=True)
class Identity:
    """An account as a process has it."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str
    shell: str


@dataclass(frozen=True)
class Launch:
    """A program and all that it starts with."""

    who: Identity
    program: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: str | None = None
    """Where it starts; None: at home if that can be entered, else in ``/``."""
    umask: int = 0o027
    limits: Mapping[int, int] = field(default_factory=dict)
    trace: str | None = None
    """A file that receives what it prints; ``%p`` is its process, ``%n`` its name."""
    make_trace: bool = False
    """Whether nobody but root can change anything in the trace file's directory, so that root makes the file."""


@dataclass(frozen=True)
class Ended:
    """How a child ended: its exit code, or the signal that ended it."""

    code: int
    signal: int = 0


class Failed(ReconcilerError):
    """The program was not started; carries the exit code that says why."""

    def __init__(self, code: int, text: str) -> None:
        self.exit_code = code
        super().__init__(text)


def identity(host: Observer, name: str) -> Identity:
    """An account by its name; `HostError` where it is not there, unknown or disabled."""
    file = host.read(PATHS["passwd"])
    columns = Table.parse(file.data if file else b"").get(name)
    if columns is not None and len(columns) == 7 and columns[2].isdecimal() and columns[3].isdecimal():
        uid, gid, home, shell = int(columns[2]), int(columns[3]), columns[5], columns[6]
    else:
        found = host.remote("passwd", name)
        if isinstance(found, str):
            raise HostError(f"account {name} is not in the local files, and {found}")
        if found is None:
            raise HostError(f"account {name} does not exist on this host")
        entry = pwd.getpwnam(name)
        uid, gid, home, shell = entry.pw_uid, entry.pw_gid, entry.pw_dir, entry.pw_shell
    _not_expired(host, name)
    told = host.groups(name, gid)
    if told is None:
        raise HostError(f"account {name}: its groups cannot be found out; nothing is started without them")
    return Identity(name, uid, gid, tuple(sorted(told | {gid})), home or "/", shell or "/bin/sh")


def _not_expired(host: Observer, name: str) -> None:
    file = host.read(PATHS["shadow"])
    columns = Table.parse(file.data if file else b"").get(name)
    expires = columns[7] if columns is not None and len(columns) > 7 else ""
    if expires.isdecimal() and int(expires) <= time.time() // DAY:
        raise HostError(f"account {name} has expired; 'chage -E -1 {name}' to allow it again")


def die(number: int) -> int:
    """End as the program did, by the same signal, without leaving our memory behind; the exit code where we cannot."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    ctypes.CDLL(None).prctl(DUMPABLE, 0, 0, 0, 0)
    with contextlib.suppress(OSError, ValueError):
        if number != signal.SIGKILL:
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    return 128 + number


def environment(who: Identity, given: Mapping[str, str], terminal: str | None) -> dict[str, str]:
    """A clean environment: nothing of ours gets through but the kind of terminal."""
    found = {
        "PATH": ROOTS_PATH if who.uid == 0 else PATH, "HOME": who.home, "SHELL": who.shell, "USER": who.name,
        "LOGNAME": who.name, "LANG": "C.UTF-8",
    }  # fmt: skip
    plain = terminal is not None and all(char.isalnum() or char in "-._+" for char in terminal)
    return found | ({"TERM": str(terminal)} if plain else {}) | dict(given)


def run(launch: Launch) -> Ended:
    """Start it, pass signals on, and wait; `Failed` where it could not be started."""
    told, tell = os.pipe2(os.O_CLOEXEC)
    relay = Relay()
    # A signal that comes while there is no child yet waits until there is one, and is not the child's to swallow.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    forward = _Forward(relay)
    with forward:
        pid = os.fork()
        if pid == 0:
            os.close(told)
            _child(launch, relay, tell)
        forward.pid = pid
        os.close(tell)
        relay.begin()
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        try:
            with os.fdopen(told, "rb") as answer:
                trouble = answer.read()
            status = forward.wait()
        finally:
            relay.end()
    if trouble:
        code, _, text = trouble.decode("utf-8", "replace").partition(" ")
        raise Failed(int(code), text)
    return Ended(os.WEXITSTATUS(status)) if os.WIFEXITED(status) else Ended(0, os.WTERMSIG(status))


class _Forward:
    """Signals for us are signals for the child."""

    def __init__(self, relay: Relay) -> None:
        self.pid, self._relay = 0, relay
        self._old: dict[int, object] = {}

    def __enter__(self) -> _Forward:
        # A signal just before a blocking call would wait for its end: the pipe tells of every one at once.
        self._woken, self._wake = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._fd = signal.set_wakeup_fd(self._wake, warn_on_full_buffer=False)
        self._old[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda *_: None)
        for name in PASSED:
            number = getattr(signal, name)
            self._old[number] = signal.signal(number, self._pass)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)  # type: ignore[arg-type] # what signal() gave us
        signal.set_wakeup_fd(self._fd)
        os.close(self._wake)
        os.close(self._woken)

    def _pass(self, number: int, _: object) -> None:
        if number == signal.SIGWINCH:
            self._relay.resize()
        if not self.pid:
            return
        with contextlib.suppress(ProcessLookupError):
            if number in TYPED:
                # Before it leads a group of its own it is reached alone.
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self.pid, number)
                    return
            os.kill(self.pid, number)

    def wait(self) -> int:
        """How it ended; until then what is typed and printed is carried across."""
        while True:
            done, status = os.waitpid(self.pid, os.WNOHANG)
            if done:
                if self._relay.replaced:
                    self._relay.drain()
                self.pid = 0
                return status
            if self._relay.replaced:
                self._relay.carry(0.05)
            else:
                select.select([self._woken], [], [])
                with contextlib.suppress(BlockingIOError):
                    os.read(self._woken, 4096)


def _child(launch: Launch, relay: Relay, tell: int) -> None:
    """The child's side: never returns."""
    code, text = OURS, "could not be started"
    try:
        os.setsid()
        relay.take()
        for number in signal.valid_signals():
            with contextlib.suppress(OSError, ValueError):
                signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        for name, value in launch.limits.items():
            resource.setrlimit(name, (value, value))
        _common()
        made = _made_by_root(launch)
        drop(launch.who)
        if launch.trace is not None:
            _into(launch, made)
        _enter(launch)
        os.umask(launch.umask)
        if tell != 3:
            os.dup2(tell, 3, inheritable=False)
            tell = 3
        for fd in [int(name) for name in os.listdir("/proc/self/fd")]:
            if fd > tell:
                with contextlib.suppress(OSError):
                    os.close(fd)
        try:
            os.execve(launch.program, launch.argv, dict(launch.env))  # noqa: S606 - a shell is what we avoid
        except OSError as error:
            code = MISSING if error.errno in (errno.ENOENT, errno.ENOTDIR) else CANNOT
            text = f"{printable(launch.program)}: {why(error)}"
    except (OSError, ReconcilerError, ValueError) as error:
        text = str(error) if isinstance(error, ReconcilerError) else f"{type(error).__name__}: {error}"
    except BaseException as error:  # noqa: BLE001 - nothing of ours may run on as a second copy of us
        text = f"unexpected: {type(error).__name__}"
    with contextlib.suppress(OSError):
        os.write(tell, f"{code} {text}".encode("utf-8", "backslashreplace")[:4000])
    os._exit(code)


def _common() -> None:
    """Nothing of root's standing with the scheduler and the memory killer gets through."""
    if os.getpriority(os.PRIO_PROCESS, 0) < 0:
        os.setpriority(os.PRIO_PROCESS, 0, 0)
    if os.sched_getscheduler(0) not in (os.SCHED_OTHER, os.SCHED_BATCH, os.SCHED_IDLE):
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "r+", encoding="ascii") as file:
        if int(file.read()) < 0:
            file.seek(0)
            file.write("0")


def drop(who: Identity) -> None:
    """Become this account for good; `HostError` where anything of root would be left."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(KEEPCAPS, 0, 0, 0, 0)
    libc.prctl(AMBIENT, CLEAR_ALL, 0, 0, 0)
    if who.uid != 0:
        _no_inheritable(libc)
    _keyring(libc)
    os.setgroups(who.groups)
    os.setresgid(who.gid, who.gid, who.gid)
    os.setresuid(who.uid, who.uid, who.uid)
    _proven(who)


def _keyring(libc: ctypes.CDLL) -> None:
    """A session keyring of its own, since root's may hold keys; made as root, whose quota the account cannot fill."""
    number = KEYCTL.get(platform.machine())
    if number is None:
        return
    libc.syscall.restype = ctypes.c_long
    before = libc.syscall(number, KEYCTL_ID, SESSION, 0)
    if libc.syscall(number, KEYCTL_JOIN, None) < 0:
        if ctypes.get_errno() in (errno.ENOSYS, errno.EPERM):
            return  # there are no keyrings here, or a container forbids them to everybody
        raise HostError(f"root's session keyring would be left: {os.strerror(ctypes.get_errno())}")
    if before > 0 and libc.syscall(number, KEYCTL_ID, SESSION, 0) == before:
        raise HostError("root's session keyring would be left")


def _no_inheritable(libc: ctypes.CDLL) -> None:
    """Setting the user clears every capability set but the inheritable one."""
    head, now = (ctypes.c_uint32 * 2)(CAPSET, 0), (ctypes.c_uint32 * 6)()
    if libc.capget(head, now) == 0:
        now[2] = now[5] = 0
        libc.capset(head, now)


def _proven(who: Identity) -> None:
    if os.getresuid() != (who.uid,) * 3 or os.getresgid() != (who.gid,) * 3:
        raise HostError(f"could not become {who.name}: the kernel says otherwise")
    if set(os.getgroups()) - {who.gid} != set(who.groups) - {who.gid}:
        raise HostError(f"could not become {who.name}: groups of root are left")
    if who.uid == 0:
        return
    with open("/proc/self/status", encoding="ascii", errors="replace") as file:
        left = [line.split()[0] for line in file if line.startswith(("CapInh", "CapPrm", "CapEff", "CapAmb"))
                and int(line.split()[1], 16)]  # fmt: skip
    if left:
        raise HostError(f"could not become {who.name}: capabilities of root are left ({' '.join(left)})")
    try:
        os.setresuid(0, 0, 0)
    except PermissionError:
        return
    raise HostError(f"could not become {who.name}: the way back to root is open")


def _enter(launch: Launch) -> None:
    if launch.cwd is not None:
        try:
            os.chdir(launch.cwd)
        except OSError as error:
            raise HostError(f"{printable(launch.cwd)}: {launch.who.name} cannot start there: {why(error)}") from None
        return
    try:
        os.chdir(launch.who.home)
    except OSError:
        os.chdir("/")


# The trace file.


def trace_name(pattern: str, name: str) -> str:
    """A trace file's name but for its process, which is not known yet; ValueError where that is not in its last part.

    >>> trace_name("/tmp/%n-%p.log", "ndtrack"), trace_name("/100%%", "x")
    ('/tmp/ndtrack-%p.log', '/100%%')
    """
    directory, _, last = pattern.rpartition("/")
    if "%" in directory:
        raise ValueError("% means something in the last part of the name alone; write the directory out")
    parts = last.split("%%")
    return f"{directory}/" + "%%".join(part.replace("%n", name) for part in parts)


def _trace(launch: Launch) -> str:
    parts = (launch.trace or "").split("%%")
    return "%".join(part.replace("%p", str(os.getpid())) for part in parts)


def _made_by_root(launch: Launch) -> int | None:
    """The trace file in a directory that is root's alone: made there, and given to the account.

    Anywhere else the account makes it by itself, so that nobody can lead root astray.
    """
    if launch.trace is None or not launch.make_trace:
        return None
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_NOFOLLOW | os.O_NOCTTY | os.O_CLOEXEC
    try:
        fd = os.open(_trace(launch), flags, 0o640)
    except FileExistsError:
        return None
    os.fchown(fd, launch.who.uid, launch.who.gid)
    _private(fd)
    return fd


def _private(fd: int) -> None:
    """Nobody reads it whom its directory's default ACL lets in."""
    with contextlib.suppress(OSError):
        os.removexattr(fd, ACL)
    os.fchmod(fd, 0o640)


def _into(launch: Launch, made: int | None) -> None:
    """Lead what the program prints into the trace file; by now we are the account."""
    fd, path = made, _trace(launch)
    if fd is None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            fd = os.open(path, flags, 0o640)
        except OSError as error:
            raise HostError(f"--trace {printable(path)}: {launch.who.name} cannot write it: {why(error)}") from None
        raw = os.fstat(fd)
        if not st.S_ISREG(raw.st_mode) or raw.st_uid != launch.who.uid or raw.st_nlink != 1:
            raise HostError(
                f"--trace {printable(path)}: is there already, and is no file of {launch.who.name}'s alone; "
                "remove it, or name another"
            )
        if not raw.st_size:
            _private(fd)
        os.set_blocking(fd, True)
    for number in (1, 2):
        os.dup2(fd, number)


def find(word: str, path: str = ROOTS_PATH) -> str | None:
    """The program that a word without a slash means."""
    if "/" in word:
        return word
    for directory in path.split(":"):
        candidate = f"{directory}/{word}"
        if os.path.isfile(candidate) and os.access(candidate, os.X_OK):
            return candidate
    return None


def limits(words: Sequence[str]) -> dict[int, int]:
    """Resource limits such as ``nofile=1024``; ValueError for anything else."""
    found = {}
    for word in words:
        name, sign, value = word.partition("=")
        number = getattr(resource, f"RLIMIT_{name.upper()}", None)
        if not sign or number is None or not (value == "unlimited" or (value.isascii() and value.isdecimal())):
            raise ValueError(f"{word!r} is no limit; write NAME=NUMBER, as in nofile=1024")
        if len(value) > 18:
            raise ValueError(f"{word!r}: no limit is as large as that; write unlimited")
        found[int(number)] = resource.RLIM_INFINITY if value == "unlimited" else int(value)
    return found
