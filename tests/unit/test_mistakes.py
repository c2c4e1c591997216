"""Wrong input: one clear line each, at its place, with no traceback, and the host untouched."""

from __future__ import annotations

import json
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from reconciler.desired.documents import parse
from reconciler.errors import Mistakes
from tests.worlds import reconciler, stamps, system

GOOD = "deployment: d\nresources:\n  - group: g\n"
R = "deployment: d\nresources:\n"
# text → line, and words that the answer has to hold
WRONG: dict[str, tuple[str, int, str]] = {
    "tab": ("deployment: d\nresources:\n\t- group: g\n", 3, "tab"),
    "doubled key": ("deployment: d\ndeployment: e\n", 2, "given twice.*line 1"),
    "merge key": (R + "  - group: g\n    <<: {}\n", 4, "merge key"),
    "tag": (R + "  - group: !!python/object:os.system g\n", 3, "tag"),
    "control character": ("deployment: d\x07\n", 1, "control character"),
    "escape": ("deployment: d\x1b[31m\n", 1, "control character"),
    "latin-1": ("deployment: d\n# M\udcfcller\n", 2, "UTF-8"),
    "unbalanced": (R + "  - {group: g\n", 4, "not YAML"),
    "two colons": ("deployment: d: e\n", 1, "second ':'"),
    "unknown alias": (R + "  - group: *nowhere\n", 3, "no anchor"),
    "old version": ("%YAML 1.1\n---\ndeployment: d\n", 1, "YAML 1.2"),
    "new version": ("%YAML 1.3\n---\ndeployment: d\n", 1, "YAML"),
    "empty file": ("", 1, "no deployment"),
    "comment only": ("# nothing\n", 1, "no deployment"),
    "a list": ("- deployment: d\n", 1, "not a mapping"),
    "a text": ("deployment\n", 1, "not a mapping"),
    "no deployment": ("resources: []\n", 1, "'deployment' is missing"),
    "empty deployment": ("deployment:\n", 1, "no value"),
    "bad deployment": ("deployment: 'a b'\n", 1, "cannot be"),
    "misspelt key": ("deployment: d\nresorces: []\n", 2, "did you mean 'resources'"),
    "misspelt kind": (R + "  - acount: x\n", 3, "did you mean 'account'"),
    "kind not first": (R + "  - system: true\n    group: g\n", 3, "the kind comes first"),
    "misspelt resource key": (R + "  - account: x\n    shel: /bin/sh\n", 4, "did you mean 'shell'"),
    "another tool's kind": (R + "  - user: bob\n", 3, "did you mean 'account'"),
    "another tool's service": (R + "  - service: cron\n", 3, "did you mean 'daemon'"),
    "a package": (R + "  - package: agent\n", 3, "not installed from here"),
    "another tool's key": (R + "  - file: /etc/x\n    user: bob\n", 4, "did you mean 'owner'"),
    "a state": (R + "  - file: /etc/x\n    state: absent\n", 4, "given back"),
    "a home to be made": (R + "  - account: bob\n    create_home: true\n", 4, "'- directory: HOME' makes it"),
    "a name of 33 letters": (R + f"  - account: {'a' * 33}\n", 3, "32 at most"),
    "a checker of another tool": (R + "  - {file: /etc/x, content: x, validate: visudo -cf %s}\n", 3, "write {}"),
    "one number for two": (R + "  - {group: a, gid: 700}\n  - {group: b, gid: 700}\n", 4, "asked for by group:a"),
    "misspelt inner key": (R + "  - tree: /opt/x\n    except: {a: {ownr: x}}\n", 4, "did you mean 'owner'"),
    "not a resource": (R + "  - group\n", 3, "not a resource"),
    "resources a mapping": ("deployment: d\nresources: {group: g}\n", 2, "not a list"),
    "relative path": (R + "  - file: etc/x\n", 3, "absolute path"),
    "path with dots": (R + "  - file: /etc/../x\n", 3, "'..'"),
    "bad account name": (R + "  - account: 'a b'\n", 3, "letters"),
    "bad number": (R + "  - group: g\n    gid: 0750\n", 4, "plain decimal number"),
    "underscored number": (R + "  - group: g\n    gid: 1_000\n", 4, "plain decimal number"),
    "negative number": (R + "  - group: g\n    gid: -1\n", 4, "number"),
    "huge number": (R + "  - group: g\n    gid: 99999999999\n", 4, "4294967294"),
    "not a yes": (R + "  - daemon: x\n    running: maybe\n", 4, "yes or no"),
    "bad mode": (R + "  - file: /etc/x\n    mode: rw-r--r--\n", 4, "no mode"),
    "mode of nines": (R + "  - file: /etc/x\n    mode: 999\n", 4, "no mode"),
    "bad capability": (R + "  - tree: /opt/x\n    capabilities: {a: cap_nonsense+ep}\n", 4, "capability"),
    "bad ambient": (R + "  - daemon: x\n    ambient_capabilities: [FOO]\n", 4, "capability"),
    "bad enum": (R + "  - account: x\n    password: lockd\n", 4, "did you mean 'locked'"),
    "null value": (R + "  - account: x\n    comment: ~\n", 4, "no value"),
    "list for text": (R + "  - account: x\n    comment: [a]\n", 4, "not text"),
    "text for list": (R + "  - account: x\n    groups: docker\n", 4, "not a list"),
    "text for mapping": (R + "  - ini: /etc/x\n    set: a=b\n", 4, "not a mapping"),
    "multi-line ini value": (R + '  - ini: /etc/x\n    set: {S: {k: "a\\nb"}}\n', 4, "cannot be"),
    "unwritable ini key": (R + "  - ini: /etc/x\n    set: {S: {'#k': v}}\n", 4, "name of a key"),
    "set and unset": (R + "  - ini: /etc/x\n    set: {S: {k: v}}\n    unset: {S: [k]}\n", 3, "asked for twice"),
    "protected path": (R + "  - tree: /etc\n", 3, "belongs to the system"),
    "protected root": (R + "  - tree: /\n", 3, "belongs to the system"),
    "accounts as file": (R + "  - file: /etc/passwd\n    content: x\n", 3, "account:"),
    "doubled address": (R + "  - group: g\n  - group: g\n", 4, "there already"),
    "two kinds of one path": (R + "  - file: /etc/x\n  - ini: /etc/x\n", 4, "belongs to 'file: /etc/x' already"),
    "unknown after": (R + "  - group: g\n    after: [group:h]\n", 3, "does not have"),
    "cycle": (R + "  - group: g\n    after: [group:h]\n  - group: h\n    after: [group:g]\n", 3, "cycle"),
    "unknown restart_on": (R + "  - daemon: x\n    restart_on: [ini:/etc/x]\n", 3, "does not have"),
    "unknown profile": ("deployment: d\nprofile: managsoft\nmode: x\n", 2, "did you mean 'managesoft'"),
    "unknown mode": ("deployment: d\nprofile: managesoft\nmode: least\n", 3, "no mode"),
    "no mode": ("deployment: d\nprofile: managesoft\n", 2, "needs a mode"),
    "mode without profile": ("deployment: d\nmode: x\n", 2, "without a profile"),
    "unknown parameter": ("deployment: d\nprofile: managesoft\nmode: default\nwith: {instal_dir: /x}\n", 4, "install_dir"),
    "bad parameter": ("deployment: d\nprofile: managesoft\nmode: default\nwith: {install_dir: x}\n", 4, "absolute path"),
    "unknown fact": ("deployment: d\nmatch: {hostnam: x}\n", 2, "did you mean 'hostname'"),
    "bad policy": ("deployment: d\npolicy: enforced\n", 2, "did you mean 'enforce'"),
    "inner path up": (R + "  - tree: /opt/x\n    except: {../y: {owner: a}}\n", 4, "no path below"),
    "hidden key": (R + "  - group: g\n    implied_by: x\n", 4, "unknown key"),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(WRONG))
