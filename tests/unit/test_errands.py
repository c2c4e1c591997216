"""The four errands of CONTRIBUTING, followed to the letter in a copy of the product."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.worlds import REPO, system

BLOCK = re.compile(r"`(reconciler/[\w/.]+)`[^`]*?:\n\n```\w+\n(.*?)```", re.DOTALL)
Ask = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The product with what the page says put in place."""
    where = tmp_path_factory.mktemp("errands")
    for name in ("reconciler", "tests", "contrib"):
        shutil.copytree(REPO / name, where / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(REPO / "pyproject.toml", where)
    blocks = BLOCK.findall((REPO / "CONTRIBUTING.md").read_text())
    assert len(blocks) == 4, [path for path, _ in blocks]
    for path, text in blocks:
        assert not (where / path).exists(), path
        (where / path).write_text(text)
    return where


@pytest.fixture
def ask(copy: Path) -> Ask:
    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *words], cwd=copy, env={**os.environ, "PYTHONPATH": str(copy)}, check=False,
            capture_output=True, text=True,
        )  # fmt: skip

    return run


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return system(tmp_path / "root")


def test_a_kind_keeps_the_laws(ask: Ask, root: Path, tmp_path: Path) -> None:
    done = ask("-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/laws/test_located.py", "-k", "stamp")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "passed" in done.stdout
    (tmp_path / "d.yaml").write_text("deployment: d\nresources:\n  - stamp: /etc/agent/version\n    word: seven\n")
    ran = ask("-m", "reconciler", "--root", str(root), "apply", "--yes", str(tmp_path / "d.yaml"))
    assert ran.returncode == 0, ran.stderr
    assert (root / "etc/agent/version").read_text() == "seven\n"
    assert ask("-m", "reconciler", "--root", str(root), "uninstall", "d", "--yes").returncode == 0
    assert not (root / "etc/agent").exists()


def test_the_lens_laws_hold_too(ask: Ask) -> None:
    done = ask("-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/laws/test_lens.py", "-k", "every_kind")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


def test_a_command_is_there(ask: Ask, root: Path) -> None:
    assert "where" in ask("-m", "reconciler", "--help").stdout
    ran = ask("-m", "reconciler", "--root", str(root), "where")
    assert ran.stdout == f"{root}/var/lib/reconciler/events.db\n", ran.stderr


def test_a_report_form_is_there(ask: Ask, root: Path, tmp_path: Path) -> None:
    (tmp_path / "d.yaml").write_text("deployment: d\nresources:\n  - file: /etc/x\n    content: y\n")
    ran = ask("-m", "reconciler", "--root", str(root), "plan", "--format", "csv", str(tmp_path / "d.yaml"))
    assert ran.stdout.splitlines()[0] == "hosts,verb,address"
    assert ran.stdout.splitlines()[1].endswith(",create,file:/etc/x"), ran.stderr


def test_a_profile_is_there(ask: Ask, root: Path, tmp_path: Path) -> None:
    assert "pinger" in ask("-m", "reconciler", "profiles").stdout
    text = "deployment: pinger\nprofile: pinger\nmode: least-privilege\n"
    (tmp_path / "d.yaml").write_text(text)
    ran = ask("-m", "reconciler", "--root", str(root), "plan", str(tmp_path / "d.yaml"))
    assert ran.returncode == 0, ran.stderr
    assert "directory:/var/lib/pinger" in ran.stdout


@pytest.mark.parametrize("name", ["stamp", "where", "csv"])
def test_they_pass_the_checks(copy: Path, name: str) -> None:
    file = next(path for path in (copy / "reconciler").rglob(f"{name}.py"))
    done = subprocess.run(
        [str(Path(sys.executable).parent / "ruff"), "check", "--no-cache", str(file)], cwd=copy, check=False,
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
