"""A repository that others write, with people who sign."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    "HOME": "/nonexistent",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "LC_ALL": "C",
}


class Remote:
    """A repository with a work tree, and the keys of its people."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.work = directory, directory / "repo"
        self.work.mkdir(parents=True)
        self.git("init", "-q", "-b", "main", ".")
        for name, value in {"user.name": "Ops", "user.email": "ops@example.org", "gpg.format": "ssh"}.items():
            self.git("config", name, value)
        lines = []
        for who in ("ops", "mallory"):
            self.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(directory / who), "-C", who)
        key = (directory / "ops.pub").read_text().split()
        lines.append(f'ops@example.org namespaces="git" {key[0]} {key[1]}\n')
        self.signers = directory / "signers"
        self.signers.write_text("".join(lines))
        self.signers.chmod(0o644)

    def run(self, *words: str, more: dict[str, str] | None = None) -> str:
        done = subprocess.run(
            words, cwd=self.work, env={**ENVIRONMENT, **(more or {})}, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, (words, done.stderr)
        return done.stdout.strip()

    def git(self, *words: str, more: dict[str, str] | None = None) -> str:
        return self.run("git", *words, more=more)

    def put(self, files: dict[str, str | None]) -> None:
        for name, text in files.items():
            path = self.work / name
            if text is None:
                path.unlink()
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)

    def commit(self, files: dict[str, str | None] | None = None, *, by: str | None = "ops", again: str = "") -> str:
        """Commit files, signed by somebody or by nobody; the commit's id."""
        self.put(files or {})
        self.git("add", "-A")
        sign = (
            ["-c", f"user.signingkey={self.directory / by}.pub", "commit", "-S"] if by else ["commit", "--no-gpg-sign"]
        )
        self.git(*sign, "-q", "--allow-empty", "-m", again or "a change")
        return self.git("rev-parse", "HEAD")

    def gone(self) -> None:
        shutil.move(self.work, self.directory / "gone")

    def back(self) -> None:
        shutil.move(self.directory / "gone", self.work)

    @property
    def trusted(self) -> tuple[str, ...]:
        return ("--repo", str(self.work), "--allowed-signers", str(self.signers))