def test_every_mistake_is_one_clear_line_at_its_place(name: str) -> None:
    text, line, words = WRONG[name]
    with pytest.raises(Mistakes) as caught:
        parse({"x.yaml": text.encode("utf-8", "surrogateescape")})
    first = str(caught.value).splitlines()[0]
    assert re.match(rf"x\.yaml:{line}:\d+: ", first), first
    assert re.search(words, first), first
    assert first.isprintable()


def test_all_mistakes_of_all_files_are_told_at_once(tmp_path: Path) -> None:
    root = system(tmp_path / "root")
    desired = tmp_path / "desired"
    desired.mkdir()
    for name, (text, _, _) in WRONG.items():
        (desired / f"{name.replace(' ', '-')}.yaml").write_bytes(text.encode("utf-8", "surrogateescape"))
    before = stamps(root)
    for words in (["validate"], ["plan"], ["apply", "--yes"], ["status"]):
        told = reconciler(*words, desired, root=None if words == ["validate"] else root, check=1)
        named = {line.split(":")[0].rsplit("/", 1)[1] for line in (told.stderr).splitlines() if ".yaml:" in line}
        assert named == {f"{name.replace(' ', '-')}.yaml" for name in WRONG}
    assert stamps(root) == before
    problems = json.loads(reconciler("validate", desired, "--format", "json", check=1).stdout)["problems"]
    assert {"file", "line", "column", "message", "hint"} == set(problems[0])


