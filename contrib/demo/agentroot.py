"""A realistic root below a directory: a small Debian-like system, and the inventory agent in its default mode."""

from __future__ import annotations

import os
from pathlib import Path

INI = b"""; The agent's settings.  Edited by the installer.
[ManageSoft\\Common]
UserInteractionLevel = Quiet   ; never ask
SSLCACertificateFile=/var/opt/managesoft/etc/ssl/cert.pem

[ManageSoft\\Usage Agent\\CurrentVersion]
Disabled=False
"""

UNIT = """[Unit]
Description={name}
[Service]
ExecStart=/opt/managesoft/libexec/{name}
Restart=no
[Install]
WantedBy=multi-user.target
"""


def put(
    root: Path, path: str, data: bytes | str = b"", mode: int = 0o644, owner: tuple[int, int] | None = None
) -> Path:
    """Put a file below a root, with the directories above it."""
    file = root / path.lstrip("/")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data.encode() if isinstance(data, str) else data)
    if owner and os.geteuid() == 0:
        os.chown(file, *owner)
    file.chmod(mode)
    return file


def system(root: Path) -> Path:
    """A small Debian-like system below ``root``, with a systemd that is not running."""
    put(
        root,
        "/etc/passwd",
        "root:x:0:0:root:/root:/bin/bash\ndaemon:x:1:1::/usr/sbin:/usr/sbin/nologin\nnobody:x:65534:65534::/:/usr/sbin/nologin\n",
    )
    put(root, "/etc/group", "root:x:0:\ndaemon:x:1:\nadm:x:4:daemon\ndocker:x:998:\nnogroup:x:65534:\n")
    put(
        root,
        "/etc/shadow",
        "root:$6$salt$hash:19000:0:99999:7:::\ndaemon:*:19000:0:99999:7:::\nnobody:*:19000:0:99999:7:::\n",
        0o640,
        (0, 42),
    )
    put(root, "/etc/gshadow", "root:*::\ndaemon:*::\nadm:*::daemon\ndocker:!::\nnogroup:*::\n", 0o640, (0, 42))
    put(
        root,
        "/etc/login.defs",
        "UID_MIN 1000\nUID_MAX 60000\nGID_MIN 1000\nGID_MAX 60000\n#SYS_UID_MIN 101\n",
    )
    put(root, "/etc/hostname", "web-1\n")
    put(root, "/etc/machine-id", "0123456789abcdef0123456789abcdef\n", 0o444)
    put(root, "/etc/os-release", 'ID=debian\nVERSION_ID="12"\n')
    put(root, "/usr/lib/systemd/systemd", "", 0o755)
    for directory in (
        "/var/lib",
        "/var/tmp",
        "/tmp",
        "/etc/sudoers.d",
        "/etc/systemd/system/multi-user.target.wants",
        "/run",
    ):
        (root / directory.lstrip("/")).mkdir(parents=True, exist_ok=True)
    return root


def managesoft(root: Path) -> Path:
    """The agent, laid out as its package lays it out, in its default mode."""
    for name in ("ndtrack", "mgspolicy", "ndupload", "mgsconfig"):
        put(root, f"/opt/managesoft/bin/{name}", "#!/bin/sh\nexit 0\n", 0o700)
    for name in ("ndtask", "mgsusageag"):
        put(root, f"/opt/managesoft/libexec/{name}", "#!/bin/sh\nwhile :; do sleep 1; done\n", 0o700)
        put(root, f"/usr/lib/systemd/system/{name}.service", UNIT.format(name=name))
        link = root / f"etc/systemd/system/multi-user.target.wants/{name}.service"
        link.symlink_to(f"/usr/lib/systemd/system/{name}.service")
    put(root, "/opt/managesoft/lib/libmgs.so", b"\x7fELF", 0o644)
    put(root, "/opt/managesoft/documentation/README", "read me\n", 0o644)
    (root / "opt/managesoft/bin/track").symlink_to("ndtrack")
    put(root, "/var/opt/managesoft/etc/config.ini", INI.replace(b"\n", b"\r\n"), 0o600)
    put(root, "/var/opt/managesoft/log/tracker.log", "started\n", 0o640)
    put(root, "/var/opt/managesoft/scheduler/schedules/sched.nds", "x\n", 0o600)
    put(root, "/etc/managesoft.ini", INI, 0o644)
    for top in ("opt/managesoft", "var/opt/managesoft"):
        for directory, _, _ in os.walk(root / top):
            os.chmod(directory, 0o755)
    os.chmod(root / "var/opt/managesoft", 0o700)
    return root
