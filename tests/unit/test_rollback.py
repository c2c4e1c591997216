"""The state right after X is what X left; only a rollback without --to gives back what somebody else had changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.worlds import reconciler, system

YAML = """deployment: d
resources:
  - {file: /etc/colour, content: "blue", mode: "0640"}
  - {ini: /etc/agent.ini, set: {S: {colour: blue}}}
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Applied, changed by hand, corrected by a second run."""
    made = system(tmp_path / "root")
    (made / "etc/agent.ini").write_text("[S]\ncolour = red\nkeep = 1\n")
    (tmp_path / "d.yaml").write_text(YAML)
    reconciler("apply", tmp_path / "d.yaml", "--yes", root=made, check=0)
    (made / "etc/colour").write_text("by hand")
    (made / "etc/agent.ini").write_text("[S]\ncolour = by hand\nkeep = 1\n")
    reconciler("apply", tmp_path / "d.yaml", "--yes", root=made, check=0)
    return made


def test_right_after_a_run_is_what_it_left(root: Path) -> None:
    said = reconciler("rollback", "--to", "r1", "--yes", root=root, check=0).stdout
    assert (root / "etc/colour").read_text() == "blue"
    assert (root / "etc/agent.ini").read_text() == "[S]\ncolour = blue\nkeep = 1\n"
    assert "somebody else" not in said


def test_the_run_undone_gives_back_what_it_found_and_says_so(root: Path) -> None:
    said = reconciler("rollback", "--yes", root=root, check=0).stdout
    assert (root / "etc/colour").read_text() == "by hand"
    assert (root / "etc/agent.ini").read_text() == "[S]\ncolour = by hand\nkeep = 1\n"
    assert "file:/etc/colour: somebody else had changed content" in " ".join(said.split())
    assert "ini:/etc/agent.ini: somebody else had changed S.colour" in " ".join(said.split())


def test_a_drift_that_nobody_corrected_is_not_told(tmp_path: Path) -> None:
    made = system(tmp_path / "root")
    (tmp_path / "d.yaml").write_text(YAML)
    reconciler("apply", tmp_path / "d.yaml", "--yes", root=made, check=0)
    assert "somebody else" not in reconciler("rollback", "--yes", root=made, check=0).stdout
    assert not (made / "etc/colour").exists()
