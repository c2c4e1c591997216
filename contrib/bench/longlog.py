"""What a long log costs: plan, status and a no-op apply against the same with a short one, in one run.

Usage: python contrib/bench/longlog.py [EVENTS …]   (default: 200000)
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPO))
from contrib.demo.agentroot import managesoft, system  # noqa: E402
from reconciler.ledger import post  # noqa: E402
from reconciler.log.events import Event, canonical  # noqa: E402
from reconciler.log.writer import LogWriter  # noqa: E402
from reconciler.survey import ledger_of  # noqa: E402

RUNS = 9


def seconds(command: list[str]) -> float:
    """Wall time of one run."""
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def lengthen(path: str, events: int) -> None:
    """Make a log that long: runs that change one file forth and back, written in one transaction."""
    log = LogWriter(path, "bench")
    ledger = ledger_of(log)
    base = log._base
    base.execute("BEGIN")
    while log.seq < events:
        run = f"r{ledger.count + 1}"
        value, source = f"v{ledger.count}", {"file": "d.yaml", "line": 3, "column": 5, "commit": None}
        change = {"field": ["S", "k"], "shown": ["a", value], "before": "a", "after": value}
        started = {"v": 1, "verb": "write", "changes": [change], "sealed": "0", "source": source, "returns": []}
        for type_, data in (
            ("run.started", {"v": 1, "verb": "apply", "actor": {"uid": 0}, "deployments": ["old"], "commit": None}),
            ("transition.started", started),
            ("transition.succeeded", {"v": 1, "started": log.seq + 2, "clock": None}),
            ("run.finished", {"outcome": "converged", "complete": True, "skipped": []}),
        ):
            about = ("old", "ini:/etc/old.ini") if type_.startswith("transition") else (None, None)
            seq, at = log.seq + 1, "2026-01-01T00:00:00.000000Z"
            event = Event(seq, f"bench-{seq}", at, run, type_, *about, data, log.head)
            event = Event(**{**event.json(), "hash": event.digest()})
            row = (seq, event.id, at, run, type_, *about, canonical(data), event.prev, event.hash)
            base.execute("INSERT INTO events VALUES (?,?,?,?,?,?,?,?,?,?)", row)
            post(ledger, event)
            log.seq, log.head = seq, event.hash
    base.execute("COMMIT")
    log.keep_head()
    log.close()


def main() -> None:
    """Print the table."""
    lengths = [40, *(int(word) for word in sys.argv[1:] or ["200000"])]
    with tempfile.TemporaryDirectory() as scratch:
        roots = {}
        for length in lengths:
            root = managesoft(system(Path(scratch) / str(length)))
            lengthen(str(root / "var/lib/reconciler/events.db"), length)
            run = [sys.executable, "-B", "-m", "reconciler", "--root", str(root)]
            subprocess.run([*run, "apply", str(REPO / "desired"), "--yes"], check=True, stdout=subprocess.DEVNULL)
            size = (root / "var/lib/reconciler/events.db").stat().st_size
            print(f"{length:>10} events: {size / 1e6:8.1f} MB")
            roots[length] = run
        verbs = {"plan": ["plan"], "status": ["status"], "apply": ["apply", "--yes"], "history": ["history"]}
        times: dict[tuple[int, str], list[float]] = {}
        for _ in range(RUNS):
            for length, run in roots.items():
                for name, words in verbs.items():
                    where = [str(REPO / "desired")] if name != "history" else []
                    times.setdefault((length, name), []).append(seconds([*run, *words, *where]))
        for length in lengths:
            taken = [seconds([*roots[length], "log", "verify"])]
            times[(length, "log verify")] = taken
    for (length, name), taken in sorted(times.items()):
        median = statistics.median(taken)
        ratio = median / statistics.median(times[(lengths[0], name)])
        print(f"{length:>10} events  {name:<10} {median * 1000:8.0f} ms   {ratio:6.2f} × the short log")


if __name__ == "__main__":
    main()
