"""A repository that others write, read with the program git: fetched, verified, and never checked out.

Nothing of the repository is executed or taken as configuration: no hooks, filters, attributes, submodules or links, and
only blobs that are regular files are read.  What is fetched lands in a bare repository of our own.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import resource
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from ..errors import HostError, Refused, Usage
from ..formats.text import printable
from ..host.files import FileObserver
from ..host.resolve import shut

SECONDS = 300
"""How long one call of git may take."""
LARGEST = 512 << 20
"""The largest file that git may write, in bytes; a pack that is larger is no desired state."""
FILE, FILES, ALL = 1 << 20, 10_000, 64 << 20
"""The largest file of the desired state, how many there may be, and how much they may be together."""
INCOMING = "refs/reconciler/incoming"
PROTOCOLS = ("https", "ssh", "file")
FIXED = {
    "core.hooksPath": "/dev/null",
    "core.fsmonitor": "false",
    "core.attributesFile": "/dev/null",
    "core.symlinks": "false",
    "core.quotePath": "false",
    "credential.helper": "",
    "fetch.recurseSubmodules": "false",
    "fetch.fsckObjects": "true",
    "transfer.fsckObjects": "true",
    "gc.auto": "0",
    "gpg.program": "gpg",
    "gpg.ssh.program": "ssh-keygen",
    "http.followRedirects": "initial",
    "http.lowSpeedLimit": "1000",
    "http.lowSpeedTime": "60",
    "log.showSignature": "false",
    "maintenance.auto": "false",
    "protocol.allow": "never",
    "submodule.recurse": "false",
    **{f"protocol.{name}.allow": "always" for name in PROTOCOLS},
}  # fmt: skip
"""What git is told on every call, above what any file says."""


HINTS = {
    "dubious ownership": "git reads a repository on this host only as its owner; chown it to root, or fetch it by ssh",
    "find remote ref": "a name alone is a branch; write refs/tags/NAME for a tag",
    "unable to access": "is the name right, and the host reachable from here?",
    "Permission denied (publickey": "name the key with --ssh-key",
    "terminal prompts disabled": "it wants a password; name a file with it by --credentials",
    "Host key verification failed": "put the server's key into root's ~/.ssh/known_hosts first",
}
"""What to do about what git says."""


@dataclass(frozen=True)
class Trust:
    """Whose signatures count."""

    allowed_signers: str | None = None
    """A file of this host in the form of ssh's allowed_signers."""
    gpg_home: str | None = None
    """A GnuPG home of this host, whose keys are those that count."""
    unsigned: bool = False
    """Whether commits count that nobody signed."""


@dataclass(frozen=True)
class Commit:
    """One commit of a repository, with who signed it."""

    repository: str
    ref: str
    id: str
    signer: str | None

    def origin(self, path: str) -> dict[str, str | None]:
        """What events and plans say of where a desired state is from."""
        return {
            "repository": self.repository, "ref": self.ref, "path": path, "commit": self.id, "signer": self.signer,
        }  # fmt: skip


class SourceError(HostError):
    """The repository cannot be reached or read; what was applied last stays in force."""


def checked_url(url: str) -> str:
    """The URL of a repository, if it may be used.

    >>> checked_url("https://git.example.org/ops/hosts.git")
    'https://git.example.org/ops/hosts.git'
    """
    if not url or url.startswith("-") or any(ord(c) < 33 or ord(c) == 127 for c in url):
        raise Usage(f"--repo {printable(url)}: is no URL of a repository")
    scheme, given, rest = url.partition("://")
    if given:
        if scheme not in PROTOCOLS:
            raise Usage(f"--repo {printable(url)}: {scheme}:// is not used; write https://, ssh:// or file://")
        user, at, _ = rest.partition("/")[0].rpartition("@")
        if at and (scheme != "ssh" or ":" in user):
            raise Usage(
                "--repo: a password or token in a URL ends up in logs; say --credentials FILE or --ssh-key FILE"
            )
    elif "::" in url or not (url.startswith("/") or re.fullmatch(r"[\w.-]+@[\w.-]+:[^:].*", url)):
        raise Usage(f"--repo {printable(url)}: write https://…, ssh://…, user@host:path or an absolute path")
    return url


