"""Old runs in a file of their own: checked alone, and everything that is held still comes back."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

from tests.log.test_evidence import YAML, log_of
from tests.worlds import digest, reconciler, system


def story(tmp_path: Path) -> tuple[Path, dict[str, tuple[object, ...]]]:
    root = system(tmp_path / "root")
    (root / "etc/x.ini").write_text("[S]\nk=old\n")
    before = digest(root)
    for number in range(1, 5):
        (tmp_path / "d.yaml").write_text(YAML.format(n=number))
        reconciler("apply", tmp_path / "d.yaml", "--yes", root=root, check=0)
    return root, before


def test_what_is_archived_is_proven_and_what_is_held_comes_back(tmp_path: Path) -> None:
    root, before = story(tmp_path)
    note, key = tmp_path / "note", log_of(root).parent / "events.verifier-key"
    reconciler("log", "checkpoint", "--out", note, root=root, check=0)
    state = json.loads(reconciler("state", "--format", "json", root=root, check=0).stdout)["held"]
    for upto in ("r2", "r3"):
        file = tmp_path / f"{upto}.archive"
        reconciler("log", "archive", "--upto", upto, "--out", file, "--yes", root=root, check=0)
        reconciler("log", "verify", "--archive", file, "--key", key, "--log", tmp_path / "none.db", check=0)
        reconciler("log", "verify", root=root, check=0)
        reconciler("log", "verify", "--against", note, root=root, check=0)
        checks = json.loads(reconciler("doctor", "--format", "json", root=root).stdout)["checks"]
        assert next(c for c in checks if c["name"] == "books")["ok"]
        assert json.loads(reconciler("state", "--format", "json", root=root, check=0).stdout)["held"] == state
        assert "Nothing to do" in reconciler("plan", tmp_path / "d.yaml", root=root, check=0).stdout
    (field,) = json.loads(reconciler("explain", "/etc/x.ini:k", "--format", "json", root=root, check=0).stdout)[
        "fields"
    ]
    assert field["by"]["run"] == "r4"
    events = json.loads(reconciler("history", "--format", "json", root=root, check=0).stdout)["events"]
    assert events[0]["run"] == "r4"
    lines = [
        json.loads(line) for f in ("r2", "r3") for line in (tmp_path / f"{f}.archive").read_text().splitlines()[1:]
    ]
    assert [line["seq"] for line in lines] == list(range(1, events[0]["seq"]))
    for old in ("r1", "3"):
        assert (
            "archive"
            in reconciler("rollback", "--to", old, "--yes", root=root).stderr + reconciler("history", root=root).stdout
        )
    assert "archived" in reconciler("log", "prove", "3", root=root, check=1).stderr
    proof = tmp_path / "proof"
    reconciler("log", "prove", str(events[1]["seq"]), "--out", proof, root=root, check=0)
    reconciler("log", "verify", "--proof", proof, "--key", key, check=0)
    reconciler("rollback", "--yes", root=root, check=0)
    assert "k=v3" in (root / "etc/x.ini").read_text()
    reconciler("uninstall", "d", "--yes", root=root, check=0)
    after = digest(root)
    assert after["etc/x.ini"] == before["etc/x.ini"]
    assert {k for k in {*before, *after} if before.get(k) != after.get(k)} == set()


def test_what_an_archive_took_is_said_and_not_guessed(tmp_path: Path) -> None:
    root, _ = story(tmp_path)
    reconciler("log", "archive", "--upto", "r4", "--out", tmp_path / "a", "--yes", root=root, check=0)
    told = json.loads(reconciler("explain", "/etc/x.ini:k", "--format", "json", root=root, check=0).stdout)["fields"][0]
    assert told["value"] == "v4" and told["by"]["run"] is None and told["by"]["actor"] is None
    assert "archived" in reconciler("explain", "/etc/x.ini:k", root=root, check=0).stdout
    assert "uninstall" in reconciler("rollback", "--yes", root=root, check=3).stderr
    assert "archived" in reconciler("state", "--at", "r2", root=root, check=3).stderr


def test_an_archive_that_was_changed_is_named(tmp_path: Path) -> None:
    root, _ = story(tmp_path)
    file = tmp_path / "a"
    reconciler("log", "archive", "--upto", "r2", "--out", file, "--yes", root=root, check=0)
    assert (
        "exists already"
        in reconciler("log", "archive", "--upto", "r3", "--out", file, "--yes", root=root, check=64).stderr
    )
    reconciler("log", "verify", root=root, check=0)
    lines = file.read_text().splitlines()
    for broken in (
        lines[:-1],
        [*lines[:3], lines[3].replace("apply", "apple").replace("write", "WRITE"), *lines[4:]],
        lines[1:],
        [lines[0], *lines[2:]],
    ):
        if broken != lines:
            file.write_text("\n".join(broken) + "\n")
            reconciler("log", "verify", "--archive", file, root=root, check=1)


def test_what_the_log_goes_on_from_cannot_be_changed_unseen(tmp_path: Path) -> None:
    root, _ = story(tmp_path)
    reconciler("log", "archive", "--upto", "r3", "--out", tmp_path / "a", "--yes", root=root, check=0)
    with closing(sqlite3.connect(log_of(root), isolation_level=None)) as base:
        base.execute("UPDATE archived SET text = replace(text, '[\"d\"]', '[\"e\"]')")
    assert "is not what was archived" in reconciler("log", "verify", root=root, check=1).stderr
    reconciler("uninstall", "d", "--yes", root=root, check=3)


def test_nothing_to_archive(tmp_path: Path) -> None:
    root, _ = story(tmp_path)
    reconciler("log", "archive", "--upto", "2000-01-01T00:00:00Z", "--out", tmp_path / "a", "--yes", root=root, check=3)
    reconciler("log", "archive", "--upto", "r9", "--out", tmp_path / "a", "--yes", root=root, check=1)
    reconciler("log", "archive", "--upto", "r1", "--out", tmp_path / "a", root=root, check=64)
    assert not (tmp_path / "a").exists()
