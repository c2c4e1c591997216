"""What the readers of a directory skip: by the readers themselves, where they are here."""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from reconciler.formats.readers import Placed, unread
from tests.effort import many

LETTERS = ["a", "agent", "B", "7", "-", "_", ".", "~", ".conf", ".bak", "+", ",", "#", "ä"]


def names(seed: int) -> list[str]:
    """Names that somebody may give a file, and odd ones."""
    dice = random.Random(seed)
    made = {"".join(dice.choices(LETTERS, k=dice.randint(1, 4))) for _ in range(many(200, 2000))}
    return sorted(made - {".", ".."})


@pytest.mark.skipif(shutil.which("run-parts") is None, reason="run-parts is not here")
def test_run_parts_skips_what_we_say(tmp_path: Path) -> None:
    for name in names(1):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    told = subprocess.run(["run-parts", "--list", str(tmp_path)], capture_output=True, text=True, check=True).stdout
    read = {Path(line).name for line in told.splitlines()}
    assert read == {name for name in names(1) if not unread(Placed(f"/etc/cron.daily/{name}", 0o755))}


@pytest.mark.skipif(shutil.which("visudo") is None or os.geteuid() != 0, reason="visudo is not here, or not for root")
def test_sudo_skips_what_we_say(tmp_path: Path) -> None:
    folder = tmp_path / "sudoers.d"
    folder.mkdir(mode=0o755)
    for name in names(2):
        (folder / name).write_text("nobody ALL=(root) /bin/true\n")
        (folder / name).chmod(0o440)
    main = tmp_path / "sudoers"
    main.write_text(f"@includedir {folder}\n")
    main.chmod(0o440)
    told = subprocess.run(["visudo", "-c", "-f", str(main)], capture_output=True, text=True).stdout
    read = {Path(path).name for path in re.findall(r"^(.*): parsed OK$", told, re.M)} - {"sudoers"}
    assert read == {name for name in names(2) if not unread(Placed(f"/etc/sudoers.d/{name}", 0o440))}


@pytest.mark.skipif(shutil.which("systemd-tmpfiles") is None, reason="systemd-tmpfiles is not here")
def test_tmpfiles_skips_what_we_say(tmp_path: Path) -> None:
    folder = tmp_path / "etc/tmpfiles.d"
    folder.mkdir(parents=True)
    for name in names(3):
        (folder / name).write_text(f"d /run/x 0755 root root\n# {name}\n")
    cat = ["systemd-tmpfiles", f"--root={tmp_path}", "--cat-config"]
    told = subprocess.run(cat, capture_output=True, text=True, check=True).stdout
    read = {Path(path).name for path in re.findall(r"^# (/.*)$", told, re.M) if "/tmpfiles.d/" in path}
    # A name that begins with a dot is a hidden file, which is nobody's habit to give.
    said = {name for name in names(3) if not unread(Placed(f"/etc/tmpfiles.d/{name}"))}
    assert read == {name for name in said if not name.startswith(".")}


@pytest.mark.parametrize(
    ("file", "what"),
    [
        (Placed("/etc/cron.d/agent", 0o644, "* * * * * root /bin/true"), "newline"),
        (Placed("/etc/cron.d/agent", 0o664, "* * * * * root /bin/true\n"), "can write"),
        (Placed("/etc/sudoers.d/agent", 0o440, "", root=False), "does not own"),
        (Placed("/etc/cron.daily/agent", 0o644), "not executable"),
        (Placed("/etc/logrotate.d/agent.bak", 0o644), ".bak"),
        (Placed("/etc/logrotate.d/agent", 0o666), "can write"),
        (Placed("/etc/systemd/system/agent", 0o644), "agent.service"),
        (Placed("/etc/systemd/system/agent.service.d/override", 0o644), "override.conf"),
        (Placed("/etc/udev/rules.d/90-agent", 0o644), ".rules"),
        (Placed("/etc/ssh/sshd_config.d/agent", 0o600), ".conf"),
    ],
)
def test_each_reader_has_its_rule(file: Placed, what: str) -> None:
    assert any(what in f"{said} {hint}" for said, hint in unread(file)), unread(file)


@pytest.mark.parametrize(
    "file",
    [
        Placed("/etc/cron.d/agent", 0o644, "* * * * * root /bin/true\n"),
        Placed("/etc/sudoers.d/agent", 0o440, "x"),
        Placed("/etc/logrotate.d/agent.conf", 0o644),
        Placed("/etc/systemd/system/agent@.service", 0o644),
        Placed("/etc/systemd/system/agent.service.d/10-x.conf", 0o644),
        Placed("/etc/systemd/system/multi-user.target.wants/agent.service"),
        Placed("/opt/agent/etc/agent.d/x", 0o666),
    ],
)
def test_what_is_read_is_not_named(file: Placed) -> None:
    assert unread(file) == []
