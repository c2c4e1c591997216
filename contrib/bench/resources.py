"""What many resources cost, by sort and number, next to peers that do the same.

Usage (as root): python contrib/bench/resources.py [--sorts file,ini,account,link] [--runs N] [--svg FILE]
                 [--peers] [NUMBER …]   (default: 100 500 2000 10000)

Each command is a process of its own, on a root directory of its own; its user and system CPU, wall time and peak
memory are medians.  Linear means: the same time for each resource, start-up aside.  What an apply syncs is counted
with strace; the bench fails where that is more than one a file and a few a batch, or where an apply takes longer than
three times what its syncs cost, and its CPU.  ``--peers`` installs pyinfra, ansible-core and BundleWrap into
environments of their own and lets them write the same 200 files on this machine.
"""

from __future__ import annotations

import argparse
import math
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-m", "reconciler"]
FEW = 200
"""How many files the peers write."""
PASSWD = "root:x:0:0:root:/root:/bin/sh\n"
SORTS: dict[str, Callable[[int], str]] = {
    "file": lambda n: f"  - {{file: /srv/f/{n:05d}.conf, content: 'setting = {n}', mode: '0640'}}\n",
    "ini": lambda n: f"  - {{ini: /srv/i/{n:05d}.ini, set: {{Main: {{Key: '{n}'}}}}}}\n",
    "account": lambda n: f"  - {{group: g{n:05d}}}\n  - {{account: a{n:05d}, group: g{n:05d}}}\n",
    "link": lambda n: f"  - {{link: /srv/l/{n:05d}, target: ../f/{n:05d}.conf}}\n",
}


SYNCED = {"file": 1, "ini": 1, "account": 0, "link": 0}
"""How many files of its own each resource writes, and so syncs."""


@dataclass
class Cost:
    """What one process took: seconds, and kilobytes."""

    cpu: float
    wall: float
    peak: int


