"""Which language of lines a file is in, and that its own readers read what was asked for: git, configparser, and we."""

from __future__ import annotations

import configparser
import os
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reconciler.errors import HostError
from reconciler.formats.dialects import DIALECTS, guessed, other_language
from reconciler.formats.ini import IniFile, decoded
from reconciler.formats.replay import replayed
from reconciler.kinds.ini import Ini
from tests.effort import many

KNOWN = [
    ("/etc/managesoft.ini", "[ManageSoft\\Common]\nX=1\n", "ini"),
    ("/etc/app.ini", "key=1\n[S]\nk = v ; why\n", "ini"),
    ("/etc/mystery.conf", "", "ini"),
    ("/etc/agent.service", "", "systemd"),
    ("/etc/systemd/system/x.service.d/10-a.conf", "[Service]\nUser=x\n", "systemd"),
    ("/etc/systemd/journald.conf", "[Journal]\n#Storage=auto\n", "systemd"),
    ("/opt/unit.txt", "[Unit]\nDescription=x\n[Service]\nExecStart=/x\n", "systemd"),
    ("/etc/systemd/network/10-eth.network", "[Match]\nName=eth0\n", "systemd"),
    ("/etc/gitconfig", "[user]\n\tname = x\n", "git"),
    ("/srv/x/.git/config", "[core]\n\tbare = false\n", "git"),
    ("/opt/any", '[remote "origin"]\n\turl = x\n', "git"),
    ("/etc/mercurial/hgrc", "[paths]\ndefault = x\n", "hg"),
    ("/home/x/.hgrc", "[ui]\nusername = x\n", "hg"),
    ("/etc/zabbix/zabbix_agentd.conf", "# x\nServer=127.0.0.1\nUserParameter=a,b\nUserParameter=c,d\n", "properties"),
    ("/etc/default/agent", "OPTIONS='-x'\n", "properties"),
    ("/etc/sysconfig/agent", "A=1\n", "properties"),
    ("/opt/app/log4j.properties", "log4j.rootLogger=INFO\n", "properties"),
    ("/etc/os-release", "NAME=x\n", "properties"),
    ("/etc/php/8.2/cli/php.ini", "[PHP]\nengine = On\n", "php"),
    ("/etc/php/8.2/fpm/pool.d/www.conf", "[www]\nuser = www-data\n", "php"),
    ("/etc/mysql/my.cnf", "[mysqld]\nskip-networking\n", "mysql"),
    ("/etc/mysql/conf.d/x.cnf", "[mysqld]\n", "mysql"),
    ("/etc/my.cnf", "[client]\nport=1\n", "mysql"),
    ("/etc/samba/smb.conf", "[global]\n  workgroup = X\n", "samba"),
    ("/srv/x/setup.cfg", "[metadata]\nname = x\n", "configparser"),
    ("/srv/x/tox.ini", "[tox]\n", "configparser"),
]  # fmt: skip
OTHER = [
    ("/etc/agent.yaml", "a=1\n", "YAML"),
    ("/etc/datadog.conf", "logs: false\nprocess:\n  enabled: true\n", "YAML"),
    ("/etc/list.conf", "hosts:\n- a\n- b\n", "YAML"),
    ("/etc/x.conf", "---\nkey: 1\n", "YAML"),
    ("/etc/x.conf", "# c\n\n{\n \"a\": 1\n}\n", "JSON"),
    ("/etc/x.conf", "[\n {\"a\": 1}\n]\n", "JSON"),
    ("/etc/x.json", "", "JSON"),
    ("/etc/x.conf", "<?xml version='1.0'?>\n<a/>\n", "XML"),
    ("/etc/x.conf", "<VirtualHost *:80>\nA=1\n</VirtualHost>\n", "XML"),
    ("/etc/x.conf", "<!-- c -->\n<a/>\n", "XML"),
    ("/etc/telegraf.conf", "[agent]\n[[outputs.x]]\n  urls = [\n \"a\",\n ]\n", "TOML or the like"),
    ("/etc/x.conf", "[a]\nk = [\n 1,\n]\n", "TOML or the like"),
    ("/etc/x.conf", "k = '''\nx\n'''\n", "TOML or the like"),
    ("/etc/krb5.conf", "[realms]\n X = {\n  kdc = y\n }\n", "TOML or the like"),
    ("/etc/x.toml", "", "TOML"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "text", "dialect"), KNOWN)
def test_a_dialect_is_guessed(path: str, text: str, dialect: str) -> None:
    assert other_language(path, text) == ""
    sections = [line[1:-1] for line in text.splitlines() if line.startswith("[")]
    assert guessed(path, text, sections).name == dialect


@pytest.mark.parametrize(("path", "text", "language"), OTHER)
def test_another_language_is_told(path: str, text: str, language: str) -> None:
    assert other_language(path, text) == language


FIELD = {
    ".service": "systemd", ".socket": "systemd", ".timer": "systemd", ".properties": "properties",
    ".json": "JSON", ".yaml": "YAML", ".toml": "TOML", ".xml": "XML", ".gitconfig": "git", "setup.cfg": "configparser",
}  # fmt: skip
"""What the name says that its readers take it for."""


