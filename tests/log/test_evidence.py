"""The log changed in a dozen ways: noticed, the place named, nothing applied until somebody decides."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from reconciler.log.store import entry_of
from tests.worlds import digest, managesoft, reconciler, system

YAML = (
    "deployment: d\nresources:\n  - ini: /etc/x.ini\n    set: {{S: {{k: v{n}}}}}\n  - file: /etc/f{n}\n    content: x\n"
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root with a log of four runs."""
    root = system(tmp_path / "root")
    for number in range(1, 5):
        (tmp_path / "d.yaml").write_text(YAML.format(n=number))
        reconciler("apply", tmp_path / "d.yaml", "--yes", root=root, check=0)
    return root


def log_of(root: Path) -> Path:
    return root / "var/lib/reconciler/events.db"


def edit(root: Path, *statements: str) -> None:
    """Change the database as root could, triggers out of the way."""
    with closing(sqlite3.connect(log_of(root), isolation_level=None)) as base:
        for name in ("events_no_update", "events_no_delete"):
            base.execute(f"DROP TRIGGER {name}")
        for statement in statements:
            base.execute(statement)


def rebuild(root: Path, *, head: bool) -> None:
    """Change an event and make the whole chain fit again."""
    edit(root, """UPDATE events SET data = replace(data, '"uid":0', '"uid":7') WHERE seq = 1""")
    with closing(sqlite3.connect(log_of(root), isolation_level=None)) as base:
        prev = "0" * 64
        for row in base.execute(
            "SELECT seq,id,at,run,type,deployment,address,data,prev,hash FROM events ORDER BY seq"
        ).fetchall():
            fresh = hashlib.sha256(entry_of((*row[:8], prev, ""))).hexdigest()
            base.execute("UPDATE events SET prev = ?, hash = ? WHERE seq = ?", (prev, fresh, row[0]))
            prev = fresh
    if head:
        seq = json.loads((log_of(root).parent / "events.head").read_text())["seq"]
        (log_of(root).parent / "events.head").write_text(json.dumps({"seq": seq, "hash": prev}))


def raw_bytes(root: Path) -> None:
    """A byte flipped in the file, with the times set back as far as root can."""
    log = log_of(root)
    before = log.stat()
    data = log.read_bytes()
    spot = data.index(b'"command":[')
    with open(log, "r+b") as file:
        file.seek(spot + 1)
        file.write(b"COMMAND")
    os.utime(log, ns=(before.st_atime_ns, before.st_mtime_ns))


