"""Many hosts, one repository: groups and values of hosts."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.gitops.remote import Remote
from tests.worlds import reconciler, system

DOCUMENT = """\
deployment: web
match: {group: web}
resources:
  - ini: /etc/x.ini
    set: {S: {port: "${values.port}", who: "${values.who:-nobody} here"}}
  - account: "${values.account:-runner}"
    groups: ${values.more}
"""
FILES = {
    "web.yaml": DOCUMENT,
    "all.yaml": "deployment: all\nresources:\n  - file: /etc/all\n    content: hi\n",
    "groups/web.yaml": "values: {port: '80', more: [docker?]}\n",
    "groups/dmz.yaml": "values: {port: '443'}\n",
    "hosts/web-1.yaml": "groups: [web]\nvalues: {who: me}\n",
    "hosts/web-2.example.org.yaml": "groups: [web, dmz]\n",
    "hosts/db-1.yaml": "groups: [dmz]\n",
}


@pytest.fixture
def desired(tmp_path: Path) -> Path:
    folder = tmp_path / "desired"
    write(folder, FILES)
    return folder


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = system(tmp_path / "root")
    made.chmod(0o755)
    (made / "etc/hostname").write_text("web-1\n")
    return made


def test_each_host_gets_what_is_for_it(desired: Path, root: Path) -> None:
    reconciler("validate", desired, check=0)
    reconciler("apply", desired, "--yes", root=root, check=0)
    assert (root / "etc/x.ini").read_text() == "[S]\nport=80\nwho=me here\n"
    assert (root / "etc/all").exists() and "runner:" in (root / "etc/passwd").read_text()


def test_a_plan_for_another_name(desired: Path, root: Path) -> None:
    told = reconciler("plan", desired, "--for-host", "web-2.example.org", root=root, check=0).stdout
    assert "443" in told and "nobody here" in told
    told = reconciler("plan", desired, "--for-host", "web-2", root=root, check=0).stdout
    assert "/etc/x.ini" not in told, "the short name of another host is no name of this one"
    told = reconciler("plan", desired, "--for-host", "web-1.example.org", root=root, check=0).stdout
    assert "me here" in told, "the part before the first dot is"
    told = reconciler("plan", desired, "--for-host", "db-1", root=root, check=0).stdout
    assert "/etc/x.ini" not in told and "/etc/all" in told
    assert reconciler("plan", desired, "--for-host", "x", "--out", "y", root=root).returncode == 64


def test_a_host_whose_name_cannot_be_read_is_unknown(desired: Path, root: Path) -> None:
    (root / "etc/hostname").unlink()
    done = reconciler("plan", desired, root=root)
    assert done.returncode == 1 and "no value 'port'" in done.stderr


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"hosts/web-1.yaml": "groups: [wb]\n"}, "no group 'wb'; there is no groups/wb.yaml; did you mean 'web'?"),
        ({"hosts/web-1.yaml": "group: [web]\n"}, "unknown key 'group'"),
        ({"hosts/web-1.yaml": "deployment: x\n"}, "a deployment among hosts and groups"),
        ({"hosts/web-1.yaml": "- x\n"}, "hosts/web-1.yaml:1"),
        ({"hosts/web-1.yml": "groups: []\n"}, "hosts/web-1 is there twice"),
        ({"groups/web.yaml": "values: {prt: '80', more: []}\n"}, "has no value 'port'; did you mean 'prt'?"),
        ({"groups/web.yaml": "values: {port: [1], more: x}\n"}, "not a list"),
        ({"groups/web.yaml": "values: {'a b': x}\n"}, "groups/web.yaml:1"),
        ({"web.yaml": DOCUMENT.replace("port:", '"${values.more}":')}, "is a list, in the middle of a text"),
        ({"web.yaml": DOCUMENT.replace("port:", '"${values.port}": a, "80":')}, "'80' is there twice for this host"),
        ({"web.yaml": DOCUMENT.replace("nobody", "x${values.more}")}, "a hole in the default of a hole"),
        ({"web.yaml": DOCUMENT.replace("who:-nobody", "my.name")}, "a hole that is none"),
    ],
)
def test_mistakes_name_their_line(desired: Path, files: dict[str, str], said: str) -> None:
    write(desired, files)
    done = reconciler("validate", desired)
    assert done.returncode == 1 and said in done.stderr, done.stderr


def test_values_come_with_the_commit(root: Path, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    remote = Remote(tmp_path / "remote")
    remote.commit({f"desired/{name}": text for name, text in FILES.items()})
    reconciler("sync", *remote.trusted, root=root, check=0)
    assert "me here" in (root / "etc/x.ini").read_text()
    remote.commit({"desired/hosts/web-1.yaml": "groups: [web]\nvalues: {who: you}\n"})
    reconciler("sync", *remote.trusted, root=root, check=0)
    assert "you here" in (root / "etc/x.ini").read_text()