def field() -> Iterator[tuple[Path, bytes]]:
    """The files of lines that this machine has, a few of each sort and place."""
    taken: dict[tuple[str, str], int] = {}
    for top in ("/etc", "/usr/lib", "/usr/share", "/opt"):
        for directory, below, names in os.walk(top):
            below.sort()
            for name in sorted(names):
                path, suffix = Path(directory, name), Path(name).suffix or name
                if suffix not in {*FIELD, ".ini", ".cfg", ".cnf", ".conf", ".desktop", "config", "gitconfig"}:
                    continue
                sort = (suffix, str(path.parent.parent))
                if taken.get(sort, 0) < many(2, 20) and path.is_file() and path.stat().st_size < 50_000:
                    taken[sort] = taken.get(sort, 0) + 1
                    yield path, path.read_bytes()


def test_files_of_the_field_are_told_and_come_back() -> None:
    tried = 0
    for path, data in field():
        try:
            text = decoded(data)[0]
        except HostError:
            continue
        found = other_language(str(path), text) or guessed(str(path), text).name
        told = next((name for suffix, name in FIELD.items() if path.name.endswith(suffix)), found)
        assert found == told, path
        if found not in DIALECTS:
            continue
        tried += 1
        file = IniFile(data, dialect=DIALECTS[found])
        assert file.render() == data, path
        sections = list(dict.fromkeys(name for name, _, _ in file.sections())) if file.dialect.sections else [""]
        held = {(section, key): "new" for section in sections[:3] for key in ("added", "again")}
        held |= dict.fromkeys(file.pairs()[:2], "other")
        for name, value in held.items():
            file.put(*name, value)
            assert file.agrees(*name, value), (path, name)
        again = IniFile(file.render(), dialect=DIALECTS[found])
        wrong = [name for name, value in held.items() if not again.agrees(*name, value)]
        assert not wrong, path
        told_ = {"fold": False, "dialect": DIALECTS[found]}
        assert replayed(data, file.render(), None, held, {}, **told_) == data, path  # type: ignore[arg-type]
    assert tried > 20, "a machine without any files of lines proves nothing"


VALUES = st.text(st.characters(codec="ascii", exclude_characters="\r\n\x00\x0b\x0c\x1c\x1d\x1e\x1f\x85"), max_size=12)
ROWS = st.lists(
    st.sampled_from([
        "[s]", "[t]", "k = 1", "k=2", "  k = deep", "j =", "   more = text", "\tmore", "# c", "; c", "", "n = a,",
        "    b = c", "m: colon", "l = v # r", "word",
    ]),
    max_size=10,
)  # fmt: skip


@settings(max_examples=many(400), suppress_health_check=list(HealthCheck))
@given(rows=ROWS, key=st.sampled_from(["k", "j", "n", "new"]), value=VALUES)
def test_configparser_reads_what_was_asked_for(rows: list[str], key: str, value: str) -> None:
    data = "\n".join(["[s]", *rows]).encode()
    ours, dialect = IniFile(data, dialect=DIALECTS["configparser"]), DIALECTS["configparser"]
    if dialect.unreadable(value):
        return
    before = _parsed(data.decode())
    ours.put("s", key, value)
    after = _parsed(ours.render().decode())
    if before is None:
        return  # a file that its reader refuses has no meaning to keep
    assert after is not None
    assert after.pop(("s", key)) == value
    before.pop(("s", key), None)
    assert after == before


def _parsed(text: str) -> dict[tuple[str, str], str] | None:
    parser = configparser.RawConfigParser(strict=False)
    try:
        parser.read_string(text)
    except configparser.Error:
        return None
    return {(section, key): value for section in parser.sections() for key, value in parser.items(section)}


GIT_CHOICES = [
    "[s]", '[s "sub"]', "[T]", "k = 1", "\tk = 2", "other = x # r", "bare", "# c", "; c", "", "long = a \\\n  tail",
    'q = "a # b"', "K = 3",
]  # fmt: skip


@pytest.mark.parametrize("number", range(many(25, 400)))
def test_git_reads_what_was_asked_for(number: int, tmp_path: Path) -> None:
    dice = random.Random(number)
    rows = [dice.choice(GIT_CHOICES) for _ in range(dice.randint(0, 8))]
    data = "\n".join(["[s]", *rows, ""]).encode()
    path, value = tmp_path / "config", dice.choice(["x", "a b", "C:/x", "1=2", "", ["a", "b"], ["c"]])
    path.write_bytes(data)
    before = _listed(path)
    file = IniFile(data, dialect=DIALECTS["git"])
    file.put("s", "k", value if isinstance(value, str) else list(value))
    path.write_bytes(file.render())
    after = _listed(path)
    if before is None:
        return  # git refuses such a file
    assert after is not None
    wanted = [value] if isinstance(value, str) else value
    assert [v for k, v in after if k == "s.k"] == wanted
    assert [pair for pair in after if pair[0] != "s.k"] == [pair for pair in before if pair[0] != "s.k"]


def _listed(path: Path) -> list[tuple[str, str]] | None:
    done = subprocess.run(
        ["git", "config", "-z", "--file", str(path), "--list"], capture_output=True, check=False, text=True
    )
    if done.returncode:
        return None
    found = []
    for item in done.stdout.split("\0")[:-1]:
        key, _, value = item.partition("\n")
        found.append((key, value))
    return found


def test_every_dialect_can_be_asked_for() -> None:
    asked = Ini.model_json_schema()["properties"]["dialect"]["anyOf"][0]["enum"]
    assert set(asked) == set(DIALECTS)
