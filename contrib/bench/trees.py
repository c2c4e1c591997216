"""What big trees cost, next to find, chown -R, a shell script, and the peers that are installed here.

Usage (as root): python contrib/bench/trees.py [--runs N] [--svg FILE] [FILES …]   (default: 10000 100000)

Builds a tree of FILES files, 20 to a directory, and takes medians of the whole processes' wall times, warm.  What is
compared runs in turns, so that the machine's noise meets all of it; what counts is the ratio within one run.
"""

from __future__ import annotations

import argparse
import math
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
RECONCILER = str(Path(sys.executable).parent / "reconciler")
NOBODY, ROOT = "daemon", "root"
SLOW = 20_000
"""Above so many files the peers run once."""
QUIET = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "stdin": subprocess.DEVNULL}


def build(top: Path, files: int) -> None:
    """The tree: 20 files to a directory, ten directories to the next, fifty at the top."""
    for number in range(files // 20):
        folder = top / f"d{number % 50:02d}/e{number // 50 % 10}/f{number:06d}"
        folder.mkdir(parents=True, exist_ok=True)
        here = os.open(folder, os.O_RDONLY)
        for name in range(20):
            os.close(os.open(f"file-{name:03d}.dat", os.O_CREAT | os.O_WRONLY, 0o644, dir_fd=here))
        os.close(here)


def wanted(directory: Path, name: str, top: Path, owner: str) -> Path:
    """Desired state that gives a tree to an owner."""
    group = "daemon" if owner == NOBODY else "root"
    file = directory / f"{name}.yaml"
    file.write_text(
        f"deployment: {name}\nresources:\n  - {{tree: {top}, owner: {owner}, group: {group}, allow_protected: true}}\n"
    )
    return file


def peers(scratch: Path, top: Path) -> Iterator[tuple[str, Callable[[str], list[str]]]]:
    """The other tools that are installed, each with the command that gives the tree to an owner."""
    if found := shutil.which("ansible"):
        yield "ansible", lambda owner: [
            found, "localhost", "-c", "local", "-i", "localhost,", "-m", "file",
            "-e", f"ansible_python_interpreter={Path(found).parent / 'python3'}",
            "-a", f"path={top} state=directory recurse=yes owner={owner} group={owner}",
        ]  # fmt: skip
    if pyinfra := shutil.which("pyinfra"):
        yield "pyinfra", lambda owner: [
            pyinfra, "-y", "@local", "files.directory", str(top), f"user={owner}", f"group={owner}", "recursive=True",
        ]  # fmt: skip
    if salt := shutil.which("salt-call"):
        yield "salt", lambda owner: [
            salt, "--local", "state.single", "file.directory", f"name={top}", f"user={owner}", f"group={owner}",
            "recurse=[user,group]",
        ]  # fmt: skip
    if cfengine := shutil.which("cf-agent"):

        def policy(owner: str) -> list[str]:
            file = scratch / f"{owner}.cf"
            file.write_text(
                "body common control { bundlesequence => { main }; }\n"
                "body depth_search all { depth => inf; include_basedir => true; }\n"
                f'body perms them {{ owners => {{ "{owner}" }}; groups => {{ "{owner}" }}; }}\n'
                f'bundle agent main {{ files: "{top}/." perms => them, depth_search => all; }}\n'
            )
            file.chmod(0o600)
            return [cfengine, "-KIf", str(file)]

        yield "cfengine", policy
    if puppet := shutil.which("puppet"):
        yield "puppet", lambda owner: [
            puppet, "apply", "-e",
            f"file {{ '{top}': ensure => directory, recurse => true, owner => '{owner}', group => '{owner}' }}",
        ]  # fmt: skip


def seconds(command: list[str]) -> float:
    """Wall time of one run."""
    began = time.perf_counter()
    subprocess.run(command, check=False, **QUIET)  # type: ignore[call-overload]
    return time.perf_counter() - began


def peak(command: list[str]) -> int:
    """The memory of the largest process of a run, in kilobytes."""
    pid = os.fork()
    if pid == 0:
        subprocess.run(command, check=False, **QUIET)  # type: ignore[call-overload]
        os._exit(min(255, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024))
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) * 1024