WAYS: dict[str, tuple[Callable[[Path], object], str]] = {
    "a value": (lambda r: edit(r, "UPDATE events SET data = replace(data, 'v1', 'v9') WHERE seq IN (SELECT seq FROM events WHERE data LIKE '%v1%' LIMIT 1)"), "changed after it was written"),
    "who did it": (lambda r: edit(r, """UPDATE events SET data = replace(data, '"uid":0', '"uid":1000') WHERE seq = 1"""), "event 1 was changed"),
    "when": (lambda r: edit(r, "UPDATE events SET at = '2020-01-01T00:00:00.000000Z' WHERE seq = 4"), "event 4 was changed"),
    "whose": (lambda r: edit(r, "UPDATE events SET deployment = 'other' WHERE seq = 5"), "event 5 was changed"),
    "what": (lambda r: edit(r, "UPDATE events SET address = 'file:/etc/other' WHERE seq = 5"), "event 5 was changed"),
    "the kind of event": (lambda r: edit(r, "UPDATE events SET type = 'transition.undone' WHERE seq = 5"), "event 5 was changed"),
    "spaces in the text": (lambda r: edit(r, "UPDATE events SET data = data || ' ' WHERE seq = 6"), "event 6 was changed"),
    "one taken out": (lambda r: edit(r, "DELETE FROM events WHERE seq = 7"), "event 7 is missing"),
    "two swapped": (lambda r: edit(r, "UPDATE events SET seq = 1000 WHERE seq = 5", "UPDATE events SET seq = 5 WHERE seq = 6", "UPDATE events SET seq = 6 WHERE seq = 1000"), "event 5"),
    "the end cut off": (lambda r: edit(r, "DELETE FROM events WHERE seq > 12"), "the end was cut off"),
    "all of it": (lambda r: edit(r, "DELETE FROM events"), "the end was cut off"),
    "closed up again": (lambda r: edit(r, "DELETE FROM events WHERE seq = 7", "UPDATE events SET seq = seq - 1 WHERE seq > 7"), "event 7"),
    "one put in between": (lambda r: edit(r, "UPDATE events SET seq = seq + 1000 WHERE seq > 8", "UPDATE events SET seq = seq - 999 WHERE seq > 1000", "INSERT INTO events SELECT 9, 'x', at, run, type, deployment, address, data, prev, hash FROM events WHERE seq = 8"), "event 9"),
    "the whole chain": (lambda r: rebuild(r, head=False), "the chain was rewritten"),
    "a byte": (raw_bytes, "changed after it was written"),
    "the head": (lambda r: (log_of(r).parent / "events.head").unlink(), "head that is kept beside the log is missing"),
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_every_change_is_noticed_and_named_and_stops_apply(way: str, root: Path, tmp_path: Path) -> None:
    tamper, said = WAYS[way]
    tamper(root)
    verdict = reconciler("log", "verify", root=root, check=1)
    assert said in verdict.stderr
    assert not json.loads(reconciler("log", "verify", "--format", "json", root=root, check=1).stdout)["ok"]
    before = digest(root)
    for words in (
        ["apply", str(tmp_path / "d.yaml"), "--yes"],
        ["rollback", "--yes"],
        ["uninstall", "d", "--yes"],
        ["plan", str(tmp_path / "d.yaml")],
    ):
        refused = reconciler(*words, root=root, check=3)
        assert "log verify" in refused.stderr and "Traceback" not in refused.stderr
    assert digest(root) == before
    # Somebody decides; the decision is an event, and work goes on.
    (tmp_path / "d.yaml").write_text(YAML.format(n=9))
    reconciler("apply", tmp_path / "d.yaml", "--yes", "--accept-tampered-log", "--force", root=root, check=0)
    events = json.loads(reconciler("history", "--format", "json", root=root, check=0).stdout)["events"]
    assert [e for e in events if e["type"] == "checkpoint" and e["data"]["accepted"]]
    assert json.loads(reconciler("log", "verify", "--format", "json", root=root, check=0).stdout)["ok"]
    reconciler("apply", tmp_path / "d.yaml", "--yes", root=root, check=0)


def test_a_rewritten_chain_with_a_new_head_is_exposed_by_a_checkpoint_kept_elsewhere(
    root: Path, tmp_path: Path
) -> None:
    note, key = tmp_path / "note", tmp_path / "key"
    reconciler("log", "checkpoint", "--out", note, root=root, check=0)
    shutil.copy(log_of(root).parent / "events.verifier-key", key)
    (tmp_path / "d.yaml").write_text(YAML.format(n=7))
    reconciler("apply", tmp_path / "d.yaml", "--yes", root=root, check=0)
    reconciler("log", "verify", "--against", note, "--key", key, root=root, check=0)
    rebuild(root, head=True)
    reconciler("log", "verify", root=root, check=0)  # nothing on this host can tell any more …
    told = reconciler("log", "verify", "--against", note, "--key", key, root=root, check=1)
    assert "the chain was rewritten" in told.stderr  # … but the copy elsewhere can
    edit_note = note.read_text().replace("\n", "\n", 1).splitlines()
    edit_note[1] = "3"
    note.write_text("\n".join(edit_note) + "\n")
    assert (
        "the text was changed"
        in reconciler("log", "verify", "--against", note, "--key", key, root=root, check=1).stderr
    )


def test_a_cut_end_with_its_head_is_exposed_by_a_checkpoint(root: Path, tmp_path: Path) -> None:
    note = tmp_path / "note"
    reconciler("log", "checkpoint", "--out", note, root=root, check=0)
    edit(root, "DELETE FROM events WHERE seq > 6")
    with closing(sqlite3.connect(log_of(root))) as base:
        seq, last = base.execute("SELECT seq, hash FROM events ORDER BY seq DESC LIMIT 1").fetchone()
    (log_of(root).parent / "events.head").write_text(json.dumps({"seq": seq, "hash": last}))
    reconciler("log", "verify", root=root, check=0)
    assert "the end was cut off" in reconciler("log", "verify", "--against", note, root=root, check=1).stderr


def test_edited_books_change_nothing(root: Path, tmp_path: Path) -> None:
    before = reconciler("state", "--format", "json", root=root, check=0).stdout
    with closing(sqlite3.connect(log_of(root), isolation_level=None)) as base:
        base.execute("UPDATE books SET value = replace(value, '/etc', '/tmp')")
        base.execute("DELETE FROM books WHERE key LIKE 'hold|ini%'")
    assert reconciler("state", "--format", "json", root=root, check=0).stdout == before
    reconciler("uninstall", "d", "--yes", root=root, check=0)
    assert not (root / "etc/f4").exists() and not (root / "etc/x.ini").exists()
    checks = json.loads(reconciler("doctor", "--format", "json", root=root).stdout)["checks"]
    assert next(c for c in checks if c["name"] == "books")["ok"]


def test_a_proof_stands_alone(root: Path, tmp_path: Path) -> None:
    for seq in (1, 6, 13):
        proof, key = tmp_path / "proof", log_of(root).parent / "events.verifier-key"
        reconciler("log", "prove", str(seq), "--out", proof, root=root, check=0)
        told = reconciler(
            "log", "verify", "--proof", proof, "--key", key, "--log", tmp_path / "none.db", "--format", "json", check=0
        )
        assert json.loads(told.stdout)["event"]["seq"] == seq
        lines = proof.read_text().splitlines()
        lines[2] = f"index {seq}"
        proof.write_text("\n".join(lines) + "\n")
        assert "proves nothing" in reconciler("log", "verify", "--proof", proof, "--key", key, check=1).stderr
    assert reconciler("log", "prove", "99999", root=root, check=1).stderr


def test_a_backup_is_a_whole_log(root: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    reconciler("log", "backup", kept, root=root, check=0)
    assert kept.stat().st_mode & 0o777 == 0o700
    reconciler("log", "verify", "--log", kept / "events.db", root=root, check=0)
    shutil.rmtree(log_of(root).parent)
    reconciler("uninstall", "d", "--yes", "--log", kept / "events.db", root=root, check=0)
    assert not (root / "etc/f4").exists() and not (root / "etc/x.ini").exists()
    reconciler("log", "backup", kept, "--log", kept / "events.db", root=root, check=64)


def exported(root: Path, style: str) -> Iterator[dict[str, object]]:
    yield from map(json.loads, reconciler("log", "export", "--format", style, root=root, check=0).stdout.splitlines())


def test_an_export_can_be_checked_by_anybody_and_holds_no_before_image(root: Path) -> None:
    (root / "etc/secret.ini").write_text("[S]\npassword=hunter2\n")
    (root.parent / "s.yaml").write_text(
        "deployment: s\nresources:\n  - ini: /etc/secret.ini\n    set: {S: {password: swordfish}}\n"
    )
    reconciler("apply", root.parent / "s.yaml", "--yes", root=root, check=0)
    prev = "0" * 64
    for event in exported(root, "json"):
        body = {key: value for key, value in event.items() if key != "hash"}
        assert event["prev"] == prev
        prev = hashlib.sha256(json.dumps(body, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
        assert event["hash"] == prev
        assert "hunter2" not in json.dumps(event) and "swordfish" not in json.dumps(event)
    for event in exported(root, "cloudevents"):
        assert {"specversion", "id", "source", "type", "time", "data"} <= event.keys()
        assert event["specversion"] == "1.0" and str(event["type"]).startswith("reconciler.")


def test_explain_names_run_person_and_line_and_tells_drift(root: Path, tmp_path: Path) -> None:
    told = json.loads(reconciler("explain", "/etc/x.ini:k", "--format", "json", root=root, check=0).stdout)
    assert told["address"] == "ini:/etc/x.ini"
    (field,) = told["fields"]
    assert field["field"] == ["S", "k"] and field["value"] == "v4"
    assert field["by"]["run"] == "r4" and field["by"]["source"]["line"] == 3
    assert field["by"]["actor"]["uid"] == os.getuid()
    (root / "etc/x.ini").write_text("[S]\nk=other\n")
    told = json.loads(reconciler("explain", "ini:/etc/x.ini", "--format", "json", root=root, check=0).stdout)
    drifted = next(f for f in told["fields"] if f["field"] == ["S", "k"])
    assert drifted["by"] == "drift" and drifted["value"] == "other" and drifted["between"][0] < drifted["between"][1]
    assert reconciler("explain", "/etc/nothing", root=root, check=1).stderr


def test_time_travel(root: Path) -> None:
    def value(at: str) -> object:
        told = json.loads(reconciler("state", "--at", at, "--format", "json", root=root, check=0).stdout)
        fields = [f for h in told["held"] if h["address"] == "ini:/etc/x.ini" for f in h["fields"]]
        return next((f["value"] for f in fields if f["field"] == ["S", "k"]), None)

    assert [value(at) for at in ("0", "r1", "r2", "r3", "r4")] == [None, "v1", "v2", "v3", "v4"]
    events = json.loads(reconciler("history", "--run", "r2", "--format", "json", root=root, check=0).stdout)["events"]
    assert {e["run"] for e in events} == {"r2"} and value(events[-1]["at"]) == "v2"
    changes = json.loads(
        reconciler("diff", "--from", "r2", "--to", "r3", "--format", "json", root=root, check=0).stdout
    )["changes"]
    assert {"address": "ini:/etc/x.ini", "field": ["S", "k"], "from": "v2", "to": "v3"} in changes
    assert {c["address"] for c in changes} == {"ini:/etc/x.ini", "file:/etc/f2", "file:/etc/f3"}
    reconciler("state", "--at", "r99", root=root, check=1)
    reconciler("state", "--at", "soon", root=root, check=64)


def test_content_that_will_be_private_is_shown_nowhere(root: Path) -> None:
    text = 'deployment: s\nresources:\n  - {file: /etc/fresh, content: "password: swordfish", mode: "0600"}\n'
    (root.parent / "s.yaml").write_text(text)
    shown = reconciler("plan", root.parent / "s.yaml", root=root, check=0).stdout
    shown += reconciler("plan", root.parent / "s.yaml", "--format", "json", root=root, check=0).stdout
    reconciler("apply", root.parent / "s.yaml", "--yes", root=root, check=0)
    for words in (
        ["show", "r5"],
        ["history", "--format", "json"],
        ["log", "export"],
        ["state"],
        ["explain", "/etc/fresh"],
    ):
        shown += reconciler(*words, root=root, check=0).stdout
    assert "swordfish" not in shown
    assert "content      → (secret)" in shown, "there was none before, so none is hidden"
    assert b"swordfish" not in log_of(root).read_bytes()


def test_questions_are_answered_or_refused_in_words(root: Path) -> None:
    told = reconciler("explain", "/etc//x.ini", root=root, check=0)
    assert "S.k: v4" in told.stdout
    for words, code in (
        (["show", "9" * 30], 1), (["history", "--limit", "-1"], 64), (["history", "--since", ""], 64),
        (["history", "--commit", "zz"], 64), (["history", "--run", "r99"], 1), (["history", "/etc/x.ini"], 64),
        (["rollback", "--to", "\u0663", "--yes"], 64), (["state", "--at", "r\u0663"], 64),
    ):  # fmt: skip
        answer = reconciler(*words, root=root, check=code)
        assert answer.stderr and "unexpected" not in answer.stderr
    plan = root.parent / "deep.json"
    plan.write_text("[" * 100000)
    assert "is no saved plan" in reconciler("apply", "--plan", plan, root=root, check=64).stderr
    assert "r4" in reconciler("history", "--actor", "root", root=root, check=0).stdout


def test_whoever_reads_a_tampered_log_is_told(root: Path, tmp_path: Path) -> None:
    edit(root, "UPDATE events SET data = 'null' WHERE seq = 5")
    reconciler("status", tmp_path / "d.yaml", root=root, check=3)
    told = reconciler("history", root=root, check=0)
    assert "log verify" in told.stderr
    log_of(root).unlink()
    checks = json.loads(reconciler("doctor", "--format", "json", root=root, check=1).stdout)["checks"]
    assert not next(c for c in checks if c["name"] == "log")["ok"]


def test_a_cut_that_was_accepted_stays_known(root: Path, tmp_path: Path) -> None:
    edit(root, "DELETE FROM events WHERE seq > 12")
    (tmp_path / "d.yaml").write_text(YAML.format(n=8))
    reconciler("apply", tmp_path / "d.yaml", "--yes", "--force", "--accept-tampered-log", root=root, check=0)
    told = reconciler("log", "verify", root=root, check=0)
    assert "the end was cut off" in told.stderr and "decided to go on" in told.stderr


def test_a_missing_key_is_named_and_no_backup_pretends(root: Path, tmp_path: Path) -> None:
    (log_of(root).parent / "key").unlink()
    for words in (["log", "verify"], ["uninstall", "d", "--yes"], ["log", "backup", str(tmp_path / "b")]):
        told = reconciler(*words, root=root)
        assert told.returncode != 0 and "/key" in told.stderr + told.stdout
    assert not (tmp_path / "b").exists()
    checks = json.loads(reconciler("doctor", "--format", "json", root=root, check=1).stdout)["checks"]
    assert not next(c for c in checks if c["name"] == "images")["ok"]


@pytest.mark.skipif(os.geteuid() != 0, reason="giving files to an account needs root")
def test_explain_tells_of_a_tree_that_drifted(tmp_path: Path) -> None:
    root = managesoft(system(tmp_path / "root"))
    (tmp_path / "d.yaml").write_text(
        "deployment: m\nprofile: managesoft\nmode: least-privilege\nwith: {sudoers: 'false'}\n"
    )
    reconciler("apply", tmp_path / "d.yaml", "--yes", root=root, check=0)

    def paths() -> object:
        told = json.loads(reconciler("explain", "tree:/opt/managesoft", "--format", "json", root=root, check=0).stdout)
        return next(f["by"] for f in told["fields"] if f["field"] == ["paths"])

    assert isinstance(paths(), dict)
    (root / "opt/managesoft/bin/ndtrack").chmod(0o600)
    assert paths() == "drift"
