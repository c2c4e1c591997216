"""Account files as they are found: every line but ours, and every member but ours, keeps its bytes, and ours go again."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from reconciler.errors import Mistakes
from tests.clibrary import listed
from tests.drive import Bench
from tests.effort import LONG, many
from tests.laws.hosts import file_host

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="editing account files needs root")

NAMES = ["ann", "bob", "svc", "u1", "u2"]
MEMBERS = st.one_of(
    st.sampled_from(["", ",", "bob,", ",bob", "ann,,bob", "bob,bob", " ann,bob", "bob\r"]),
    st.lists(st.sampled_from(NAMES), max_size=3).map(",".join),
)
TAIL = st.sampled_from(["", "", "", "", ":more", ":"])
NUMBERED = ["big:x:700", "web:x:701", "adm:x:0702"]
GROUP = st.tuples(st.sampled_from(NUMBERED), MEMBERS, TAIL).map(lambda p: f"{p[0]}:{p[1]}{p[2]}")
SHADOW = st.tuples(st.sampled_from(["big", "web", "adm"]), st.sampled_from(["!", "*", ""]), MEMBERS, MEMBERS, TAIL).map(
    lambda p: f"{p[0]}:{p[1]}:{p[2]}:{p[3]}{p[4]}"
)
ODD = st.sampled_from(["# a remark", "", "+@netgroup", "+", "nonsense", "-bad::"])
PERSON = st.tuples(st.sampled_from(["ann", "bob", "u1"]), st.sampled_from(["1000", "01001", "1002"]), st.sampled_from(["1000", "0100", "0"])).map(
    lambda p: f"{p[0]}:x:{p[1]}:{p[2]}:A B, c,,:/home/{p[0]}:/bin/sh"
)  # fmt: skip
ENDS = st.sampled_from(["\n", "\n", "\n", ""])


def lines(some: Any, first: str) -> Any:
    """A file of such lines."""
    listed = st.lists(st.one_of(some, some, some, ODD), max_size=5)
    return st.tuples(listed, ENDS).map(lambda p: "\n".join([first, *p[0]]) + p[1])


def kind_of(wish: dict[str, Any]) -> str:
    """The key that comes first."""
    return "account" if "account" in wish else "group"


FILES = st.fixed_dictionaries(
    {
        "group": lines(GROUP, "root:x:0:"),
        "gshadow": st.one_of(st.none(), lines(SHADOW, "root:*::")),
        "passwd": lines(PERSON, "root:x:0:0:root:/root:/bin/sh"),
    }
)
WISHES = st.lists(
    st.one_of(
        st.fixed_dictionaries(
            {"account": st.sampled_from(["agent", "ann", "bob", "u2"])},
            optional={"groups": st.lists(st.sampled_from(["big", "web?", "adm", "root"]), min_size=1, max_size=2, unique=True),
                      "comment": st.just("ours"), "group": st.just("root")},
        ),
        st.fixed_dictionaries({"group": st.sampled_from(["big", "web", "fresh"])}, optional={"gid": st.sampled_from(["700", "850"])}),
    ),
    min_size=1, max_size=3, unique_by=lambda wish: (kind_of(wish), wish[kind_of(wish)]),
)  # fmt: skip


@settings(max_examples=many(150, 3000), phases=[Phase.explicit, Phase.generate], derandomize=not LONG)
@given(files=FILES, wishes=WISHES)
def test_every_line_but_ours_keeps_its_bytes(files: dict[str, str | None], wishes: list[dict[str, Any]]) -> None:
    scratch = Path(tempfile.mkdtemp())
    try:
        (scratch / "log").mkdir()
        (scratch / "root").mkdir(mode=0o755)
        host, etc = file_host(scratch / "root"), scratch / "root/etc"
        for name, text in files.items():
            (etc / name).unlink()
            if text is not None:
                (etc / name).write_bytes(text.encode())
        names = [name for name in ("passwd", "shadow", "group", "gshadow") if (etc / name).exists()]

        def now() -> dict[str, bytes]:
            return {name: (etc / name).read_bytes() for name in names}

        before, bench = now(), Bench(host, scratch / "log")
        text = "deployment: d\nresources:\n" + "".join(
            f"  - {json.dumps({kind_of(wish): wish[kind_of(wish)], **wish})}\n" for wish in wishes
        )
        numbers = [wish["gid"] for wish in wishes if "gid" in wish]
        if len(numbers) > len(set(numbers)):
            with pytest.raises(Mistakes, match="is asked for by group"):
                bench.plan(text)
            return
        plan = bench.plan(text)
        if plan.blocked or plan.conflicts:
            assert now() == before
            return
        report = bench.apply(text)
        assert report.exit_code == 0, (report.outcome, report.transitions)
        after = now()
        for wish in wishes:
            for group in wish.get("groups", ()):
                if group.rstrip("?") in {line.split(":")[0] for line in (files["group"] or "").split("\n")}:
                    assert wish["account"] in listed(etc / "group", group.rstrip("?"))
        for name in names:
            kept = set(before[name].split(b"\n"))
            touched = [line for line in after[name].split(b"\n") if line not in kept]
            assert len(touched) <= 8, touched
        assert bench.apply(text).run is None, "twice is once"
        assert now() == after
        if bench.known("d"):
            assert bench.uninstall("d").exit_code == 0
        assert now() == before
    finally:
        shutil.rmtree(scratch)
