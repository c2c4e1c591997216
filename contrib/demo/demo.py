"""The tour: an agent moved to least privilege, drifted, repaired, rolled back and uninstalled, told step by step.

It works on a root of its own below a scratch directory, with the real command.  An ordinary user, who may not
give files away, takes the tour with modes and settings alone and is told what root would add.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from agentroot import managesoft, system

ROOT_YAML = """\
deployment: managesoft
profile: managesoft
mode: least-privilege
with: {{sudoers: {sudoers}}}
"""

USER_YAML = """\
deployment: managesoft
resources:
  - tree: /opt/managesoft
    directory_mode: "0750"
    file_mode: u=rwX,g=rX,o=
  - tree: /var/opt/managesoft
    directory_mode: "0750"
    file_mode: u=rwX,g=rX,o=
  - ini: /etc/managesoft.ini
    set:
      'ManageSoft\\Common': {LeastPrivilege: "True"}
  - daemon: ndtask
    run_as: {user: daemon}
"""


class Tour:
    """One walk through the product."""

    def __init__(self) -> None:
        self.scratch = Path(tempfile.mkdtemp(prefix="reconciler-demo-"))
        self.root = self.scratch / "root"
        self.desired = self.scratch / "desired"
        self.desired.mkdir()
        self.root.mkdir()
        self.is_root = os.geteuid() == 0
        system(self.root)
        managesoft(self.root)
        if not self.is_root:
            self._know_me()
        visudo = shutil.which("visudo", path="/usr/sbin:/usr/bin:/sbin:/bin")
        text = ROOT_YAML.format(sudoers="true" if visudo else "false") if self.is_root else USER_YAML
        (self.desired / "managesoft.yaml").write_text(text)

    def _know_me(self) -> None:
        """Let the root's own files know the user who takes the tour."""
        me = pwd.getpwuid(os.getuid())
        with (self.root / "etc/passwd").open("a") as passwd:
            passwd.write(f"{me.pw_name}:x:{me.pw_uid}:{me.pw_gid}::/:/bin/sh\n")
        with (self.root / "etc/group").open("a") as group:
            group.write(f"{me.pw_name}:x:{me.pw_gid}:\n")

    def say(self, text: str) -> None:
        """A line of the story."""
        bold, plain = ("\x1b[1m", "\x1b[0m") if sys.stdout.isatty() and not os.environ.get("NO_COLOR") else ("", "")
        print(f"\n{bold}── {text}{plain}", flush=True)

    def run(self, *words: str, expect: int = 0) -> str:
        """Run the command and show it as one would type it."""
        print(f"$ reconciler {' '.join(words)}", flush=True)
        command = [sys.executable, "-B", "-m", "reconciler", "--root", str(self.root), *words]
        done = subprocess.run(command, capture_output=True, text=True, cwd=self.scratch, check=False)
        text = done.stdout + done.stderr
        print(text.rstrip(), flush=True)
        if done.returncode != expect:
            sys.exit(f"the demo expected exit code {expect} and got {done.returncode}")
        return text

    def look(self) -> dict[str, tuple[object, ...]]:
        """Owner, mode, time and content of everything but the log."""
        found: dict[str, tuple[object, ...]] = {}
        for path in sorted(self.root.rglob("*")):
            name = f"/{path.relative_to(self.root)}"
            if name.startswith("/var/lib/reconciler") or name == "/etc/.pwd.lock" or path.is_symlink():
                continue
            info = path.stat()
            facts: tuple[object, ...] = (info.st_uid, info.st_gid, info.st_mode)
            # The account files are edited line by line, so their time moves on.
            timed = name not in ("/etc/passwd", "/etc/group", "/etc/shadow", "/etc/gshadow")
            found[name] = (*facts, path.read_bytes(), info.st_mtime_ns if timed else 0) if path.is_file() else facts
        return found

    def show(self) -> None:
        """Print owner, mode and size of some of the agent's files."""
        for path in ("opt/managesoft/bin/ndtrack", "var/opt/managesoft/etc/config.ini", "etc/managesoft.ini"):
            info = (self.root / path).stat()
            print(
                f"/{path}  uid {info.st_uid}  mode {info.st_mode & 0o7777:04o}  {info.st_size} bytes",
                flush=True,
            )

    def take(self) -> None:
        """The whole tour."""
        self.say("A host with the inventory agent in its default mode: everything belongs to whoever installed it.")
        self.show()
        start = self.look()
        self.say("What is asked for:")
        print((self.desired / "managesoft.yaml").read_text().rstrip())
        if not self.is_root:
            print("\n(You are not root. Root would add: the account and group flxrasvc, its ownership of both")
            print(" directories, and a sudoers fragment. 'sudo make demo' shows that.)")
        self.say("1. plan: what would happen, in order. It holds nothing that could write.")
        self.run("plan", "desired/")
        self.say("2. apply: the same, done; every step is logged before it happens.")
        self.run("apply", "desired/", "--yes")
        self.show()
        self.say("3. Twice is once.")
        self.run("apply", "desired/", "--yes")
        self.say("4. Somebody opens a binary to everybody and edits the agent's settings.")
        (self.root / "opt/managesoft/bin/ndtrack").chmod(0o777)
        ini = self.root / "etc/managesoft.ini"
        ini.write_bytes(
            ini.read_bytes()
            .replace(b"LeastPrivilege=True", b"LeastPrivilege=False")
            .replace(b"LeastPrivilege = True", b"LeastPrivilege = False")
        )
        self.run("status", "desired/")
        self.say("5. apply repairs exactly that.")
        self.run("apply", "desired/", "--yes")
        self.say("6. rollback undoes the last run, the drift that it corrected included; once more goes further back.")
        self.run("rollback", "--yes")
        self.run("status", "desired/")
        self.run("apply", "desired/", "--yes")
        self.say("7. uninstall gives back everything that the deployment ever took.")
        self.run("uninstall", "managesoft", "--yes")
        self.show()
        self.say("8. And the log says who did what, when, and proves that nobody changed the story.")
        self.run("history")
        self.run("log", "verify")
        if start != self.look():
            sys.exit("the demo's host is not as it was")
        self.say("The host is as it was, byte for byte.")


def main() -> None:
    """Take the tour and clear up."""
    tour = Tour()
    try:
        tour.take()
    finally:
        shutil.rmtree(tour.scratch, ignore_errors=True)


if __name__ == "__main__":
    main()
