"""Start-up and a quiet plan, as ratios to a bare interpreter in the same run."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPO / "contrib/demo"))
from agentroot import managesoft, system  # noqa: E402

RUNS = 15


def seconds(command: list[str]) -> float:
    """Wall time of one run."""
    began = time.perf_counter()
    subprocess.run(command, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - began


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as scratch:
        root = managesoft(system(Path(scratch)))
        run = [sys.executable, "-B", "-m", "reconciler"]
        commands = {
            "python -c pass": [sys.executable, "-c", "pass"],
            "reconciler --version": [str(Path(sys.executable).parent / "reconciler"), "--version"],
            "reconciler plan desired": [*run, "--root", str(root), "plan", str(REPO / "desired")],
        }
        times: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(RUNS):
            for name, command in commands.items():
                times[name].append(seconds(command))
    bare = statistics.median(times["python -c pass"])
    for name, taken in times.items():
        median = statistics.median(taken)
        print(f"{name:<26} {median * 1000:7.0f} ms   {median / bare:5.1f} × a bare start")


if __name__ == "__main__":
    main()
