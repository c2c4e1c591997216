"""Make a golden log: a root with a history as this version writes it, to be read by every later version.

Usage, as root, once before a release: python contrib/dev/golden.py tests/golden/VERSION
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPO))
from tests.worlds import digest, managesoft, reconciler, system  # noqa: E402

FIRST = """deployment: managesoft
profile: managesoft
mode: least-privilege
with: {sudoers: 'false'}
resources:
  - file: /etc/deep/er/x
    content: one
    owner: daemon
"""


def main() -> None:
    """Build the root, apply, change, roll back, apply again; keep root, desired state and what was before."""
    target = Path(sys.argv[1])
    target.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as scratch:
        root = managesoft(system(Path(scratch) / "root"))
        before = digest(root)
        desired = target / "desired.yaml"
        for text in (FIRST, FIRST.replace("content: one", "content: two"), None, FIRST.replace("daemon", "root")):
            if text is None:
                reconciler("rollback", "--yes", root=root, check=0)
                continue
            desired.write_text(text)
            reconciler("apply", desired, "--yes", root=root, check=0)
        (target / "before.json").write_text(json.dumps(before, default=repr, indent=1, sort_keys=True) + "\n")
        tar = [
            "tar",
            "--format=pax",
            "--numeric-owner",
            "--xattrs",
            "-C",
            str(root),
            "-czf",
            str(target / "root.tar.gz"),
            ".",
        ]
        subprocess.run(tar, check=True)


if __name__ == "__main__":
    main()
