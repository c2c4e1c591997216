"""What an exception of a tree names counts for its part; the rest is as in the tree, and an empty one leaves it."""

from __future__ import annotations

import json
import os
import shutil
import stat
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.drive import Bench
from tests.effort import many
from tests.laws.hosts import file_host

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")

PEOPLE = {"root": 0, "ann": 1000, "svc": 999}
PATHS = ("a", "a/b", "a/b/f", "c", "g")
MODES = st.sampled_from(["0755", "0700", "0640", "0775"])
EXCEPTION = st.fixed_dictionaries(
    {},
    optional={
        "owner": st.sampled_from(sorted(PEOPLE)), "group": st.sampled_from(sorted(PEOPLE)), "mode": MODES,
        "directory_mode": MODES, "file_mode": MODES,
    },
)  # fmt: skip
TREE = st.fixed_dictionaries(
    {"owner": st.sampled_from(sorted(PEOPLE))},
    optional={"group": st.sampled_from(sorted(PEOPLE)), "directory_mode": MODES, "file_mode": MODES},
)
START = {"": 0o755, "a": 0o711, "a/b": 0o750, "a/b/f": 0o604, "a/x": 0o600, "c": 0o644, "g": 0o700, "g/in": 0o666}
FILES = {"a/b/f", "a/x", "c", "g/in"}


def expected(tree: dict[str, str], exceptions: dict[str, dict[str, str]], path: str) -> tuple[int, int, int]:
    """Owner, group and mode of a path, as somebody reads the document."""
    mine = [top for top in exceptions if path == top or path.startswith(top + "/")]
    top = max(mine, key=len, default=None)
    if top is not None and not exceptions[top]:
        return 0, 0, START[path]
    said = {**tree, **(exceptions[top] if top is not None else {})}
    mode = said.get("file_mode" if path in FILES else "directory_mode")
    mode = said.get("mode", mode) if path == top else mode
    return PEOPLE[said["owner"]], PEOPLE[said.get("group", "root")], int(mode, 8) if mode else START[path]


@settings(max_examples=many(60, 1500))
@given(tree=TREE, exceptions=st.dictionaries(st.sampled_from(PATHS), EXCEPTION, max_size=3))
def test_an_exception_counts_for_what_it_names(tree: dict[str, str], exceptions: dict[str, dict[str, str]]) -> None:
    scratch = Path(tempfile.mkdtemp())
    try:
        (scratch / "log").mkdir()
        (scratch / "root").mkdir(mode=0o755)
        host, top = file_host(scratch / "root"), scratch / "root/srv/t"
        for path in START:
            (top / path).parent.mkdir(parents=True, exist_ok=True)
            (top / path).touch() if path in FILES else (top / path).mkdir(exist_ok=True)
        for path, mode in START.items():
            os.chmod(top / path, mode)

        def looks() -> dict[str, tuple[int, int, int]]:
            found: dict[str, Any] = {path: os.lstat(top / path) for path in START}
            return {path: (s.st_uid, s.st_gid, stat.S_IMODE(s.st_mode)) for path, s in found.items()}

        before, bench = looks(), Bench(host, scratch / "log")
        text = "deployment: d\nresources:\n  - " + json.dumps({"tree": "/srv/t", **tree, "except": exceptions}) + "\n"
        assert bench.apply(text).exit_code == 0
        assert looks() == {path: expected(tree, exceptions, path) for path in START}
        assert bench.apply(text).run is None
        if bench.known("d"):
            assert bench.uninstall("d").exit_code == 0
        assert looks() == before
    finally:
        shutil.rmtree(scratch)
