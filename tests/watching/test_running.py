"""watch as a process, on a root directory: listeners of every sort, repositories, and a month of drift in a minute."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from reconciler.log.store import LogReader
from tests.gitops.remote import Remote
from tests.patience import stays, until
from tests.worlds import REPO, reconciler, stamps, system

DESIRED = """deployment: d
resources:
  - file: /etc/one.conf
    content: "one\\n"
  - file: /etc/two.conf
    content: "two\\n"
  - tree: /opt/agent
    owner: daemon
    group: daemon
    file_mode: "0640"
"""


class Running:
    """One watch."""

    def __init__(self, root: Path, *words: str | Path, env: dict[str, str] | None = None) -> None:
        self.root = root
        self.told = root.parent / "told"
        self.told.write_bytes(b"")
        command = [sys.executable, "-B", "-m", "reconciler", "--root", str(root), "watch", *map(str, words)]
        with open(self.told, "ab") as told:
            self.process = subprocess.Popen(
                command, stderr=told, stdout=told, stdin=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": str(REPO), **(env or {})},
            )  # fmt: skip

    def said(self) -> str:
        return self.told.read_text()

    def wait(self, done: Callable[[], object], seconds: float = 10) -> float:
        def here() -> object:
            assert self.process.poll() is None, self.said()
            return done()

        return until(here, seconds, self.said)

    def events(self) -> list[Any]:
        return list(LogReader(str(self.root / "var/lib/reconciler/events.db")).events())

    def end(self) -> str:
        if self.process.poll() is None:
            began = time.monotonic()
            self.process.send_signal(signal.SIGTERM)
            assert self.process.wait(10) == 0, self.said()
            assert time.monotonic() - began < 6
        assert "unexpected" not in self.said() and "Traceback" not in self.said(), self.said()
        return self.said()


@pytest.fixture
def place(tmp_path: Path) -> Path:
    tmp_path.chmod(0o755)
    root = system(tmp_path / "root")
    root.chmod(0o755)
    (root / "opt/agent/deep").mkdir(parents=True)
    for number in range(30):
        (root / f"opt/agent/deep/f{number}").write_text("x")
    (tmp_path / "desired").mkdir()
    (tmp_path / "desired/d.yaml").write_text(DESIRED)
    return tmp_path


@pytest.fixture
def start(place: Path) -> Iterator[Callable[..., Running]]:
    started: list[Running] = []

    def begin(*words: str | Path, env: dict[str, str] | None = None) -> Running:
        started.append(Running(place / "root", *words, env=env))
        started[-1].wait(lambda: "watching" in started[-1].said())
        return started[-1]

    yield begin
    for each in started:
        each.end()


class Listener:
    """Takes what is posted; slow, absent or well, as it is told."""

    def __init__(self) -> None:
        self.got: list[tuple[str, dict[str, str], bytes]] = []
        self.answer, self.delay = 204, 0.0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                time.sleep(outer.delay)
                outer.got.append((self.path, dict(self.headers), body))
                self.send_response(outer.answer)
                self.end_headers()

            def log_message(self, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = False
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    def end(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def listener() -> Iterator[Listener]:
    found = Listener()
    yield found
    found.end()


def test_an_edit_is_applied_and_drift_is_repaired(place: Path, start: Callable[..., Running]) -> None:
    watch, one = start(place / "desired"), place / "root/etc/one.conf"
    watch.wait(lambda: "converged" in watch.said())
    one.write_text("drift\n")
    assert watch.wait(lambda: one.read_text() == "one\n") < 6
    (place / "desired/d.yaml").write_text(DESIRED.replace('"one\\n"', '"uno\\n"'))
    watch.wait(lambda: one.read_text() == "uno\n")
    # A directory on the way goes and comes back.
    os.rename(place / "root/opt/agent", place / "root/opt/away")
    time.sleep(0.3)
    os.rename(place / "root/opt/away", place / "root/opt/agent")
    (place / "root/opt/agent/deep/f1").chmod(0o777)
    watch.wait(lambda: (place / "root/opt/agent/deep/f1").stat().st_mode & 0o777 == 0o640)
    watch.end()
    assert reconciler("log", "verify", root=place / "root", check=0)


def test_a_release_is_switched_by_replacing_a_link(place: Path, start: Callable[..., Running]) -> None:
    """However many links lead there, and whichever of them is replaced; the others are looked after as before."""
    one = place / "root/etc/one.conf"
    for name in ("uno", "due", "tre"):
        (place / f"releases/{name}").mkdir(parents=True)
        (place / f"releases/{name}/d.yaml").write_text(DESIRED.replace('"one\\n"', f'"{name}\\n"'))
    (place / "current").symlink_to("releases/uno")
    (place / "link").symlink_to(place / "current")
    watch = start(place / "link")
    watch.wait(lambda: "converged" in watch.said() and one.read_text() == "uno\n")
    for name in ("due", "tre"):
        (place / "next").symlink_to(place / f"releases/{name}")
        os.rename(place / "next", place / "current")
        watch.wait(lambda name=name: one.read_text() == f"{name}\n")  # type: ignore[misc]
        watch.wait(lambda: watch.events()[-1].type == "run.finished")
    shutil.rmtree(place / "releases/tre")
    watch.wait(lambda: "the last good state stays in force" in watch.said())
    (place / "releases/tre").mkdir()
    (place / "releases/tre/d.yaml").write_text(DESIRED.replace('"one\\n"', '"quattro\\n"'))
    watch.wait(lambda: one.read_text() == "quattro\n")


def test_nothing_is_done_after_its_own_writes(place: Path, start: Callable[..., Running]) -> None:
    watch = start(place / "desired")
    watch.wait(lambda: "converged" in watch.said())
    watch.wait(lambda: watch.events()[-1].type == "run.finished")
    before, seq = stamps(place / "root"), len(watch.events())

    def undisturbed() -> bool:
        now = stamps(place / "root")
        differ = {path for path in before | now if before.get(path) != now.get(path)}
        return all("var/lib/reconciler" in path for path in differ) and len(watch.events()) == seq

    stays(undisturbed, 1.5)
    watch.process.send_signal(signal.SIGHUP)
    stays(undisturbed, 1.5)


def test_one_watch_of_a_host_is_enough(place: Path, start: Callable[..., Running]) -> None:
    watch = start(place / "desired")
    second = reconciler("watch", place / "desired", root=place / "root", check=4)
    assert f"process {watch.process.pid}" in second.stderr
    watch.process.kill()
    watch.process.wait()
    start(place / "desired").end()


def test_a_dry_run_tells_once_and_writes_nothing(place: Path, start: Callable[..., Running]) -> None:
    before = stamps(place / "root")
    watch = start(place / "desired", "--dry-run")
    watch.wait(lambda: "a dry run" in watch.said())
    for _ in range(3):
        watch.process.send_signal(signal.SIGHUP)
        stays(lambda: stamps(place / "root") == before, 0.4)
    watch.end()
    assert stamps(place / "root") == before


def test_once_has_the_exit_codes_of_apply(place: Path) -> None:
    def once(*words: str) -> subprocess.CompletedProcess[str]:
        return reconciler("watch", "--once", place / "desired", *words, root=place / "root")

    assert once("--dry-run").returncode == 0 and not (place / "root/etc/one.conf").exists()
    assert once().returncode == 0 and (place / "root/etc/one.conf").exists()
    done = once()
    assert done.returncode == 0 and "all is as it should be" in done.stderr
    (place / "root/etc/one.conf").write_text("drift")
    assert once("--window", "00:00-00:01 UTC").returncode == 0 or time.gmtime().tm_hour == 0
    assert once("--max-changes", "0").returncode == 3
    (place / "desired/d.yaml").write_text("deployment: d\nresources: 7\n")
    broken = once()
    assert broken.returncode == 1 and "d.yaml:2:" in broken.stderr
    assert reconciler("watch", "/nowhere", root=place / "root").returncode == 64
    assert once("--because", "x", "--repo", "/x").returncode == 64


def test_cloudevents_reach_a_file_in_order_each_once(place: Path, start: Callable[..., Running]) -> None:
    out = place / "events.json"
    watch = start(place / "desired", "--cloudevents", out)
    watch.wait(lambda: "converged" in watch.said())
    (place / "root/etc/one.conf").write_text("drift\n")
    watch.wait(lambda: out.exists() and "drift.found" in out.read_text())
    watch.process.kill()
    watch.process.wait()
    (place / "root/etc/two.conf").write_text("drift\n")
    reconciler("suspend", "--why", "x", root=place / "root", check=0)
    reconciler("resume", root=place / "root", check=0)
    again = start(place / "desired", "--cloudevents", out)
    again.wait(lambda: (place / "root/etc/two.conf").read_text() == "two\n")
    again.wait(lambda: again.events()[-1].type == "run.finished")
    again.wait(lambda: f'"seq":{again.events()[-1].seq}' in out.read_text().replace(" ", ""))
    again.end()
    told = [json.loads(line) for line in out.read_text().splitlines()]
    seqs = [each["data"]["seq"] for each in told]
    assert sorted(set(seqs)) == list(range(1, max(seqs) + 1)), "at least once, and none is lost"
    assert len(seqs) - len(set(seqs)) <= 1, "twice is one that a kill kept from being noted"
    event = next(each for each in told if each["type"] == "org.reconciler.drift.found")
    assert (event["specversion"], event["subject"]) == ("1.0", "file:/etc/one.conf")
    assert event["source"].startswith("/hosts/") and event["data"]["data"]["fields"][0]["after"] == "drift\n"


def test_a_listener_that_hangs_keeps_no_repair_waiting(
    place: Path, start: Callable[..., Running], listener: Listener
) -> None:
    secret = place / "secret"
    secret.write_text("s3cret\n")
    secret.chmod(0o600)
    listener.delay = 1.5
    watch = start(place / "desired", "--cloudevents", listener.url, "--cloudevents-secret", secret)
    watch.wait(lambda: "converged" in watch.said())
    (place / "root/etc/one.conf").write_text("drift\n")
    assert watch.wait(lambda: (place / "root/etc/one.conf").read_text() == "one\n") < 6
    listener.delay, listener.answer = 0, 500
    refused = len(listener.got)
    watch.wait(lambda: len(listener.got) > refused)
    listener.answer = 204
    watch.wait(lambda: any(b"drift.found" in body for _, _, body in listener.got), 30)
    headers = listener.got[-1][1]
    assert headers["Content-Type"] == "application/cloudevents+json"
    assert headers["X-Reconciler-Signature"].startswith("sha256=")
    seqs = [json.loads(body)["data"]["seq"] for _, _, body in listener.got]
    assert seqs == sorted(seqs), "in order, and again what was refused"


def test_listeners_that_are_none_are_refused_at_once(place: Path) -> None:
    for words in (["--cloudevents", "http://example.org/x"], ["--cloudevents", "https://u:p@example.org/"],
                  ["--cloudevents", "-", "--cloudevents-secret", "/etc/passwd"], ["--metrics-port", "0"]):  # fmt: skip
        done = reconciler("watch", place / "desired", *words, root=place / "root")
        assert done.returncode == 64 and "Traceback" not in done.stderr, done.stderr


def test_metrics_in_a_file_and_on_the_loopback(place: Path, start: Callable[..., Running]) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    out = place / "metrics.prom"
    watch = start(place / "desired", "--metrics-file", out, "--metrics-port", str(port))
    watch.wait(lambda: "converged" in watch.said())
    (place / "root/etc/one.conf").write_text("drift\n")
    watch.wait(lambda: out.exists() and 'reconciler_drift_total{cause="' in out.read_text())
    text = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5).read().decode()
    assert 'kind="file",policy="enforce"} 1.0' in text and "reconciler_repair_seconds_count 1.0" in text
    assert 'reconciler_state{state="converged"} 1.0' in text and "reconciler_desired_broken 0.0" in text
    (place / "desired/d.yaml").write_text("deployment: [\n")
    watch.wait(lambda: "reconciler_desired_broken 1.0" in out.read_text())
    listening = [line.split()[1:4:2] for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    assert [place for place, state in listening if place.endswith(f":{port:04X}") and state == "0A"] == [
        f"0100007F:{port:04X}"
    ], "on the loopback and nowhere else"


def test_opentelemetry_gets_spans_and_records(place: Path, start: Callable[..., Running], listener: Listener) -> None:
    env = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": listener.url,
        "OTEL_BSP_SCHEDULE_DELAY": "200",
        "OTEL_BLRP_SCHEDULE_DELAY": "200",
    }
    watch = start(place / "desired", "--otel", env=env)
    watch.wait(lambda: "converged" in watch.said())
    (place / "root/etc/one.conf").write_text("drift\n")
    watch.wait(lambda: any(path == "/v1/traces" and b"repair" in body for path, _, body in list(listener.got)), 20)
    watch.wait(
        lambda: any(
            path == "/v1/logs" and b"repaired file:/etc/one.conf" in body for path, _, body in list(listener.got)
        ),
        20,
    )


def test_what_cannot_be_told_keeps_no_repair_waiting(place: Path, start: Callable[..., Running]) -> None:
    (place / "told.d").mkdir()
    watch = start(
        place / "desired", "--metrics-file", place / "told.d/x.prom", "--cloudevents", place / "told.d/x.json"
    )
    watch.wait(lambda: "converged" in watch.said())
    (place / "told.d/x.json").unlink()
    os.mkfifo(place / "told.d/x.json")
    one = place / "root/etc/one.conf"
    one.write_text("drift\n")
    watch.wait(lambda: one.read_text() == "one\n")
    watch.wait(lambda: "is no regular file; delivered later" in watch.said() or "no such device" in watch.said())
    gone = place / "gone.d"
    (place / "told.d").rename(gone)  # whatever is written there at this moment goes along
    shutil.rmtree(gone, ignore_errors=True)
    for _ in range(2):
        one.write_text("drift\n")
        watch.wait(lambda: one.read_text() == "one\n")
    watch.wait(lambda: "x.prom: no such file" in watch.said())
    stays(lambda: watch.said().count("x.prom: no such file") == 1, 1)


def test_a_flood_of_what_may_only_be_told_is_told_a_few_times(place: Path, start: Callable[..., Running]) -> None:
    reconciler("apply", place / "desired", "--yes", root=place / "root", check=0)
    span = "-".join(time.strftime("%H:%M", time.gmtime(time.time() + seconds)) for seconds in (7200, 7260))
    watch, path = start(place / "desired", "--window", f"{span} UTC"), place / "root/opt/agent/deep/f3"
    seq = len(watch.events())
    for number in range(40):
        path.chmod(0o700 + number)
        time.sleep(0.1)
    assert 1 <= len([e for e in watch.events()[seq:] if e.type == "drift.found"]) <= 5
    assert "waits for the maintenance window" in watch.said()


def test_a_log_that_goes_away_is_missed(place: Path, start: Callable[..., Running]) -> None:
    watch, one = start(place / "desired"), place / "root/etc/one.conf"
    watch.wait(lambda: "converged" in watch.said())
    os.rename(place / "root/var/lib/reconciler", place / "away")
    one.write_text("drift\n")
    watch.wait(lambda: "it was removed or replaced; put it back" in watch.said())
    assert one.read_text() == "drift\n" and not (place / "root/var/lib/reconciler/events.db").exists()
    shutil.rmtree(place / "root/var/lib/reconciler", ignore_errors=True)
    os.rename(place / "away", place / "root/var/lib/reconciler")
    watch.process.send_signal(signal.SIGHUP)
    watch.wait(lambda: one.read_text() == "one\n")


def test_a_resource_that_goes_is_given_back_and_no_drift(place: Path, start: Callable[..., Running]) -> None:
    watch = start(place / "desired")
    watch.wait(lambda: "converged" in watch.said())
    (place / "desired/d.yaml").write_text(DESIRED[: DESIRED.index("  - tree")])
    watch.wait(lambda: (place / "root/opt/agent/deep/f3").stat().st_uid == 0)
    watch.wait(lambda: watch.events()[-1].type == "run.finished")
    assert not [e for e in watch.events() if e.type == "drift.found"]


def test_a_collector_that_is_away_keeps_nobody_from_ending(place: Path, start: Callable[..., Running]) -> None:
    watch = start(place / "desired", "--otel", env={"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"})
    watch.wait(lambda: "converged" in watch.said())
    (place / "root/etc/one.conf").write_text("drift\n")
    watch.wait(lambda: "repaired" in watch.said())
    began = time.monotonic()
    watch.process.terminate()
    assert watch.process.wait(20) == 0 and time.monotonic() - began < 4


def test_the_branch_of_a_repository_is_followed_and_its_drift_repaired(
    place: Path, start: Callable[..., Running], tmp_path_factory: pytest.TempPathFactory
) -> None:
    remote = Remote(tmp_path_factory.mktemp("remote"))
    remote.commit({"desired/d.yaml": DESIRED})
    watch, one = start(*remote.trusted, "--interval", "1s"), place / "root/etc/one.conf"
    watch.wait(lambda: "converged" in watch.said() or "done" in watch.said())
    time.sleep(0.3)
    one.write_text("drift\n")
    assert watch.wait(lambda: one.read_text() == "one\n") < 6
    second = remote.commit({"desired/d.yaml": DESIRED.replace('"one\\n"', '"uno\\n"')})
    watch.wait(lambda: one.read_text() == "uno\n" and watch.events()[-1].type == "run.finished")
    one.write_text("drift\n")
    watch.wait(lambda: one.read_text() == "uno\n" and watch.events()[-1].type == "run.finished")
    run = [event for event in watch.events() if event.type == "run.started"][-1]
    assert run.data["commit"] == second and run.data["verb"] == "watch", "a repair names the commit that asks for it"
    reconciler("rollback", "--to", str(watch.events()[0].seq - 1), "--yes", root=place / "root", check=0)
    watch.wait(lambda: "held back" in watch.said())
    stays(lambda: not one.exists(), 3)


def test_a_month_of_drift_leaves_it_as_it_was(place: Path, start: Callable[..., Running]) -> None:
    """As many repairs as a month has hours, each of another file: no memory, descriptor or thread is left of them."""
    deep = place / "root/opt/agent/deep"
    for number in range(720):
        (deep / f"f{number}").write_text("x")
    watch = start(place / "desired")
    watch.wait(lambda: "converged" in watch.said())

    def repaired(path: Path) -> bool:
        return path.stat().st_mode & 0o777 == 0o640

    def repairs(first: int, last: int) -> None:
        for number in range(first, last, 5):
            paths = [deep / f"f{n}" for n in range(number, number + 5)]
            for path in paths:
                path.chmod(0o777)
            watch.wait(lambda paths=paths: all(map(repaired, paths)))  # type: ignore[misc]

    def facts() -> tuple[int, int, int]:
        time.sleep(1)
        base = Path(f"/proc/{watch.process.pid}")
        status = dict(line.split(":\t", 1) for line in (base / "status").read_text().splitlines())
        return int(status["VmRSS"].split()[0]), len(list((base / "fd").iterdir())), int(status["Threads"])

    repairs(0, 200)
    memory, descriptors, threads = facts()
    repairs(200, 720)
    later = facts()
    # The log's connections go when Python collects them, so that their number is not the same at any moment.
    assert later[1] <= descriptors + 8 and later[2] == threads
    assert later[0] < memory + 2048, f"{memory} kB before, {later[0]} kB after"
    found = [e for e in watch.events() if e.type == "drift.found"]
    assert 144 <= sum(e.data["count"] for e in found) <= 720 and all(
        e.data["cause"]["kind"] == "unknown" for e in found
    )
