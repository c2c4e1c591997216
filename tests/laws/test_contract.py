"""Memory is held to the real file system: the same calls, the same answers."""

from __future__ import annotations

import os
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reconciler.errors import HostError
from reconciler.host.port import Attributes, File, Link, Visitor
from tests.effort import many
from tests.laws.hosts import file_host, memory_host, walked

PATHS = st.sampled_from(
    [
        "/etc/new",
        "/etc/agent.conf",
        "/srv",
        "/srv/a",
        "/srv/a/b",
        "/opt/agent/data",
        "/link",
        "/etc/missing/x",
        "/etc",
    ]
)
ME = (os.geteuid(), os.getegid())
CALLS = st.one_of(
    st.tuples(st.just("replace"), PATHS, st.binary(max_size=5)),
    st.tuples(st.just("remove"), st.sampled_from(["/etc/new", "/etc/agent.conf", "/link", "/srv/a/b"])),
    st.tuples(st.just("mkdir"), PATHS),
    st.tuples(st.just("rmdir"), st.sampled_from(["/srv", "/srv/a", "/opt/agent/data"])),
    st.tuples(
        st.just("symlink"),
        st.just("/link"),
        st.sampled_from(["/etc", "etc/agent.conf", "../../etc", "/nowhere"]),
    ),
    st.tuples(st.just("read"), st.one_of(PATHS, st.sampled_from(["/link", "/link/agent.conf"]))),
    st.tuples(st.just("names"), PATHS),
    st.tuples(st.just("canonical"), st.sampled_from(["/link/agent.conf", "/etc/../etc/agent.conf", "/link"])),
    st.tuples(st.just("amend"), st.sampled_from(["/opt/agent", "/srv"]), st.sampled_from([0o600, 0o750])),
)


def ask(host: Any, call: tuple[Any, ...]) -> Any:
    verb, *words = call
    try:
        if verb == "replace":
            return host.replace(words[0], File(words[1], 0o640, *ME, {}, 5 * 10**18))
        if verb == "symlink":
            return host.symlink(words[0], Link(words[1], *ME))
        if verb == "mkdir":
            return host.mkdir(words[0], 0o755, *ME)
        if verb == "read":
            found = host.read(words[0])
            return None if found is None else (found.data, found.mode)
        if verb == "amend":
            return list(host.amend(words[0], lambda: partial(Taking, words[1] | 0o700)))
        return getattr(host, verb)(*words)
    except HostError:
        return "refused"


class Taking(Visitor[Any]):
    """Gives every path the same mode."""

    def __init__(self, mode: int) -> None:
        self.wanted = Attributes(*ME, mode)

    def files(self, at: Any, groups: Any) -> None:
        for facts, names in groups.items():
            if facts.type != "link":
                at.change([(names, facts, self.wanted)])

    def leave(self, at: Any) -> None:
        at.change([([b""], at.facts, self.wanted)])


def tree(host: Any) -> list[tuple[Any, ...]]:
    return [
        (path, facts.type, facts.mode, host.readlink("/" + path.decode()) if facts.type == "link" else "")
        for path, facts, _ in walked(host, "/")
    ]


@settings(max_examples=many(300), suppress_health_check=list(HealthCheck))
@given(st.lists(CALLS, max_size=12))
def test_memory_answers_as_the_file_system_does(calls: list[tuple[Any, ...]]) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        os.chmod(scratch, 0o755)
        real, imagined = file_host(Path(scratch)), memory_host()
        for call in calls:
            assert ask(imagined, call) == ask(real, call), call
        assert tree(imagined) == tree(real)
