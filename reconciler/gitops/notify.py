"""What came of a commit, told to others: a status file, a webhook, a commit status on GitHub or GitLab."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import ipaddress
import json
import os
import re
import signal
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from ..errors import HostError, Usage
from ..formats.text import printable
from ..host.files import FileObserver
from ..host.resolve import trusted
from ..model import Json

SECONDS = 20
STATES = {
    "github": {"ok": "success", "failed": "failure", "waiting": "pending"},
    "gitlab": {"ok": "success", "failed": "failed", "waiting": "pending"},
}
"""How the two call what came of a commit."""


@dataclass(frozen=True)
class Listeners:
    """Who is told."""

    status_file: str | None = None
    webhook: str | None = None
    webhook_secret: str | None = None
    """A file; the body is signed with what it holds, as GitHub signs webhooks."""
    github: str | None = None
    """OWNER/NAME."""
    github_api: str = "https://api.github.com"
    gitlab: str | None = None
    """The URL of a project."""
    token_file: str | None = None

    def check(self) -> None:
        """Refuse what could not be told safely."""
        for option, url in (("--webhook", self.webhook), ("--github-api", self.github_api), ("--gitlab", self.gitlab)):
            if url is not None and not _safe(url):
                raise Usage(
                    f"{option} {printable(url)}: write https://; http:// goes to this host's own addresses alone"
                )
        if self.github is not None and not re.fullmatch(r"[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+", self.github):
            raise Usage(f"--github {printable(self.github)}: write OWNER/NAME")
        if (self.github or self.gitlab) and self.token_file is None:
            raise Usage("--github and --gitlab need --token-file FILE, with a token that may set commit statuses")


def tell(listeners: Listeners, outcome: Json) -> list[str]:
    """Tell everybody; answers with what could not be told.

    ``outcome``: ``state`` (ok, failed, waiting), ``message``, ``commit``, ``repository``, ``host``, ``run`` and more.
    """
    problems = []
    for name, act in _acts(listeners, outcome):
        try:
            act()
        except HostError as error:
            problems.append(f"{name}: {printable(str(error))[:300]}")
        except OSError as error:
            problems.append(f"{name}: {(error.strerror or 'failed').lower()}")
        except (ValueError, http.client.HTTPException):
            # What was wrong may hold the token.
            problems.append(f"{name}: cannot be sent, or no answer that is one")
    return problems


def _acts(listeners: Listeners, outcome: Json) -> Iterator[tuple[str, Json]]:
    if listeners.status_file is not None:
        path = listeners.status_file
        yield path, lambda: write_status(path, outcome)
    if listeners.webhook is not None:
        yield "webhook", lambda: _hook(listeners, outcome)
    if not outcome.get("commit"):
        return
    text = f"{outcome['host']}: {outcome['message']}"[:140]
    if listeners.github is not None:
        url = f"{listeners.github_api}/repos/{listeners.github}/statuses/{outcome['commit']}"
        shape = {"state": STATES["github"][outcome["state"]], "description": text, "context": _context(outcome)}
        body = json.dumps(shape).encode()
        yield "github", lambda: _post(url, body, {"Authorization": f"Bearer {_secret(listeners.token_file)}"})
    if listeners.gitlab is not None:
        parts = urllib.parse.urlsplit(listeners.gitlab)
        project = urllib.parse.quote(parts.path.strip("/").removesuffix(".git"), safe="")
        there = f"{parts.scheme}://{parts.netloc}/api/v4/projects/{project}/statuses/{outcome['commit']}"
        told = {"state": STATES["gitlab"][outcome["state"]], "description": text, "name": _context(outcome)}
        sent = json.dumps(told).encode()
        yield "gitlab", lambda: _post(there, sent, {"PRIVATE-TOKEN": _secret(listeners.token_file)})


def _context(outcome: Json) -> str:
    return f"reconciler/{outcome['host']}"


def _hook(listeners: Listeners, outcome: Json) -> None:
    assert listeners.webhook is not None
    body = json.dumps(outcome).encode()
    _post(listeners.webhook, body, _signed(body, listeners.webhook_secret))


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A token goes where it was meant to go, and nowhere else."""

    def redirect_request(self, *args: Json, **more: Json) -> None:
        return None


