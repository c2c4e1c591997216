"""The plan: prospects to ordered transitions, with an identity.  Pure.

Order is two rules: what a thing will need is made before it; what a thing used to need is removed after it.
Edges of the first rule join only what stays, edges of the second lead to what goes, so there is no cycle
unless one is written by hand.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from ..errors import ReconcilerError
from ..model import MARK, Absent, Address, Json, Target, above, inside
from .events import FORMAT, canonical
from .kind import Conflict, Proposal, Step
from .kinds import Kinds

CHANGING = {"change", "own", "write", "set-mode", "enable", "disable"}
RUNNING = {"start", "stop", "restart"}
POLICY, DEPLOYMENT = "access", "deployment"
"""What can be blocked besides a resource: a path by an access policy, a whole deployment."""
Node = tuple[Address, str, bool]
Bearers = dict[tuple[str, tuple[str, int]], list[Address]]
"""Who has a number now that only one thing of the host may have, by kind and number."""


@dataclass(frozen=True)
class Transition:
    """One line of a plan."""

    step: Step
    prospect: Proposal
    requires: tuple[Address, ...] = ()

    @property
    def target(self) -> Target:
        """What the thing is to become."""
        return self.prospect.target

    @property
    def address(self) -> Address:
        """Which thing."""
        return self.target.address

    @property
    def verb(self) -> str:
        """What is done to it."""
        return self.step.verb

    @property
    def node(self) -> Node:
        """The identity within the plan: a daemon may have several transitions."""
        return (self.address, self.step.verb, self.step.pause)

    def json(self) -> dict[str, Json]:
        """The form that plans carry."""
        prospect, source = self.prospect, self.target.source
        shape: dict[str, Json] = {
            "address": str(self.address),
            "verb": self.verb,
            "deployment": self.target.deployment,
            "changes": [
                {"field": list(c.field), "before": c.shown[0], "after": c.shown[1]}
                for c in self.step.changes
                if c.field != MARK
            ],
            "source": source.json() if source else None,
            "requires": [str(address) for address in self.requires],
            "reversible": prospect.reversible,
        }
        if prospect.reason:
            shape["reason"] = prospect.reason
        if self.step.pause:
            shape["pause"] = True
        hidden = {"survey", "handover", "owners"}
        return shape | {key: value for key, value in prospect.facts.items() if key not in hidden}


@dataclass(frozen=True)
class Blocked:
    """A wish that cannot be carried out, and why."""

    address: Address
    reason: str
    unknown: bool
    source: Json = None

    def json(self) -> Json:
        """The form that plans carry."""
        return {
            "address": str(self.address),
            "reason": self.reason,
            "unknown": self.unknown,
            "source": self.source,
        }


@dataclass
class Plan:
    """Ordered transitions, and all that stands in their way."""

    host: Json
    desired: Json
    transitions: list[Transition] = field(default_factory=list)
    blocked: list[Blocked] = field(default_factory=list)
    conflicts: list[Conflict] = field(default_factory=list)
    orphaned: list[str] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    audit: list[Transition] = field(default_factory=list)
    converged: list[str] = field(default_factory=list)
    """The addresses that are as they should be."""
    owed: set[Address] = field(default_factory=set)
    """What was to be given back and cannot be now: it stays held."""
    access: Json = None
    """Whose rights it changes, and what that opens; no part of its identity, since others' accounts are in it."""

    def summary(self) -> dict[str, int]:
        """How many of each."""
        verbs = [t.verb for t in self.transitions]
        return {
            "create": verbs.count("create"),
            "change": sum(v in CHANGING for v in verbs),
            "remove": verbs.count("remove"),
            "restart": sum(v in RUNNING for v in verbs),
            "unchanged": len(self.converged),
        }

    def json(self) -> dict[str, Json]:
        """The plan as data, with its identity."""
        body: dict[str, Json] = {
            "format_version": FORMAT,
            "host": self.host,
            "desired": self.desired,
            "summary": self.summary(),
            "transitions": [t.json() for t in self.transitions],
            "blocked": [b.json() for b in self.blocked],
            "conflicts": [conflict_json(c) for c in self.conflicts],
            "orphaned": self.orphaned,
            "converged": self.converged,
        }
        if self.skipped:
            body["skipped"] = [{"path": path, "reason": reason} for path, reason in self.skipped]
        if self.notes:
            body["notes"] = self.notes
        if self.audit:
            body["audit"] = [t.json() for t in self.audit]
        told = {"access": self.access} if self.access else {}
        return {"plan_id": "sha256:" + hashlib.sha256(canonical(body).encode()).hexdigest(), **body, **told}


def conflict_json(conflict: Conflict) -> Json:
    """The form that plans carry."""
    return {
        "address": str(conflict.address),
        "field": list(conflict.field),
        "recorded": conflict.recorded,
        "found": conflict.found,
    }


def kept_promise(planned: Transition, found: Transition) -> bool:
    """Whether a transition, looked at when its turn comes, still ends as the plan promised."""
    if "classes" in planned.prospect.facts:
        told, now = (
            {(c["type"], c["before"], c["after"]) for c in t.prospect.facts.get("classes", ())}
            for t in (planned, found)
        )
        return now <= told
    promised = {c.field: c.shown[1] for c in planned.step.changes}
    return all(
        c.shown[1] == promised.get(c.field) or isinstance(promised.get(c.field), dict) for c in found.step.changes
    )


