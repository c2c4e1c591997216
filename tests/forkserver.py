"""A process that has the product imported, and forks for each command: as a new process, without the start-up.

The start-up is most of what a command on a small root costs, and tests run thousands.  Whatever an own environment,
a kill or a terminal is needed for is a process of its own all the same, and so is all in the long form.
"""

from __future__ import annotations

import importlib
import io
import json
import os
import pkgutil
import select
import signal
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

REPO = Path(__file__).resolve().parents[1]
PATIENCE = 300


class ForkServer:
    """One such process; it is asked by one test at a time."""

    def __init__(self) -> None:
        env = {**os.environ, "PYTHONPATH": str(REPO), "PYDANTIC_DISABLE_PLUGINS": "__all__"}
        words = [sys.executable, "-c", "from tests.forkserver import serve; serve()"]
        self._process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env, cwd=REPO)

    def run(self, arguments: list[str], env: dict[str, str], cwd: str) -> subprocess.CompletedProcess[str]:
        """The command, with nothing to read and all that it says."""
        assert self._process.stdin is not None and self._process.stdout is not None
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            files = [f"/proc/{os.getpid()}/fd/{file.fileno()}" for file in (out, err)]
            asked = {"arguments": arguments, "env": env, "cwd": cwd, "files": files}
            self._process.stdin.write(json.dumps(asked).encode() + b"\n")
            self._process.stdin.flush()
            if not select.select([self._process.stdout], [], [], PATIENCE)[0]:
                self._process.kill()
                raise subprocess.TimeoutExpired(arguments, PATIENCE)
            code = int(self._process.stdout.readline())
            told = [Path(file).read_bytes().decode() for file in files]
        return subprocess.CompletedProcess(arguments, code, *told)


def serve() -> None:
    """Import everything, and fork for whoever asks."""
    import reconciler

    for module in pkgutil.walk_packages(reconciler.__path__, "reconciler."):
        if not module.name.endswith(("__main__", "._walk")):  # the latter is a library in C, and no module
            importlib.import_module(module.name)
    for line in sys.stdin.buffer:
        asked = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _command(asked)
        _, status = os.waitpid(pid, 0)
        sys.stdout.buffer.write(b"%d\n" % os.waitstatus_to_exitcode(status))
        sys.stdout.buffer.flush()


def _command(asked: dict[str, Any]) -> None:
    """Be the command: never returns."""
    try:
        out, err = (os.open(path, os.O_WRONLY) for path in asked["files"])
        for number, fd in enumerate((os.open(os.devnull, os.O_RDONLY), out, err)):
            os.dup2(fd, number)
        os.closerange(3, 256)
        signal.set_wakeup_fd(-1)
        sys.stdin = io.TextIOWrapper(open(0, "rb", closefd=False))  # noqa: SIM115 - as long as the process
        for name, number in (("stdout", 1), ("stderr", 2)):
            known = getattr(sys, f"__{name}__")
            raw = open(number, "wb", closefd=False)  # noqa: SIM115
            setattr(sys, name, io.TextIOWrapper(raw, known.encoding, known.errors, line_buffering=number == 2))
        os.environ.clear()
        os.environ.update(asked["env"])
        os.chdir(asked["cwd"])
        sys.argv = ["reconciler", *asked["arguments"]]
        from reconciler.__main__ import main

        main()
        sys.stdout.flush()
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
