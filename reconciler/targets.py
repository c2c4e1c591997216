"""Where the targets come from: the desired state, or the log.  Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from .desired.documents import Document
from .kinds import kinds
from .kinds.daemon import Daemon
from .kinds.group import Group
from .kinds.tree import QUARANTINE, Tree
from .ledger import Hold, Ledger, Past, source_of
from .model import EXISTS, Address, Field, Json, Target

Unseal = Callable[[Json], Json]
"""Turns a reference into the vault into the value that it stands for."""
Leave = tuple[str, Address, Field]


@dataclass
class Goals:
    """What is to be brought about, and what changes in the books beside it."""

    targets: dict[Address, Target] = field(default_factory=dict)
    audit: dict[Address, Target] = field(default_factory=dict)
    orphaned: list[str] = field(default_factory=list)
    joins: list[Leave] = field(default_factory=list)
    leaves: list[Leave] = field(default_factory=list)
    terms: dict[Address, Json] = field(default_factory=dict)
    foreign: dict[Address, str] = field(default_factory=dict)
    """Things that another deployment, which is not in the input, holds otherwise."""


def _specific(addresses: Iterable[Address]) -> tuple[frozenset[str], tuple[str, ...]]:
    listed = list(addresses)
    files = frozenset(a.name for a in listed if a.kind in ("file", "ini"))
    return files, tuple(sorted(a.name for a in listed if a.kind == "tree"))


def _options(ledger: Ledger, address: Address, nested: tuple[str, ...]) -> dict[str, Json]:
    terms = ledger.terms.get(address) or {}
    held = bool(ledger.holds.get(address))
    return {"held": held, "nested": list(nested), "restart_on": terms.get("restart_on", [])}


def terms_of(document: Document) -> dict[Address, Json]:
    """What an uninstall, which has no desired state, has to know of a resource."""
    found: dict[Address, Json] = {}
    for wished in document.resources:
        if isinstance(wished.resource, Tree):
            found[wished.resource.address] = {"on_uninstall": wished.resource.on_uninstall}
        elif isinstance(wished.resource, Daemon) and wished.resource.restart_on:
            found[wished.resource.address] = {"restart_on": list(wished.resource.restart_on)}
    return found


def from_desired(documents: Iterable[Document], ledger: Ledger, unseal: Unseal) -> Goals:
    """The targets of the documents that are for this host."""
    goals, listed = Goals(), list(documents)
    names = {document.name for document in listed}
    goals.orphaned = [name for name in ledger.deployments() if name not in names]
    wanted = [w.resource.address for d in listed for w in d.resources]
    files, trees = _specific([*wanted, *ledger.holds])
    for document in listed:
        sink = goals.audit if document.policy == "audit" else goals.targets
        for address, terms in terms_of(document).items():
            if ledger.terms.get(address) != terms and document.policy != "audit":
                goals.terms[address] = terms
        for wished in document.resources:
            resource, address = wished.resource, wished.resource.address
            held = ledger.held_by(document.name, address)
            others = {h for hold in ledger.holds.get(address, {}).values() for h in hold.holders} - names
            if others:
                goals.foreign[address] = sorted(others)[0]
            made = EXISTS in held and _absent(held[EXISTS].origin)
            back: dict[Field, Json] = {}
            for name, hold in held.items():
                gives, value = kinds()[address.kind].returns(name, hold.origin, made=made)
                if gives and len(hold.holders) == 1:
                    back[name] = unseal(value)
            target = Target(
                address,
                document.name,
                resource,
                back,
                {name: unseal(hold.current) for name, hold in held.items() if name in back},
                source=wished.source,
                requires=frozenset({*map(Address.parse, resource.after)}),
                peers=files - {resource.name},
                options=_options(ledger, address, tuple(t for t in trees if t != resource.name)),
            )
            first = sink.get(address)
            if first is None:
                sink[address] = target
            elif isinstance(resource, Group) and resource.implied_by:
                continue
            else:
                sink[address] = _joined(first, target)
        for address in ledger.deployments().get(document.name, []):
            if address not in {w.resource.address for w in document.resources} and address not in sink:
                sink[address] = _returning(ledger, document.name, address, files, trees, unseal, goals)
    return goals


def _joined(first: Target, second: Target) -> Target:
    """Two deployments that wish for one thing: one target that wishes for both."""
    one, two = first.wish, second.wish
    if one is None or two is None:
        return second if one is None else first
    merged = {**two.model_dump(exclude_unset=True), **one.model_dump(exclude_unset=True)}
    for name in ("groups", "set", "unset", "except_", "capabilities", "restart_on"):
        a, b = getattr(one, name, None), getattr(two, name, None)
        if isinstance(a, tuple) and isinstance(b, tuple):
            merged[name] = tuple(dict.fromkeys([*a, *b]))
        elif isinstance(a, dict) and isinstance(b, dict):
            merged[name] = {k: {**b.get(k, {}), **a.get(k, {})} if isinstance(a.get(k, b.get(k)), dict) else a.get(k, b.get(k)) for k in (*a, *b)}
    aliases = {f: info.alias for f, info in type(one).model_fields.items() if info.alias}
    wish = type(one).model_validate({aliases.get(k, k): v for k, v in merged.items()})
    return Target(
        first.address, first.deployment, wish, {**second.give_back, **first.give_back},
        {**second.recorded, **first.recorded}, source=first.source, requires=first.requires | second.requires,
        peers=first.peers, options=first.options,
    )  # fmt: skip


def _absent(value: Json) -> bool:
    return isinstance(value, dict) and "absent" in value


def _returning(
    ledger: Ledger,
    deployment: str,
    address: Address,
    files: frozenset[str],
    trees: tuple[str, ...],
    unseal: Unseal,
    goals: Goals,
) -> Target:
    """A thing that nobody of this deployment wishes for any more: all that is held of it goes back."""
    held: dict[Field, Hold] = ledger.held_by(deployment, address)
    kind = kinds().get(address.kind)
    back: dict[Field, Json] = {}
    for name, hold in held.items():
        gives, _ = kind.returns(name, hold.origin, made=False) if kind else (True, None)
        if len(hold.holders) == 1 and gives:
            back[name] = unseal(hold.origin)
        goals.leaves.append((deployment, address, name))
    source = next((hold.source for hold in held.values() if hold.source), None)
    return Target(
        address,
        deployment,
        None,
        back,
        {name: unseal(held[name].current) for name in back},
        source=source_of(source),
        peers=files - {address.name},
        options=_options(ledger, address, tuple(t for t in trees if t != address.name)),
    )


def from_uninstall(ledger: Ledger, deployment: str, unseal: Unseal, *, run: str, destroy: bool) -> Goals:
    """Everything that a deployment ever took, given back."""
    goals = Goals()
    files, trees = _specific(ledger.holds)
    for address in ledger.deployments().get(deployment, []):
        policy = (ledger.terms.get(address) or {}).get("on_uninstall", "restore")
        target = _returning(ledger, deployment, address, files, trees, unseal, goals)
        if address.kind == "tree" and policy == "keep":
            continue
        if address.kind == "tree" and policy == "delete" and destroy:
            parent, _, name = address.name.rpartition("/")
            store = f"{parent}/{QUARANTINE}/{run}/{name}"
            target = Target(
                address, deployment, None, {EXISTS: {"absent": {"quarantine": store}}}, {},
                source=target.source, options={**target.options, "destroy": True},
            )  # fmt: skip
        goals.targets[address] = target
    return goals


def destroys(ledger: Ledger, deployment: str) -> list[Address]:
    """The trees whose uninstall is declared destruction."""
    return [
        address
        for address in ledger.deployments().get(deployment, [])
        if address.kind == "tree" and (ledger.terms.get(address) or {}).get("on_uninstall") == "delete"
    ]


def from_past(pasts: Mapping[Address, Past], ledger: Ledger, unseal: Unseal) -> Goals:
    """Every thing as it was at a moment in the log."""
    goals = Goals()
    files, trees = _specific([*ledger.holds, *pasts])
    for address, past in pasts.items():
        held = ledger.holds.get(address, {})
        values = {name: unseal(value) for name, value in past.values.items()}
        goals.targets[address] = Target(
            address,
            past.deployment,
            None,
            values,
            {name: unseal(held[name].current) for name in values if name in held},
            source=source_of(past.source),
            peers=files - {address.name},
            options=_options(ledger, address, tuple(t for t in trees if t != address.name)),
        )
    return goals
