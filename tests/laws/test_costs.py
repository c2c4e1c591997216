"""What a resource costs does not depend on how many there are: counted, not timed."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from reconciler.engine import turns
from reconciler.host.files import FileHost
from reconciler.host.userdb import Table
from tests.drive import Bench
from tests.laws.hosts import file_host

SORTS: dict[str, Callable[[int], str]] = {
    "file": lambda n: f"  - {{file: /srv/f/{n:03d}, content: 'setting = {n}', mode: '0640'}}\n",
    "ini": lambda n: f"  - {{ini: /srv/i/{n:03d}.ini, set: {{Main: {{Key: '{n}'}}}}}}\n",
    "account": lambda n: f"  - {{group: g{n:03d}}}\n  - {{account: a{n:03d}, group: g{n:03d}}}\n",
    "link": lambda n: f"  - {{link: /srv/l/{n:03d}, target: ../f/{n:03d}}}\n",
    "directory": lambda n: f"  - {{directory: /srv/d/{n:03d}, mode: '0750'}}\n",
}
KEYS: dict[str, Callable[[int], str]] = {
    "keys of a section": lambda n: f"{{Main: {{{', '.join(f'K{i:03d}: v{i}' for i in range(n))}}}}}",
    "keys of many sections": lambda n: f"{{{', '.join(f'S{i:03d}: {{Key: v{i}}}' for i in range(n))}}}",
}
"""Many keys in one file that others have lines in too."""
SIZES = (20, 40, 80)
MORE = 1.01
"""How much more the later resources may take, each."""
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="making accounts needs root")


@contextmanager
def steps(found: list[int]) -> Iterator[None]:
    """How many steps the interpreter took."""
    count = 0

    def each(frame: FrameType, event: str, arg: Any) -> Any:
        nonlocal count
        count += event == "opcode"
        frame.f_trace_opcodes = True
        return each

    before = sys.gettrace()
    sys.settrace(each)
    try:
        yield
    finally:
        sys.settrace(before)
        found.append(count)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often something costly is done."""
    found: Counter[str] = Counter()
    sync, parse = os.fsync, Table.parse.__func__  # type: ignore[attr-defined] # the function of a class method

    def synced(fd: int) -> None:
        found["syncs"] += 1
        sync(fd)

    def parsed(cls: type[Table], data: bytes) -> Table:
        found["parses"] += 1
        result: Table = parse(cls, data)
        return result

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Table, "parse", classmethod(parsed))
    # How many share a commit depends on the clock, and counting is slow.
    monkeypatch.setattr(turns, "SECONDS", 1e6)
    return found


def written(sort: str, number: int) -> str:
    """A document with so many of a sort."""
    if sort in KEYS:
        return f"deployment: d\nresources:\n  - {{ini: /srv/one.ini, set: {KEYS[sort](number)}}}\n"
    return "deployment: d\nresources:\n" + "".join(map(SORTS[sort], range(number)))


def bench(scratch: Path) -> Bench:
    root = scratch / "root"
    (scratch / "log").mkdir(parents=True)
    root.mkdir(mode=0o755)
    file_host(root)
    (root / "srv").mkdir()
    (root / "srv/one.ini").write_text("top = 1\n[Other]\nkey = theirs\n[Main]\nkey = theirs")
    numbers = "".join(f"SYS_{what}_MIN 500\nSYS_{what}_MAX 60000\n" for what in ("UID", "GID"))
    (root / "etc/login.defs").write_text(numbers)
    return Bench(FileHost(str(root)), scratch / "log")


def day(sort: str, number: int, scratch: Path) -> dict[str, int]:
    """The steps of every verb of a day."""
    home, found = bench(scratch), dict[str, int]()
    text = written(sort, number)
    verbs: dict[str, Callable[[], Any]] = {
        "plan": lambda: home.plan(text),
        "apply": lambda: home.apply(text),
        "apply again": lambda: home.apply(text),
        "rollback": home.rollback,
        "apply once more": lambda: home.apply(text),
        "uninstall": lambda: home.uninstall("d"),
    }
    for verb, act in verbs.items():
        counts: list[int] = []
        with steps(counts):
            done = act()
        assert verb == "plan" or done.exit_code == 0, (verb, done.transitions)
        found[verb] = counts[0]
    return found


@pytest.mark.parametrize("sort", [*SORTS, *KEYS])
def test_the_hundredth_costs_what_the_tenth_does(sort: str, tmp_path: Path, counted: Counter[str]) -> None:
    day(sort, 2, tmp_path / "warm")  # what is only made once is made by now
    few, some, many = (day(sort, size, tmp_path / str(size)) for size in SIZES)
    for verb in few:
        early = (some[verb] - few[verb]) / (SIZES[1] - SIZES[0])
        late = (many[verb] - some[verb]) / (SIZES[2] - SIZES[1])
        assert late <= MORE * early, (verb, few[verb], some[verb], many[verb])


@pytest.mark.parametrize("sort", SORTS)
def test_an_apply_syncs_and_parses_for_all_together(sort: str, tmp_path: Path, counted: Counter[str]) -> None:
    found = []
    for size in SIZES:
        home = bench(tmp_path / str(size))
        text = written(sort, size)
        home.apply("deployment: other\nresources: []\n")
        counted.clear()
        assert home.apply(text).exit_code == 0
        found.append(dict(counted))
    # The bytes of a file, and a directory that is made, are synced for themselves.
    own = {"file": 1, "ini": 1, "directory": 1}.get(sort, 0)
    for size, counts in zip(SIZES, found, strict=True):
        assert counts["syncs"] <= own * size + 40, found
        assert counts["parses"] <= 40, found
