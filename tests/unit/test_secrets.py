"""Secrets of the desired state: written to the host, and nowhere else."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.worlds import digest, managesoft, reconciler, stamps, system

VALUE = "s3cr3t-Zq9"
"""The bytes that must be nowhere."""
OTHER = "0ther-Wx7"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = managesoft(system(tmp_path / "root"))
    made.chmod(0o755)
    (made / "etc/x.ini").write_text(f"[S]\nplain = 1\nshown = {OTHER}\n")
    (made / "etc/conf").write_text(f"key={OTHER}\n")
    return made


def document(tmp_path: Path, source: str) -> Path:
    file = tmp_path / "d.yaml"
    file.write_text(
        "deployment: d\nresources:\n"
        f"  - ini: /etc/x.ini\n    set: {{S: {{shown: {{secret: true, from: {source}}}, plain: '2'}}}}\n"
        f"  - file: /etc/conf\n    content: {{secret: true, from: {source}}}\n"
    )
    return file


def sources(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "value").write_text(VALUE + "\n")
    return {
        "file": f"{{file: {tmp_path}/value}}",
        "env": "{env: THE_VALUE}",
        "command": f"{{command: 'cat {tmp_path}/value'}}",
    }


@pytest.mark.parametrize("source", ["file", "env", "command"])
def test_a_secret_is_on_the_host_and_nowhere_else(source: str, root: Path, tmp_path: Path) -> None:
    before = digest(root)
    file, env = document(tmp_path, sources(tmp_path)[source]), {"THE_VALUE": VALUE}
    said: list[str] = []

    def run(*words: str | Path, code: int | None = 0) -> str:
        done = reconciler(*words, root=root, check=code, env=env)
        said.append(done.stdout + done.stderr)
        return done.stdout

    untouched = stamps(root)
    for form in ("text", "json", "markdown", "github", "gitlab", "junit", "sarif", "html"):
        assert ("secret" in run("plan", file, "--format", form)) == (form not in ("gitlab", "sarif"))
    run("plan", file, "--debug", "--out", tmp_path / "saved.json")
    assert stamps(root) == untouched
    run("apply", "--plan", tmp_path / "saved.json")
    assert (root / "etc/x.ini").read_text() == f"[S]\nplain = 2\nshown = {VALUE}\n"
    assert (root / "etc/conf").read_text().rstrip("\n") == VALUE
    assert run("plan", file, "--detailed-exitcode")
    (root / "etc/x.ini").write_text(f"[S]\nplain = 2\nshown = {OTHER}\n")
    (root / "etc/conf").write_text(OTHER)
    for words in (
        ("status", file), ("status", file, "--format", "json"), ("plan", file), ("history", "--all", "--format", "json"), ("show", "r1"),
        ("explain", "/etc/x.ini"), ("explain", "/etc/conf"), ("explain", "ini:/etc/x.ini", "--format", "json"), ("state", "--at", "r1"),
        ("diff", "--from", "r1", "--to", "r1"), ("log", "export"), ("log", "verify"), ("doctor",), ("report", file),
        ("validate", file), ("uninstall", "d", "--dry-run"), ("uninstall", "d", "--emit-script", tmp_path / "back.sh"),
    ):  # fmt: skip
        run(*words, code=None)
    run("uninstall", "d", "--yes", code=3)
    run("apply", file, "--yes")
    run("uninstall", "d", "--yes")
    assert digest(root) == before
    told = "\n".join(said)
    kept = [path for path in (root / "var/lib/reconciler").rglob("*") if path.is_file()]
    kept += [tmp_path / "saved.json", *tmp_path.glob("back.sh")]
    for value in (VALUE, OTHER):
        assert value not in told
        assert not [path for path in kept if value.encode() in path.read_bytes()]


def test_a_file_made_for_a_secret_is_its_owners_alone(root: Path, tmp_path: Path) -> None:
    file = document(tmp_path, sources(tmp_path)["file"])
    for name in ("etc/x.ini", "etc/conf"):
        (root / name).unlink()
    before, said = digest(root), ""
    for words in (
        ("plan", file), ("plan", file, "--format", "json"), ("apply", file, "--yes"), ("plan", file), ("status", file),
        ("show", "r1"), ("explain", "/etc/x.ini"), ("explain", "/etc/conf"), ("log", "export"), ("uninstall", "d", "--dry-run"),
    ):  # fmt: skip
        done = reconciler(*words, root=root, check=0)
        said += done.stdout + done.stderr
    assert VALUE not in said
    assert not [p for p in (root / "var/lib/reconciler").rglob("*") if p.is_file() and VALUE.encode() in p.read_bytes()]
    for name in ("etc/x.ini", "etc/conf"):
        assert (root / name).stat().st_mode & 0o7777 == 0o600
    assert reconciler("plan", file, "--detailed-exitcode", root=root).returncode == 0
    text = file.read_text().replace("  - ini: /etc/x.ini\n", "  - ini: /etc/x.ini\n    mode: g+r\n")
    file.write_text(text)
    reconciler("apply", file, "--yes", root=root, check=0)
    assert (root / "etc/x.ini").stat().st_mode & 0o7777 == 0o640
    reconciler("uninstall", "d", "--yes", root=root, check=0)
    assert digest(root) == before


def test_a_secret_is_not_opened_by_what_comes_and_goes_beside_it(root: Path, tmp_path: Path) -> None:
    """Modes go back to what a new file has, and one that holds a secret has another than one that does not."""
    folder, (root_ini, root_file) = tmp_path / "both", (root / "etc/x.ini", root / "etc/conf")
    folder.mkdir()
    for made in (root_ini, root_file):
        made.unlink()
    before = digest(root)
    secret = "{secret: true, from: {env: A}}"
    key = "deployment: {}\nresources:\n  - ini: /etc/x.ini\n{}    set: {{S: {{{}: {}}}}}\n"

    def modes(*documents: str) -> set[int]:
        for old in folder.iterdir():
            old.unlink()
        for number, text in enumerate(documents):
            (folder / f"{number}.yaml").write_text(text)
        reconciler("apply", folder, "--yes", "--prune", root=root, env={"A": VALUE}, check=0)
        assert reconciler("plan", folder, "--detailed-exitcode", root=root, env={"A": VALUE}).returncode == 0
        return {made.stat().st_mode & 0o7777 for made in (root_ini, root_file) if made.exists()}

    mine, other = key.format("a", "", "k", secret), key.format("b", "", "other", "1")
    whole = f"  - file: /etc/conf\n    content: {secret}\n"
    assert modes(mine + whole) == {0o600}
    assert modes(mine + whole.replace("content", "mode: '0640'\n    content")) == {0o600, 0o640}
    assert modes(mine + whole) == {0o600}
    assert modes(mine + whole, other) == {0o600}
    assert modes(mine + whole, key.format("b", "    mode: '0640'\n", "other", "1")) == {0o600, 0o640}
    assert modes(mine + whole) == {0o600}
    assert modes(other, mine) == {0o600}
    assert modes(other) == {0o644}
    assert modes(other, mine) == {0o600}
    reconciler("uninstall", "a", "--yes", root=root, check=0)
    reconciler("uninstall", "b", "--yes", root=root, check=0)
    assert digest(root) == before


def test_two_deployments_agree_on_a_secret_by_its_place(root: Path, tmp_path: Path) -> None:
    def text(name: str, value: str) -> str:
        return f"deployment: {name}\nresources:\n  - ini: /etc/x.ini\n    set: {{S: {{shown: {value}}}}}\n"

    folder, first = tmp_path / "both", "{secret: true, from: {env: A}}"
    folder.mkdir()
    (folder / "a.yaml").write_text(text("a", first))
    (folder / "b.yaml").write_text(text("b", first))
    reconciler("plan", folder, root=root, env={"A": VALUE}, check=0)
    for other in ("{secret: true, from: {env: B}}", "plain"):
        (folder / "b.yaml").write_text(text("b", other))
        done = reconciler("plan", folder, root=root, env={"A": VALUE, "B": VALUE}, check=1)
        assert "S.shown is (secret) here; another at" in done.stderr


def test_undo_brings_the_old_value_back(root: Path, tmp_path: Path) -> None:
    before = digest(root)
    file = document(tmp_path, sources(tmp_path)["file"])
    reconciler("apply", file, "--yes", root=root, check=0)
    reconciler("rollback", "--yes", root=root, check=0)
    assert digest(root) == before


def test_a_new_value_is_a_change(root: Path, tmp_path: Path) -> None:
    file = document(tmp_path, sources(tmp_path)["file"])
    reconciler("apply", file, "--yes", root=root, check=0)
    assert reconciler("plan", file, "--detailed-exitcode", root=root).returncode == 0
    saved = tmp_path / "p.json"
    (tmp_path / "value").write_text("another\n")
    reconciler("plan", file, "--out", saved, root=root, check=0)
    (tmp_path / "value").write_text("a third\n")
    assert "a secret value is not the one it was" in reconciler("apply", "--plan", saved, root=root, check=3).stderr


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("{file: /no/such}", "/no/such: no such file"),
        ("{env: NOT_SET_HERE}", "the variable NOT_SET_HERE is not set"),
        ("{command: [/bin/false]}", "/bin/false: exit code 1"),
        ("{command: [/no/program]}", "/no/program: cannot be started"),
        ("{command: ['/bin/sh', '-c', 'echo hunter2 >&2; exit 3']}", "/bin/sh: exit code 3"),
    ],
)
def test_one_that_cannot_be_read_blocks_its_resource_and_gives_nothing_back(
    source: str, said: str, root: Path, tmp_path: Path
) -> None:
    reconciler("apply", document(tmp_path, sources(tmp_path)["file"]), "--yes", root=root, check=0)
    done = reconciler("apply", document(tmp_path, source), "--yes", root=root, check=3)
    assert f"its secret cannot be read: {said}" in " ".join(done.stdout.split())
    assert "hunter2" not in done.stdout + done.stderr
    assert VALUE in (root / "etc/x.ini").read_text()


def test_a_key_has_one_line(root: Path, tmp_path: Path) -> None:
    (tmp_path / "value").write_text("two\nlines\n")
    file = document(tmp_path, f"{{file: {tmp_path}/value}}")
    told = json.loads(reconciler("plan", file, "--format", "json", root=root, check=3).stdout)["blocked"]
    assert [item["address"] for item in told] == ["ini:/etc/x.ini"]
    assert "several lines" in told[0]["reason"]


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("{file: /a, env: B}", "'from' names one of file, env and command"),
        ("{}", "'from' names one of file, env and command"),
        ("{file: relative}", "absolute path"),
        ("{vault: x}", "unknown key 'vault'"),
        ("{command: 'a \"b'}", "cannot be split into words"),
    ],
)
def test_what_cannot_be_meant_is_a_mistake(source: str, said: str, tmp_path: Path) -> None:
    told = reconciler("validate", document(tmp_path, source), check=1).stderr
    assert said in told, told


def test_no_is_no_secret(tmp_path: Path) -> None:
    file = tmp_path / "d.yaml"
    file.write_text("deployment: d\nresources:\n  - {file: /x, content: {secret: no, from: {env: A}}}\n")
    assert "write 'secret: true'" in reconciler("validate", file, check=1).stderr


def test_validate_asks_for_no_secret(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    file = document(tmp_path, f"{{command: [touch, {marker}]}}")
    reconciler("validate", file, check=0)
    assert not marker.exists()
    assert os.access(file, os.R_OK)
