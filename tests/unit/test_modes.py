"""Modes mean what chmod means; capabilities what setcap means."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reconciler.formats.modes import apply_mode, check_mode, pack_capability, show_capability
from tests.effort import many

CLAUSES = st.builds(
    lambda who, sign, letters: who + sign + letters,
    st.sampled_from(["u", "g", "o", "a", "ug", "go"]), st.sampled_from(["+", "-", "="]),
    st.sampled_from(["r", "w", "x", "X", "rw", "rwX", "s", "rwxs", "", "rX"]),
)  # fmt: skip
SPECS = st.one_of(
    st.lists(CLAUSES, min_size=1, max_size=3).map(",".join), st.sampled_from(["0750", "644", "4755", "02750"])
)


@settings(max_examples=many(250), suppress_health_check=list(HealthCheck))
@given(spec=SPECS, mode=st.integers(0, 0o7777), directory=st.booleans())
def test_a_mode_is_what_chmod_makes_of_it(spec: str, mode: int, directory: bool, tmp_path: Path) -> None:
    path = tmp_path / "x"
    if directory:
        path.mkdir(exist_ok=True)
    else:
        path.touch()
    try:
        os.chmod(path, mode)
        start = path.stat().st_mode & 0o7777
        subprocess.run(["chmod", spec, str(path)], check=True)
        wanted = path.stat().st_mode & 0o7777
        if directory and spec.isdigit():
            wanted |= start & 0o2000  # as promised: octal never clears a directory's setgid
            wanted &= ~0o4000 | (int(spec, 8) & 0o4000)
        assert apply_mode(check_mode(spec), start, directory=directory) == wanted
    finally:
        path.chmod(0o700)
        path.rmdir() if directory else path.unlink()


def test_a_file_mode_with_x_gives_execution_only_where_it_was() -> None:
    assert apply_mode("u=rwX,g=rX,o=", 0o644, directory=False) == 0o640
    assert apply_mode("u=rwX,g=rX,o=", 0o744, directory=False) == 0o750


@pytest.mark.parametrize(
    "text", ["cap_net_raw+ep", "cap_net_raw,cap_kill+ep", "cap_sys_admin+p", "cap_checkpoint_restore+eip"]
)
def test_capabilities_are_what_setcap_writes(text: str, tmp_path: Path) -> None:
    if os.geteuid() != 0 or shutil.which("setcap", path="/usr/sbin:/sbin:/usr/bin") is None:
        pytest.skip("setcap needs root, and libcap2-bin")
    file = tmp_path / "x"
    file.touch()
    subprocess.run(["setcap", text, str(file)], check=True, env={"PATH": "/usr/sbin:/sbin:/usr/bin"})
    real = os.getxattr(file, "security.capability")
    assert pack_capability(text) == real
    assert show_capability(real) is not None
