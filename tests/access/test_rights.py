"""What the product says of a path is what the kernel says to whoever really tries, on random trees."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reconciler.access.scene import Scene
from reconciler.host.files import FileObserver
from tests.clibrary import listed
from tests.effort import many
from tests.trees.accounts import reachable
from tests.worlds import reconciler

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="becoming other users needs root")

PEOPLE = {"root": (0, [0]), "ann": (4001, [4001, 4100]), "bob": (4002, [4002]), "cat": (4003, [4003, 4100, 4200])}
NUMBERS = (0, 4001, 4002, 4003)
GROUPS = (0, 4001, 4100, 4200)
MODES = st.integers(0, 0o7777)
ACLS = st.lists(
    st.tuples(
        st.sampled_from(["u:4001", "u:4002", "g:4100", "g:4200"]), st.sampled_from(["r", "w", "x", "rw", "rx", "-"])
    ),
    max_size=3,
    unique_by=lambda item: item[0],
)
OWNERSHIP = st.tuples(st.sampled_from(NUMBERS), st.sampled_from(GROUPS), MODES, ACLS)


@pytest.fixture(scope="module")
def scratch() -> Path:  # type: ignore[misc]
    place = Path(tempfile.mkdtemp(dir="/var/tmp"))
    reachable(place)
    yield place
    shutil.rmtree(place)


def build(root: Path, looks: list[tuple[int, int, int, list[tuple[str, str]]]], link: str) -> None:
    (root / "etc").mkdir(parents=True)
    for directory in (root, root / "etc"):
        directory.chmod(0o755)
    passwd = "".join(f"{name}:x:{uid}:{groups[0]}::/:/bin/sh\n" for name, (uid, groups) in PEOPLE.items())
    (root / "etc/passwd").write_text(passwd)
    listed = {
        gid: [n for n, (_, groups) in PEOPLE.items() if gid in groups[1:]] for gid in (0, 4001, 4002, 4003, 4100, 4200)
    }
    (root / "etc/group").write_text("".join(f"g{gid}:x:{gid}:{','.join(names)}\n" for gid, names in listed.items()))
    (root / "a/b").mkdir(parents=True)
    (root / "a/b/file").write_text("#!/bin/sh\n")
    (root / "link").symlink_to(link)
    for path, (uid, gid, mode, acl) in zip((root / "a", root / "a/b", root / "a/b/file"), looks, strict=True):
        os.chown(path, uid, gid)
        path.chmod(mode)
        for who, bits in acl:
            subprocess.run(["setfacl", "-m", f"{who}:{bits}", path], check=True)


def really(uid: int, groups: list[int], path: str) -> set[str]:
    """What somebody can do, tried by becoming him."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups(groups[1:])
            os.setresgid(groups[0], groups[0], groups[0])
            os.setresuid(uid, uid, uid)
            os.write(write, json.dumps(sorted(tried(path))).encode())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read) as answer:
        told = answer.read()
    os.waitpid(pid, 0)
    return set(json.loads(told))


def tried(path: str) -> set[str]:
    found = set()
    try:
        directory = stat.S_ISDIR(os.stat(path).st_mode)
    except OSError:
        return found
    for name, flags in (("read", os.O_RDONLY), ("write", os.O_WRONLY)):
        if name == "write" and directory:
            try:
                os.mkdir(f"{path}/made")
                os.rmdir(f"{path}/made")
                found.add(name)
            except OSError:
                pass
            continue
        try:
            os.close(os.open(path, flags | os.O_NONBLOCK))
            found.add(name)
        except OSError:
            pass
    if os.access(path, os.X_OK):
        found.add("execute")
    return found