def cost(command: list[str], env: dict[str, str] | None = None) -> Cost:
    """Run a command that has to succeed."""
    began = time.perf_counter()
    child = subprocess.Popen(
        command, env={**os.environ, "PYTHONPATH": str(REPO), **(env or {})},
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert child.stderr is not None
    told = child.stderr.read()
    _, status, used = os.wait4(child.pid, 0)
    wall = time.perf_counter() - began
    if code := os.waitstatus_to_exitcode(status):
        sys.exit(f"{' '.join(command)}: exit code {code}\n{told.decode(errors='replace')}")
    return Cost(used.ru_utime + used.ru_stime, wall, used.ru_maxrss)


def syncs(command: list[str]) -> int:
    """How often a command asks the disk to keep what it wrote."""
    with tempfile.NamedTemporaryFile("r") as told:
        calls = "trace=fsync,fdatasync,syncfs,sync"
        traced = ["strace", "-f", "--seccomp-bpf", "-e", calls, "-e", "signal=none", "-o", told.name, *command]
        cost(traced)
        return sum("sync" in line and "resumed" not in line for line in told)


def sync_cost(where: Path, times: int = 300) -> float:
    """What one sync of a small file takes here, in seconds."""
    began = time.perf_counter()
    for number in range(times):
        fd = os.open(where / f"sync-{number}", os.O_CREAT | os.O_WRONLY, 0o600)
        os.write(fd, b"x")
        os.fsync(fd)
        os.close(fd)
    return (time.perf_counter() - began) / times


def durable(sort: str, number: int, costs: dict[str, Cost]) -> Iterator[str]:
    """What an apply synced, and whether that explains its wall time."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as place:
        scratch = Path(place)
        (scratch / "d.yaml").write_text("deployment: d\nresources:\n" + "".join(map(SORTS[sort], range(number))))
        asked = syncs([*COMMAND, "apply", str(scratch / "d.yaml"), "--yes", "--root", str(fresh(scratch))])
        each = sync_cost(scratch)
    apply, most = costs["apply"], number * SYNCED[sort] + number // 4 + 200
    explained = 3 * asked * each + apply.cpu
    yield f"{sort}, {number:,}: {asked:,} syncs of {each * 1000:.2f} ms; {apply.wall:.1f} s of {explained:.1f} s"
    if asked > most:
        yield f"TOO MANY: more than {most:,}"
    if apply.wall > explained:
        yield "TOO SLOW: neither its CPU nor its syncs explain that"


def fresh(scratch: Path) -> Path:
    """A root directory in which accounts can be made."""
    root = scratch / "root"
    shutil.rmtree(root, ignore_errors=True)
    (root / "etc").mkdir(parents=True)
    (root / "srv").mkdir()
    (root / "etc/passwd").write_text(PASSWD)
    (root / "etc/group").write_text("root:x:0:\n")
    (root / "etc/shadow").write_text("root:*:19000::::::\n")
    (root / "etc/gshadow").write_text("root:*::\n")
    (root / "etc/login.defs").write_text("SYS_UID_MIN 100\nSYS_UID_MAX 60000\nSYS_GID_MIN 100\nSYS_GID_MAX 60000\n")
    return root


def measure(sort: str, number: int, runs: int) -> dict[str, Cost]:
    """The medians of a day in the life of so many resources."""
    took: dict[str, list[Cost]] = {}
    with tempfile.TemporaryDirectory(dir="/var/tmp") as place:
        scratch = Path(place)
        text = "deployment: d\nresources:\n" + "".join(map(SORTS[sort], range(number)))
        (scratch / "d.yaml").write_text(text)
        (scratch / "none.yaml").write_text("deployment: n\nresources: []\n")
        for _ in range(runs):
            root = ["--root", str(fresh(scratch))]

            def once(name: str, *words: str, root: list[str] = root) -> None:
                took.setdefault(name, []).append(cost([*COMMAND, *words, *root]))

            file = str(scratch / "d.yaml")
            once("start-up", "plan", str(scratch / "none.yaml"))
            once("plan", "plan", file)
            once("apply", "apply", file, "--yes")
            once("apply again", "apply", file, "--yes")
            once("status", "status", file)
            once("rollback", "rollback", "--yes")
            once("apply once more", "apply", file, "--yes")
            once("uninstall", "uninstall", "d", "--yes")
    return {
        name: Cost(*(statistics.median(getattr(c, part) for c in costs) for part in ("cpu", "wall", "peak")))  # type: ignore[arg-type]
        for name, costs in took.items()
    }


def peers(scratch: Path) -> Iterator[tuple[str, list[str], Path]]:
    """The peers: each with the command that writes the files, and where it is to run."""
    target = scratch / "theirs"
    for name, package in (("pyinfra", "pyinfra"), ("ansible", "ansible-core"), ("bw", "bundlewrap")):
        home = scratch / name
        venv.create(home, with_pip=True)
        subprocess.run([home / "bin/pip", "install", "-q", package], check=True)
        if name == "pyinfra":
            (home / "deploy.py").write_text(
                "from io import StringIO\nfrom pyinfra.operations import files\n"
                f"for n in range({FEW}):\n"
                f"    files.put(src=StringIO(f'setting = {{n}}'), dest=f'{target}/{{n:05d}}.conf', mode='640')\n"
            )
            yield name, [str(home / "bin/pyinfra"), "-y", "@local", "deploy.py"], home
        elif name == "ansible":
            tasks = "".join(
                f"    - copy: {{content: 'setting = {n}', dest: {target}/{n:05d}.conf, mode: '0640'}}\n"
                for n in range(FEW)
            )
            (home / "site.yaml").write_text(
                f"- hosts: localhost\n  connection: local\n  gather_facts: false\n  tasks:\n{tasks}"
            )
            yield name, [str(home / "bin/ansible-playbook"), "-i", "localhost,", "site.yaml"], home
        else:
            repo = home / "repo"
            (repo / "bundles/b").mkdir(parents=True)
            (repo / "nodes.py").write_text("nodes = {'n': {'hostname': 'localhost', 'bundles': ['b']}}\n")
            (repo / "groups.py").write_text("groups = {}\n")
            (repo / "bundles/b/items.py").write_text(
                f"target = '{target}'\n"
                "files = {f'{target}/{n:05d}.conf': {'content': f'setting = {n}', 'mode': '0640'}"
                f" for n in range({FEW})}}\n"
            )  # fmt: skip
            yield name, [str(home / "bin/bw"), "apply", "n"], repo


def beside_peers(runs: int) -> Iterator[str]:
    """The same files by everybody, in turns: first time, nothing to do, one drifted."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as place:
        scratch = Path(place)
        target = scratch / "theirs"
        ours = scratch / "d.yaml"
        ours.write_text(
            "deployment: d\nresources:\n"
            + "".join(
                f"  - {{file: {target}/{n:05d}.conf, content: 'setting = {n}', mode: '0640'}}\n" for n in range(FEW)
            )
        )
        log = ["--log", str(scratch / "log/events.db")]
        listed = [("reconciler", [*COMMAND, "apply", str(ours), "--yes", *log], scratch), *peers(scratch)]
        yield f"| {FEW} files | first time | nothing to do | one drifted |"
        yield "|---|---|---|---|"
        found: dict[str, list[list[float]]] = {name: [[], [], []] for name, _, _ in listed}
        for _ in range(runs):
            for name, command, where in listed:
                shutil.rmtree(target, ignore_errors=True)
                target.mkdir()
                shutil.rmtree(scratch / "log", ignore_errors=True)
                (scratch / "log").mkdir(mode=0o700)
                for state in range(3):
                    if state == 2:
                        (target / "00007.conf").write_text("drift")
                    began = time.perf_counter()
                    subprocess.run(
                        command, cwd=where, check=False, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                        stderr=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": str(REPO)},
                    )  # fmt: skip
                    found[name][state].append(time.perf_counter() - began)
                    if (target / "00007.conf").read_text() != "setting = 7":
                        yield f"| {name} did not do it; mend its command here | | | |"
                        break
        for name, states in found.items():
            yield f"| {name} | " + " | ".join(f"{statistics.median(s):.1f} s" if s else "" for s in states) + " |"


def table(sort: str, results: dict[int, dict[str, Cost]]) -> Iterator[str]:
    """Seconds of CPU, wall time and peak, and whether the time for each resource stays the same."""
    sizes = list(results)
    yield f"| {sort} | " + " | ".join(f"{size:,}" for size in sizes) + " | last / first, each |"
    yield "|---|" + "---|" * (len(sizes) + 1)
    for name in results[sizes[0]]:
        cells = [f"{c.cpu:.1f} s, {c.wall:.1f} s, {c.peak / 1024:.0f} MB" for c in (results[s][name] for s in sizes)]
        each = [(results[s][name].cpu - results[s]["start-up"].cpu) / s for s in sizes]
        base = next((e for s, e in zip(sizes, each, strict=True) if s >= 500), each[0])
        slope = f"{each[-1] / base:.2f}" if name != "start-up" and base > 0 else ""
        yield f"| {name} | " + " | ".join(cells) + f" | {slope} |"
    yield ""


def plot(sort: str, results: dict[int, dict[str, Cost]]) -> str:
    """CPU seconds against number, both logarithmic, as SVG."""
    sizes, names = list(results), [name for name in next(iter(results.values())) if name != "start-up"]
    width, height, left, low = 640, 400, 60, 40
    x0, x1 = math.log10(min(sizes)), math.log10(max(sizes))
    values = [results[s][n].cpu for s in sizes for n in names]
    y0, y1 = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))

    def at(size: float, value: float) -> tuple[float, float]:
        x = left + (math.log10(size) - x0) / max(x1 - x0, 1e-9) * (width - left - 160)
        return x, height - low - (math.log10(value) - y0) / max(y1 - y0, 1) * (height - 2 * low)

    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif">']
    out.append(f'<rect width="{width}" height="{height}" fill="#fff"/><text x="{left}" y="16">{sort}, CPU</text>')
    for power in range(y0, y1 + 1):
        _, y = at(min(sizes), 10.0**power)
        out.append(f'<path d="M{left} {y:.1f}H{width - 160}" stroke="#ddd"/>')
        out.append(f'<text x="4" y="{y + 4:.1f}">{10.0**power:g} s</text>')
    for number, name in enumerate(names):
        colour = f"hsl({number * 360 // len(names)} 70% 40%)"
        path = "L".join(f"{x:.1f} {y:.1f}" for x, y in (at(s, results[s][name].cpu) for s in sizes))
        out.append(f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        out.append(f'<text x="{width - 152}" y="{60 + 18 * number}" fill="{colour}">{name}</text>')
    return "\n".join([*out, "</svg>"]) + "\n"


def main() -> None:
    """Print the tables; write the plots where they are asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("numbers", nargs="*", type=int, default=[100, 500, 2000, 10_000])
    parser.add_argument("--sorts", default=",".join(SORTS))
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--svg", type=Path)
    parser.add_argument("--peers", action="store_true")
    given = parser.parse_args()
    if os.geteuid():
        sys.exit("only root can give files away")
    machine = f"{platform.system()}, {len(os.sched_getaffinity(0))} processors, Python {platform.python_version()}"
    sys.stdout.write(f"{machine}, {datetime.now(UTC):%Y-%m-%d}: CPU, wall time, peak memory.\n\n")
    failed = False
    for sort in given.sorts.split(","):
        results = {number: measure(sort, number, given.runs) for number in sorted(given.numbers)}
        sys.stdout.write("\n".join(table(sort, results)) + "\n")
        sys.stdout.flush()
        if shutil.which("strace"):
            said = list(durable(sort, max(results), results[max(results)]))
            failed = failed or len(said) > 1
            sys.stdout.write("\n".join(said) + "\n\n")
        if given.svg:
            given.svg.with_stem(f"{given.svg.stem}-{sort}").write_text(plot(sort, results))
    if given.peers:
        sys.stdout.write("\n".join(beside_peers(max(1, given.runs))) + "\n")
    sys.exit(failed)


if __name__ == "__main__":
    main()
