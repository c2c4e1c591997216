"""What got dearer: a few costs as ratios, beside those that are kept.

python contrib/bench/quick.py [--keep]        as root; two minutes on a machine that does nothing else

Every cost is processor time (user and system) of whole processes, divided by that of something this machine does in the
same run: an interpreter that counts, `find` or `chown -R`.  ``--keep`` writes them to contrib/bench/expected.json.
Exits with 1 where something takes more than a quarter more than what is kept there.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPO))

from contrib.bench.resources import COMMAND, SORTS, cost, fresh  # noqa: E402
from contrib.bench.trees import build, wanted  # noqa: E402

EXPECTED = Path(__file__).with_name("expected.json")
WORSE = 1.25
FEW, MANY, FILES, KEYS = 300, 1500, 100_000, 3000
UNIT = [sys.executable, "-c", "sum(i * i for i in range(3_000_000))"]


def median(command: list[str], times: int = 3) -> float:
    """The median of the processor times of a command."""
    return statistics.median(cost(command).cpu for _ in range(times))


def plan_and_apply(file: Path) -> dict[str, list[str]]:
    """The words of both."""
    return {"plan": ["plan", str(file)], "apply": ["apply", str(file), "--yes"]}


def resources(scratch: Path, unit: float) -> dict[str, float]:
    """A day of many resources of every sort, and how much more each costs than where there are few."""
    found: dict[str, float] = {}
    for sort, line in SORTS.items():
        took: dict[int, dict[str, float]] = {}
        for number in (FEW, MANY):
            file = scratch / f"{sort}-{number}.yaml"
            file.write_text("deployment: d\nresources:\n" + "".join(map(line, range(number))))
            root = ["--root", str(fresh(scratch))]
            verbs = {**plan_and_apply(file), "status": ["status", str(file)], "uninstall": ["uninstall", "d", "--yes"]}
            took[number] = {verb: cost([*COMMAND, *words, *root]).cpu for verb, words in verbs.items()}
        found |= {f"{MANY} {sort}s: {verb}": took[MANY][verb] / unit for verb in took[MANY]}
        rise = (took[MANY]["apply"] - took[FEW]["apply"]) / (MANY - FEW) / (took[FEW]["apply"] / FEW)
        found[f"one more {sort} among many / one among few"] = rise
    return found


def keys(scratch: Path, unit: float) -> dict[str, float]:
    """One ini file with many keys."""
    file, root = scratch / "keys.yaml", ["--root", str(fresh(scratch))]
    listed = "".join(f"        key{n}: 'value {n}'\n" for n in range(KEYS))
    file.write_text(f"deployment: k\nresources:\n  - ini: /etc/big.ini\n    set:\n      S:\n{listed}")
    verbs = {
        "plan": ["plan", str(file)],
        "apply": ["apply", str(file), "--yes"],
        "uninstall": ["uninstall", "k", "--yes"],
    }
    return {f"{KEYS} keys: {verb}": cost([*COMMAND, *words, *root]).cpu / unit for verb, words in verbs.items()}


def trees(scratch: Path) -> dict[str, float]:
    """A tree, next to find and chown -R."""
    top = scratch / "tree"
    top.mkdir()
    build(top, FILES)
    log = ["--log", str(scratch / "log/events.db")]
    (scratch / "log").mkdir(mode=0o700)
    file = str(wanted(scratch, "t", top, "daemon"))
    start = median([*COMMAND, "plan", str(wanted(scratch, "none", scratch / "log", "root")), *log])
    find = median(["find", str(top), "!", "-user", "nobody", "-name", "nothing"])
    chown = [cost(["chown", "-R", owner, str(top)]).cpu for owner in ("daemon", "root", "daemon", "root:root")]
    apply = cost([*COMMAND, "apply", file, "--yes", *log]).cpu - start
    plan = median([*COMMAND, "plan", file, *log]) - start
    back = cost([*COMMAND, "rollback", "--yes", *log]).cpu - start
    per = statistics.median(chown)
    return {
        "tree: plan / find": plan / find,
        "tree: apply / chown -R": apply / per,
        "tree: rollback / chown -R": back / per,
    }


def measured() -> dict[str, float]:
    """All the ratios."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as place:
        scratch = Path(place)
        one = scratch / "one.yaml"
        one.write_text("deployment: one\nresources:\n  - {file: /srv/x, content: x}\n")
        unit = median(UNIT, 5)
        root = ["--root", str(fresh(scratch))]
        found = {
            "--version": median([*COMMAND, "--version"], 5) / unit,
            "plan of one file": median([*COMMAND, "plan", str(one), *root], 5) / unit,
        }
        parts: list[Callable[[], dict[str, float]]] = [
            lambda: resources(scratch, unit), lambda: keys(scratch, unit), lambda: trees(scratch),
        ]  # fmt: skip
        for part in parts:
            found |= part()
        return found


def main() -> int:
    """Print the table; what got worse is said at the end."""
    if os.geteuid():
        sys.exit("only root can give files away")
    found = measured()
    if "--keep" in sys.argv:
        EXPECTED.write_text(json.dumps({name: round(value, 2) for name, value in found.items()}, indent=1) + "\n")
    kept = json.loads(EXPECTED.read_text())
    worse = []
    for name, value in found.items():
        before = kept.get(name)
        sys.stdout.write(f"{name:50} {value:8.2f}   {'new' if before is None else format(before, '8.2f')}\n")
        if before is not None and value > before * WORSE:
            worse.append(f"{name}: {value / before:.2f} times what it was")
    sys.stdout.write("".join(f"worse: {each}\n" for each in worse) or "nothing got worse\n")
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main())
