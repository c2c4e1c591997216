"""Where the targets come from: the desired state, or the log.  Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from .desired.documents import Document
from .holds import Hold, merged
from .kinds import kinds
from .kinds.daemon import Daemon
from .kinds.group import Group
from .kinds.mapping import RscdMapping
from .kinds.tree import Tree
from .ledger import Ledger
from .model import EXISTS, PATHS, Address, Field, Json, Resource, Target, inside
from .past import Past, source_of

Unseal = Callable[[Json], Json]
"""Turns a reference into the vault into the value that it stands for."""
LOOKS: frozenset[Field] = frozenset({("owner",), ("group",), ("mode",)})
"""The fields by which a file and the tree round it may meet."""
Leave = tuple[str, Address, Field]


@dataclass
class Goals:
    """What is to be brought about, and what changes in the books beside it."""

    targets: dict[Address, Target] = field(default_factory=dict)
    audit: dict[Address, Target] = field(default_factory=dict)
    orphaned: list[str] = field(default_factory=list)
    claims: list[tuple[str, Resource]] = field(default_factory=list)
    """Every wish with its deployment, to see who shares what."""
    joins: list[Leave] = field(default_factory=list)
    leaves: list[Leave] = field(default_factory=list)
    terms: dict[Address, Json] = field(default_factory=dict)
    inherits: list[tuple[Address, Address]] = field(default_factory=list)
    """Trees that are declared no more, inside a tree that now covers their paths: outer, inner."""
    foreign: dict[Address, str] = field(default_factory=dict)
    """Things that another deployment, which is not in the input, holds otherwise."""


def _beside(target: Target, ledger: Ledger, leaving: set[Address]) -> Target:
    """A tree's return, leaving to files that stay what they hold of their own."""
    kept = {
        a.name: {f[0]: -1 for f in LOOKS & set(fields)}
        for a, fields in ledger.holds.items()
        if a.kind in ("file", "ini") and a not in leaving and LOOKS & set(fields)
    }
    return replace(target, options={**target.options, "spoken": kept})


def _related(one: str, other: str) -> bool:
    return inside(one, other) or inside(other, one)


def _specific(addresses: Iterable[Address]) -> tuple[frozenset[str], tuple[str, ...]]:
    listed = list(addresses)
    files = frozenset(a.name for a in listed if a.kind in ("file", "ini"))
    files |= {path for a in listed if a.kind == "mapping" for path in kinds()["mapping"].edits(a.name)}
    return files, tuple(sorted(a.name for a in listed if a.kind == "tree"))


def _options(ledger: Ledger, address: Address, nested: tuple[str, ...]) -> dict[str, Json]:
    terms = ledger.terms.get(address) or {}
    fields = ledger.holds.get(address, {})
    held, left = bool(fields), fields[PATHS].current if PATHS in fields else None
    return {
        "purged": list(ledger.doomed),
        "left_owner": (left or {}).get("owner"),
        "held": held,
        "nested": list(nested),
        "restart_on": terms.get("restart_on", []),
    }


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
    elsewhere = [a for a, fields in ledger.holds.items() if any(set(h.holders) - names for h in fields.values())]
    files, trees = _specific([*wanted, *elsewhere])
    # Directories that were made for a file are its own, and no tree's.
    files |= {
        path
        for a, fields in ledger.holds.items()
        if a in wanted and EXISTS in fields and _absent(fields[EXISTS].origin)
        for path in fields[EXISTS].origin["absent"].get("missing", ())
    }
    for document in listed:
        sink = goals.audit if document.policy == "audit" else goals.targets
        for address, terms in terms_of(document).items():
            if ledger.terms.get(address) != terms and document.policy != "audit":
                goals.terms[address] = terms
        for wished in document.resources:
            resource, address = wished.resource, wished.resource.address
            if document.policy != "audit":
                goals.claims.append((document.name, resource))
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
        mine = {w.resource.address for w in document.resources}
        left = [a for a in ledger.deployments().get(document.name, []) if a not in mine and a not in sink]
        leaving = tuple(a.name for a in left if a.kind == "tree")
        for address in left:
            outer = [a for a in mine if a.kind == "tree" and address.kind == "tree" and inside(address.name, a.name)]
            if outer and EXISTS not in ledger.held_by(document.name, address):
                goals.inherits.append((max(outer, key=lambda a: len(a.name)), address))
                continue
            # The paths of a tree inside that stays pass to it, with what they once were.
            goals.inherits += [
                (a, address) for a in mine if address.kind == a.kind == "tree" and inside(a.name, address.name)
            ]
            target = _returning(ledger, document.name, address, frozenset(), (*trees, *leaving), unseal, goals)
            sink[address] = _beside(target, ledger, set(left))
        for heir, former in goals.inherits:
            if heir in mine and heir in sink:
                known = ledger.held_by(document.name, former).get(PATHS)
                sink[heir] = _knowing(sink[heir], [known.origin if known else None])
    return goals


