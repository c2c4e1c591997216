"""How long a watch takes to repair a path of a tree, and what it costs while nothing happens.

python contrib/bench/watch.py FILES [TRIALS] [DIRECTORY] [--resources]      as root, on a file system of this host

With --resources each file is a resource of its own, with its content, and not a path of one tree.

Prints the time until it was ready, the quantiles of the repairs (from the chown to the owner that is back, polled), the
processor time while idle, and memory.  Two processors that do nothing else are assumed; run it several times.
"""

from __future__ import annotations

import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TO_DIRECTORY = 20
IDLE = 20.0


def build(top: Path, files: int) -> list[Path]:
    """A tree of directories with twenty files each."""
    made = []
    for number in range(files // TO_DIRECTORY):
        directory = top / f"{number % 100:02d}" / f"{number:06d}"
        directory.mkdir(parents=True)
        for each in range(TO_DIRECTORY):
            path = directory / f"f{each:02d}"
            path.touch()
            made.append(path)
    return made


def used(pid: int) -> tuple[float, float]:
    """Processor seconds and megabytes of a process."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK"), int(status["VmRSS"].split()[0]) / 1024


def wanted(scratch: Path, made: list[Path], *, each: bool) -> str:
    """The desired state: one tree, or every file by itself."""
    if each:
        text = "".join(f"  - {{file: {path}, content: 'as it is', owner: nobody, mode: '0640'}}\n" for path in made)
        return f"deployment: bench\nresources:\n{text}"
    return (
        f"deployment: bench\nresources:\n  - tree: {scratch}/tree\n    owner: nobody\n    group: nogroup\n"
        "    directory_mode: '0750'\n    file_mode: '0640'\n"
    )


def main(files: int, trials: int, where: str, *, each: bool = False) -> None:
    """Build, apply, watch, and measure."""
    scratch = Path(tempfile.mkdtemp(prefix="bench-watch-", dir=where))
    try:
        made = build(scratch / "tree", files)
        desired = scratch / "d.yaml"
        desired.write_text(wanted(scratch, made, each=each))
        words = [sys.executable, "-m", "reconciler", "--log", str(scratch / "log/events.db")]
        subprocess.run([*words, "apply", str(desired), "--yes"], check=True, stdout=subprocess.DEVNULL)
        owner = made[0].stat().st_uid
        began = time.monotonic()
        watch = subprocess.Popen([*words, "watch", str(desired)], stderr=subprocess.PIPE, text=True)
        assert watch.stderr is not None
        said = watch.stderr.readline()
        ready = time.monotonic() - began
        time.sleep(10)
        times = []
        for _ in range(trials):
            path = random.choice(made)
            start = time.monotonic()
            if each:
                path.write_text("drift")
            else:
                os.chown(path, 0, 0)
            while path.stat().st_uid != owner or (each and path.read_text() != "as it is"):
                time.sleep(0.001)
                assert time.monotonic() - start < 60, "never repaired"
            times.append(time.monotonic() - start)
            time.sleep(random.uniform(0.1, 0.3))
        time.sleep(2)
        before, _ = used(watch.pid)
        time.sleep(IDLE)
        after, memory = used(watch.pid)
        watch.terminate()
        began = time.monotonic()
        watch.wait(10)
        ended = time.monotonic() - began
        times.sort()
        print(said.strip())
        print(f"{files} files: ready in {ready:.2f} s, ended in {ended:.2f} s")
        print(f"repair: median {times[len(times) // 2]:.3f} s, p99 {times[int(len(times) * 0.99) - 1]:.3f} s, "
              f"longest {times[-1]:.3f} s of {trials}")  # fmt: skip
        print(f"idle: {100 * (after - before) / IDLE:.2f} % of a processor, {memory:.0f} MB")
    finally:
        shutil.rmtree(scratch)


if __name__ == "__main__":
    if os.geteuid() != 0 or len(sys.argv) < 2:
        raise SystemExit(__doc__)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    number, *rest = [word for word in sys.argv[1:] if word != "--resources"]
    main(int(number), int(rest[0]) if rest else 100, rest[1] if len(rest) > 1 else "/var/tmp",
         each="--resources" in sys.argv)  # fmt: skip