def checked_ref(ref: str) -> str:
    """A branch, ref or commit, if it is a plain one.

    >>> checked_ref("main"), checked_ref("refs/tags/v1")
    ('main', 'refs/tags/v1')
    """
    plain = re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_./+@-]*", ref) and ".." not in ref and "@{" not in ref
    if not plain or ref.endswith((".lock", "/", ".")):
        raise Usage(f"--ref {printable(ref)}: is no name of a branch or tag, and no commit")
    return ref


def whole_ref(ref: str) -> str:
    """What is asked of the other side: a name alone is that of a branch, so that no tag can stand in for it.

    >>> whole_ref("main"), whole_ref("refs/tags/v1")
    ('refs/heads/main', 'refs/tags/v1')
    """
    commit = re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", ref)
    return ref if ref.startswith("refs/") or commit else f"refs/heads/{ref}"


def checked_path(path: str) -> str:
    """A directory or file inside the repository.

    >>> checked_path("./desired/")
    'desired'
    """
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if ".." in parts or path.startswith("/") or "\0" in path:
        raise Usage(f"--path {printable(path)}: write a path inside the repository")
    return "/".join(parts)


class Repository:
    """Our bare copy of somebody's repository."""

    def __init__(self, directory: str, url: str, *, credentials: str | None = None, ssh_key: str | None = None) -> None:
        """``directory``: where copies are kept; root's alone."""
        self.url = url
        self.place = os.path.join(directory, hashlib.sha256(url.encode()).hexdigest()[:24] + ".git")
        self._directory = directory
        self._more: dict[str, str] = {}
        self._ssh = ["ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=30", "-o", "ForwardAgent=no"]
        for option, path in (("--credentials", credentials), ("--ssh-key", ssh_key)):
            if path is not None and not re.fullmatch(r"/[A-Za-z0-9_./+@-]+", path):
                raise Usage(f"{option} {printable(path)}: write an absolute path without blanks or signs")
        if credentials is not None:
            self._more["credential.helper"] = f"store --file={credentials}"
        if ssh_key is not None:
            self._ssh += ["-i", ssh_key, "-o", "IdentitiesOnly=yes"]

    def environment(self, settings: Mapping[str, str]) -> dict[str, str]:
        """All that git sees of ours: these settings, no configuration of a user or the system, no prompt, no pager."""
        pairs = enumerate(settings.items())
        told = {
            f"GIT_CONFIG_{what}_{n}": text
            for n, item in pairs
            for what, text in zip(("KEY", "VALUE"), item, strict=True)
        }
        kept = {name: os.environ[name] for name in ("HOME", "SSH_AUTH_SOCK", "SSL_CERT_FILE") if name in os.environ}
        proxies = {name: value for name, value in os.environ.items() if name.lower() in ("https_proxy", "no_proxy")}
        return {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": "/root",
            **kept,
            **proxies,
            "LC_ALL": "C",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": "/dev/null",
            "GIT_CONFIG_SYSTEM": "/dev/null",
            "GIT_ATTR_NOSYSTEM": "1",
            "GIT_NO_REPLACE_OBJECTS": "1",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ASKPASS": "/bin/false",
            "SSH_ASKPASS": "/bin/false",
            "GIT_SSH_COMMAND": " ".join(self._ssh),
            "GIT_ALLOW_PROTOCOL": ":".join(PROTOCOLS),
            "GIT_PAGER": "cat",
            "GIT_CONFIG_COUNT": str(len(settings)),
            **told,
        }

    def git(
        self,
        *words: str,
        feed: bytes | None = None,
        fine: Sequence[int] = (0,),
        more: Mapping[str, str] | None = None,
        gpg_home: str = "/nonexistent",
        at: str | None = None,
    ) -> subprocess.CompletedProcess[bytes]:
        """Call git on our copy; an exit code that is not ``fine`` is a `SourceError` with what git said."""
        settings = {**FIXED, **self._more, **(more or {})}
        try:
            done = subprocess.run(
                ["git", f"--git-dir={at or self.place}", *words],
                input=feed if feed is not None else b"",
                capture_output=True,
                env={**self.environment(settings), "GNUPGHOME": gpg_home},
                cwd=self._directory,
                timeout=SECONDS,
                check=False,
                preexec_fn=_limited,
            )
        except subprocess.TimeoutExpired:
            raise SourceError(f"{self.url}: git {words[0]}: no end within {SECONDS} seconds") from None
        except OSError as error:
            raise HostError(f"git: cannot be started: {(error.strerror or '').lower()}; install git") from None
        if done.returncode not in fine:
            said = [line for line in done.stderr.decode("utf-8", "replace").splitlines() if line.strip()]
            # What ssh says comes first, and says more than that git could not read.
            told = (line for start in ("ssh:", "fatal:", "error:") for line in said if line.startswith(start))
            worst = next(told, said[-1] if said else "")
            hint = next((f"; {text}" for part, text in HINTS.items() if any(part in line for line in said)), "")
            raise SourceError(f"{self.url}: git {words[0]}: {printable(worst[:300]) or 'failed'}{hint}")
        return done

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep other runs off our copy."""
        os.makedirs(self._directory, 0o700, exist_ok=True)
        fd = os.open(f"{self.place}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)

    def fetch(self, ref: str) -> str:
        """Bring a branch, tag or commit here; its commit's id."""
        self._made_whole()
        words = ("--no-tags", "--no-auto-gc", "--no-recurse-submodules", "--no-write-fetch-head", "--quiet", "--force")
        self.git("fetch", *words, "--", self.url, f"+{whole_ref(ref)}:{INCOMING}")
        return self.id_of(f"{INCOMING}^{{commit}}")

    def _made_whole(self) -> None:
        """A copy that a kill left half-made or locked is made anew, or unlocked: nobody else works on it."""
        fresh = f"{self.place}.new"
        if os.path.isdir(self.place) and self.git("rev-parse", "--git-dir", fine=(0, 128)).returncode:
            shutil.rmtree(self.place)
        if not os.path.isdir(self.place):
            shutil.rmtree(fresh, ignore_errors=True)
            self.git("init", "--quiet", "--bare", "--template=", fresh, at=fresh)
            os.rename(fresh, self.place)
        for directory, _, names in os.walk(self.place):
            for name in names:
                if name.endswith(".lock"):
                    os.unlink(os.path.join(directory, name))

    def id_of(self, name: str) -> str:
        """The id of an object."""
        return self.git("rev-parse", "--verify", "--quiet", "--end-of-options", name).stdout.decode().strip()

    def follows(self, former: str, commit: str) -> bool:
        """Whether a commit has the former one in its history."""
        known = self.git("cat-file", "-e", f"{former}^{{commit}}", fine=(0, 1, 128)).returncode == 0
        return known and self.git("merge-base", "--is-ancestor", former, commit, fine=(0, 1)).returncode == 0

    def signer(self, ref: str, commit: str, trust: Trust) -> str | None:
        """Who signed the tag that was fetched, or the commit; refused where that is nobody who may."""
        tag = self.id_of(INCOMING)
        annotated = tag != commit and self.git("cat-file", "-t", tag).stdout.strip() == b"tag"
        reasons = []
        if annotated:
            called = re.search(rb"^tag (.*)$", self.git("cat-file", "tag", tag).stdout, re.MULTILINE)
            if called is None or os.fsdecode(called[1]) != ref.removeprefix("refs/tags/"):
                raise Refused(
                    f"{self.url}: the tag at {printable(ref)} was made under another name; nothing of it is used"
                )
        for what, name in (("tag", tag), ("commit", commit)) if annotated else (("commit", commit),):
            who, why = self._verified(what, name, trust)
            if who is not None:
                return who
            reasons.append(f"{what} {name[:12]} {why}")
        if trust.unsigned:
            return None
        raise Refused(f"{self.url}: {'; '.join(reasons)}; nothing of it is used")

    def _verified(self, what: str, name: str, trust: Trust) -> tuple[str | None, str]:
        """Who signed a commit or tag, or why nobody counts."""
        form = signature_form(what, self.git("cat-file", what, name).stdout)
        if form is None:
            return None, "is not signed"
        ssh = form == "ssh"
        if ssh and trust.allowed_signers is None:
            return None, "is signed with an SSH key, and no --allowed-signers says whose count"
        if not ssh and trust.gpg_home is None:
            return None, "is signed with an OpenPGP key, and no --gpg-home says whose count"
        more = {"gpg.ssh.allowedSignersFile": self._signers(trust) if ssh else "/dev/null"}
        home = "/nonexistent" if ssh or trust.gpg_home is None else trust.gpg_home
        done = self.git(f"verify-{what}", "--raw", name, fine=(0, 1), more=more, gpg_home=home)
        told = done.stderr.decode("utf-8", "replace") + done.stdout.decode("utf-8", "replace")
        who = ssh_principal(told) if ssh else gpg_signer(told)
        if done.returncode == 0 and who:
            return printable(who), ""
        return None, f"is signed by nobody in {trust.allowed_signers if ssh else trust.gpg_home}"

    def _signers(self, trust: Trust) -> str:
        """A copy of the file of allowed signers, read so that nobody but root can have written it."""
        assert trust.allowed_signers is not None
        path = os.path.abspath(trust.allowed_signers)
        file = FileObserver("/").read(path)
        if file is None:
            raise Usage(f"--allowed-signers {printable(path)}: no such file")
        if not shut(file.uid, file.mode):
            raise Refused(f"--allowed-signers {printable(path)}: others than root may write it; chown root, chmod go-w")
        copy = f"{self.place}.signers"
        fd = os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(fd, "wb") as written:
            written.write(file.data)
        return copy

    def read(self, commit: str, path: str) -> dict[str, bytes]:
        """The YAML files of a commit at or below a path, by their paths in the repository."""
        listed = self.git("ls-tree", "-r", "-z", "-l", "--full-tree", commit, "--", *([path] if path else [])).stdout
        wanted: dict[str, str] = {}
        total = 0
        for line in listed.split(b"\0")[:-1]:
            about, _, raw = line.partition(b"\t")
            mode, kind, name, size = about.decode().split()
            file = os.fsdecode(raw)
            hidden = any(part.startswith(".") for part in file[len(path) :].split("/"))
            if hidden or not file.endswith((".yaml", ".yml")):
                continue
            where = f"{printable(file)} in commit {commit[:12]}"
            if kind != "blob" or mode not in ("100644", "100755"):
                what = {"120000": "a symbolic link", "160000": "a submodule"}.get(mode, "no regular file")
                raise Refused(f"{self.url}: {where} is {what}; only regular files are read. Put the file itself there")
            total += int(size)
            if int(size) > FILE or total > ALL or len(wanted) >= FILES:
                raise Refused(
                    f"{self.url}: {where}: more than a desired state may be (1 MiB a file, 64 MiB, 10000 files)"
                )
            wanted[file] = name
        told = self.git("cat-file", "--batch", feed="".join(f"{name}\n" for name in wanted.values()).encode()).stdout
        found: dict[str, bytes] = {}
        for file in wanted:
            head, _, rest = told.partition(b"\n")
            size_ = int(head.split()[2])
            found[file], told = rest[:size_], rest[size_ + 1 :]
        return found


def _limited() -> None:
    """No file larger than a desired state can be, no core dumps, and an end when we end."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (LARGEST, LARGEST))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def signature_form(what: str, raw: bytes) -> str | None:
    """How a commit or tag is signed: ssh or openpgp; None where it is not."""
    if what == "commit":
        head = raw.partition(b"\n\n")[0]
        begins = re.findall(rb"^gpgsig(?:-sha256)? -----BEGIN ([A-Z ]+)-----$", head, re.MULTILINE)
    else:
        begins = re.findall(rb"^-----BEGIN ([A-Z ]+)-----$", raw, re.MULTILINE)[-1:]
    return None if not begins else "ssh" if begins[0] == b"SSH SIGNATURE" else "openpgp"


def ssh_principal(told: str) -> str | None:
    """The principal in what ssh-keygen says of a good signature."""
    found = re.search(r'^Good "git" signature for (.+) with \S+ key (SHA256:\S+)$', told, re.MULTILINE)
    return f"{found[1]} ({found[2]})" if found else None


def gpg_signer(told: str) -> str | None:
    """The signer in the status lines of gpg, where the signature is good and neither it nor the key is over."""
    good = re.search(r"^\[GNUPG:\] GOODSIG \S+ (.+)$", told, re.MULTILINE)
    valid = re.search(r"^\[GNUPG:\] VALIDSIG (\S+)", told, re.MULTILINE)
    bad = re.search(r"^\[GNUPG:\] (EXPSIG|EXPKEYSIG|REVKEYSIG|BADSIG|ERRSIG)", told, re.MULTILINE)
    return f"{good[1]} ({valid[1]})" if good and valid and not bad else None
