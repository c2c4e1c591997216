"""Laws of every kind whose name is a path, one that somebody writes tomorrow included: only its examples are needed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import permutations, product
from pathlib import Path
from typing import Any

import pytest

from reconciler.core.kind import Context
from reconciler.desired.documents import parse
from reconciler.errors import Mistakes
from reconciler.kinds import kinds
from reconciler.model import Absent, State, Target, Unknown
from tests.drive import Bench, Killed, Mortal
from tests.laws.hosts import Node, file_host, inheriting_host, memory_host, snapshot

LOCATED = {name: kind for name, kind in kinds().items() if kind.located}
HOSTS = ["memory", "root", "inheriting"] if os.geteuid() == 0 else ["memory"]
EXAMPLES = [(name, n) for name, kind in LOCATED.items() for n in range(len(kind.examples))]


def resource(kind: str, number: int, path: str) -> str:
    return "  - " + kinds()[kind].examples[number].replace("PATH", path) + "\n"


def document(*resources: str) -> str:
    return "deployment: d\nresources:\n" + ("".join(resources) or "  []\n")


@pytest.fixture(params=HOSTS)
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    root, log = tmp_path / "root", tmp_path / "log"
    root.mkdir(mode=0o755)
    log.mkdir()
    made = {
        "memory": lambda: memory_host(),
        "root": lambda: file_host(root),
        "inheriting": lambda: inheriting_host(root),
    }
    yield Bench(made[request.param](), log)


def applied(bench: Bench, *resources: str) -> None:
    """The document is brought about, and once is enough."""
    before = snapshot(bench.observer())
    report = bench.apply(document(*resources))
    assert report.exit_code == 0, (report.outcome, report.blocked, report.skipped, report.transitions)
    seen = snapshot(bench.observer())
    for path, facts in seen.items():
        had = before[path][4] if path in before else {}
        got = {name for name in facts[4] if name.startswith("system.posix_acl") and facts[4][name] != had.get(name)}
        assert not got, f"{path} got {got} from its directory"
    again = bench.apply(document(*resources))
    assert again.run is None, ("twice is once", again.transitions)
    assert snapshot(bench.observer()) == seen


def uninstalled(bench: Bench, start: dict[str, Any]) -> None:
    if bench.known("d"):
        report = bench.uninstall("d")
        assert report.exit_code == 0, (report.outcome, report.blocked, report.skipped, report.transitions)
    assert snapshot(bench.observer()) == start


def states(host: Any, kind: Any, path: str) -> list[State]:
    """What its examples make of nothing, and nothing."""
    seen = kind.read(host, path)
    assert isinstance(seen, Absent)
    found: list[State] = [seen]
    for number in range(len(kind.examples)):
        text = document(resource(kind.name, number, path))
        wish = parse({"a.yaml": text.encode()}).documents[0].resources[0].resource
        target = Target(wish.address, "d", wish)
        found.append(kind.patch(seen, kind.values(host, target, seen, Context())))
    return found


@pytest.mark.parametrize("name", [name for name, kind in LOCATED.items() if not kind.spans])
def test_what_is_written_is_read_and_the_last_write_counts(bench: Bench, name: str) -> None:
    kind, host, path = LOCATED[name], bench.host(), "/n/x"
    for one, other in product(states(host, kind, path), repeat=2):
        for state in (one, other):
            if kind.encloses and isinstance(state, Absent) and host.names(path):
                continue  # what is in it by now goes with a plan alone
            kind.write(host, path, state)
            seen = kind.read(host, path)
            assert not isinstance(seen, Unknown)
            told = list(kind.fields(state))
            assert not kind.diff(kind.see(host, path, [(field, None) for field in told]), state), "put-get"
            before = snapshot(host)
            kind.write(host, path, seen)
            assert snapshot(host) == before, "get-put"


def test_every_located_kind_has_examples() -> None:
    assert [name for name, kind in LOCATED.items() if len(kind.examples) < 2] == []


@pytest.mark.parametrize(("kind", "number"), [each for each in EXAMPLES if not LOCATED[each[0]].spans])
@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("where", ["/n/a/l", "/n/l", "/n/a/b.d/l"])
def test_directories_made_for_two_are_both_theirs(
    bench: Bench, kind: str, number: int, where: str, *, first: bool
) -> None:
    start, other = snapshot(bench.observer()), "  - {file: /n/a/b, content: x}\n"
    mine = resource(kind, number, where)
    applied(bench, mine, other)
    uninstalled(bench, start)
    applied(bench, *((mine,) if first else (other,)))
    applied(bench, mine, other)
    applied(bench, *((other,) if first else (mine,)))
    uninstalled(bench, start)


@pytest.mark.parametrize(("kind", "number"), [each for each in EXAMPLES if LOCATED[each[0]].encloses])
@pytest.mark.parametrize("other", ["file: /n/a/b, content: x", "link: /n/a/b, target: x", "directory: /n/a/b"])
def test_what_was_made_for_something_is_made_anew_where_that_goes(
    bench: Bench, kind: str, number: int, other: str
) -> None:
    start, mine = snapshot(bench.observer()), resource(kind, number, "/n")
    for before, after in permutations([f"  - {{{other}}}\n", mine], 2):
        applied(bench, before)
        applied(bench, after)
        uninstalled(bench, start)


@pytest.mark.parametrize(("kind", "number"), EXAMPLES)
@pytest.mark.parametrize("order", ["together", "tree first", "inside first"])
@pytest.mark.parametrize(
    "around", ["{tree: /n, create: true, owner: svc}", "{tree: /opt/agent, owner: svc, file_mode: '0640'}"]
)
def test_it_steps_out_of_what_spans_it(bench: Bench, kind: str, number: int, order: str, around: str) -> None:
    top = "/n" if "/n" in around else "/opt/agent"
    start, outer, inner = snapshot(bench.observer()), f"  - {around}\n", resource(kind, number, f"{top}/l")
    if order == "tree first":
        applied(bench, outer)
    elif order == "inside first" and top != "/n":
        applied(bench, inner)
    applied(bench, outer, inner)
    if order == "tree first":
        applied(bench, outer)
        applied(bench, outer, inner)
    uninstalled(bench, start)


@pytest.mark.parametrize(("one", "other"), list(permutations(LOCATED, 2)))
def test_two_kinds_on_one_path_are_a_mistake(one: str, other: str) -> None:
    text = document(resource(one, 0, "/x/y"), resource(other, 0, "/x/y"))
    problems = _problems(text)
    assert any("belongs to" in problem for problem in problems), problems
    apart = [
        document(resource(one, 0, "/x/y")),
        document(resource(other, 0, "/x/y")).replace("deployment: d", "deployment: e"),
    ]
    assert any("already" in problem for problem in _problems(*apart))


@pytest.mark.parametrize("kind", LOCATED)
@pytest.mark.parametrize("path", ["/etc/passwd", "/etc/shadow", "/etc/group", "/etc/gshadow"])
def test_account_files_are_no_place_for_it(kind: str, path: str) -> None:
    assert any("alone" in problem for problem in _problems(document(resource(kind, 0, path))))


def _problems(*texts: str) -> list[str]:
    try:
        parse({f"{n}.yaml": text.encode() for n, text in enumerate(texts)})
    except Mistakes as error:
        return [str(mistake) for mistake in error.mistakes]
    return []


@pytest.mark.parametrize(("kind", "number"), EXAMPLES)
def test_it_comes_before_a_daemon_of_its_deployment(bench: Bench, kind: str, number: int) -> None:
    text = document("  - {daemon: agent, run_as: {user: svc}}\n", resource(kind, number, "/n"))
    steps = [(t.address.kind, t.verb) for t in bench.plan(text).transitions if t.verb != "stop"]
    last = max(n for n, (name, _) in enumerate(steps) if name == kind)
    assert last < min(n for n, (name, _) in enumerate(steps) if name == "daemon"), steps


@pytest.mark.parametrize("kind", LOCATED)
def test_any_edit_after_any_other_is_taken_back(bench: Bench, kind: str) -> None:
    start = snapshot(bench.observer())
    edits = ["", *(resource(kind, number, "/n/x") for number in range(len(kinds()[kind].examples)))]
    top = "  - {tree: /n, create: true}\n" if kind == "tree" else ""
    for before, after in permutations(edits, 2):
        applied(bench, top, before)
        there, seq = snapshot(bench.observer()), bench.seq()
        applied(bench, top, after)
        assert bench.rollback(seq).exit_code == 0
        assert snapshot(bench.observer()) == there, (before, after)
        applied(bench, top, after)
        uninstalled(bench, start)


@pytest.mark.parametrize("kind", LOCATED)
def test_what_stood_there_comes_back_whoever_put_it(bench: Bench, kind: str, tmp_path: Path) -> None:
    """Another log's work is anybody's work: what it left is the origin here."""
    top = "  - {tree: /n, create: true}\n" if kind == "tree" else ""
    (tmp_path / "other").mkdir()
    former = Bench(bench.observer(), tmp_path / "other")
    for number in range(len(kinds()[kind].examples)):
        assert former.apply(document(top, resource(kind, number, "/n/x"))).exit_code == 0
        start = snapshot(bench.observer())
        for after in range(len(kinds()[kind].examples)):
            applied(bench, resource(kind, after, "/n/x"))
            uninstalled(bench, start)


@pytest.mark.parametrize("kind", LOCATED)
@pytest.mark.parametrize("there", ["file", "directory", "link", "fifo"])
def test_something_else_in_its_place_blocks_and_stays(kind: str, there: str, tmp_path: Path) -> None:
    host = memory_host()
    host.nodes["/x"] = Node(
        there, 0o777 if there == "link" else 0o644, target="/etc/agent.conf" if there == "link" else ""
    )  # type: ignore[arg-type]
    start, bench = snapshot(host), Bench(host, tmp_path)
    report = bench.apply(document(resource(kind, 0, "/x")))
    if report.outcome == "refused":
        assert snapshot(host) == start
        assert all("/x" in str(each.reason) for each in report.blocked), report.blocked
    else:
        uninstalled(bench, start)


@pytest.mark.parametrize(("kind", "number"), EXAMPLES)
@pytest.mark.parametrize("verb", ["apply", "uninstall", "rollback"])
def test_death_at_any_change_leaves_nothing(kind: str, number: int, verb: str, tmp_path: Path) -> None:
    top = "  - {tree: /n, create: true}\n" if kind == "tree" else ""
    text = document(top, resource(kind, number, "/n/x"))
    for at in range(1, 40):
        for after in (False, True):
            host, directory = memory_host(), tmp_path / f"{at}{after}"
            directory.mkdir()
            bench, start = Bench(host, directory), snapshot(host)
            mortal = Mortal(host, at, after=after)
            if verb != "apply":
                applied(bench, text.removeprefix(document()[:-5]))
            try:
                match verb:
                    case "apply":
                        bench.apply(text, host=mortal)
                    case "uninstall":
                        bench.uninstall("d", host=mortal)
                    case _:
                        bench.rollback(0, host=mortal)
            except Killed:
                pass
            else:
                assert at > 1
                return
            bench.apply(text)
            uninstalled(bench, start)
    raise AssertionError("it never came to an end")
