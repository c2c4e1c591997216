"""The language of the three files: every byte is kept, every line is read as typed options, dead lines are named."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.errors import HostError
from reconciler.rscd.accounts import Account, Listed
from reconciler.rscd.compare import differences, effective, said
from reconciler.rscd.lints import lints
from reconciler.rscd.resolver import Caller, Target, resolve
from reconciler.rscd.text import FILES, RscFile, entries

ACCOUNTS = Listed(
    (Account("root", 0), Account("nobody", 65534), Account("joe", 1000), Account("dock", 1001, frozenset({"docker"})))
)
HOSTS = ["*", "h1", "h2", "10.0.0.1", "10.0.0.0/8"]
WHO = ["A:joe", "A:*", "*:joe", "*:*", "joe", "*", "B:ann", "nouser"]
OPTIONS = ["rw", "ro", "map=root", "map=joe", "user=joe", "anon=-1", "hosts=h1", "hosts=h1:h2", "allowed=joe", "x=y"]
OPTION_LISTS = st.lists(st.sampled_from(OPTIONS), max_size=3).map(",".join)
GAPS = st.sampled_from([" ", "\t", "   "])
ENDS = st.sampled_from(["\n", "\r\n", " # why\n", "\n\n", "\n# rw\n"])
EXPORTS = st.lists(st.tuples(st.sampled_from(HOSTS), GAPS, OPTION_LISTS, ENDS).map("".join), max_size=4).map("".join)
USERS = st.lists(st.tuples(st.sampled_from(WHO), GAPS, OPTION_LISTS, ENDS).map("".join), max_size=5).map("".join)
WORLDS = st.fixed_dictionaries({"exports": EXPORTS, "users.local": USERS, "users": USERS}).map(
    lambda told: {name: text.encode() for name, text in told.items()}
)
CALLERS = st.builds(
    Caller,
    st.sampled_from(["h1", "h2", "h9"]),
    st.sampled_from(["joe", "ann", "root"]),
    st.sampled_from([None, "A", "B"]),
)
TARGET = Target(accounts=ACCOUNTS, resolve=lambda host: frozenset())


@given(st.binary().filter(lambda data: b"\0" not in data), st.sampled_from(FILES))
def test_every_byte_is_kept(data: bytes, name: str) -> None:
    file = RscFile(name, data)
    assert file.render() == data
    for entry in file.entries:
        assert file.lines[entry.number - 1].startswith(entry.text)


def test_nul_bytes_are_no_text() -> None:
    with pytest.raises(HostError, match="NUL"):
        RscFile("users", b"a\0b")


@given(WORLDS, CALLERS)
def test_the_fast_table_decides_as_reading_line_by_line_does(files: dict[str, bytes], who: Caller) -> None:
    """The rule of a granted answer is the first line in the order of files that is about the caller."""
    answer = resolve(files, who, TARGET)
    fitting = [
        entry
        for entry in [*entries(files, "users.local"), *entries(files, "users")]
        if not entry.nouser
        and ((entry.who.rpartition(":")[0] in (who.role, "*")) if who.role else ":" not in entry.who)
        and entry.who.rpartition(":")[2] in (who.user, "*")
        and (not entry.hosts or who.host in entry.hosts)
    ]
    if answer.rule is not None and answer.rule.file != "exports" and not answer.rule.nouser:
        assert answer.rule == fitting[0]
    if answer.decision == "granted" and fitting and fitting[0].value("map"):
        assert answer.rule == fitting[0]


@given(WORLDS, CALLERS)
def test_a_line_that_is_said_never_to_decide_can_go(files: dict[str, bytes], who: Caller) -> None:
    dead = {
        (f.file, f.line)
        for f in lints(files, TARGET)
        if "never decides" in f.message and "admits none" not in f.message
    }
    less = {
        name: b"".join(
            b"#\n" if (name, number + 1) in dead else line.encode()
            for number, line in enumerate(RscFile(name, data).lines)
        )
        for name, data in files.items()
    }
    assert resolve(files, who, TARGET).rights == resolve(less, who, TARGET).rights


@given(WORLDS, WORLDS, CALLERS)
def test_whose_rights_differ_is_told_for_every_caller(
    before: dict[str, bytes], after: dict[str, bytes], who: Caller
) -> None:
    if resolve(before, who, TARGET).rights != resolve(after, who, TARGET).rights:
        assert differences(before, after, TARGET)
    assert not differences(before, before, TARGET)


def found(files: dict[str, str], **more: object) -> list[str]:
    target = Target(accounts=ACCOUNTS, **more)  # type: ignore[arg-type]
    told = lints({name: text.encode() for name, text in files.items()}, target)
    return [f"{f.file}:{f.line}: {'! ' if f.danger else ''}{f.message}" for f in told]


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"exports": "* rw\n"}, "exports:1: ! every host may connect and write"),
        ({"exports": "# x\n"}, "exports:0: says nothing: nobody can connect"),
        ({}, "exports:0: is missing: nobody can connect"),
        ({"exports": "h1 rw,user=root\n"}, "exports:1: ! callers from h1 become root"),
        ({"exports": "h1 rw,anon=0\n"}, "exports:1: ! unknown users become root"),
        ({"exports": "h1 rw\nh2,h1 ro\n"}, "exports:2: names h1, as line 1 does"),
        ({"exports": "h1 rw,user=ghost\n"}, "exports:1: user=ghost does not exist on this host"),
        ({"exports": "10.0.0.0/8 rw\n"}, "exports:1: 10.0.0.0/8 is read as a subnet"),
        ({"exports": "h1 ro\n", "users.local": "L3:* rw,map=root\n"}, "users.local:1: ! every user of role L3 becomes root"),
        ({"exports": "h1 ro\n", "users.local": "L3:joe rw,map=dock\n"}, "users.local:1: ! map=dock is in group docker"),
        ({"exports": "h1 ro\n", "users.local": "L3:joe rw,map=ghost\n"}, "users.local:1: map=ghost does not exist"),
        ({"exports": "h1 ro\n", "users.local": "A:* rw\nA:joe ro\n"}, "users.local:2: never decides: users.local:1"),
        ({"exports": "h1 ro\n", "users.local": "A:joe rw\n", "users": "A:joe ro\n"}, "users:1: never decides: users.local:1"),
        ({"exports": "h1 ro\n", "users": "joe hosts=h2,rw\n"}, "users:1: never decides: exports admits none of its hosts"),
        ({"exports": "h1 ro,rw\n"}, "exports:1: says both ro and rw"),
        ({"exports": "h1 ro, user=joe\n"}, "exports:1: blanks between options"),
        ({"exports": "h1 ro,nosuchoption\n"}, "exports:1: 'nosuchoption' is no option that is known"),
        ({"exports": "h1 ro\n", "users": "A:joe\n"}, "users:1: gives no permission; that of exports counts"),
    ],
)  # fmt: skip
def test_what_is_dangerous_dead_or_doubtful_is_named_with_its_line(files: dict[str, str], said: str) -> None:
    assert any(line.startswith(said) for line in found(files)), found(files)


def test_a_clean_set_of_files_has_nothing_to_say() -> None:
    files = {"exports": "h1 ro\n", "users.local": "A:joe hosts=h1,rw,map=joe\nA:joe ro\nnouser\n"}
    assert found(files) == []


def test_system_only_says_what_it_ignores_and_whom_it_makes_system() -> None:
    told = found({"exports": "h1 ro\n", "users.local": "A:joe rw,map=x\n"}, system="windows", mode="system-only")
    assert any("map= is ignored" in line for line in told)
    assert any("everybody from an admitted host is SYSTEM" in line for line in told)


def test_the_table_of_everybody() -> None:
    files = {"exports": b"h1 ro\n", "users.local": b"A:joe rw,map=root\nnouser\n"}
    rows = {(row.who, row.hosts): said(row.answer) for row in effective(files, TARGET)}
    assert rows[("A:joe", ("h1",))] == "root (rw)"
    assert rows[("A:joe", ("any other host",))] == "no access"
    assert rows[("direct, others with an account", ("any host",))] == "no access"


def test_a_new_line_for_a_role_is_a_difference_for_its_users_alone() -> None:
    before = {"exports": b"* ro\n"}
    after = {"exports": b"* ro\n", "users.local": b"A:* rw,map=root\n"}
    told = {(d.who, d.hosts): (said(d.before), said(d.after)) for d in differences(before, after, TARGET)}
    assert told == {
        ("A, others with an account", ("any host",)): ("themselves (ro)", "root (rw)"),
        ("A, others without one", ("any host",)): ("nobody (ro)", "root (rw)"),
        ("A:root", ("any host",)): ("nobody (ro)", "root (rw)"),
    }


@pytest.mark.parametrize(
    ("before", "after", "who"),
    [
        ({"exports": "* rw\n", "users": "A:* rw\nnouser\n"}, {"exports": "* rw,root=root\n", "users": "A:* rw\nnouser\n"}, "A:root"),
        ({"exports": "* rw\n", "users": "*:joe rw,map=root\nA:* ro\n"}, {"exports": "* rw\n", "users": "A:* ro\n*:joe rw,map=root\n"}, "A:joe"),
        ({"exports": "10.0.0.0/8 ro\n10.0.0.0/16 ro\n"}, {"exports": "10.0.0.0/8 rw,user=root\n10.0.0.0/16 ro\n"}, "direct, root"),
        ({"exports": "* rw\n"}, {"exports": "* rw,root=10.0.0.1\n"}, "direct, root"),
    ],
)  # fmt: skip
def test_no_change_of_rights_is_passed_by(before: dict[str, str], after: dict[str, str], who: str) -> None:
    one, two = ({name: text.encode() for name, text in files.items()} for files in (before, after))
    assert who in {difference.who for difference in differences(one, two, TARGET)}


def test_addresses_are_compared_as_addresses() -> None:
    answer = resolve({"exports": b"* ro\nfe80::1 rw\n"}, Caller("FE80:0::1", "joe"), TARGET)
    assert answer.permission == "rw"