def checked_listener(option: str, url: str, secret: str | None) -> None:
    """Refuse a listener that could not be told safely."""
    if not _safe(url):
        raise Usage(f"{option} {printable(url)}: write https://; http:// goes to this host's own addresses alone")
    if secret is not None:
        _secret(secret)


def posted(url: str, body: bytes, kind: str, secret: str | None) -> str:
    """Send something from a thread of its own; why it could not be sent, or nothing."""
    try:
        headers = {"Content-Type": kind, **_signed(body, secret)}
        told = {"User-Agent": "reconciler", **headers}
        request = urllib.request.Request(url, body, told, method="POST")  # noqa: S310 - checked
        with urllib.request.build_opener(_NoRedirect).open(request, timeout=SECONDS):
            return ""
    except HostError as error:
        return str(error)
    except urllib.error.HTTPError as error:
        return f"{_place(url)} answered {error.code}"
    except (OSError, ValueError, http.client.HTTPException):
        return f"{_place(url)}: cannot be reached, or gives no answer that is one"


def _signed(body: bytes, secret: str | None) -> dict[str, str]:
    """The header that says that a body is ours."""
    if secret is None:
        return {}
    signed = hmac.new(_secret(secret).encode(), body, hashlib.sha256).hexdigest()
    return {"X-Reconciler-Signature": f"sha256={signed}"}


def _post(url: str, body: bytes, headers: dict[str, str]) -> None:
    told = {"Content-Type": "application/json", "User-Agent": "reconciler", **headers}

    def over(number: int, frame: Json) -> None:  # noqa: ARG001 - a handler gets both
        raise HostError(f"{_place(url)}: no answer within {SECONDS} seconds")

    request = urllib.request.Request(url, body, told, method="POST")  # noqa: S310 - checked
    before = signal.signal(signal.SIGALRM, over)
    signal.alarm(SECONDS)
    try:
        with urllib.request.build_opener(_NoRedirect).open(request, timeout=SECONDS):
            pass
    except urllib.error.HTTPError as error:
        raise HostError(f"{_place(url)} answered {error.code} {error.reason}") from None
    except urllib.error.URLError as error:
        raise HostError(f"{_place(url)}: {error.reason}") from None
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _place(url: str) -> str:
    """Where a URL leads; its path may be a secret, as those of chat services are."""
    parts = urllib.parse.urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}"


def _safe(url: str) -> bool:
    parts = urllib.parse.urlsplit(url)
    if parts.username or parts.password or not parts.hostname or any(ord(c) < 33 for c in url):
        return False
    with suppress(ValueError):
        return parts.scheme == "https" or (parts.scheme == "http" and ipaddress.ip_address(parts.hostname).is_loopback)
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname == "localhost")


def _secret(path: str | None) -> str:
    """What a file of root's holds; it must not be readable for everybody."""
    file = FileObserver("/").read(os.path.abspath(path or ""))
    if file is None:
        raise HostError(f"{printable(path or '')}: no such file")
    if not trusted(file.uid) or file.mode & 0o077:
        raise HostError(f"{printable(path or '')}: others may read or write it; chown root, chmod 600")
    lines = file.data.decode("utf-8", "replace").split()
    if len(lines) != 1:
        raise HostError(f"{printable(path or '')}: holds {len(lines)} words, and not one secret alone")
    return lines[0]


def write_status(path: str, outcome: Json) -> None:
    """Put a status file in place as a whole; no link is followed."""
    told = (json.dumps(outcome, indent=2) + "\n").encode()
    directory, name = os.path.split(os.path.abspath(path))
    at = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        temporary = f".{name}.reconciler"
        with suppress(FileNotFoundError):
            os.unlink(temporary, dir_fd=at)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(temporary, flags, 0o644, dir_fd=at), "wb") as file:
            file.write(told)
        os.rename(temporary, name, src_dir_fd=at, dst_dir_fd=at)
    finally:
        os.close(at)