def _knowing(target: Target, layers: list[Json]) -> Target:
    """A tree's target with what other trees know of its paths."""
    known = merged([target.give_back.get(PATHS), *layers])
    return replace(target, give_back={**target.give_back, PATHS: known}) if known["layers"] else target


def _joined(first: Target, second: Target) -> Target:
    """Two deployments that wish for one thing: one target that wishes for both."""
    one, two = first.wish, second.wish
    if one is None or two is None:
        return second if one is None else first
    if isinstance(one, RscdMapping) and isinstance(two, RscdMapping):
        return _both(first, second, one.joined(two))
    mine, other = _given(one), _given(two)
    merged = {**other, **mine}
    for name in ("groups", "set", "unset", "except_", "capabilities", "restart_on"):
        a, b = mine.get(name), other.get(name)
        if isinstance(a, tuple | list) and isinstance(b, tuple | list):
            merged[name] = [*a, *(item for item in b if item not in a)]
        elif isinstance(a, dict) and isinstance(b, dict):
            merged[name] = {
                k: {**b.get(k, {}), **a.get(k, {})} if isinstance(a.get(k, b.get(k)), dict) else a.get(k, b.get(k))
                for k in (*a, *b)
            }
    aliases = {f: info.alias for f, info in type(one).model_fields.items() if info.alias}
    wish = type(one).model_validate({aliases.get(k, k): v for k, v in merged.items()})
    return _both(first, second, wish)


def _given(wish: Resource) -> dict[str, Json]:
    """What a wish gives, as data; secrets as they are, with what was read of them."""
    plain = wish.model_dump(exclude_unset=True)
    return plain | {name: getattr(wish, name) for name in ("set", "content") if name in plain}


def _both(first: Target, second: Target, wish: Resource) -> Target:
    return Target(
        first.address, first.deployment, wish, {**second.give_back, **first.give_back},
        {**second.recorded, **first.recorded}, source=first.source, requires=first.requires | second.requires,
        peers=first.peers, options=first.options,
    )  # fmt: skip


def succeeded_by(leaving: Target, staying: Target) -> Target:
    """A thing that one deployment leaves and another wishes for: what the other does not ask for goes back."""
    kind = kinds()[leaving.address.kind]
    made = EXISTS in leaving.give_back and _absent(leaving.give_back[EXISTS])
    back: dict[Field, Json] = {}
    for name, origin in leaving.give_back.items():
        gives, value = kind.returns(name, origin, made=made)
        if gives and name != EXISTS:
            back[name] = value
    recorded = {name: value for name, value in leaving.recorded.items() if name in back}
    return replace(staying, give_back={**back, **staying.give_back}, recorded={**recorded, **staying.recorded})


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
            if isinstance(hold.origin, dict) and "layers" in hold.origin:
                back[name] = merged(
                    other.origin
                    for a, fields in ledger.holds.items()
                    if a.kind == "tree" and _related(a.name, address.name)
                    for f, other in fields.items()
                    if f == name
                )
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
    mine = ledger.deployments().get(deployment, [])
    kept = [a for a, fields in ledger.holds.items() if any(set(h.holders) - {deployment} for h in fields.values())]
    _, trees = _specific([*kept, *mine])
    doomed = destroys(ledger, deployment) if destroy else []
    for address in mine:
        if any(
            address.kind in ("file", "ini", "tree") and address != tree and inside(address.name, tree.name)
            for tree in doomed
        ):
            continue  # it goes with the tree, and comes back with it
        policy = (ledger.terms.get(address) or {}).get("on_uninstall", "restore")
        target = _returning(ledger, deployment, address, frozenset(), trees, unseal, goals)
        target = _beside(target, ledger, {a for a in mine if a not in kept})
        if address.kind == "tree" and policy == "keep":
            continue
        if address.kind == "tree" and policy == "delete" and destroy:
            target = Target(
                address, deployment, None, {EXISTS: {"absent": {"quarantine": run}}}, {},
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
    _, trees = _specific([*ledger.holds, *pasts])
    files = frozenset(
        a.name
        for a, fields in ledger.holds.items()
        if a.kind in ("file", "ini") and a not in pasts and LOOKS & set(fields)
    )
    spoken = {
        a.name: {f[0]: past.seqs[f] for f in LOOKS & set(past.values)}
        for a, past in pasts.items()
        if a.kind in ("file", "ini")
    }
    for address, past in pasts.items():
        held = ledger.holds.get(address, {})
        values = {name: unseal(value) for name, value in past.values.items()}
        for name, value in values.items():
            if isinstance(value, dict) and "layers" in value:
                values[name] = merged(
                    p.values.get(name) for a, p in pasts.items() if a.kind == "tree" and _related(a.name, address.name)
                )
        goals.targets[address] = Target(
            address,
            past.deployment,
            None,
            values,
            {name: unseal(held[name].current) for name in values if name in held},
            source=source_of(past.source),
            peers=files - {address.name},
            options={
                **_options(ledger, address, tuple(t for t in trees if t != address.name)),
                "spoken": spoken,
            },
        )
    return goals
