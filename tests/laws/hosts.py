"""The hosts that every law is tried on, with the same small system on each."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

from reconciler.host.files import FileHost
from reconciler.host.memory import MemoryHost, Node
from reconciler.host.port import Facts, Visitor

PASSWD = "root:x:0:0:root:/root:/bin/sh\nann:x:1000:1000:Ann:/home/ann:/bin/sh\nsvc:x:999:999::/:/bin/sh\n"
GROUP = "root:x:0:\nann:x:1000:\ndocker:x:998:ann\nsvc:x:999:\n"
SHADOW = "root:*:19000:0:99999:7:::\nann:$6$a$b:19000:0:99999:7:::\nsvc:!:19000::::::\n"
GSHADOW = "root:*::\nann:!::\ndocker:!::ann\nsvc:!::\n"
UNIT = "[Service]\nExecStart=/opt/agent/bin/run\n[Install]\nWantedBy=multi-user.target\n"
FILES = {
    "/etc/passwd": PASSWD,
    "/etc/group": GROUP,
    "/etc/shadow": SHADOW,
    "/etc/gshadow": GSHADOW,
    "/etc/agent.ini": "; head\n[Main]\nMode = full ; why\nPort=1\n\n[Other]\nX=1\n",
    "/etc/agent.conf": "hello\n",
    "/etc/rsc/exports": "# hosts\n*\trw\n10.0.0.1 rw,user=ann",
    "/etc/rsc/users.local": "# callers\r\nA:ann rw,map=ann # why\r\nA:*  ro\r\n\r\nB:* ro\r\n",
    "/usr/lib/systemd/systemd": "",
    "/usr/lib/systemd/system/agent.service": UNIT,
    "/opt/agent/bin/run": "#!/bin/sh\n",
    "/opt/agent/bin/helper": "#!/bin/sh\n",
    "/opt/agent/data/a": "a",
    "/opt/agent/data/b": "b",
    "/etc/systemd/system/multi-user.target.wants/.keep": "",
}


def memory_host() -> MemoryHost:
    """The system in memory."""
    host = MemoryHost()
    for path, text in FILES.items():
        host.add(path, text, mode=0o755 if "/bin/" in path else 0o644)
    host.nodes["/opt/agent/bin/run"].mode = 0o4755
    return host


def file_host(directory: Path) -> FileHost:
    """The same system below a directory."""
    for path, text in FILES.items():
        file = directory / path[1:]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(0o755 if "/bin/" in path else 0o644)
    (directory / "opt/agent/bin/run").chmod(0o4755)
    for folder, _, _ in os.walk(directory):
        os.chmod(folder, 0o755)
    return FileHost(str(directory))


ACL = bytes.fromhex("0200000001000700ffffffff02000600e803000004000700ffffffff10000700ffffffff20000500ffffffff")
"""An ACL by which ann may read and write."""


def inheriting_host(directory: Path) -> FileHost:
    """The same, where every directory gives what is made in it an ACL, its group and flags."""
    host = file_host(directory)
    for folder, _, _ in os.walk(directory):
        os.chown(folder, 0, 998)
        os.chmod(folder, 0o2755)
        os.setxattr(folder, "system.posix_acl_default", ACL)
        subprocess.run(["chattr", "+Ad", folder], check=False, stderr=subprocess.DEVNULL)
    return host


class Walked(Visitor[Any]):
    """Notes down every path that it is shown."""

    def __init__(self) -> None:
        self.found: list[tuple[bytes, Facts, dict[str, bytes]]] = []

    def enter(self, at: Any) -> None:
        self.found.append((at.path, at.facts, dict(at.xattrs(b""))))

    def files(self, at: Any, groups: Any) -> None:
        prefix = at.path + b"/" if at.path else b""
        for facts, names in groups.items():
            self.found += [(prefix + name, facts, dict(at.xattrs(name))) for name in names]

    def told(self) -> Any:
        return self.found


def walked(host: Any, top: str) -> list[tuple[bytes, Facts, dict[str, bytes]]]:
    """Every path of a tree with its facts and attributes."""
    return [item for told in host.visit(top, lambda: Walked) for item in sorted(told, key=lambda item: item[0])]


def snapshot(host: Any) -> dict[str, tuple[Any, ...]]:
    """Everything that undo has to bring back, on any host."""
    found: dict[str, tuple[Any, ...]] = {}
    accounts = {"etc/passwd", "etc/group", "etc/shadow", "etc/gshadow"}
    for raw, stat, xattrs in walked(host, "/"):
        path = raw.decode()
        if path.startswith("var/lib") or path.endswith(".pwd.lock"):
            continue
        facts: tuple[Any, ...] = (stat.type, stat.mode, stat.uid, stat.gid, xattrs)
        if stat.type == "file":
            file = host.read("/" + path)
            facts += (file.data, None if path in accounts else file.mtime_ns)
        elif stat.type == "link":
            facts += (host.readlink("/" + path),)
        found[path] = facts
    return found


__all__ = ["Node", "file_host", "inheriting_host", "memory_host", "snapshot", "walked"]
