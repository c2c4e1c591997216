"""The laws of a lens, for every kind on every host: put-get, get-put, put-put."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reconciler.kinds import kinds
from reconciler.kinds._file import FileState
from reconciler.kinds._ini import IniState
from reconciler.kinds.account.kind import AccountState, Membership
from reconciler.kinds.daemon.kind import DaemonState
from reconciler.kinds.directory.kind import DirectoryState
from reconciler.kinds.group import GroupState
from reconciler.kinds.link import LinkState
from reconciler.kinds.mapping.kind import MappingState
from reconciler.kinds.tree.kind import TreeState
from reconciler.model import Absent, State, Unknown
from tests.effort import many
from tests.laws.hosts import file_host, memory_host, snapshot

OWNERS = st.sampled_from(["root", "ann", "svc"]) if os.geteuid() == 0 else st.just("root")
TEXT = st.text(st.characters(min_codepoint=32, max_codepoint=0x24F, exclude_characters=":,\x7f"), max_size=12)
NUMBERS = st.integers(900, 60000)
MEMBERS = st.dictionaries(st.sampled_from(["docker", "ann"]), st.just(Membership(group=0, gshadow=0)), max_size=2)
LINKS = st.sampled_from(
    [
        {},
        {"/etc/systemd/system/multi-user.target.wants/agent.service": "/usr/lib/systemd/system/agent.service"},
    ]
)
BYTES = st.binary(max_size=60).map(lambda raw: raw.decode("latin-1"))
INI_BYTES = st.lists(
    st.sampled_from(["[Main]\n", "Mode = x\r\n", "; note\n", "Port=2\n", "\n", "last"]), max_size=6
).map("".join)

files: dict[str, Any] = {
    "owner": OWNERS,
    "group": OWNERS,
    "mode": st.integers(0, 0o777).map(lambda mode: mode | 0o600),
    "xattrs": st.just({}),
    "mtime_ns": st.integers(10**18, 2 * 10**18),
}
STATES: dict[str, tuple[str, st.SearchStrategy[State]]] = {
    "group": ("newgrp", st.builds(GroupState, gid=NUMBERS, shadow=st.just("!::"), members=st.sampled_from([(), ("ann",)]))),
    "account": (
        "newusr",
        st.builds(
            AccountState, uid=NUMBERS, group=st.sampled_from(["root", "ann", "docker"]), comment=TEXT,
            home=st.sampled_from(["/", "/srv"]), shell=st.just("/bin/sh"), password=st.sampled_from(["!", "*", "$6$x$y"]),
            aging=st.sampled_from(["19000:0:99999:7:::", "1::::::"]), groups=MEMBERS,
        ),
    ),
    "file": ("/etc/agent.conf", st.builds(FileState, data=BYTES, **files)),
    "ini": ("/etc/agent.ini", st.builds(IniState, data=INI_BYTES, fold=st.just(False), **files)),
    "mapping": (
        "/etc/rsc",
        st.builds(
            MappingState,
            files=st.fixed_dictionaries(
                dict.fromkeys(("exports", "users.local", "users"), st.none() | st.builds(FileState, data=INI_BYTES, **files))
            ),
        ),
    ),
    "link": (
        "/etc/l",
        st.builds(
            LinkState, target=st.sampled_from(["agent.conf", "/nowhere", "l"]), owner=OWNERS, group=OWNERS,
            mtime_ns=st.integers(10**18, 2 * 10**18),
        ),
    ),
    "directory": (
        "/etc/made/up",
        st.builds(DirectoryState, owner=OWNERS, group=OWNERS, mode=st.integers(0, 0o7777).map(lambda mode: mode | 0o700)),
    ),
    "tree": ("/srv", st.builds(TreeState)),
    "daemon": (
        "agent.service",
        st.builds(
            DaemonState, ours=st.dictionaries(st.sampled_from(["User", "Group"]), st.sampled_from(["svc", "ann"]), max_size=2),
            links=LINKS,
        ),
    ),
}  # fmt: skip


def test_every_kind_has_a_law_suite() -> None:
    by_examples = {name for name, kind in kinds().items() if kind.located and kind.examples}
    assert set(STATES) | by_examples == set(kinds()), "its states here, or examples for tests/laws/test_located.py"


def core(kind: str, state: Any) -> Any:
    """What a state says by itself: where an entry stands, and how its lines are read, is decided by the file."""
    if isinstance(state, Absent):
        return "absent"
    if kind == "daemon":
        return dict(state.ours), dict(state.links)
    drop = {"below", "system", "modes", "dialect"} | ({"groups"} if kind == "account" else set())
    told = {key: value for key, value in state.model_dump().items() if key not in drop}
    return told | ({"groups": sorted(state.groups)} if kind == "account" else {})


@pytest.mark.parametrize("where", ["memory", "root"])
@pytest.mark.parametrize("name", sorted(STATES))
@settings(max_examples=many(40), suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_laws(name: str, where: str, data: st.DataObject) -> None:
    key, states = STATES[name]
    kind = kinds()[name]
    with tempfile.TemporaryDirectory() as scratch:
        host: Any = memory_host() if where == "memory" else file_host(Path(scratch))
        if where == "root" and os.geteuid() != 0:
            owner = host.stat("/")
            host.replace(
                "/etc/passwd",
                host.read("/etc/passwd").__class__(
                    f"root:x:{owner.uid}:{owner.gid}::/:/bin/sh\n".encode(), 0o644, owner.uid, owner.gid
                ),
            )
            host.replace(
                "/etc/group",
                host.read("/etc/group").__class__(
                    f"root:x:{owner.gid}:\nann:x:9:\ndocker:x:8:\n".encode(), 0o644, owner.uid, owner.gid
                ),
            )
        # A service and an agent's directory are the vendor's: nothing of ours makes or removes them.
        absent = [] if name in ("daemon", "mapping") else [st.just(Absent())]
        first, second = (data.draw(st.one_of(states, *absent)) for _ in range(2))

        kind.write(host, key, first)
        seen = kind.read(host, key)
        assert not isinstance(seen, Unknown)
        assert core(name, seen) == core(name, first), "put-get"

        before = snapshot(host)
        kind.write(host, key, seen)
        assert snapshot(host) == before, "get-put"

        kind.write(host, key, second)
        twice = core(name, kind.read(host, key))
        assert twice == core(name, second), "put-put"
