"""fmt and lint: files are laid out without a change of what they mean; what is seldom meant is named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.desired.layout import laid_out
from reconciler.errors import Mistakes
from reconciler.formats.yaml import read
from tests.laws.test_machine import DOCUMENTS, document
from tests.worlds import REPO, reconciler

UGLY = """\
# who runs as whom
deployment:   d   # the name
match: {hostname: "web-*",   os: linux}
resources:
- group: x
  gid: 810   # a number

- file: /etc/x
  mode: 0750
  content: |
    # no comment
    a

      b
# the tree
- tree: /opt/x
  except: {a: {mode: "0755"},
     b: {owner: root}}
---
deployment: e
resources: []
"""


def test_a_file_is_laid_out_and_says_the_same(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(UGLY)
    file.chmod(0o640)
    assert reconciler("fmt", tmp_path, "--check").returncode == 1 and file.read_text() == UGLY
    reconciler("fmt", tmp_path, check=0)
    text = file.read_text()
    assert "deployment: d" in text and "  - group: x\n    gid: 810" in text and "mode: 0750\n" in text
    assert text.count("#") == UGLY.count("#") and "    # the tree" not in text.split("tree: /opt")[1]
    assert file.stat().st_mode & 0o777 == 0o640
    assert [t.value for t in read("a", file.read_bytes())[0]] == [t.value for t in read("a", UGLY.encode())[0]]
    assert reconciler("fmt", tmp_path, "--check", check=0).stderr == ""


def test_a_file_with_mistakes_is_left(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("a: 1\na: 2\n")
    (tmp_path / "b.yaml").write_text("a:   1\n")
    done = reconciler("fmt", tmp_path)
    assert done.returncode == 1 and "a.yaml:2" in done.stderr
    assert (tmp_path / "a.yaml").read_text() == "a: 1\na: 2\n" and (tmp_path / "b.yaml").read_text() == "a: 1\n"


def test_the_examples_are_laid_out() -> None:
    reconciler("fmt", REPO / "desired", "--check", check=0)
    reconciler("lint", REPO / "desired", check=0)


@given(DOCUMENTS)
def test_layout_comes_to_rest(parts: dict[str, str | None]) -> None:
    made = laid_out("x.yaml", document(parts).encode())
    assert laid_out("x.yaml", made) == made


SCALARS = st.sampled_from(
    ["yes", "0750", "~", "null", "1.10", "1e3", "'a: b'", '"x#y"', "a b", "0x1f", "-", "a:b", "*"]
)
KEYS = st.from_regex(r"[a-z]{1,4}", fullmatch=True)
NODES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(lambda items: "[" + ", ".join(items) + "]"),
        st.dictionaries(KEYS, inner, min_size=1, max_size=3).map(
            lambda pairs: "{" + ", ".join(f"{k}: {v}" for k, v in pairs.items()) + "}"
        ),
    ),
    max_leaves=6,
)


@given(st.dictionaries(KEYS, st.tuples(NODES, st.sampled_from(["", "  # why", "\n\n# below"])), min_size=1, max_size=4))
def test_layout_changes_no_meaning_or_refuses(parts: dict[str, tuple[str, str]]) -> None:
    text = "".join(f"{key}:   {node}{tail}\n" for key, (node, tail) in parts.items())
    before, wrong = read("x", text.encode())
    if wrong:
        with pytest.raises(Mistakes):
            laid_out("x", text.encode())
        return
    made = laid_out("x", text.encode())
    assert [t.value for t in read("x", made)[0]] == [t.value for t in before]
    assert laid_out("x", made) == made


LINTS = [
    ("  - ini: /etc/x\n    set: {S: {db_password: abc}}\n", "in clear"),
    ("  - ini: /etc/x\n    set: {S: {db_password: {secret: true, from: {env: X}}}}\n", ""),
    ("  - file: /etc/x\n    mode: '0666'\n", "everybody write"),
    ("  - file: /etc/x\n    mode: '4755'\n", "setuid"),
    ("  - tree: /srv/x\n    directory_mode: '1777'\n", ""),
    ("  - tree: /srv/x\n    directory_mode: '0777'\n", "everybody write"),
    ("  - tree: /srv/x\n    file_mode: u=rwX,g=rX,o=\n", ""),
    ("  - tree: /srv/x\n    capabilities: {a: cap_sys_admin+ep}\n", "as much as root"),
    ("  - tree: /usr\n    owner: root\n    allow_protected: true\n", "protected"),
    ("  - file: /etc/sudoers.d/x\n    content: hi\n", "visudo"),
    ("  - file: /etc/sudoers.d/x\n    validate: visudo -cf {}\n    content: 'a ALL=(ALL) NOPASSWD: ALL'\n", "NOPASSWD"),
    ("  - mapping: /etc/rsc\n    fallback: root\n", "becomes root"),
]


@pytest.mark.parametrize(("resource", "said"), LINTS)
def test_lints(resource: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("deployment: d\nresources:\n" + resource)
    done = reconciler("lint", file)
    if not said:
        assert done.returncode == 0, done.stderr
        return
    assert done.returncode == 1 and f"{file}:3:5: " in done.stderr and said in done.stderr
    assert "abc" not in done.stderr
    told = json.loads(reconciler("lint", file, "--format", "json").stdout)
    assert not told["ok"] and told["problems"][0]["line"] == 3
    sarif = json.loads(reconciler("lint", file, "--format", "sarif").stdout)
    assert sarif["runs"][0]["results"][0]["ruleId"] == "lint"
    assert reconciler("lint", file, "--format", "github").stdout.startswith("::warning ")