def measure(files: int, runs: int) -> dict[str, float]:
    """Medians in seconds (and a peak in kilobytes) for one size of tree."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as place:
        scratch = Path(place)
        top, small = scratch / "tree", scratch / "small"
        build(top, files)
        small.mkdir()
        log = ["--log", str(scratch / "log/events.db")]
        give, keep = wanted(scratch, "give", top, NOBODY), wanted(scratch, "keep", top, ROOT)
        tiny = wanted(scratch, "tiny", small, ROOT)
        find = ["find", str(top), "(", "!", "-user", ROOT, "-o", "!", "-group", ROOT, ")", "-print"]
        took: dict[str, list[float]] = {}

        def once(name: str, command: list[str]) -> None:
            took.setdefault(name, []).append(seconds(command))

        def fresh() -> None:
            shutil.rmtree(scratch / "log", ignore_errors=True)
            (scratch / "log").mkdir()

        for _ in range(runs):
            fresh()
            once("start-up", [RECONCILER, *log, "plan", str(tiny)])
            once("find", find)
            once("plan", [RECONCILER, *log, "plan", str(keep)])
            once("shell, nothing to do", ["sh", "-c", f"{' '.join(map(quoted, find))} | grep -q . || :"])
            once("chown -R", ["chown", "-R", f"{NOBODY}:{NOBODY}", str(top)])
            once("chown -R", ["chown", "-R", f"{ROOT}:{ROOT}", str(top)])
            once("shell", ["sh", "-c", shell(top, NOBODY)])
            once("shell", ["sh", "-c", shell(top, ROOT)])
            once("apply", [RECONCILER, *log, "apply", "--yes", str(give)])
            once("apply again", [RECONCILER, *log, "apply", "--yes", str(give)])
            once("rollback", [RECONCILER, *log, "rollback", "--yes"])
        for name, command in peers(scratch, top):
            seconds(["chown", "-R", f"{ROOT}:{ROOT}", str(top)])
            for _ in range(3 if files <= SLOW else 1):
                once(f"{name}, nothing to do", command(ROOT))
                once(name, command(NOBODY))
                if not given(top, NOBODY):
                    sys.exit(f"{name} did not do it; take it off PATH, or mend its command here")
                seconds(["chown", "-R", f"{ROOT}:{ROOT}", str(top)])
        seconds(["chown", "-R", f"{ROOT}:{ROOT}", str(top)])
        fresh()
        found = {name: statistics.median(times) for name, times in took.items()}
        found["peak"] = peak([RECONCILER, *log, "apply", "--yes", str(give)])
        found["kept"] = sum(file.stat().st_size for file in (scratch / "log").rglob("*") if file.is_file())
        return found


def given(top: Path, owner: str) -> bool:
    """Whether all of a tree is an owner's."""
    return not subprocess.check_output(["find", str(top), "!", "-user", owner, "-print", "-quit"])


def shell(top: Path, owner: str) -> str:
    """What a shell script does: change what is not right."""
    return f"find {top} '(' ! -user {owner} -o ! -group {owner} ')' -exec chown -h {owner}:{owner} '{{}}' +"


def quoted(word: str) -> str:
    """One word of a shell command."""
    return f"'{word}'"


