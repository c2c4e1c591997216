"""What stands in a directory of ours: copies, things of two teams, and what an account does there, in any order."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from reconciler.host.files import FileHost
from reconciler.model import EXISTS, inside
from tests.drive import Bench
from tests.effort import LONG, many
from tests.laws.hosts import file_host, snapshot

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="giving directories to accounts needs root")
OUTER = [
    "{directory: /data/h, owner: svc, group: svc, skel: /etc/skel}",
    "{directory: /data/h, owner: svc, mode: '0700', skel: /etc/skel}",
    "{directory: /data/h, owner: svc, group: svc, mode: '2770'}",
    "{directory: /data, owner: svc}",
    "{tree: /data, owner: svc, group: svc}",
]
INNER = [
    "{file: /data/h/rc, content: ours, owner: svc}",
    "{file: /data/h/sub/deep/f, content: ours}",
    "{file: /data/h/sub/f, mode: '0600', content: ours}",
    "{link: /data/h/l, target: ours, owner: svc}",
    "{link: /data/h/sub/new, target: ours}",
    "{file: /data/h/born-too/ours, content: ours}",
    "{link: /data/h/sub/born-too/ours, target: ours}",
    "{directory: /data/h/sub, owner: svc, mode: '0750'}",
    "{directory: /data/h/in/most, owner: svc, group: svc}",
    "{directory: /data/h/in, owner: svc, group: svc, skel: /etc/skel/sub}",
]


DEEDS = ["write", "deep", "empty", "edit", "delete"]
STEPS = st.one_of(
    st.tuples(
        st.just("apply"),
        st.sampled_from("de"),
        st.integers(-1, 2),
        st.lists(st.sampled_from(INNER), max_size=3, unique=True),
    ),
    st.tuples(st.just("account"), st.sampled_from(DEEDS), st.integers(0, 3)),
    st.tuples(st.sampled_from(["uninstall", "rollback"]), st.sampled_from("de")),
)


class Story:
    """A root with a skeleton, two teams and an account that is at home there."""

    def __init__(self, scratch: Path) -> None:
        self.root = scratch / "root"
        (scratch / "log").mkdir(parents=True)
        self.root.mkdir(mode=0o755)
        file_host(self.root)
        skel = self.root / "etc/skel"
        (skel / "sub/deep").mkdir(parents=True)
        for name in ("rc", "sub/f"):
            (skel / name).write_text(f"the copy of {name}\n")
        (skel / "l").symlink_to("/etc/shadow")
        (self.root / "data").mkdir()
        self.bench = Bench(FileHost(str(self.root)), scratch / "log")
        self.start = self.now()

    def now(self) -> dict[str, Any]:
        """All there is."""
        return snapshot(self.bench.observer())

    def apply(self, team: str, outer: int, inner: list[str]) -> None:
        outers = OUTER[:3] if team == "d" else OUTER[3:]
        resources = [*([outers[outer % len(outers)]] if outer >= 0 else []), *inner]
        text = f"deployment: {team}\nresources:\n" + ("".join(f"  - {each}\n" for each in resources) or "  []\n")
        report = self.bench.apply(text)
        if report.outcome == "refused":
            assert report.blocked, "no conflict with ourselves"
            return
        assert report.exit_code in (0, 5), report.transitions
        seen = self.now()
        again = self.bench.apply(text)
        assert again.exit_code in (0, 5), again.transitions
        assert self.now() == seen, ("twice is once", again.transitions)

    def account(self, deed: str, where: int) -> None:
        """What the account does in one of its directories; what it does in one that was there before is its own."""
        made = {a.name for a, fields in self.bench.ledger().holds.items() if a.kind == "directory" and EXISTS in fields}
        found = [
            self.root / path
            for path, facts in self.now().items()
            if facts[0] == "directory" and facts[2] == 999 and any(inside("/" + path, each) for each in made)
        ]
        if not found:
            return
        directory = found[where % len(found)]
        copies = [p for p in directory.iterdir() if p.is_file() and not p.is_symlink() and b"copy" in p.read_bytes()]
        match deed:
            case "write":
                (directory / "born").write_text("x")
                os.chown(directory / "born", 999, 999)
            case "deep" | "empty":
                (directory / "born-too").mkdir(exist_ok=True)
                os.chown(directory / "born-too", 999, 999)
                if deed == "deep":
                    (directory / "born-too/f").write_text("x")
                    os.chown(directory / "born-too/f", 999, 999)
            case "edit":
                for file in copies:
                    file.write_text("edited copy\n")
            case _:
                for file in copies:
                    file.unlink()

    def uninstall(self, team: str) -> int:
        if not self.bench.known(team):
            return 0
        report = self.bench.uninstall(team)
        assert report.exit_code in (0, 5), (report.transitions, [each.reason for each in report.blocked])
        seen = self.now()
        self.bench.uninstall(team)
        assert self.now() == seen, "a second time changes nothing"
        return report.exit_code

    def rollback(self, _: str) -> None:
        assert self.bench.rollback().exit_code in (0, 3, 5)

    def held(self, path: Path) -> bool:
        """Whether a directory is somebody's, so that it goes with a run of ours."""
        return "/" + str(path.relative_to(self.root)) in {a.name for a in self.bench.ledger().holds}

    def emptied(self) -> None:
        """The account takes away what it wrote, and copies that it edited; what was only made for it goes with it."""
        found = False
        for folder, folders, files in os.walk(self.root / "data", topdown=False):
            for path in (Path(folder) / name for name in (*folders, *files)):
                if path.name.startswith("born"):
                    found = True
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
                elif path.is_file() and not path.is_symlink() and b"edited copy" in path.read_bytes():
                    path.unlink()
                elif found and path.is_dir() and path.lstat().st_uid == 0 and not self.held(path):
                    with suppress(OSError):
                        path.rmdir()


@settings(
    max_examples=many(60, 3000), derandomize=not LONG,
    phases=[Phase.explicit, Phase.generate, Phase.shrink][: 3 if LONG else 2],
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
@example(  # what of ours stands in a directory of the account's own
    steps=[
        ("apply", "d", 0, []),
        ("account", "empty", 0),
        ("apply", "d", 0, ["{file: /data/h/born-too/ours, content: ours}"]),
    ],
    last=["d", "e"],
)
@given(steps=st.lists(STEPS, min_size=2, max_size=8), last=st.permutations("de"))
def test_when_both_are_gone_it_is_as_it_was(steps: list[tuple[Any, ...]], last: list[str]) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        os.chmod(scratch, 0o755)
        story = Story(Path(scratch))
        for verb, *words in steps:
            getattr(story, verb)(*words)
        for team in (*last, *last):  # what was left to a parent that another team holds is left on when that goes
            story.uninstall(team)
        mine = [path for path, facts in story.now().items() if path.startswith("data") and 999 in facts[2:4]]
        assert not mine, "nothing is the account's any more"
        story.emptied()
        assert [story.uninstall(team) for team in last] == [0, 0]
        assert story.now() == story.start
