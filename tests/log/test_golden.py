"""Logs that released versions wrote still load, verify, roll back and uninstall; what is not known is carried and named."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from reconciler.core.events import Draft
from reconciler.core.ledger import fold
from reconciler.kinds import kinds
from reconciler.log.projection import Projection
from reconciler.log.writer import LogWriter
from tests.worlds import REPO, digest, reconciler, system

GOLDEN = sorted(path for path in (REPO / "tests/golden").iterdir() if path.is_dir())


@pytest.mark.skipif(os.geteuid() != 0, reason="unpacking files of several accounts needs root")
@pytest.mark.parametrize("version", GOLDEN, ids=lambda path: path.name)
def test_the_log_of_a_released_version_is_still_good(version: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    subprocess.run(
        ["tar", "--numeric-owner", "--xattrs", "-C", str(root), "-xzf", str(version / "root.tar.gz")], check=True
    )
    before = json.loads((version / "before.json").read_text())
    reconciler("log", "verify", root=root, check=0)
    assert "Nothing to do" in reconciler("plan", version / "desired.yaml", root=root, check=0).stdout
    assert reconciler("history", root=root, check=0).stdout.count("converged") == 4
    reconciler("state", "--at", "r1", root=root, check=0)
    reconciler("explain", "/opt/managesoft/bin/ndtrack", root=root, check=0)
    reconciler("rollback", "--yes", root=root, check=0)
    assert (root / "etc/deep/er/x").read_text() == "one"
    reconciler("uninstall", "managesoft", "--yes", root=root, check=0)
    assert json.loads(json.dumps(digest(root), default=repr)) == before


def test_an_unknown_kind_is_carried_opaquely_and_named(tmp_path: Path) -> None:
    root = system(tmp_path / "root")
    (tmp_path / "d.yaml").write_text("deployment: d\nresources:\n  - ini: /etc/x.ini\n    set: {S: {k: v}}\n")
    reconciler("apply", tmp_path / "d.yaml", "--yes", root=root, check=0)
    log = LogWriter(str(root / "var/lib/reconciler/events.db"), "a later version")
    change = {"field": ["colour"], "shown": ["red", "blue"], "before": "red", "after": "blue"}
    started = {"v": 1, "verb": "paint", "changes": [change], "sealed": None, "source": None, "returns": []}
    log.append([
        Draft("r2", "run.started", {"v": 1, "verb": "apply", "deployments": ["d"]}),
        Draft("r2", "transition.started", started, "d", "fence:garden"),
        Draft("r2", "transition.succeeded", {"v": 1, "started": log.seq + 2}, "d", "fence:garden"),
        Draft("r2", "something.new", {"v": 1, "of": "tomorrow"}),
        Draft("r2", "run.finished", {"v": 1, "outcome": "converged", "complete": True}),
    ])  # fmt: skip
    log.keep_head()
    log.close()
    reconciler("log", "verify", root=root, check=0)
    held = json.loads(reconciler("state", "--format", "json", root=root, check=0).stdout)["held"]
    assert {"field": ["colour"], "value": "blue", "origin": "red"} in [f for h in held for f in h["fields"]]
    told = reconciler("uninstall", "d", "--yes", root=root, check=3)
    assert "fence" in told.stdout + told.stderr and "not known to this version" in told.stdout
    reconciler("uninstall", "d", "--yes", "--skip-blocked", root=root)
    reconciler("explain", "fence:garden", root=root, check=0)
    assert "something.new" in reconciler("show", "r2", root=root, check=0).stdout


def test_event_text_reaches_a_terminal_without_control_characters(tmp_path: Path) -> None:
    root = system(tmp_path / "root")
    evil = root / "srv/own/evil\x1b]0;owned\x07\n\u202ename"
    evil.mkdir(parents=True)
    (evil / "f").write_text("x")
    text = 'deployment: d\nresources:\n  - file: "/srv/x\\e[31m"\n    content: "a\\e[2Jb"\n  - tree: /srv/own\n    file_mode: "0600"\n'
    (tmp_path / "d.yaml").write_text(text)
    reconciler("apply", tmp_path / "d.yaml", "--yes", root=root, check=0)
    for words in (
        ["history"],
        ["show", "r1"],
        ["history", "tree:/srv/own"],
        ["state"],
        ["diff", "--from", "0"],
        ["explain", "/srv/x\x1b[31m"],
        ["status", str(tmp_path / "d.yaml")],
    ):
        told = reconciler(*words, root=root)
        shown = (told.stdout + told.stderr).replace("\n", "")
        assert not [c for c in shown if ord(c) < 32 or ord(c) == 127 or c == "\u202e"], (words, shown)


def test_books_made_anew_are_those_that_were_posted(tmp_path: Path) -> None:
    root = system(tmp_path / "root")
    for value in ("a", "b"):
        (tmp_path / "d.yaml").write_text(f"deployment: d\nresources:\n  - file: /etc/f\n    content: {value}\n")
        reconciler("apply", tmp_path / "d.yaml", "--yes", root=root, check=0)
    log = LogWriter(str(root / "var/lib/reconciler/events.db"), "test")
    books, fresh = log.books(), Projection()
    assert books is not None
    fold(log.events(), fresh, kinds())
    assert list(books.lines()) == list(fresh.lines())
    log.close()