def table(results: dict[int, dict[str, float]]) -> Iterator[str]:
    """The ratios as Markdown."""
    machine = f"{platform.system()}, {len(os.sched_getaffinity(0))} processors, Python {platform.python_version()}"
    yield f"{machine}, {datetime.now(UTC):%Y-%m-%d}."
    yield ""
    yield "| files | " + " | ".join(f"{files:,}" for files in results) + " |"
    yield "|---|" + "---|" * len(results)

    def row(name: str, value: Callable[[dict[str, float]], str]) -> str:
        return f"| {name} | " + " | ".join(value(found) for found in results.values()) + " |"

    def ratio(of: str, to: str, less: str | None = None) -> Callable[[dict[str, float]], str]:
        return lambda found: f"{(found[of] - (found[less] if less else 0)) / found[to]:.2f} ({found[of]:.2f} s)"

    yield row("`find` that finds nothing", lambda found: f"{found['find']:.2f} s")
    yield row("**plan, nothing to do**, without start-up / `find`", ratio("plan", "find", "start-up"))
    yield row("**plan, nothing to do**, whole / `find`", ratio("plan", "find"))
    names = sorted({name for found in results.values() for name in found})
    others = [name for name in names if name.endswith(", nothing to do") and not name.startswith("shell")]
    for name in ["shell, nothing to do", *others]:
        yield row(f"{name} / `find`", ratio(name, "find"))
    yield row("`chown -R`", lambda found: f"{found['chown -R']:.2f} s")
    yield row("**first apply** / `chown -R`", ratio("apply", "chown -R"))
    yield row("**rollback** / `chown -R`", ratio("rollback", "chown -R"))
    yield row("second apply / `find`", ratio("apply again", "find"))
    for name in ["shell", *(other.removesuffix(", nothing to do") for other in others)]:
        yield row(f"{name}, first time / `chown -R`", ratio(name, "chown -R"))
    yield row("peak memory of an apply", lambda found: f"{found['peak'] / 1024:.0f} MB")
    yield row("the log and its images", lambda found: f"{found['kept'] / 1024:.0f} kB")


LINES = {
    "find": ("#888", "find"),
    "plan": ("#06c", "plan, nothing to do"),
    "chown -R": ("#444", "chown -R"),
    "apply": ("#c30", "first apply"),
    "rollback": ("#e90", "rollback"),
}


def plot(results: dict[int, dict[str, float]]) -> str:
    """Cost against size, both logarithmic, as SVG."""
    width, height, left, low = 640, 400, 60, 40
    sizes = list(results)
    x0, x1 = math.log10(min(sizes)), math.log10(max(sizes)) or 1
    values = [results[size][name] for size in sizes for name in LINES]
    y0, y1 = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))

    def at(size: float, value: float) -> tuple[float, float]:
        x = left + (math.log10(size) - x0) / max(x1 - x0, 1e-9) * (width - left - 160)
        y = height - low - (math.log10(value) - y0) / (y1 - y0) * (height - 2 * low)
        return x, y

    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif">']
    out.append(f'<rect width="{width}" height="{height}" fill="#fff"/>')
    for power in range(y0, y1 + 1):
        x, y = at(min(sizes), 10.0**power)
        out.append(
            f'<path d="M{x} {y:.1f}H{width - 160}" stroke="#ddd"/><text x="4" y="{y + 4:.1f}">{10.0**power:g} s</text>'
        )
    for size in sizes:
        x, _ = at(size, 10.0**y0)
        out.append(f'<text x="{x - 20:.1f}" y="{height - low + 18}">{size:,}</text>')
    for name, (colour, _) in LINES.items():
        points = [at(size, results[size][name]) for size in sizes]
        path = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
        out.append(f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        out += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in points]
    ends = sorted((at(sizes[-1], results[sizes[-1]][name])[1], name) for name in LINES)
    last = -99.0
    for y, name in ends:
        last = max(y, last + 15)
        colour, label = LINES[name]
        out.append(f'<text x="{width - 152}" y="{last + 4:.1f}" fill="{colour}">{label}</text>')
    return "\n".join([*out, "</svg>"]) + "\n"


def main() -> None:
    """Print the table; write the plot where it is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="*", type=int, default=[10_000, 100_000])
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--svg", type=Path)
    given = parser.parse_args()
    if os.geteuid():
        sys.exit("only root can give files away")
    results = {files: measure(files, given.runs) for files in sorted(given.files)}
    sys.stdout.write("\n".join(table(results)) + "\n")
    if given.svg:
        given.svg.write_text(plot(results))


if __name__ == "__main__":
    main()
