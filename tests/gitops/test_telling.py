"""What came of a commit reaches those who listen, and a token reaches nobody else."""

from __future__ import annotations

import hashlib
import hmac
import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.gitops.remote import Remote
from tests.worlds import reconciler, system

TOKEN = "t0ken-Kq7"
ONE = "deployment: d\nresources:\n  - file: /etc/made\n    content: hi\n"


class Listener:
    def __init__(self) -> None:
        self.got: list[tuple[str, dict[str, str], bytes]] = []
        self.answer = 201
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.got.append((self.path, dict(self.headers), body))
                self.send_response(outer.answer)
                if outer.answer == 302:
                    self.send_header("Location", f"http://127.0.0.1:{outer.server.server_port}/elsewhere")
                self.end_headers()

            def log_message(self, *args: Any) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()


@pytest.fixture
def listener() -> Iterator[Listener]:
    found = Listener()
    yield found
    found.server.shutdown()
    found.server.server_close()
    found.thread.join()


@pytest.fixture
def world(tmp_path: Path) -> tuple[Path, Remote, Path]:
    tmp_path.chmod(0o755)
    root = system(tmp_path / "root")
    root.chmod(0o755)
    token = tmp_path / "token"
    token.write_text(TOKEN + "\n")
    token.chmod(0o600)
    return root, Remote(tmp_path / "remote"), token


def test_everybody_is_told_once_a_commit(world: tuple[Path, Remote, Path], listener: Listener, tmp_path: Path) -> None:
    root, remote, token = world
    commit = remote.commit({"desired/a.yaml": ONE})
    status = tmp_path / "status.json"
    words = (
        *remote.trusted, "--status-file", str(status), "--webhook", f"{listener.url}/hook", "--webhook-secret", str(token),
        "--github", "ops/hosts", "--github-api", listener.url, "--gitlab", f"{listener.url}/ops/sub/hosts",
        "--token-file", str(token),
    )  # fmt: skip
    said = ""
    for _ in range(2):
        done = reconciler("sync", *words, root=root, check=0)
        said += done.stdout + done.stderr
    paths = [path for path, _, _ in listener.got]
    assert paths[:3] == [
        "/hook",
        f"/repos/ops/hosts/statuses/{commit}",
        f"/api/v4/projects/ops%2Fsub%2Fhosts/statuses/{commit}",
    ]
    (_, headers, body), github, gitlab = listener.got[:3]
    told = json.loads(body)
    assert told["state"] == "ok" and told["commit"] == commit and told["run"] == "r1"
    signature = hmac.new(TOKEN.encode(), body, hashlib.sha256).hexdigest()
    assert headers["X-Reconciler-Signature"] == f"sha256={signature}"
    assert github[1]["Authorization"] == f"Bearer {TOKEN}" and json.loads(github[2])["state"] == "success"
    assert {k.lower(): v for k, v in gitlab[1].items()}["private-token"] == TOKEN and json.loads(gitlab[2])[
        "state"
    ] == "success"
    count = len(listener.got)
    assert count == 3, "the same is not told twice"
    assert json.loads(status.read_text())["commit"] == commit
    remote.commit({"desired/a.yaml": "deployment: [\n"})
    reconciler("sync", *words, root=root, check=1)
    assert json.loads(status.read_text())["state"] == "failed"
    assert json.loads(listener.got[count][2])["state"] == "failed"
    everything = said + "".join(p.read_bytes().decode("latin-1") for p in (root / "var").rglob("*") if p.is_file())
    assert TOKEN not in everything


def test_who_does_not_listen_stops_nothing_and_a_token_is_not_sent_on(
    world: tuple[Path, Remote, Path], listener: Listener
) -> None:
    root, remote, token = world
    remote.commit({"desired/a.yaml": ONE})
    listener.answer = 302
    words = (*remote.trusted, "--github", "ops/hosts", "--github-api", listener.url, "--token-file", str(token))
    done = reconciler("sync", *words, "--status-file", "/nonexistent/dir/x", root=root, check=0)
    assert (root / "etc/made").exists()
    assert done.stderr.count("could not be told") == 2 and "302" in done.stderr
    assert [path for path, _, _ in listener.got] == [listener.got[0][0]], "no redirect is followed"
    assert TOKEN not in done.stderr
    token.chmod(0o644)
    remote.commit({"desired/a.yaml": ONE.replace("hi", "ho")})
    assert "chmod 600" in reconciler("sync", *words, root=root, check=0).stderr


def test_a_status_file_follows_no_link(world: tuple[Path, Remote, Path], tmp_path: Path) -> None:
    root, remote, _ = world
    remote.commit({"desired/a.yaml": ONE})
    victim, status = tmp_path / "victim", tmp_path / "status.json"
    victim.write_text("mine")
    status.symlink_to(victim)
    (tmp_path / ".status.json.reconciler").symlink_to(victim)
    reconciler("sync", *remote.trusted, "--status-file", str(status), root=root, check=0)
    assert victim.read_text() == "mine" and json.loads(status.read_text())["state"] == "ok"


def test_answers_that_are_none_stop_nothing_and_are_told_again(
    world: tuple[Path, Remote, Path], listener: Listener
) -> None:
    root, remote, token = world
    remote.commit({"desired/a.yaml": ONE})
    with socket.create_server(("127.0.0.1", 0)) as odd:

        def answer() -> None:
            while True:
                try:
                    peer, _ = odd.accept()
                except OSError:
                    return
                peer.recv(9999)
                peer.sendall(b"garbage\r\n\r\n")
                peer.close()

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{odd.getsockname()[1]}/s3cret-path"
        for _ in range(2):
            done = reconciler("sync", *remote.trusted, "--webhook", url, root=root, check=0)
            assert "could not be told" in done.stderr and "s3cret-path" not in done.stderr
        # Closing alone would leave the thread in its accept for ever.
        odd.shutdown(socket.SHUT_RDWR)
        thread.join()
    token.write_text(f"{TOKEN}\n# expires 2027\n")
    words = ("--github", "ops/hosts", "--github-api", listener.url, "--token-file", str(token))
    done = reconciler("sync", *remote.trusted, *words, root=root, check=0)
    assert TOKEN not in done.stderr and "not one secret alone" in done.stderr
    token.write_text(f"{TOKEN}\n")
    reconciler("sync", *remote.trusted, *words, root=root, check=0)
    assert len(listener.got) == 1, "what could not be told is told at the next look"
