"""The languages of permissions: octal and symbolic modes as chmod has them, and file capabilities.  Pure."""

from __future__ import annotations

import re
import struct

CLAUSE = re.compile(r"^(?P<who>[ugoa]*)(?P<ops>([-+=]([rwxXst]*|[ugo]))+)$")
OP = re.compile(r"([-+=])([rwxXst]*[ugo]?)")
SHIFT = {"u": 6, "g": 3, "o": 0}
BITS = {"r": 4, "w": 2, "x": 1}
SPECIAL = 0o6000
CAPABILITIES = [
    "chown",
    "dac_override",
    "dac_read_search",
    "fowner",
    "fsetid",
    "kill",
    "setgid",
    "setuid",
    "setpcap",
    "linux_immutable",
    "net_bind_service",
    "net_broadcast",
    "net_admin",
    "net_raw",
    "ipc_lock",
    "ipc_owner",
    "sys_module",
    "sys_rawio",
    "sys_chroot",
    "sys_ptrace",
    "sys_pacct",
    "sys_admin",
    "sys_boot",
    "sys_nice",
    "sys_resource",
    "sys_time",
    "sys_tty_config",
    "mknod",
    "lease",
    "audit_write",
    "audit_control",
    "setfcap",
    "mac_override",
    "mac_admin",
    "syslog",
    "wake_alarm",
    "block_suspend",
    "audit_read",
    "perfmon",
    "bpf",
    "checkpoint_restore",
]


def octal(text: str) -> int | None:
    """The value of an octal mode; None where the text is no octal number."""
    return int(text, 8) if re.fullmatch(r"0?[0-7]{3,4}", text) else None


def check_mode(text: str) -> str:
    """The text, if it is a mode; a ValueError that says what would be one if not."""
    if octal(text) is None and not all(CLAUSE.match(part) for part in text.split(",")):
        raise ValueError(f"{text!r} is no mode; write octal like '0750' or symbolic like 'u=rwX,g=rX,o='")
    return text


def apply_mode(spec: str, mode: int, *, directory: bool) -> int:
    """The mode that chmod would make of ``mode``; octal never clears a directory's setgid.

    >>> oct(apply_mode("u=rwX,g=rX,o=", 0o644, directory=False))
    '0o640'
    >>> oct(apply_mode("0750", 0o2700, directory=True))
    '0o2750'
    """
    number = octal(spec)
    if number is not None:
        return number | (mode & 0o2000 if directory else 0)
    for part in spec.split(","):
        match = CLAUSE.match(part)
        if match is None:
            raise ValueError(f"{spec!r} is no mode")
        who = "ugo" if "a" in match["who"] or not match["who"] else match["who"]
        for sign, letters in OP.findall(match["ops"]):
            mode = _clause(mode, who, sign, letters, directory=directory)
    return mode


def _clause(mode: int, who: str, sign: str, letters: str, *, directory: bool) -> int:
    bits, special = 0, 0
    executable = directory or bool(mode & 0o111)
    for target in who:
        part = 0
        for letter in letters:
            if letter in BITS:
                part |= BITS[letter]
            elif letter == "X" and executable:
                part |= 1
            elif letter in SHIFT:
                part |= (mode >> SHIFT[letter]) & 7
        bits |= part << SHIFT[target]
        if "s" in letters:
            special |= {"u": 0o4000, "g": 0o2000, "o": 0}[target]
    if "t" in letters:
        special |= 0o1000
    if sign == "+":
        return mode | bits | special
    if sign == "-":
        return mode & ~(bits | special)
    for target in who:
        mode &= ~(7 << SHIFT[target])
        mode &= ~0o1000 if target == "o" else ~0
        if not directory:
            mode &= ~{"u": 0o4000, "g": 0o2000, "o": 0}[target]
    return mode | bits | special


def names_special(spec: str | None) -> bool:
    """Whether a mode says something about setuid or setgid itself.

    >>> names_special("4755"), names_special("0755"), names_special("u+s"), names_special("u=rwX")
    (True, False, True, False)
    """
    if spec is None:
        return False
    number = octal(spec)
    return "s" in spec if number is None else bool(number & SPECIAL)


def pack_capability(text: str) -> bytes:
    """The extended attribute of a capability text such as ``cap_net_raw,cap_kill+ep``.

    Shape: revision 2 of ``struct vfs_cap_data``, little endian.  Raises ValueError for an unknown name.
    """
    if not text.split():
        raise ValueError("names no capability; write for example 'cap_net_raw+ep'")
    permitted = inheritable = 0
    effective = False
    for clause in text.split():
        match = re.fullmatch(r"([a-z][a-z_,]*)([=+])([eip]+)", clause.lower())
        if match is None:
            raise ValueError(f"{clause!r} is no capability; write for example 'cap_net_raw+ep'")
        for name in match[1].split(","):
            short = name.removeprefix("cap_")
            if short not in CAPABILITIES:
                raise ValueError(f"{name!r} is no capability that Linux knows")
            bit = 1 << CAPABILITIES.index(short)
            permitted |= bit if "p" in match[3] else 0
            inheritable |= bit if "i" in match[3] else 0
        effective = effective or "e" in match[3]
    low, high = 0xFFFFFFFF, 32
    return struct.pack(
        "<5I",
        0x02000000 | int(effective),
        permitted & low,
        inheritable & low,
        permitted >> high,
        inheritable >> high,
    )


def show_capability(data: bytes | None) -> str | None:
    """The text of a capability attribute."""
    if data is None or len(data) < 20:
        return None
    magic, p_low, i_low, p_high, i_high = struct.unpack("<5I", data[:20])
    permitted, inheritable = p_low | p_high << 32, i_low | i_high << 32
    flags = ("e" if magic & 1 else "") + ("i" if inheritable else "") + ("p" if permitted else "")
    names = [f"cap_{name}" for bit, name in enumerate(CAPABILITIES) if (permitted | inheritable) >> bit & 1]
    return f"{','.join(names)}+{flags}"


def odd_mode(key: str, spec: str | None) -> list[tuple[str, str]]:
    """What in a mode is allowed and seldom meant, each with what to do about it; ``key``: what it is called.

    >>> odd_mode("mode", "0666"), odd_mode("directory_mode", "1777")
    ([('mode 0666 lets everybody write', "leave 'o=w' away")], [])
    """
    if spec is None:
        return []
    directory = key == "directory_mode"
    mode, found = apply_mode(spec, 0, directory=directory), []
    if mode & 0o002 and not (directory and mode & 0o1000):
        found.append((f"{key} {spec} lets everybody write", "leave 'o=w' away"))
    if mode & SPECIAL and not directory:
        found.append((f"{key} {spec} is setuid or setgid", "it runs as its owner for everybody; is that meant?"))
    return found
