"""What a long log costs: plan, status and a no-op apply against the same with a short one, in one run.

Usage: python contrib/bench/longlog.py [EVENTS …]   (default: 200000)
"""

from __future__ import annotations

import hashlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPO))
from contrib.demo.agentroot import managesoft, system  # noqa: E402
from reconciler.core.events import START, Draft, canonical  # noqa: E402
from reconciler.core.ledger import post  # noqa: E402
from reconciler.engine.survey import ledger_of  # noqa: E402
from reconciler.log.store import entry_of  # noqa: E402
from reconciler.log.writer import LogWriter  # noqa: E402

RUNS = 9


def seconds(command: list[str]) -> float:
    """Wall time of one run."""
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


AT = "2026-01-01T00:00:00.000000Z"
ADDRESS = "ini:/etc/old.ini"
TAIL = 40
"""So many events at the end are posted as the product posts them; the bulk before them is written as rows."""


def told(number: int, first: int) -> list[tuple[str, dict[str, object]]]:
    """The four events of one run that changes one key."""
    value, source = f"v{number}", {"file": "d.yaml", "line": 3, "column": 5, "commit": None}
    change = {"field": ["S", "k"], "shown": ["a", value], "before": "a", "after": value}
    return [
        ("run.started", {"v": 1, "verb": "apply", "actor": {"uid": 0}, "deployments": ["old"], "commit": None}),
        (
            "transition.started",
            {"v": 1, "verb": "write", "changes": [change], "sealed": "0", "source": source, "returns": []},
        ),
        ("transition.succeeded", {"v": 1, "started": first + 1, "clock": None}),
        ("run.finished", {"outcome": "converged", "complete": True, "skipped": []}),
    ]


def rows(first_run: int, last_run: int, head: str) -> Iterator[tuple[tuple[object, ...], ...]]:
    """The events of many runs, each with its place in the chain."""
    for number in range(first_run, last_run + 1):
        first, found = (number - 1) * 4 + 1, []
        for offset, (type_, data) in enumerate(told(number, first)):
            about = ("old", ADDRESS) if type_.startswith("transition") else (None, None)
            seq = first + offset
            row = (seq, f"bench-{seq}", AT, f"r{number}", type_, *about, canonical(data), head, "")
            head = hashlib.sha256(entry_of(row)).hexdigest()
            found.append((*row[:9], head))
        yield tuple(found)


def facts(number: int, last: bool) -> Iterator[tuple[object, ...]]:
    """What one run leaves in the books: facts that the next run ends, and the line of the run."""
    first = (number - 1) * 4 + 1
    until = None if last else first + 4
    end = None if last else first + 6
    run = {"id": f"r{number}", "verb": "apply", "first": first, "last": first + 3, "at": AT, "actor": {"uid": 0},
           "outcome": "converged", "transitions": 1, "deployments": ["old"], "commit": None, "to": None, "only": None,
           "plan": None}  # fmt: skip
    source = {"file": "d.yaml", "line": 3, "column": 5, "commit": None}
    yield (f"run|{number:010d}", canonical(run), first, None)
    yield ("count|", canonical(number), first, until)
    yield (f"changed|{ADDRESS}", canonical([first + 2, None]), first + 2, end)
    yield (f'hold|{ADDRESS}\t["S", "k"]', canonical(["a", f"v{number}", ["old"], first + 2, source]), first + 2, end)


def lengthen(path: str, events: int) -> None:
    """Make a log that long: runs that change one key, in few transactions."""
    log = LogWriter(path, "bench")
    base, runs = log._base, events // 4
    bulk = max(0, runs - TAIL)
    base.execute("PRAGMA synchronous = OFF")
    head, done = START, 0
    while done < bulk:
        upto = min(bulk, done + 50_000)
        made = [row for run in rows(done + 1, upto, head) for row in run]
        head = str(made[-1][9])
        base.execute("BEGIN")
        base.executemany("INSERT INTO events VALUES (?,?,?,?,?,?,?,?,?,?)", made)
        lines = (line for number in range(done + 1, upto + 1) for line in facts(number, number == bulk))
        base.executemany("INSERT INTO books VALUES (?,?,?,?)", lines)
        base.execute("UPDATE posted SET seq = ?", (upto * 4,))
        base.execute("COMMIT")
        done = upto
    if bulk:
        base.execute("INSERT INTO books VALUES ('deployment|old', '1', 1, NULL)")
    log.seq, log.head = bulk * 4, head
    log.keep_stamp()
    log.keep_head()
    ledger = ledger_of(log)
    assert (ledger.count, ledger.seq) == (bulk, bulk * 4)
    for number in range(bulk + 1, runs + 1):
        for type_, data in told(number, log.seq + 1):
            about = ("old", ADDRESS) if type_.startswith("transition") else (None, None)
            log.append([Draft(f"r{number}", type_, data, *about)], lambda event: post(ledger, event))
    log.keep_head()
    log.close()


def main() -> None:
    """Print the table."""
    lengths = [200, *(int(word) for word in sys.argv[1:] or ["200000"])]
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