@settings(max_examples=many(120), suppress_health_check=list(HealthCheck))
@given(
    looks=st.lists(OWNERSHIP, min_size=3, max_size=3), link=st.sampled_from(["a/b/file", "/a/b", "a/../a/b/file", "a"])
)
def test_the_product_and_the_kernel_agree(
    looks: list[tuple[int, int, int, list[tuple[str, str]]]], link: str, scratch: Path
) -> None:
    root = scratch / "root"
    shutil.rmtree(root, ignore_errors=True)
    build(root, looks, link)
    scene = Scene(FileObserver(str(root)))
    for path in ("/a", "/a/b", "/a/b/file", "/link"):
        told = scene.rights(path)
        assert told is not None
        target = os.path.normpath(link if link.startswith("/") else f"/{link}") if path == "/link" else path
        for name, (uid, groups) in PEOPLE.items():
            said = {right for right, people in told.items() if name in people}
            assert said == really(uid, groups, f"{root}{target}"), (path, name, told)


def test_a_path_that_cannot_be_reached_has_no_rights(scratch: Path) -> None:
    root = scratch / "root"
    shutil.rmtree(root, ignore_errors=True)
    build(root, [(0, 0, 0o700, []), (0, 0, 0o777, []), (0, 0, 0o777, [])], "a")
    told = Scene(FileObserver(str(root))).rights("/a/b/file")
    assert told is not None
    assert {right: list(people) for right, people in told.items()} == {
        r: ["root"] for r in ("read", "write", "execute")
    }
    assert Scene(FileObserver(str(root))).rights("/a/none") is None


def test_who_can_put_something_else_in_a_place(scratch: Path) -> None:
    root = scratch / "root"
    shutil.rmtree(root, ignore_errors=True)
    build(root, [(0, 4100, 0o775, []), (0, 0, 0o755, []), (0, 0, 0o755, [])], "a")
    changers = Scene(FileObserver(str(root))).changers("/a/b/file")
    assert changers == {"ann": "can put something else in its place", "cat": "can put something else in its place"}
    os.chmod(root / "a", 0o1775)
    assert Scene(FileObserver(str(root))).changers("/a/b/file") == {}
    os.chown(root / "a/b", 4002, 0)
    assert Scene(FileObserver(str(root))).changers("/a/b/file") == {"bob": "owns a directory on the way"}


def test_the_command_says_it_as_text_and_as_data(scratch: Path) -> None:
    root = scratch / "root"
    shutil.rmtree(root, ignore_errors=True)
    build(root, [(0, 0, 0o755, []), (0, 0, 0o755, []), (4001, 4100, 0o640, [("u:4002", "r")])], "a/b/file")
    told = json.loads(reconciler("access", "/link", "--format", "json", root=root, check=0).stdout)
    assert told["format_version"] == "1.0"
    (item,) = told["paths"]
    assert (item["path"], item["leads_to"], item["owner"]) == ("/link", "/a/b/file", "ann")
    assert (item["read"], item["write"], item["execute"]) == (["root", "ann", "bob", "cat"], ["root", "ann"], [])
    assert item["because"]["read"]["bob"] == "its ACL, by name"
    text = reconciler("access", "/link", root=root, check=0).stdout
    assert "  write    root: root\n" in text
    assert "bob: its ACL, by name" in text
    assert (
        reconciler("access", "/nowhere", root=root, check=64).stderr
        == "reconciler: /nowhere: no such file or directory\n"
    )


@pytest.mark.parametrize(
    "line",
    ["g:x:4100:ann", "g:x:4100:ann,bob:more", "g:x:4100: ann,", "g:x:4100:bob,ann::", "g:x:4100:", "g:x:4100:ann :"],
)
def test_who_is_in_a_group_is_what_the_c_library_reads(line: str, tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    (root / "etc/passwd").write_text("root:x:0:0::/:/bin/sh\nann:x:4001:4001::/:/bin/sh\nbob:x:4002:4002::/:/bin/sh\n")
    (root / "etc/group").write_text(line + "\n")
    told = listed(root / "etc/group", "g")
    people = {person.name: person.gids for person in Scene(FileObserver(str(root))).persons}
    assert [name for name in ("ann", "bob") if 4100 in people[name]] == [n for n in ("ann", "bob") if n in told]