def transitions(prospects: Mapping[Address, Proposal], kinds: Kinds) -> list[Transition]:
    """Every step of every prospect, in an order that works."""
    nodes: list[Transition] = [Transition(step, p) for p in prospects.values() for step in p.steps]
    edges: dict[Node, set[Node]] = {t.node: set() for t in nodes}
    by_address: dict[Address, list[Transition]] = {}
    bearers: Bearers = {}
    for t in nodes:
        by_address.setdefault(t.address, []).append(t)
        for number in kinds[t.address.kind].numbers(t.prospect.before):
            bearers.setdefault((t.address.kind, number), []).append(t.address)
    for listed in by_address.values():
        for earlier, later in pairwise(listed):
            edges[later.node].add(earlier.node)
    for t in nodes:
        for other, first in _before(t, by_address, bearers, kinds):
            if other is not t:
                edges[t.node if first else other.node].add(other.node if first else t.node)
    order = _sorted(nodes, edges, kinds)
    place = {t.node: index for index, t in enumerate(order)}
    done = []
    for t in order:
        wanted = sorted({node[0] for node in edges[t.node] if node[0] != t.address}, key=str)
        done.append(Transition(t.step, t.prospect, tuple(wanted)))
    assert all(place[a] < place[b] for b, before in edges.items() for a in before)
    return done


def _before(
    t: Transition, by_address: Mapping[Address, list[Transition]], bearers: Bearers, known: Kinds
) -> Iterable[tuple[Transition, bool]]:
    """The transitions that must come before this one (True) or after it (False)."""
    name = t.address.name
    kind = known[t.address.kind]
    will, used = kind.edges(t.prospect)
    will = will | t.target.requires | (t.target.wish.requires() if t.target.wish else set())
    going = isinstance(t.prospect.after, Absent)
    takes = kind.numbers(t.prospect.after) - kind.numbers(t.prospect.before)
    halting = t.verb == "stop"
    rivals = {address for number in takes for address in bearers.get((t.address.kind, number), ())}
    for address in _candidates(t, will | used | rivals, by_address, known):
        others = by_address[address]
        removes = isinstance(others[0].prospect.after, Absent) and not known.runs(address)
        same = others[0].target.deployment == t.target.deployment
        for other in others:
            if takes and address.kind == t.address.kind and takes & kind.numbers(other.prospect.before):
                yield other, True
            if kind.runs and same and (known.located(address) or (known.owns(address) and not removes)):
                yield other, not halting
            elif removes and address in used:
                yield other, False
            elif not removes and not going and address in will and other.verb != "stop":
                yield other, True
            elif kind.located and _below(name, address, known):
                # What is given back inside a tree goes first, so that the tree finds it as it will be; but a file
                # that comes back waits until the directory round it is the right one.
                renewed = {"create": t.verb != "remove", "remove": t.verb == "create"}.get(other.verb, False)
                yield other, t.target.wish is not None or renewed


def _candidates(
    t: Transition, named: set[Address], by_address: Mapping[Address, list[Transition]], kinds: Kinds
) -> list[Address]:
    """The other things of the plan that a transition can have to do with, so that not all are asked of all."""
    if kinds.runs(t.address):
        found = set(by_address)
    else:
        found = {address for address in named if address in by_address}
        # What encloses a path is one of the paths above it.
        for path in above(t.address.name) if kinds.located(t.address) else []:
            found |= set(filter(kinds.encloses, kinds.called(path, by_address)))
    return sorted(found - {t.address})


def _below(name: str, address: Address, kinds: Kinds) -> bool:
    """Whether a path lies in something of the plan that encloses it."""
    return kinds.encloses(address) and name != address.name and inside(name, address.name)


def _sorted(nodes: list[Transition], edges: Mapping[Node, set[Node]], kinds: Kinds) -> list[Transition]:
    """A topological order; among what is free to go, makings by rank, then removals by rank backwards."""
    index = {t.node: i for i, t in enumerate(nodes)}

    def priority(t: Transition) -> tuple[int, int, int]:
        rank = kinds[t.address.kind].rank
        if t.verb == "stop":
            return (0, 0, index[t.node])
        return (2, -rank, -index[t.node]) if t.verb == "remove" else (1, rank, index[t.node])

    waiting = {t.node: set(edges[t.node]) for t in nodes}
    after: dict[Node, list[Node]] = {}
    for node, before in edges.items():
        for first in before:
            after.setdefault(first, []).append(node)
    by_node = {t.node: t for t in nodes}
    ready = [(priority(t), t.node) for t in nodes if not waiting[t.node]]
    heapq.heapify(ready)
    order: list[Transition] = []
    while ready:
        _, node = heapq.heappop(ready)
        order.append(by_node[node])
        for later in after.get(node, []):
            waiting[later].discard(node)
            if not waiting[later]:
                heapq.heappush(ready, (priority(by_node[later]), later))
    if len(order) != len(nodes):
        left = sorted({str(node[0]) for node, before in waiting.items() if before})
        raise ReconcilerError(f"no order works for {', '.join(left)}; look at their 'after' lines")
    return order
