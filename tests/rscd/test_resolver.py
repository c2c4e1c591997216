"""Who becomes whom: the cases of the vendor's pages, each with its deciding line."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from reconciler.rscd.accounts import Account, Accounts, Listed, Unasked
from reconciler.rscd.resolver import Caller, Target, question, resolve

UNIX = Listed(
    tuple(Account(n, u) for n, u in (("root", 0), ("nobody", 65534), ("joe", 1000), ("user3", 1003), ("ops", 7)))
)
BARE = Listed((Account("root", 0), Account("joe", 1000)))
DOWN = Listed((Account("root", 0), Account("nobody", 65534)), unasked="name service 'sss' does not answer")
WINDOWS = Listed((Account("Administrator"), Account("joe"), Account("svc_deploy")), fold=True)
BLIND = Listed(unasked="no --local-user was given")
ADMIN = "BLAdmins:BLAdmin"


@dataclass(frozen=True)
class Case:
    """A question, and the answer with its line (``file:number``; empty: no line decided)."""

    title: str
    files: dict[str, str]
    who: str
    answer: tuple[str, str | None, str | None, str | None, str | None]
    rule: str = ""
    mode: str = "impersonation"
    accounts: Accounts = UNIX
    more: dict[str, Any] = field(default_factory=dict)


def files(exports: str | None = "* rw\n", local: str | None = None, users: str | None = None) -> dict[str, str]:
    told = {"exports": exports, "users.local": local, "users": users}
    return {name: text for name, text in told.items() if text is not None}


def setuid(user: str, permission: str = "rw") -> tuple[str, str, str, str, str]:
    return ("granted", "setuid", user, user, permission)


def mapped(user: str, permission: str = "rw", agent: str = "BladeLogicRSCD") -> tuple[str, str, str, str, str]:
    return ("granted", "privilege-mapping", agent, user, permission)


def principal(user: str) -> tuple[str, str, str, str, str]:
    return ("granted", "windows-user", user, user, "rw")


def system(permission: str = "rw") -> tuple[str, str, str, str, str]:
    return ("granted", "system", "SYSTEM", "SYSTEM", permission)


NO = ("denied", None, None, None, None)
UNKNOWN = ("unknown", None, None, None, None)
UPM: dict[str, Any] = {"mode": "privilege-mapping", "accounts": WINDOWS}
WUM: dict[str, Any] = {"mode": "windows-user", "accounts": WINDOWS}
ONLY: dict[str, Any] = {"mode": "system-only", "accounts": WINDOWS}
CASES = [
    # exports: which hosts
    Case("no exports file admits nobody", files(None), "joe@h1", NO),
    Case("an empty exports admits nobody", files(""), "joe@h1", NO),
    Case("exports with comments alone admits nobody", files("# * rw\n\n"), "joe@h1", NO),
    Case("exports is asked before users.local", files(None, f"{ADMIN} rw,map=root\n"), f"{ADMIN}@h1", NO),
    Case("a host that no line names, without *", files("10.0.0.1 rw\n"), "joe@10.0.0.2", NO),
    Case("a host that a line names", files("10.0.0.1 rw\n"), "joe@10.0.0.1", setuid("joe")),
    Case("one of several hosts of a line", files("10.0.0.1,10.0.0.2 ro\n"), "joe@10.0.0.2", setuid("joe", "ro")),
    Case("* is for every host", files("* ro\n"), "joe@anything", setuid("joe", "ro")),
    Case("a line that names the host beats * above it", files("* rw,user=root\n10.0.0.1 ro,user=ops\n"), "joe@10.0.0.1",
         setuid("ops", "ro"), "exports:2"),
    Case("a line that names the host beats * below it", files("10.0.0.1 ro,user=ops\n* rw,user=root\n"), "joe@10.0.0.1",
         setuid("ops", "ro"), "exports:1"),
    Case("* for a host that others name not", files("* rw,user=root\n10.0.0.1 ro,user=ops\n"), "joe@10.0.0.9",
         setuid("root"), "exports:1"),
    Case("names of hosts in any case", files("App1 rw,user=ops\n"), "joe@app1", setuid("ops"), "exports:1"),
    Case("a subnet", files("10.1.0.0/16 rw,user=ops\n"), "joe@10.1.2.3", setuid("ops"), "exports:1"),
    Case("outside a subnet", files("10.1.0.0/16 rw\n"), "joe@10.2.0.1", NO),
    Case("an address beats its subnet", files("10.1.0.0/16 rw,user=root\n10.1.2.3 ro,user=ops\n"), "joe@10.1.2.3",
         setuid("ops", "ro"), "exports:2"),
    Case("a smaller subnet beats a larger one", files("10.0.0.0/8 rw,user=root\n10.1.0.0/16 ro,user=ops\n"),
         "joe@10.1.2.3", setuid("ops", "ro"), "exports:2"),
    Case("a name in exports that may be this address", files("* rw\napp1 rw,user=root\n"), "joe@10.0.0.1", UNKNOWN,
         "exports:2"),
    Case("a name in exports that is known to be this address", files("* rw\napp1 rw,user=root\n"), "joe@10.0.0.1",
         setuid("root"), "exports:2", more={"resolve": lambda host: frozenset({"10.0.0.1"})}),
    Case("a name in exports that is known to be another", files("* rw\napp1 rw,user=root\n"), "joe@10.0.0.1",
         setuid("joe"), more={"resolve": lambda host: frozenset({"10.0.0.7"})}),
    Case("the host is told with its name and its address", files("* rw\napp1 ro,user=ops\n"), "joe@10.0.0.1",
         setuid("ops", "ro"), "exports:2", more={"also": frozenset({"app1"})}),
    Case("the address decides before a doubtful name could", files("10.0.0.1 ro,user=ops\n* rw\n"), "joe@10.0.0.1",
         setuid("ops", "ro"), "exports:1"),
    Case("a short name in exports may be the full one", files("* rw\napp1 rw,user=root\n"), "joe@app1.example.com",
         UNKNOWN, "exports:2"),
    # users.local and users
    Case("role and user", files("* ro\n", f"{ADMIN} rw,map=root\n"), f"{ADMIN}@h1", setuid("root"), "users.local:1"),
    Case("users decides where users.local is silent", files("* ro\n", "x:y rw\n", f"{ADMIN} rw,map=root\n"),
         f"{ADMIN}@h1", setuid("root"), "users:1"),
    Case("users.local comes before users", files("* rw\n", f"{ADMIN} ro,map=ops\n", f"{ADMIN} rw,map=root\n"),
         f"{ADMIN}@h1", setuid("ops", "ro"), "users.local:1"),
    Case("the first fitting line counts", files("* rw\n", f"{ADMIN} ro,map=ops\n{ADMIN} rw,map=root\n"), f"{ADMIN}@h1",
         setuid("ops", "ro"), "users.local:1"),
    Case("comments and blank lines count as lines", files("* rw\n", f"# head\n\n{ADMIN} rw,map=root\n"), f"{ADMIN}@h1",
         setuid("root"), "users.local:3"),
    Case("every user of a role", files("* rw\n", "L3Admin:* rw,map=root\n"), "L3Admin:ann@h1", setuid("root"),
         "users.local:1"),
    Case("a user of another role", files("* rw\n", "L3Admin:* rw,map=root\n"), "L2Admin:joe@h1", setuid("joe")),
    Case("the role's line above the user's", files("* rw\n", "A:* ro,map=ops\nA:joe rw,map=root\n"), "A:joe@h1",
         setuid("ops", "ro"), "users.local:1"),
    Case("the user's line above the role's", files("* rw\n", "A:joe rw,map=root\nA:* ro,map=ops\n"), "A:joe@h1",
         setuid("root"), "users.local:1"),
    Case("users override the permission of exports", files("* ro\n", "A:joe rw\n"), "A:joe@h1", setuid("joe"), ""),
    Case("users override the mapping of exports", files("* rw,user=root\n", "A:joe rw,map=ops\n"), "A:joe@h1",
         setuid("ops"), "users.local:1"),
    Case("a line without map= leaves the mapping of exports", files("* rw,user=ops\n", "A:joe ro\n"), "A:joe@h1",
         setuid("ops", "ro"), "exports:1"),
    Case("a line without a permission leaves that of exports", files("* rw\n", "A:joe map=ops\n"), "A:joe@h1",
         setuid("ops"), "users.local:1"),
    Case("a bare user is a direct Network Shell", files("* ro\n", "joe rw,map=root\n"), "joe@h1", setuid("root"),
         "users.local:1"),
    Case("a bare user's line is not for a role", files("* ro\n", "joe rw,map=root\n"), "A:joe@h1", setuid("joe", "ro")),
    Case("a role's line is not for a direct Network Shell", files("* ro\n", "A:joe rw,map=root\n"), "joe@h1",
         setuid("joe", "ro")),
    Case("hosts= that fits", files("* ro\n", "joe hosts=host1:host2,rw,map=ops\n"), "joe@host2", setuid("ops"),
         "users.local:1"),
    Case("hosts= that does not", files("* ro\n", "joe hosts=host1:host2,rw,map=ops\n"), "joe@host3", setuid("joe", "ro")),
    Case("of lines for one user the one for the host", files("* ro\n", "joe hosts=host1,rw,map=root\njoe ro,map=user3\n"),
         "joe@host2", setuid("user3", "ro"), "users.local:2"),
    Case("the condition first", files("* ro\n", "joe hosts=host1,rw,map=root\njoe ro,map=user3\n"), "joe@host1",
         setuid("root"), "users.local:1"),
    Case("a name in hosts= that may be this address", files("* rw\n", "joe hosts=host1,rw,map=root\n"), "joe@10.0.0.1",
         UNKNOWN, "users.local:1"),
    Case("nouser turns away whom no line lists", files("* rw\n", f"{ADMIN} rw\nnouser\n"), "joe@h1", NO, "users.local:2"),
    Case("nouser lets in whom a line below it lists", files("* rw\n", "nouser\njoe rw,map=ops\n"), "joe@h1",
         setuid("ops"), "users.local:2"),
    Case("nouser in users counts for both", files("* rw\n", "joe rw,map=ops\n", "nouser\n"), "ann@h1", NO, "users:1"),
    Case("nouser in users and a line in users.local", files("* rw\n", "joe rw,map=ops\n", "nouser\n"), "joe@h1",
         setuid("ops"), "users.local:1"),
    Case("nouser and a line for another host", files("* rw\n", "joe hosts=host1,rw\nnouser\n"), "joe@host9", NO,
         "users.local:2"),
    Case("without nouser the unlisted fall through", files("* ro\n", f"{ADMIN} rw\n"), "joe@h1", setuid("joe", "ro")),
    Case("a mapping to a user that is not there", files("* rw\n", "A:joe rw,map=ghost\n"), "A:joe@h1", NO,
         "users.local:1"),
    Case("a mapping to a number", files("* rw\n", "A:joe rw,map=1003\n"), "A:joe@h1", setuid("user3"), "users.local:1"),
    Case("both ro and rw count as rw", files("* ro\n", "A:joe ro,rw\n"), "A:joe@h1", setuid("joe")),
    Case("neither ro nor rw anywhere counts as ro", files("* user=ops\n"), "joe@h1", setuid("ops", "ro"), "exports:1"),
    Case("CRLF and tabs", files("*\trw\r\n", f"{ADMIN}\t\trw,map=root\r\n"), f"{ADMIN}@h1", setuid("root"),
         "users.local:1"),
    Case("a comment behind the options", files("* rw\n", f"{ADMIN} rw,map=root # by ticket 7\n"), f"{ADMIN}@h1",
         setuid("root"), "users.local:1"),
    Case("an unknown option changes nothing", files("* rw\n", f"{ADMIN} rw,frobnicate=1,map=root\n"), f"{ADMIN}@h1",
         setuid("root"), "users.local:1"),
    # exports' own lists
    Case("allowed= lists him, who has no account", files("* rw,allowed=ann:bob\n"), "ann@h1", setuid("nobody")),
    Case("allowed= does not list him", files("* rw,allowed=ann:bob\n"), "joe@h1", NO, "exports:1"),
    Case("validusers= lists him", files("* rw,validusers=joe\n"), "joe@h1", setuid("joe")),
    Case("validusers= does not list him", files("* rw,validusers=joe\n"), "user3@h1", NO, "exports:1"),
    Case("validusers= needs an account", files("* rw,validusers=ann\n"), "ann@h1", NO, "exports:1"),
    Case("allowed= is read before validusers=", files("* rw,allowed=ann,validusers=joe\n"), "ann@h1", setuid("nobody")),
    Case("validusers= where allowed= is silent", files("* rw,allowed=ann,validusers=joe\n"), "joe@h1", setuid("joe")),
    Case("a users line overrides validusers=", files("* rw,validusers=joe\n", "A:ann rw,map=ops\n"), "A:ann@h1",
         setuid("ops"), "users.local:1"),
    Case("validusers= and a directory that is down", files("* rw,validusers=ann\n"), "ann@h1", UNKNOWN, "exports:1",
         accounts=DOWN),
    # same name, nobody, anon
    Case("the user of the same name (joe)", files("* rw\n"), "joe@h1", setuid("joe")),
    Case("nobody where there is no joe", files("* rw\n"), "ann@h1", setuid("nobody")),
    Case("65534 where there is no nobody", files("* rw\n"), "ann@h1", setuid("65534"), accounts=BARE),
    Case("anon= by name", files("* rw,anon=ops\n"), "ann@h1", setuid("ops"), "exports:1"),
    Case("anon= by number", files("* rw,anon=7\n"), "ann@h1", setuid("ops"), "exports:1"),
    Case("anon= by a number without a name", files("* rw,anon=60001\n"), "ann@h1", setuid("60001"), "exports:1"),
    Case("anon=-1 turns strangers away", files("* rw,anon=-1\n"), "ann@h1", NO, "exports:1"),
    Case("anon=-1 is not about those with an account", files("* rw,anon=-1\n"), "joe@h1", setuid("joe")),
    Case("anon= that is nobody here", files("* rw,anon=ghost\n"), "ann@h1", NO, "exports:1"),
    Case("root counts as unknown", files("* rw\n"), "root@h1", setuid("nobody")),
    Case("root and anon=-1", files("* rw,anon=-1\n"), "root@h1", NO, "exports:1"),
    Case("root that root= lists", files("* rw,root=10.0.0.1\n"), "root@10.0.0.1", setuid("root")),
    Case("root from a host that root= does not list", files("* rw,root=10.0.0.1\n"), "root@10.0.0.2", setuid("nobody")),
    Case("root that is mapped by a line", files("* rw\n", "root rw,map=root\n"), "root@h1", setuid("root"),
         "users.local:1"),
    Case("a directory that is down makes joe unknown, not nobody", files("* rw\n"), "joe@h1", UNKNOWN, accounts=DOWN),
    Case("a directory that is down and a mapping to a local user", files("* rw\n", "A:joe rw,map=root\n"), "A:joe@h1",
         setuid("root"), "users.local:1", accounts=DOWN),
    Case("a directory that is down and a mapping to one who may be in it", files("* rw\n", "A:joe rw,map=ops\n"),
         "A:joe@h1", UNKNOWN, "users.local:1", accounts=DOWN),
    # Windows: user privilege mapping
    Case("the privileges of the mapped user, not its identity", files("* ro\n", f"{ADMIN} rw,map=Administrator\n"),
         f"{ADMIN}@h1", mapped("Administrator"), "users.local:1", **UPM),
    Case("another account on a domain controller", files("* ro\n", f"{ADMIN} rw,map=Administrator\n"), f"{ADMIN}@h1",
         mapped("Administrator", agent="BladeLogicRSCDDC"), "users.local:1", **UPM, more={"controller": True}),
    Case("exports' user= on Windows", files("10.10.10.10 rw,user=Administrator\n"), "joe@10.10.10.10",
         mapped("Administrator"), "exports:1", **UPM),
    Case("the local user of the same name on Windows", files("* rw\n"), "joe@h1", mapped("joe"), **UPM),
    Case("names of Windows users in any case", files("* rw\n"), "JOE@h1", mapped("joe"), **UPM),
    Case("Anonymous where there is no such user", files("* rw\n"), "ann@h1", mapped("Anonymous"), **UPM),
    Case("a mapping to Anonymous", files("* rw\n", "JrAdmin:user3 ro,map=Anonymous\n"), "JrAdmin:user3@h1",
         mapped("Anonymous", "ro"), "users.local:1", **UPM),
    Case("local users that nobody told", files("* rw\n"), "joe@h1", UNKNOWN, mode="privilege-mapping", accounts=BLIND),
    Case("a mapping needs no list of local users", files("* rw\n", f"{ADMIN} rw,map=svc\n"), f"{ADMIN}@h1",
         mapped("svc"), "users.local:1", mode="privilege-mapping", accounts=BLIND),
    Case("a mapping to a domain user", files("* rw\n", f"{ADMIN} rw,map=CORP\\adm\n"), f"{ADMIN}@h1",
         mapped("CORP\\adm"), "users.local:1", **UPM),
    Case("a mapping to a local user that is not there", files("* rw\n", f"{ADMIN} rw,map=ghost\n"), f"{ADMIN}@h1", NO,
         "users.local:1", **UPM),
    # Windows: user mapping by automation principals
    Case("the principal's identity, without the files", files(None), "Deploy:ann@h1", principal("CORP\\svc"), **WUM,
         more={"principal": "CORP\\svc"}),
    Case("the principal before nouser", files("* rw\n", "nouser\n"), "Deploy:ann@h1", principal("CORP\\svc"), **WUM,
         more={"principal": "CORP\\svc"}),
    Case("the principal before map=", files("* rw\n", "Deploy:ann ro,map=joe\n"), "Deploy:ann@h1",
         principal("CORP\\svc"), **WUM, more={"principal": "CORP\\svc"}),
    Case("no principal: the files, by privilege mapping", files("* rw\n", "Deploy:ann ro,map=joe\n"), "Deploy:ann@h1",
         mapped("joe", "ro"), "users.local:1", **WUM),
    Case("a direct caller has no principal", files("* rw\n"), "joe@h1", mapped("joe"), **WUM,
         more={"principal": "CORP\\svc"}),
    Case("a principal counts in its own mode alone", files("* rw\n", "Deploy:ann rw,map=joe\n"), "Deploy:ann@h1",
         mapped("joe"), "users.local:1", **UPM, more={"principal": "CORP\\svc"}),
    # Windows: SYSTEM User Only
    Case("map= is ignored", files("* rw\n", f"{ADMIN} rw,map=Administrator\n"), f"{ADMIN}@h1", system(),
         "users.local:1", **ONLY),
    Case("the permission is enforced", files("* rw\n", f"{ADMIN} ro,map=Administrator\n"), f"{ADMIN}@h1", system("ro"),
         "users.local:1", **ONLY),
    Case("user= is ignored", files("10.0.0.1 rw,user=joe\n"), "joe@10.0.0.1", system(), "exports:1", **ONLY),
    Case("exports is enforced", files("10.0.0.1 rw\n"), "joe@10.0.0.2", NO, **ONLY),
    Case("nouser is enforced", files("* rw\n", f"{ADMIN} rw\nnouser\n"), "joe@h1", NO, "users.local:2", **ONLY),
    Case("validusers= is enforced", files("* rw,validusers=joe\n"), "ann@h1", NO, "exports:1", **ONLY),
    Case("the principal is ignored", files("* rw\n", "Deploy:ann rw\n"), "Deploy:ann@h1", system(), "users.local:1",
         **ONLY, more={"principal": "CORP\\svc"}),
    Case("a mapping to nobody does not matter", files("* rw\n", f"{ADMIN} rw,map=ghost\n"), f"{ADMIN}@h1", system(),
         "users.local:1", **ONLY),
    Case("no local user is asked for", files("* rw\n"), "joe@h1", system(), "exports:1", mode="system-only",
         accounts=BLIND),
]  # fmt: skip


def test_there_are_as_many_cases_as_were_asked_for() -> None:
    assert len(CASES) >= 80
    assert len({case.title for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.title)
def test_who_becomes_whom(case: Case) -> None:
    more = dict(case.more)
    asked = question(case.who)
    who = Caller(asked.host, asked.user, asked.role, more.pop("also", frozenset()))
    target = Target("unix" if case.mode == "impersonation" else "windows", case.mode, case.accounts, **more)
    answer = resolve({name: text.encode() for name, text in case.files.items()}, who, target)
    found = (answer.decision, answer.mechanism, answer.runs_as, answer.privileges_of, answer.permission)
    assert found == case.answer, answer.steps
    rule = f"{answer.rule.file}:{answer.rule.number}" if answer.rule else ""
    assert rule == case.rule, answer.steps
    assert answer.steps, "every answer says how it came about"


@pytest.mark.parametrize("text", ["joe", "@h", "joe@", ":joe@h", "A:@h"])
def test_what_is_no_caller_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no caller"):
        question(text)


def test_an_unknown_answer_says_who_does_not_answer() -> None:
    target = Target(accounts=DOWN)
    answer = resolve({"exports": b"* rw\n"}, Caller("h", "joe"), target)
    assert "'sss' does not answer" in answer.steps[-1]
    assert isinstance(DOWN.user("joe"), Unasked)
