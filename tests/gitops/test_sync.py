"""The desired state from a repository: each commit once, only from whom we trust, and nothing of it executed."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from reconciler.formats.yaml import LARGEST
from tests.gitops.remote import ENVIRONMENT, Remote
from tests.patience import stays, until
from tests.worlds import REPO, digest, reconciler

ONE = "deployment: d\nresources:\n  - ini: /etc/x.ini\n    set: {S: {k: one}}\n"
TWO = ONE.replace("one", "two")


@pytest.fixture
def remote(tmp_path: Path) -> Remote:
    tmp_path.chmod(0o755)
    return Remote(tmp_path / "remote")


def sync(remote: Remote, root: Path, *more: str, check: int | None = 0) -> subprocess.CompletedProcess[str]:
    return reconciler("sync", *remote.trusted, *more, root=root, check=check)


def value(root: Path) -> str | None:
    file = root / "etc/x.ini"
    return file.read_text() if file.exists() else None


def events(root: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(reconciler("history", "--format", "json", root=root, check=0).stdout)[
        "events"
    ]
    return found


def transitions(root: Path) -> int:
    return [event["type"] for event in events(root)].count("transition.started")


def test_a_commit_is_applied_once_and_every_trace_names_it(root: Path, remote: Remote) -> None:
    before = digest(root)
    commit = remote.commit({"desired/a.yaml": ONE})
    done = sync(remote, root)
    assert value(root) == "[S]\nk=one\n" and "ops@example.org" in done.stderr
    count = len(events(root))
    done = sync(remote, root)
    assert commit[:12] in done.stderr and "r1" in done.stderr and len(events(root)) == count
    (root / "etc/x.ini").write_text("[S]\nk=mine\n")
    sync(remote, root)
    assert "mine" in str(value(root)), "drift is none of sync's business"
    (root / "etc/x.ini").write_text("[S]\nk=one\n")
    started = events(root)[0]["data"]
    assert started["commit"] == commit and started["origin"]["repository"] == str(remote.work)
    assert started["origin"]["ref"] == "main" and "ops@example.org (SHA256:" in started["origin"]["signer"]
    assert [e["data"]["origin"] for e in events(root)] == [started["origin"]] * count
    by = json.loads(reconciler("explain", "/etc/x.ini", "--format", "json", root=root, check=0).stdout)["fields"][0][
        "by"
    ]
    assert by["commit"] == commit and by["origin"] == started["origin"]
    assert by["source"] == {"file": "desired/a.yaml", "line": 3, "column": 5, "commit": commit}
    assert commit in reconciler("explain", "/etc/x.ini", root=root, check=0).stdout
    newer = remote.commit({"desired/a.yaml": TWO})
    sync(remote, root)
    assert "two" in str(value(root))
    reconciler("rollback", "--to", commit[:9], "--yes", root=root, check=0)
    assert "one" in str(value(root)) and newer
    reconciler("uninstall", "d", "--yes", root=root, check=0)
    assert digest(root) == before


def test_a_commit_that_changes_nothing_is_told_in_the_log(root: Path, remote: Remote) -> None:
    remote.commit({"desired/a.yaml": ONE})
    sync(remote, root)
    commit = remote.commit({"README": "x"})
    sync(remote, root)
    last = [e for e in events(root) if e["type"] == "run.started"][-1]
    assert last["data"]["commit"] == commit
    assert events(root)[-1]["data"]["outcome"] == "unchanged"


def test_rollback_holds_a_commit_back_until_a_newer_one_or_resume(root: Path, remote: Remote) -> None:
    commit = remote.commit({"desired/a.yaml": ONE})
    sync(remote, root)
    said = reconciler("rollback", "--yes", root=root, check=0).stderr
    assert "held back" in said and value(root) is None
    quarantined = [e for e in events(root) if e["type"] == "commit.quarantined"]
    assert [e["data"]["commit"] for e in quarantined] == [commit]
    done = sync(remote, root)
    assert "held back" in done.stderr and value(root) is None
    assert "not held back any more" in reconciler("resume", root=root, check=0).stdout
    sync(remote, root)
    assert "one" in str(value(root))
    reconciler("rollback", "--yes", root=root, check=0)
    remote.commit({"desired/a.yaml": TWO})
    sync(remote, root)
    assert "two" in str(value(root))
    reconciler("rollback", "--yes", root=root, check=0)
    reconciler("rollback", "--yes", root=root, check=0)
    sync(remote, root)
    assert value(root) is None, "going further back does not let the newest go"
    assert reconciler("log", "verify", root=root).returncode == 0
    assert reconciler("doctor", root=root).returncode == 0


def test_suspend_stops_it_with_the_reason_and_resume_lets_it_go(root: Path, remote: Remote) -> None:
    remote.commit({"desired/a.yaml": ONE})
    reconciler("suspend", "--why", "migration, ticket 4711", root=root, check=0)
    done = sync(remote, root)
    assert "ticket 4711" in done.stderr and value(root) is None
    told = [e for e in events(root) if e["type"] == "suspended"]
    assert told[0]["data"]["why"] == "migration, ticket 4711"
    (root / "tmp-desired").mkdir()
    (root / "tmp-desired/a.yaml").write_text(ONE)
    said = reconciler("status", root / "tmp-desired", root=root, check=0)
    assert "ticket 4711" in said.stderr
    reconciler("resume", root=root, check=0)
    sync(remote, root)
    assert "one" in str(value(root))
    assert "nothing is suspended" in reconciler("resume", root=root, check=0).stdout


def unsigned(remote: Remote) -> None:
    remote.commit({"desired/a.yaml": TWO}, by=None)


def stranger(remote: Remote) -> None:
    remote.commit({"desired/a.yaml": TWO}, by="mallory")


def forged_name(remote: Remote) -> None:
    remote.git("config", "user.name", "ops@example.org")
    remote.commit({"desired/a.yaml": TWO}, by="mallory")


def signature_of_another(remote: Remote) -> None:
    """The signature of the good commit on a tree that nobody signed."""
    good = remote.git("cat-file", "commit", "HEAD")
    remote.put({"desired/a.yaml": TWO})
    remote.git("add", "-A")
    tree = remote.git("write-tree")
    lines = good.split("\n")
    forged = "\n".join([f"tree {tree}", f"parent {remote.git('rev-parse', 'HEAD')}", *lines[1:]]) + "\n"
    done = subprocess.run(
        ["git", "hash-object", "-t", "commit", "-w", "--stdin"], input=forged, cwd=remote.work, env=ENVIRONMENT,
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    remote.git("reset", "-q", "--hard", done.stdout.strip())


def words_of_a_signature(remote: Remote) -> None:
    """A message that looks like what ssh-keygen says."""
    text = (
        'x\n\ngpgsig -----BEGIN SSH SIGNATURE-----\nGood "git" signature for ops@example.org with ED25519 key SHA256:a'
    )
    remote.commit({"desired/a.yaml": TWO}, by=None, again=text)


def link(remote: Remote) -> None:
    (remote.work / "desired/shadow.yaml").symlink_to("/etc/shadow")
    remote.commit({"desired/a.yaml": TWO})


def folder_link(remote: Remote) -> None:
    (remote.work / "desired/more.yaml").symlink_to("/etc")
    remote.commit({"desired/a.yaml": TWO})


def huge(remote: Remote) -> None:
    remote.commit({"desired/a.yaml": TWO, "desired/b.yaml": "#" * (LARGEST + 1)})


def many(remote: Remote) -> None:
    remote.commit({"desired/a.yaml": TWO, **{f"desired/{n}.yaml": "x" for n in range(10_001)}})


def broken(remote: Remote) -> None:
    remote.commit({"desired/a.yaml": "deployment: [\n"})


def submodule_command(remote: Remote) -> None:
    remote.commit({"desired/a.yaml": TWO, ".gitmodules": '[submodule "x"]\n\tpath = x\n\turl = x\n\tupdate = !id\n'})


def empty(remote: Remote) -> None:
    remote.commit({"desired/a.yaml": None, "README": "nothing"})


def emptied(remote: Remote) -> None:
    remote.commit({"desired/a.yaml": ""})


def rewound(remote: Remote) -> None:
    remote.git("reset", "-q", "--hard", "HEAD~1")


def another_history(remote: Remote) -> None:
    remote.git("checkout", "-q", "--orphan", "other")
    remote.commit({"desired/a.yaml": TWO})
    remote.git("branch", "-M", "main")


HOSTILE = [
    unsigned, stranger, forged_name, signature_of_another, words_of_a_signature, link, folder_link, huge, many, broken,
    submodule_command,
    empty, emptied, rewound, another_history,
]  # fmt: skip


@pytest.mark.parametrize("attack", HOSTILE, ids=lambda attack: attack.__name__)
def test_a_hostile_repository_changes_nothing(attack: Any, root: Path, remote: Remote) -> None:
    remote.commit({"desired/a.yaml": ONE.replace("one", "zero")})
    remote.commit({"desired/a.yaml": ONE})
    sync(remote, root)
    before, count = digest(root), transitions(root)
    attack(remote)
    done = sync(remote, root, check=None)
    assert done.returncode in (1, 3), done.stderr
    assert digest(root) == before and transitions(root) == count
    assert "sync: " in done.stderr and "\x1b" not in done.stderr
    assert sync(remote, root, check=None).returncode == done.returncode


def test_nothing_of_a_repository_is_executed_or_taken_as_configuration(
    root: Path, remote: Remote, tmp_path: Path
) -> None:
    canary = tmp_path / "canary"
    script = f"#!/bin/sh\ntouch {canary}\ncat\n"
    hooks = (
        "post-checkout",
        "post-merge",
        "reference-transaction",
        "pre-auto-gc",
        "fsmonitor-watchman",
        "post-index-change",
    )
    for name in hooks:
        hook = remote.work / ".git/hooks" / name
        hook.write_text(script)
        hook.chmod(0o755)
    remote.put({
        ".gitattributes": "*.yaml filter=evil diff=evil merge=evil\n* export-subst\n",
        ".gitmodules": f'[submodule "x"]\n\tpath = x\n\turl = ext::sh -c "touch {canary}"\n',
        ".gitconfig": f"[core]\n\tfsmonitor = touch {canary}\n",
        "desired/evil.sh": script,
        "desired/a.yaml": ONE,
        "desired/.hidden.yaml": "deployment: hidden\n",
        "desired/sub/b.yml": "deployment: e\nresources:\n  - file: /etc/made\n    content: hi\n",
    })  # fmt: skip
    remote.commit()
    remote.run(
        "git", "update-index", "--add", "--cacheinfo", f"160000,{remote.git('rev-parse', 'HEAD')},desired/module"
    )
    remote.git("-c", f"user.signingkey={remote.directory}/ops.pub", "commit", "-q", "-S", "-m", "module")
    for name, told in {
        "core.fsmonitor": f"touch {canary}", "filter.evil.smudge": f"touch {canary}", "core.sshCommand": f"touch {canary}",
        "uploadpack.packObjectsHook": f"touch {canary};", "diff.external": f"touch {canary}",
        "gpg.ssh.program": f"{remote.work}/desired/evil.sh", "core.pager": f"touch {canary}",
        "core.alternateRefsCommand": f"touch {canary}",
    }.items():  # fmt: skip
        remote.git("config", name, told)
    home = tmp_path / "home"
    home.mkdir()
    (home / ".gitconfig").write_text(
        f'[core]\n\tpager = touch {canary}\n[gpg "ssh"]\n\tprogram = {remote.work}/desired/evil.sh\n'
    )
    env = {"HOME": str(home), "GIT_DIR": str(remote.work / ".git"), "GIT_SSH_COMMAND": f"touch {canary}"}
    canary.unlink(missing_ok=True)  # the other side's own hooks ran on the other side
    done = reconciler("sync", *remote.trusted, root=root, env=env)
    assert done.returncode == 0, done.stderr
    assert not canary.exists()
    assert (root / "etc/made").read_text() == "hi" and "one" in str(value(root))
    names = reconciler("state", "--at", "999", root=root, check=None)
    assert "hidden" not in names.stdout
    copies = list((root / "var/lib/reconciler/git").rglob("*"))
    assert not [path for path in copies if path.suffix in (".yaml", ".yml", ".sh")], "nothing is checked out"
    assert not [path for path in copies if "hooks" in path.parts]
    assert (root / "var/lib/reconciler/git").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    "arguments",
    [
        ("--repo", "ext::sh -c 'touch CANARY'"), ("--repo", "--upload-pack=touch CANARY"), ("--repo", "git://x/y"),
        ("--repo", "http://127.0.0.1/x"), ("--repo", "https://me:pass@example.org/x"), ("--repo", "https://token@example.org/x"), ("--repo", "relative/path"),
        ("--repo", "fd::17"), ("--repo", "a\nb"), ("--ref", "--upload-pack=touch CANARY"), ("--ref", "a:b"),
        ("--ref", "+main"), ("--ref", "@{-1}"), ("--ref", "a..b"), ("--path", "../x"), ("--path", "/etc"),
        ("--credentials", "/x;touch CANARY"), ("--ssh-key", "/x touch"), ("--window", "never"), ("--window", "25:00-26:00"),
        ("--window", "Foo 01:00-02:00"), ("--webhook", "http://example.org/x"), ("--github", "a/b/c"), ("--github", "a/b"),
        ("--interval", "soon"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_wrong_usage(
    arguments: tuple[str, str], root: Path, remote: Remote, tmp_path: Path
) -> None:
    remote.commit({"desired/a.yaml": ONE})
    before = digest(root)
    canary = tmp_path / "CANARY"
    given = [word.replace("CANARY", str(canary)) for word in arguments]
    done = reconciler("sync", *remote.trusted, *given, root=root)
    assert done.returncode == 64, (done.returncode, done.stderr)
    assert digest(root) == before and not canary.exists()


def test_whose_commits_count_must_be_said(root: Path, remote: Remote) -> None:
    remote.commit({"desired/a.yaml": ONE}, by=None)
    assert "--allowed-signers" in reconciler("sync", "--repo", str(remote.work), root=root, check=64).stderr
    done = reconciler("sync", "--repo", str(remote.work), "--allow-unsigned", root=root, check=0)
    assert "not signed" in done.stderr and "one" in str(value(root))
    remote.signers.chmod(0o666)
    remote.commit({"desired/a.yaml": TWO})
    assert "others than root" in sync(remote, root, check=3).stderr
    missing = reconciler("sync", "--repo", str(remote.work), "--allowed-signers", "/nonexistent", root=root)
    assert missing.returncode == 64 and "one" in str(value(root))


def test_a_signed_tag_vouches_for_its_commit(root: Path, remote: Remote) -> None:
    remote.commit({"desired/a.yaml": ONE}, by=None)
    key = f"user.signingkey={remote.directory}/ops.pub"
    remote.git("-c", key, "tag", "-s", "-m", "release", "v1")
    done = sync(remote, root, "--ref", "refs/tags/v1")
    assert "ops@example.org" in done.stderr and "one" in str(value(root))
    remote.commit({"desired/a.yaml": TWO}, by=None)
    remote.git("-c", f"user.signingkey={remote.directory}/mallory.pub", "tag", "-s", "-m", "release", "v2")
    assert "by nobody" in sync(remote, root, "--ref", "refs/tags/v2", check=3).stderr
    remote.git("tag", "v3")
    assert "not signed" in sync(remote, root, "--ref", "refs/tags/v3", check=3).stderr
    assert "one" in str(value(root))


def test_openpgp_signatures_count_by_the_keys_in_a_home_of_their_own(
    root: Path, remote: Remote, tmp_path: Path
) -> None:
    homes = {}
    for who in ("ops", "mallory"):
        home = homes[who] = tmp_path / f"gpg-{who}"
        home.mkdir(mode=0o700)
        words = ("--batch", "--pinentry-mode", "loopback", "--passphrase", "", "--quick-gen-key", f"{who}@example.org")
        remote.run("gpg", "--homedir", str(home), *words, "ed25519", "sign", "never")
    trusted = tmp_path / "trusted"
    trusted.mkdir(mode=0o700)
    exported = subprocess.run(
        ["gpg", "--homedir", homes["ops"], "--export"], capture_output=True, check=True, env=ENVIRONMENT
    ).stdout
    subprocess.run(
        ["gpg", "--homedir", trusted, "--import"], input=exported, capture_output=True, check=True, env=ENVIRONMENT
    )

    def commit(who: str, text: str) -> None:
        remote.put({"desired/a.yaml": text})
        remote.git("add", "-A")
        sign = ("-c", "gpg.format=openpgp", "-c", f"user.signingkey={who}@example.org", "commit", "-S", "-q", "-m", "x")
        remote.git(*sign, more={"GNUPGHOME": str(homes[who])})

    commit("ops", ONE)
    where = ("--repo", str(remote.work), "--gpg-home", str(trusted))
    done = reconciler("sync", *where, root=root, check=0)
    assert "ops@example.org" in done.stderr and "one" in str(value(root))
    commit("mallory", TWO)
    env = {"GNUPGHOME": str(homes["mallory"]), "HOME": str(tmp_path)}
    assert "by nobody" in reconciler("sync", *where, root=root, check=3, env=env).stderr
    assert "--gpg-home" in sync(remote, root, check=3).stderr, "an SSH file says nothing of OpenPGP keys"
    assert "one" in str(value(root))
    for home in (*homes.values(), trusted):
        subprocess.run(["gpgconf", "--homedir", home, "--kill", "all"], check=False, env=ENVIRONMENT)


def test_guards(root: Path, remote: Remote) -> None:
    more = "".join(f"  - file: /etc/f{n}\n    content: x\n" for n in range(4))
    remote.commit({"desired/a.yaml": ONE + more})
    before = digest(root)
    assert "--max-changes" in sync(remote, root, "--max-changes", "3", check=3).stderr
    assert digest(root) == before
    sync(remote, root, "--max-changes", "5")
    remote.commit({"desired/a.yaml": ONE})
    assert "4 removals" in sync(remote, root, "--max-removals", "3", check=3).stderr
    assert (root / "etc/f0").exists()
    sync(remote, root, "--max-removals", "4")
    assert not (root / "etc/f0").exists()
    remote.commit({"desired/a.yaml": ONE.replace("deployment: d\n", "deployment: d\nmatch: {hostname: other}\n")})
    assert "--allow-empty" in sync(remote, root, check=3).stderr
    assert "one" in str(value(root))
    sync(remote, root, "--allow-empty")
    assert "one" in str(value(root)), "orphans stay"
    remote.commit({"desired/a.yaml": None, "x": "y"})
    sync(remote, root, "--allow-empty")
    assert "one" in str(value(root))


def test_a_rewound_branch_is_taken_when_somebody_says_so(root: Path, remote: Remote) -> None:
    remote.commit({"desired/a.yaml": ONE})
    remote.commit({"desired/a.yaml": TWO})
    sync(remote, root)
    rewound(remote)
    assert "--allow-rewind" in sync(remote, root, check=3).stderr
    sync(remote, root, "--allow-rewind")
    assert "one" in str(value(root))


def test_what_else_a_host_asks_for_before_a_run_counts_here_too(root: Path, remote: Remote) -> None:
    """Approvers of saved plans, and a run that waits to be confirmed."""
    remote.commit({"desired/a.yaml": ONE})
    approvers = root / "etc/reconciler/approvers"
    approvers.parent.mkdir()
    approvers.write_text("somebody ssh-ed25519 AAAA\n")
    assert "approver" in sync(remote, root, check=3).stderr and value(root) is None
    approvers.unlink()
    (root / "b.yaml").write_text("deployment: b\nresources:\n  - file: /etc/b\n    content: hi\n")
    reconciler("apply", root / "b.yaml", "--yes", "--confirm-within", "1h", root=root, check=0)
    assert "reconciler confirm" in sync(remote, root, check=3).stderr and value(root) is None
    reconciler("confirm", root=root, check=0)
    sync(remote, root)
    assert "one" in str(value(root))


def test_outside_of_the_window_it_waits(root: Path, remote: Remote) -> None:
    remote.commit({"desired/a.yaml": ONE})
    now = time.gmtime()
    day = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")[(now.tm_wday + 3) % 7]
    done = sync(remote, root, "--window", f"{day} 01:00-02:00 UTC")
    assert "maintenance window" in done.stderr and value(root) is None
    sync(
        remote, root, "--window", f"{day} 01:00-02:00 UTC", "--window", "00:00-23:59 UTC", "--window", "23:58-00:02 UTC"
    )
    assert "one" in str(value(root))


def test_an_unreachable_repository_is_said_once_in_the_log(root: Path, remote: Remote) -> None:
    remote.commit({"desired/a.yaml": ONE})
    sync(remote, root)
    remote.gone()
    for _ in range(3):
        assert "stays in force" in sync(remote, root, check=1).stderr
    assert [e["type"] for e in events(root)].count("source.failed") == 1
    remote.back()
    sync(remote, root)
    remote.gone()
    sync(remote, root, check=1)
    assert [e["type"] for e in events(root)].count("source.failed") == 2
    assert "one" in str(value(root))


def test_what_ssh_says_of_a_host_that_does_not_answer_is_told(root: Path) -> None:
    done = reconciler("sync", "--repo", "ssh://nobody@127.0.0.1:1/x", "--allow-unsigned", root=root, check=1)
    assert "Connection refused" in done.stderr and "stays in force" in done.stderr


def test_with_an_interval_it_stays_and_ends_at_once(root: Path, remote: Remote) -> None:
    remote.commit({"desired/a.yaml": ONE})
    words = [sys.executable, "-m", "reconciler", "sync", *remote.trusted, "--interval", "1s", "--root", str(root)]
    process = subprocess.Popen(
        words, env={**os.environ, "PYTHONPATH": str(REPO)}, stderr=subprocess.PIPE, text=True, stdout=subprocess.DEVNULL
    )
    try:
        until(lambda: "one" in str(value(root)))
        remote.commit({"desired/a.yaml": TWO})
        until(lambda: "two" in str(value(root)))
        remote.gone()
        until(lambda: any(e["type"] == "source.failed" for e in events(root)))
        stays(lambda: process.poll() is None and "two" in str(value(root)), 3)
        remote.back()
        remote.commit({"desired/a.yaml": ONE})
        until(lambda: "one" in str(value(root)))
        begun = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
        assert time.monotonic() - begun < 3
    finally:
        process.kill()
        said = process.communicate()[1]
    assert said.count("stays in force") == 1, said


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not here, which kills at a given call")
def test_a_run_that_was_killed_is_done_again(root: Path, remote: Remote) -> None:
    files = "".join(f"  - file: /etc/many{n}\n    content: x\n" for n in range(150))
    remote.commit({"desired/a.yaml": "deployment: d\nresources:\n" + files})
    words = [sys.executable, "-m", "reconciler", "sync", *remote.trusted, "--root", str(root)]
    # Not a kill after a while: how far a run is by then is the machine's affair.
    killed = ["strace", "-qq", "-o", os.devnull, "-e", "trace=/^rename", "-e", "inject=/^rename:signal=KILL:when=30"]
    subprocess.run([*killed, *words], env={**os.environ, "PYTHONPATH": str(REPO)}, capture_output=True)
    there = [(root / f"etc/many{n}").exists() for n in range(150)]
    assert any(there) and not all(there), there
    sync(remote, root)
    assert all((root / f"etc/many{n}").exists() for n in range(150))
    before = len(events(root))
    sync(remote, root)
    assert len(events(root)) == before


@pytest.mark.parametrize("left", ["half", "lock", "empty"])
def test_what_a_kill_leaves_of_the_copy_stops_nothing(left: str, root: Path, remote: Remote) -> None:
    remote.commit({"desired/a.yaml": ONE})
    sync(remote, root)
    (copy,) = (root / "var/lib/reconciler/git").glob("*.git")
    if left == "lock":
        (copy / "refs/reconciler").mkdir(parents=True, exist_ok=True)
        (copy / "refs/reconciler/incoming.lock").touch()
        (copy / "packed-refs.lock").touch()
    elif left == "half":
        (copy / "HEAD").unlink()
    else:
        shutil.rmtree(copy)
        copy.mkdir()
        copy.with_suffix(".git.new").mkdir()
    remote.commit({"desired/a.yaml": TWO})
    sync(remote, root)
    assert "two" in str(value(root))


def test_a_tag_called_like_the_branch_is_not_the_branch(root: Path, remote: Remote) -> None:
    remote.commit({"desired/a.yaml": ONE})
    remote.git("checkout", "-q", "-b", "side")
    remote.commit({"desired/a.yaml": TWO})
    remote.git("tag", "main")
    sync(remote, root)
    assert "one" in str(value(root))
    key = f"user.signingkey={remote.directory}/ops.pub"
    remote.git("-c", key, "tag", "-s", "-m", "x", "v1", "refs/heads/side")
    remote.git("update-ref", "refs/tags/v9", "refs/tags/v1")
    assert "under another name" in sync(remote, root, "--ref", "refs/tags/v9", check=3).stderr
    assert "refs/tags/NAME" in sync(remote, root, "--ref", "v1", check=1).stderr


def test_it_stays_while_another_run_holds_the_log(root: Path, remote: Remote) -> None:
    remote.commit({"desired/a.yaml": ONE})
    sync(remote, root)
    remote.gone()
    words = [sys.executable, "-m", "reconciler", "sync", *remote.trusted, "--interval", "1s", "--root", str(root)]
    with open(root / "var/lib/reconciler/events.lock", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = reconciler("sync", *remote.trusted, "--lock-timeout", "0", root=root)
        assert done.returncode == 1 and "stays in force" in done.stderr and "lock" not in done.stderr
    process = subprocess.Popen(
        words, env={**os.environ, "PYTHONPATH": str(REPO)}, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    try:
        until(lambda: any(e["type"] == "source.failed" for e in events(root)))
        assert process.poll() is None
    finally:
        process.terminate()
        process.wait(10)


def test_conflicts_are_left_and_said(root: Path, remote: Remote) -> None:
    remote.commit({"desired/a.yaml": ONE + "  - ini: /etc/y.ini\n    set: {S: {k: v}}\n"})
    sync(remote, root)
    (root / "etc/y.ini").write_text("[S]\nk=foreign\n")
    remote.commit({"desired/a.yaml": TWO})
    assert sync(remote, root, check=5).returncode == 5
    assert "two" in str(value(root)) and "foreign" in (root / "etc/y.ini").read_text()
    done = sync(remote, root)
    assert "partial" in done.stderr
