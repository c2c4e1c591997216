"""adopt: what it writes describes what is there, so that planning it finds nothing to do."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from reconciler.app.adopt import Adopter, scalar
from reconciler.desired.layout import laid_out
from reconciler.engine.execute import Engine
from reconciler.formats.yaml import read
from reconciler.kinds import kinds
from reconciler.log.store import LogReader
from reconciler.model import Address
from tests.drive import Bench
from tests.effort import LONG, many
from tests.laws.hosts import memory_host
from tests.laws.test_machine import DOCUMENTS, document
from tests.worlds import managesoft, put, reconciler, stamps, system

THINGS = [
    "account:ann", "account:svc", "account:runner", "group:docker", "group:agents", "tree:/opt/agent", "tree:/opt/agent/data",
    "ini:/etc/agent.ini", "ini:/etc/made/up.ini", "file:/etc/agent.conf", "file:/etc/deep/er/x", "mapping:/etc/rsc",
    "daemon:agent", "daemon:nothing", "tree:/nowhere",
]  # fmt: skip


@settings(
    max_examples=many(60), derandomize=not LONG, phases=[Phase.generate, Phase.shrink], report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
@given(st.lists(DOCUMENTS, max_size=2), st.lists(st.sampled_from(THINGS), min_size=1, max_size=5, unique=True))
def test_what_is_adopted_is_there(before: list[dict[str, str | None]], things: list[str]) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        for directory in ("told", "fresh"):
            (Path(scratch) / directory).mkdir()
        bench = Bench(memory_host(), Path(scratch) / "told")
        for parts in before:
            bench.apply(document(parts))
        # With the log, and as on a host that never had one.
        for log in (bench.log, str(Path(scratch) / "fresh" / "events.db")):
            adopter = Adopter(Engine(bench.observer(), LogReader(log)), "adopted")
            text = adopter.document(map(kinds().address, things), {})
            assert laid_out("x", text.encode()) == text.encode()
            plan = Bench(bench.observer(), Path(log).parent).plan(text)
            assert not plan.transitions and not plan.blocked, text
            described = {str(_address(item)) for item in read("x", text.encode())[0][0].value["resources"]}
            told = " ".join(adopter.remarks)
            if before and "daemon:agent" in things and "run_as" in str(before[-1]["daemon"]):
                assert "user: svc" in text
            for thing in things:
                assert str(kinds().address(thing)) in described or str(kinds().address(thing)) in told, (thing, told)


def _address(item: dict[str, str]) -> Address:
    kind = next(key for key in item if key in kinds())
    return kinds().address(f"{kind}:{item[kind]}")


@given(st.text(st.characters(blacklist_categories=["Cs", "Cc"]), max_size=20))
def test_scalars_come_back(text: str) -> None:
    found, wrong = read("x", f"k: {scalar(text)}\n".encode())
    assert not wrong and found[0].value == {"k": text}


def test_the_command(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    root = managesoft(system(tmp_path / "root"))
    root.chmod(0o755)
    put(root, "etc/secret.ini", "[S]\nplain=1\npassword=s3cr3t-Xy1\nurl=https://x/?token=s3cr3t-Xy1\n[S]\nplain=1\n")
    put(root, "etc/private", "s3cr3t-Xy1\n")
    (root / "etc/private").chmod(0o600)
    before = stamps(root)
    desired = tmp_path / "desired"
    desired.mkdir()
    file = desired / "a.yaml"
    words = [
        "account:daemon",
        "/opt/managesoft",
        "/var/opt/managesoft",
        "/etc/managesoft.ini",
        "daemon:ndtask",
        "/etc/secret.ini",
    ]
    words += ["/etc/private", "/nowhere"]
    done = reconciler("adopt", *words, "--deployment", "agent", "--out", file, root=root, check=0)
    assert stamps(root) == before
    text = file.read_text()
    assert "deployment: agent" in text and "tree: /opt/managesoft" in text and "plain: " in text
    assert "s3cr3t" not in text + done.stderr + done.stdout
    assert done.stderr.count("is a secret") == 2 and "file:/nowhere: is not there" in done.stderr
    plan = reconciler("plan", desired, "--detailed-exitcode", root=root)
    assert plan.returncode == 0, plan.stdout
    reconciler("apply", desired, "--yes", root=root, check=0)
    assert {k: v for k, v in stamps(root).items() if "lib/reconciler" not in k and k != str(root / "var/lib/.")}
    # Only the keys that are asked for.
    section = "ManageSoft\\Common"
    one = reconciler(
        "adopt", "--key", "/etc/managesoft.ini", section, "UserInteractionLevel", "group:daemon", root=root, check=0
    )
    assert "Quiet" in one.stdout and "SSLCACertificateFile" not in one.stdout
    assert reconciler("adopt", root=root).returncode == 64
    assert reconciler("adopt", "nonsense:x", root=root).returncode == 64
    assert reconciler("adopt", "nonsense", root=root).returncode == 64


def test_what_the_log_calls_secret_and_odd_names_are_left_out(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    root = system(tmp_path / "root")
    root.chmod(0o755)
    (tmp_path / "key").write_text("TopSecretXYZ")
    source = f"{{secret: true, from: {{file: {tmp_path}/key}}}}"
    (tmp_path / "a.yaml").write_text(
        f"deployment: d\nresources:\n  - ini: /etc/agent.ini\n    mode: '0644'\n    set: {{Server: {{Key: {source}}}}}\n"
        f"  - file: /etc/agent.key\n    mode: '0644'\n    content: {source}\n"
    )
    reconciler("apply", tmp_path / "a.yaml", "--yes", root=root, check=0)
    put(root, "etc/x.json", '{"db_password": "TopSecretXYZ"}\n')
    put(root, "etc/app.ini", "[db]\nconn = TopSecretXYZ\n")
    (root / "etc/app.ini").chmod(0o600)
    words = ("/etc/agent.ini", "/etc/agent.key", "/etc/x.json", "/etc/app.ini")
    done = reconciler("adopt", *words, root=root, check=0)
    assert "TopSecret" not in done.stdout + done.stderr and "--key" in done.stderr
    for names in (("n\nl", 0o4711), ("\udcff", 0o600)):
        tree = root / "opt/t"
        for number in range(3):
            put(root, f"opt/t/{number}", "")
        odd = tree / names[0]
        odd.write_text("")
        odd.chmod(names[1])
        done = reconciler("adopt", "/opt/t", "group:daemon", root=root, check=0)
        assert "group: daemon" in done.stdout
        (tmp_path / "b.yaml").write_text(done.stdout)
        reconciler("plan", tmp_path / "b.yaml", "--detailed-exitcode", root=root, check=0)
        odd.unlink()