def test_different_wishes_of_two_deployments_name_both_lines() -> None:
    one = R + "  - group: g\n    gid: 800\n"
    with pytest.raises(Mistakes, match=r"b.yaml:3:5: group:g: gid is 801 here; 800 at a.yaml:3"):
        parse({"a.yaml": one.encode(), "b.yaml": one.replace("d\n", "e\n", 1).replace("800", "801").encode()})


def test_yaml_means_what_was_meant() -> None:
    text = (
        R
        + "  - file: /etc/x\n    mode: 0750\n    content: yes\n  - daemon: x\n    enabled: on\n    running: no\n  - ini: /etc/y\n    set: {S: {a: True, b: 1.10, c: 0x1F, d: 2020-01-01}}\n"
    )
    file, daemon, ini = (w.resource.model_dump() for w in parse({"x.yaml": text.encode()}).documents[0].resources)
    assert (file["mode"], file["content"]) == ("0750", "yes")
    assert (daemon["enabled"], daemon["running"]) == (True, False)
    assert ini["set"] == {"S": {"a": "True", "b": "1.10", "c": "0x1F", "d": "2020-01-01"}}


READS = """
import sys
from reconciler.desired.documents import load
from reconciler.errors import Mistakes
try:
    load(sys.argv[1:])
except Mistakes:
    print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
else:
    sys.exit("it was read")
"""
"""A process of its own: what other tests have used is not counted, as it would be in the peak that rusage tells."""


@pytest.mark.parametrize(
    "text",
    [
        "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(f"{c}: &{c} [{','.join(['*' + p] * 9)}]\n" for p, c in zip("abcdefgh", "bcdefghi", strict=True)),
        "deployment: d\nresources: " + "[" * 5000 + "]" * 5000,
        "- " * 5000 + "x\n",
        "deployment: d\nresources:\n" + "  - {a: b}\n" * 80000,
        "x" * 3_000_000,
    ],
    ids=["laughs", "brackets", "dashes", "many", "big"],
)  # fmt: skip
def test_a_bomb_ends_soon_and_small(text: str, tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(text)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    ended = subprocess.run(
        [sys.executable, "-c", READS, str(tmp_path)], check=False, capture_output=True, text=True, timeout=60
    )
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert ended.returncode == 0, ended.stderr
    assert spent.ru_utime - before.ru_utime < 10, "two seconds are asked; this bound is for slow machines"
    assert int(ended.stdout) < 600 * 1024


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["plna"], 64), (["plan", "--nonsense"], 64), (["plan", "/nowhere"], 64), (["plan", "--only", "x"], 64), (["apply"], 64),
        (["rollback", "--to", "nonsense"], 64), (["show"], 64), (["show", "r9"], 1), (["uninstall", "nothing"], 1),
        (["purge", "r9"], 1), (["profiles", "nothing"], 1), (["schema", "nothing"], 64), (["plan", "--root", ""], 64),
        (["plan", "--root", "/etc/hostname"], 1), (["plan", "--log", "/etc/hostname"], 1), (["history", "--limit", "x"], 64),
    ],
)  # fmt: skip
def test_wrong_usage_is_64_and_never_2(words: list[str], code: int, tmp_path: Path) -> None:
    root = system(tmp_path / "root")
    desired = tmp_path / "desired"
    desired.mkdir()
    (desired / "d.yaml").write_text(GOOD)
    place = None if "--root" in words else root
    done = reconciler(*words, root=place, cwd=tmp_path)
    assert done.returncode == code, (done.stdout, done.stderr)
    assert done.stderr.strip()
    assert all(ord(char) >= 32 or char == "\n" for char in done.stderr)
