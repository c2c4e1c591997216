"""Sudoers files as sudo's own converter reads them."""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.access.sudoers import Sudoers, names_person, sudoers
from tests.effort import many

RULES = [
    "root ALL=(ALL:ALL) ALL",
    "%sudo ALL=(ALL:ALL) NOPASSWD: ALL",
    'flxrasvc ALL=(root) NOPASSWD: /usr/sbin/dmidecode "", /usr/bin/ss -tlnp',
    "joe, ann ALL=(svc,www) /bin/ls, PASSWD: /bin/cat /var/log/*, (root) NOPASSWD: /usr/bin/id",
    "joe ALL = /bin/a : ALL = (svc) NOPASSWD: /bin/b",
    "User_Alias OPS = joe, %wheel : ADM = ann",
    "Cmnd_Alias SHELLS = /bin/sh, /bin/bash",
    "Runas_Alias DB = postgres, mysql",
    "OPS ALL=(DB) NOPASSWD:SETENV: /bin/x, !SHELLS",
    "#1000 ALL=(ALL) ALL",
    "%#27 ALL=NOEXEC: /usr/bin/vi",
    "!root, ALL ALL=(nobody) /bin/true",
    "Defaults:joe !authenticate",
    "Defaults env_reset, !lecture",
    "# a comment",
    "ann ALL=(root) sha256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU= /bin/sum",
    "joe ALL=(:adm) /bin/grp",
    "joe\\ x ALL=(root) /bin/with\\ blank",
    "ann ALL=(root) sudoedit /etc/motd",
    "joe ALL=(root) \\\n  NOPASSWD: /bin/joined",
    "joe ALL=(root) /opt/scripts/",
]


def read(text: str, more: dict[str, str] | None = None) -> Sudoers:
    files = {"/etc/sudoers": text, **(more or {})}

    def get(path: str) -> bytes | None:
        return files[path].encode() if path in files else None

    def names(directory: str) -> list[str]:
        return [path.rpartition("/")[2] for path in files if path.rpartition("/")[0] == directory]

    return sudoers(get, names, "host1")


def flat(found: Sudoers) -> set[tuple[frozenset[str], frozenset[str], str, bool]]:
    return {(frozenset(g.users), frozenset(g.runas), g.command.replace("\\ ", " "), g.password) for g in found.grants}


def theirs(text: str) -> set[tuple[frozenset[str], frozenset[str], str, bool]]:
    """What cvtsudoers says, in our words."""
    done = subprocess.run(["cvtsudoers", "-e", "-f", "json"], input=text, capture_output=True, text=True, check=True)
    said = json.loads(done.stdout or "{}")
    prefix = {"username": "", "usergroup": "%", "usergid": "%#", "userid": "#", "useralias": "", "runasalias": ""}
    found = set()

    def word(item: dict[str, object]) -> str:
        sign = "!" if item.get("negated") else ""
        key = next(k for k in item if k != "negated")
        name = str(item[key])
        return sign + (prefix[key] + name if not (key == "userid" and name.startswith("#")) else name)

    for spec in said.get("User_Specs", []):
        users = frozenset(word(item) for item in spec["User_List"])
        for command in spec["Cmnd_Specs"]:
            runas = frozenset(word(i) for i in command.get("runasusers", [])) or None
            if runas is None and command.get("runasgroups"):
                continue
            options = {k: v for item in command.get("Options", []) for k, v in item.items()}
            for item in command["Commands"]:
                name = ("!" if item.get("negated") else "") + str(item["command"])
                found.add((users, runas or frozenset({"root"}), name, options.get("authenticate", True) is not False))
    return found


@pytest.mark.skipif(shutil.which("cvtsudoers") is None, reason="sudo's own converter is not installed here")
@settings(max_examples=many(60))
@given(st.lists(st.sampled_from(RULES), unique=True, max_size=6))
def test_rules_are_read_as_sudo_reads_them(rules: list[str]) -> None:
    # Aliases have to be there before sudo agrees to use them.
    text = "\n".join([*(r for r in RULES if "_Alias" in r), *(r for r in rules if "_Alias" not in r)]) + "\n"
    mine = {grant for grant in flat(read(text)) if grant[2] != "/bin/grp"}
    assert mine == theirs(text)
    assert not read(text).problems


def test_includes_are_followed_and_what_sudo_passes_by_is_not_read() -> None:
    more = {
        "/etc/sudoers.d/b": "b ALL=(root) /bin/b",
        "/etc/sudoers.d/a": "a ALL=(root) /bin/a",
        "/etc/sudoers.d/c.bak": "c ALL=(root) /bin/c",
        "/etc/sudoers.d/d~": "d ALL=(root) /bin/d",
        "/etc/more": "e ALL=(root) /bin/e",
    }
    found = read(
        "@includedir /etc/sudoers.d\n#include /etc/more\n@include rel\n", {**more, "/etc/rel": "f ALL=(root) /bin/f"}
    )
    assert [(g.users[0], g.file, g.line) for g in found.grants] == [
        ("a", "/etc/sudoers.d/a", 1), ("b", "/etc/sudoers.d/b", 1), ("e", "/etc/more", 1), ("f", "/etc/rel", 1),
    ]  # fmt: skip


def test_a_file_that_includes_itself_ends() -> None:
    assert len(read("joe ALL=(root) /bin/x\n@include /etc/sudoers\n").grants) < 100


def test_rules_of_other_hosts_do_not_count() -> None:
    text = "a host1=(root) /bin/a\nb other=(root) /bin/b\nc ALL,!host1=(root) /bin/c\nd !other,host1=(root) /bin/d\n"
    assert [g.users[0] for g in read(text).grants] == ["a", "d"]


def test_what_cannot_be_read_is_named() -> None:
    assert read("joe ALL=\nann ALL=(root) /bin/x\n").problems == [("/etc/sudoers", 1, "joe ALL=")]


@pytest.mark.parametrize(
    ("words", "fits"),
    [
        (("joe",), True), (("ALL",), True), (("%adm",), True), (("%#4",), True), (("#1000",), True),
        (("ann",), False), (("%other",), False), (("ALL", "!joe"), False), (("!joe", "ALL"), True),
    ],
)  # fmt: skip
def test_whom_a_list_means(words: tuple[str, ...], fits: bool) -> None:
    assert names_person(words, "joe", 1000, {4: "adm", 1000: "joe"}) is fits
