"""Where the targets come from: the desired state, or the log.  Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from ..errors import LogError
from ..model import EXISTS, MARK, PATHS, Address, Field, Json, Resource, Target, above, inside
from .deployment import Declared, Deployment
from .holds import Hold, merged
from .kinds import Kinds
from .ledger import Ledger
from .planned import Paths
from .rewind import Past, source_of

Unseal = Callable[[Json], Json]
"""Turns a reference into the vault into the value that it stands for."""
OWNERSHIP: frozenset[Field] = frozenset({("owner",), ("group",), ("mode",)})
"""The fields by which a file and the tree round it may meet."""
Leave = tuple[str, Address, Field]


@dataclass
class Goals:
    """What is to be brought about, and what changes in the books beside it."""

    targets: dict[Address, Target] = field(default_factory=dict)
    audit: dict[Address, Target] = field(default_factory=dict)
    orphaned: list[str] = field(default_factory=list)
    pruned: list[str] = field(default_factory=list)
    """Deployments that are not in the input and go with this run."""
    claims: list[tuple[str, Resource]] = field(default_factory=list)
    """Every wish with its deployment, to see who shares what."""
    joins: list[Leave] = field(default_factory=list)
    leaves: list[Leave] = field(default_factory=list)
    terms: dict[Address, Json] = field(default_factory=dict)
    inherits: list[tuple[Address, Address]] = field(default_factory=list)
    """Trees that are declared no more, inside a tree that now covers their paths: outer, inner."""
    foreign: dict[Address, str] = field(default_factory=dict)
    """Things that another deployment, which is not in the input, holds otherwise."""


class _Beside:
    """What stays inside of what is returned with all in it, and keeps what it holds of its own."""

    def __init__(self, ledger: Ledger, leaving: set[Address]) -> None:
        self._ledger, self._leaving = ledger, leaving

    @cached_property
    def _staying(self) -> set[Address]:
        return {a for a in self._ledger.holds if self._ledger.kinds.single(a) and a not in self._leaving}

    @cached_property
    def _paths(self) -> Paths:
        return Paths(self._staying)

    def returned(self, target: Target) -> Target:
        """The target, leaving that out; ``brought``: what came into being with things that stay."""
        kinds, holds, top = self._ledger.kinds, self._ledger.holds, target.address.name
        if not kinds.encloses(target.address):
            return target
        around = [address for path in above(top) for address in kinds.called(path, self._staying)]
        kept: dict[str, Json] = {}
        brought: set[str] = set()
        for address in [*self._paths.inside(top), *around]:
            fields = holds[address]
            if (parts := OWNERSHIP & set(fields)) and address.name != top:
                kept[address.name] = {field[0]: -1 for field in parts}
            came = kinds[address.kind].brought(address.name, {f: hold.origin for f, hold in fields.items()})
            brought |= {path for path in came if inside(path, top)}
        return replace(target, options={**target.options, "spoken": kept, "brought": sorted(brought)})


def _related(one: str, other: str) -> bool:
    return inside(one, other) or inside(other, one)


def _specific(addresses: Iterable[Address], kinds: Kinds) -> tuple[frozenset[str], tuple[str, ...]]:
    listed = list(addresses)
    files = frozenset(path for a in listed for path in kinds.paths(a))
    return files, tuple(sorted(a.name for a in listed if kinds.spans(a)))


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


def _standing(ledger: Ledger, address: Address, unseal: Unseal) -> dict[str, Any]:
    """For a kind that replays: what was there before anything was held, and how we left what is held."""
    fields = ledger.holds.get(address, {})
    if not ledger.kinds.replays(address) or MARK not in fields:
        return {}
    try:
        held = {name: unseal(fields[name].current) for name in sorted(fields, key=lambda name: fields[name].came)}
        return {"first": unseal(fields[MARK].origin), "held": held}
    except LogError:
        return {}  # what is erased or lost is not needed, only better


def terms_of(document: Deployment) -> dict[Address, Json]:
    """What an uninstall, which has no desired state, has to know of a resource."""
    found: dict[Address, Json] = {}
    for wished in document.enforced():
        terms = wished.resource.terms()
        if terms is not None:
            found[wished.resource.address] = terms
    return found


def from_desired(
    documents: Iterable[Deployment],
    ledger: Ledger,
    unseal: Unseal,
    *,
    undecided: frozenset[str] = frozenset(),
    prune: bool = False,
) -> Goals:
    """The targets of the documents that are for this host.

    ``undecided``: deployments of which nobody knows whether they are for this host.
    ``prune``: deployments that are not in the input go, in place of being orphaned.
    """
    listed = list(documents)
    absent = [name for name in ledger.deployments() if name not in {d.name for d in listed} | undecided]
    goals = Goals(pruned=absent) if prune else Goals(orphaned=absent)
    gathering = _Gathering(listed, ledger, unseal, goals)
    for document in listed:
        gathering.wished(document)
        gathering.dropped(document)
    for leaver in goals.pruned:
        _uninstalled(goals, ledger, leaver, unseal, gathering.parting, gathering.stays)
    gathering.inherited()
    return goals


class _Gathering:
    """The documents of one input, being turned into targets."""

    def __init__(self, listed: list[Deployment], ledger: Ledger, unseal: Unseal, goals: Goals) -> None:
        self.ledger, self.unseal, self.goals = ledger, unseal, goals
        self.present = {document.name for document in listed} | set(goals.pruned)
        audited = {d.name for d in listed if d.policy == "audit" and not d.enforced()}
        self.parting = frozenset(self.present - audited)
        self.stays: dict[Address, set[str]] = {}
        """What is enforced, with the deployments that wish for it."""
        for document in listed:
            for wished in document.enforced():
                self.stays.setdefault(wished.resource.address, set()).add(document.name)
        wanted = [w.resource.address for d in listed for w in d.resources]
        holds = ledger.holds.items()
        elsewhere = [a for a, fields in holds if any(set(h.holders) - self.present for h in fields.values())]
        files, self.trees = _specific([*wanted, *elsewhere], ledger.kinds)
        came: set[str] = set()
        for address in set(wanted) & ledger.holds.keys():
            origins = {f: hold.origin for f, hold in ledger.holds[address].items()}
            came |= ledger.kinds[address.kind].brought(address.name, origins)
        self.files = files | came

    def _sink(self, document: Deployment, *, audited: bool) -> tuple[dict[Address, Target], frozenset[str]]:
        """Where targets go, and whose holds may end with them."""
        return (self.goals.audit, frozenset({document.name})) if audited else (self.goals.targets, self.parting)

    def wished(self, document: Deployment) -> None:
        """What a document wishes for."""
        goals, ledger = self.goals, self.ledger
        goals.terms |= {a: terms for a, terms in terms_of(document).items() if ledger.terms.get(a) != terms}
        for wished in document.resources:
            resource, address = wished.resource, wished.resource.address
            audited = not document.enforces(wished)
            sink, going = self._sink(document, audited=audited)
            if not audited:
                goals.claims.append((document.name, resource))
            holders = {h for hold in ledger.holds.get(address, {}).values() for h in hold.holders}
            if others := holders - self.present:
                goals.foreign[address] = min(others)
            target, first = self._target(document, wished, going), sink.get(address)
            if first is None:
                sink[address] = target
            elif not resource.implied:
                sink[address] = _joined(first, target)

    def _target(self, document: Deployment, wished: Declared, going: frozenset[str]) -> Target:
        """One wish, with what is given back where it asks for nothing."""
        ledger, resource = self.ledger, wished.resource
        address, held = resource.address, ledger.holds.get(resource.address, {})
        made = EXISTS in held and _absent(held[EXISTS].origin)
        back: dict[Field, Json] = {}
        for name, hold in held.items():
            gives, value = ledger.kinds[address.kind].given_back(name, hold.origin, made=made)
            if gives and going.issuperset(hold.holders):
                back[name] = self.unseal(value)
        return Target(
            address,
            document.name,
            resource,
            back,
            {name: self.unseal(hold.current) for name, hold in held.items() if name in back},
            made=made,
            source=wished.source,
            requires=frozenset(map(ledger.kinds.address, resource.after)),
            peers=self.files,
            options=_options(ledger, address, tuple(t for t in self.trees if t != resource.name)),
            **_standing(ledger, address, self.unseal),
        )

    def dropped(self, document: Deployment) -> None:
        """What a document's deployment holds, and the document does not ask for any more."""
        goals, ledger, name = self.goals, self.ledger, document.name
        mine = {w.resource.address for w in document.resources}
        left = [a for a in ledger.deployments().get(name, []) if a not in mine]
        gone = [a for a in left if a not in self.stays]
        audited = document.policy == "audit"
        sink, going = self._sink(document, audited=audited)
        if not audited:
            goals.leaves += [(name, a, f) for a in left for f in ledger.held_by(name, a)]
        trees = (*self.trees, *(a.name for a in gone if ledger.kinds.spans(a)))
        parted = {a for a in gone if all(going.issuperset(h.holders) for h in ledger.holds[a].values())}
        beside = _Beside(ledger, parted)
        for address in gone:
            if not _bequeathed(goals, ledger, address, self.stays, going) and address not in sink:
                target = _returning(ledger, name, address, going, trees, self.unseal)
                sink[address] = beside.returned(target)

    def inherited(self) -> None:
        """What trees learn of their paths from others: of those round them, and of those that they take over."""
        goals, ledger = self.goals, self.ledger
        for heir in filter(ledger.kinds.spans, self.stays):
            # A tree that steps out of one round it takes along what that knows of its paths.
            around = [a for a in self.stays if ledger.kinds.spans(a) and a != heir and inside(heir.name, a.name)]
            known = [a for a in around if PATHS in ledger.holds.get(a, {})]
            if known and PATHS not in ledger.holds.get(heir, {}):
                _inherited(goals, ledger, heir, max(known, key=lambda a: len(a.name)), self.stays)
        for heir, former in goals.inherits:
            if heir in goals.targets:
                passing = ledger.holds.get(former, {}).get(PATHS)
                goals.targets[heir] = _knowing(goals.targets[heir], [passing.origin if passing else None])


def _bequeathed(
    goals: Goals, ledger: Ledger, address: Address, stays: Mapping[Address, set[str]], parting: frozenset[str]
) -> bool:
    """Whether a tree that goes leaves all its paths to a tree round it; trees inside it inherit theirs."""
    if not ledger.kinds.spans(address):
        return False
    held = ledger.holds.get(address, {})
    outer = [a for a in stays if ledger.kinds.spans(a) and inside(address.name, a.name)]
    whole = bool(outer) and EXISTS not in held
    # The paths of a tree inside that stays, asked for here or held elsewhere, pass to it with what they once were.
    held_on = {a for a, f in ledger.holds.items() if PATHS in f and not parting.issuperset(f[PATHS].holders)}
    inner = {a for a in stays.keys() | held_on if ledger.kinds.spans(a) and inside(a.name, address.name)} - {address}
    for heir in [max(outer, key=lambda a: len(a.name))] if whole else sorted(inner, key=str):
        _inherited(goals, ledger, heir, address, stays)
    return whole


def _inherited(goals: Goals, ledger: Ledger, heir: Address, former: Address, stays: Mapping[Address, set[str]]) -> None:
    """A tree takes over what another one knows; who held that other one holds no part of the heir for it."""
    if (heir, former) not in goals.inherits:
        goals.inherits.append((heir, former))
        held = ledger.holds.get(former, {})
        holders = held[PATHS].holders if PATHS in held else ()
        theirs = stays.get(heir) or ledger.holds[heir][PATHS].holders
        goals.leaves += [(name, heir, PATHS) for name in holders if name not in theirs]


def _knowing(target: Target, layers: list[Json]) -> Target:
    """A tree's target with what other trees know of its paths."""
    known = merged([target.give_back.get(PATHS), *layers])
    return replace(target, give_back={**target.give_back, PATHS: known}) if known["layers"] else target


def _joined(first: Target, second: Target) -> Target:
    """Two deployments that wish for one thing: one target that wishes for both."""
    one, two = first.wish, second.wish
    if one is None or two is None:
        return second if one is None else first
    return _both(first, second, one.joined(two))


def _both(first: Target, second: Target, wish: Resource) -> Target:
    return Target(
        first.address, first.deployment, wish, {**second.give_back, **first.give_back},
        {**second.recorded, **first.recorded}, made=first.made or second.made,
        source=first.source, requires=first.requires | second.requires,
        peers=first.peers, options=first.options,
    )  # fmt: skip


def _absent(value: Json) -> bool:
    return isinstance(value, dict) and "absent" in value


def _returning(
    ledger: Ledger,
    deployment: str,
    address: Address,
    parting: frozenset[str],
    trees: tuple[str, ...],
    unseal: Unseal,
) -> Target:
    """A thing that none of the ``parting`` deployments wishes for: what nobody else holds of it goes back."""
    held: dict[Field, Hold] = ledger.holds.get(address, {})
    kind = ledger.kinds.get(address.kind)
    back: dict[Field, Json] = {}
    for name, hold in held.items():
        gives, _ = kind.given_back(name, hold.origin, made=False) if kind else (True, None)
        if gives and parting.issuperset(hold.holders):
            back[name] = unseal(hold.origin)
            if isinstance(hold.origin, dict) and "layers" in hold.origin:
                back[name] = merged(
                    other.origin
                    for a, fields in ledger.holds.items()
                    if a == address or (ledger.kinds.spans(a) and _related(a.name, address.name))
                    for f, other in fields.items()
                    if f == name
                )
    source = next((hold.source for hold in ledger.held_by(deployment, address).values() if hold.source), None)
    return Target(
        address,
        deployment,
        None,
        back,
        {name: unseal(held[name].current) for name in back},
        source=source_of(source),
        options=_options(ledger, address, tuple(t for t in trees if t != address.name)),
        **_standing(ledger, address, unseal),
    )


def from_uninstall(ledger: Ledger, deployment: str, unseal: Unseal, *, run: str, destroy: bool) -> Goals:
    """Everything that a deployment ever took, given back."""
    goals = Goals()
    _uninstalled(goals, ledger, deployment, unseal, frozenset({deployment}), {}, run if destroy else None)
    return goals


def _uninstalled(
    goals: Goals,
    ledger: Ledger,
    deployment: str,
    unseal: Unseal,
    parting: frozenset[str],
    stays: Mapping[Address, set[str]],
    quarantine: str | None = None,
) -> None:
    """The return of all that a deployment holds, but of what ``stays`` since others wish for it.

    ``quarantine``: the run to which data goes whose uninstall is declared destruction; None spares them.
    """
    mine = ledger.deployments().get(deployment, [])
    kept = [a for a, fields in ledger.holds.items() if any(set(h.holders) - parting for h in fields.values())]
    _, trees = _specific([*stays, *kept, *mine], ledger.kinds)
    doomed = destroys(ledger, deployment) if quarantine else []
    beside = _Beside(ledger, {*mine} - {*kept} - stays.keys())
    for address in mine:
        if any(
            ledger.kinds.located(address) and address != tree and inside(address.name, tree.name) for tree in doomed
        ):
            continue  # it goes with the tree, and comes back with it
        goals.leaves += [(deployment, address, name) for name in ledger.held_by(deployment, address)]
        policy = (ledger.terms.get(address) or {}).get("on_uninstall", "restore")
        if address in stays or address in goals.targets or policy == "keep":
            continue
        if _bequeathed(goals, ledger, address, stays, parting):
            continue
        target = _returning(ledger, deployment, address, parting, trees, unseal)
        target = beside.returned(target)
        if address in doomed:
            target = Target(
                address, deployment, None, {EXISTS: {"absent": {"quarantine": quarantine}}}, {},
                source=target.source, options={**target.options, "destroy": True},
            )  # fmt: skip
        goals.targets[address] = target


def destroys(ledger: Ledger, deployment: str) -> list[Address]:
    """The trees whose uninstall is declared destruction."""
    return [
        address
        for address in ledger.deployments().get(deployment, [])
        if (ledger.terms.get(address) or {}).get("on_uninstall") == "delete"
    ]


def as_left(
    address: Address, found: Mapping[Field, Json], left: Mapping[Field, Hold], kinds: Kinds, unseal: Unseal
) -> dict[Field, Json]:
    """What we had left in fields that were found otherwise; an image of a tree tells of each path for itself."""
    if address.kind not in kinds:
        return {}
    kind, told = kinds[address.kind], {name: unseal(hold.current) for name, hold in left.items() if name in found}
    return {
        name: value
        for name, value in told.items()
        if not (isinstance(found[name], dict) and "layers" in found[name]) and kind.altered(name, found[name], value)
    }


def from_past(
    pasts: Mapping[Address, Past],
    ledger: Ledger,
    unseal: Unseal,
    left: Mapping[Address, Mapping[Field, Hold]] | None = None,
) -> Goals:
    """Every thing as it was at a moment in the log.

    ``left``: what was held at that moment.  Such a field was what we had left it, and what somebody else made of it
    until it was changed again does not come back; without it the first value found since then does.
    """
    goals = Goals()
    _, trees = _specific([*ledger.holds, *pasts], ledger.kinds)
    files = frozenset(
        a.name
        for a, fields in ledger.holds.items()
        if ledger.kinds.single(a) and a not in pasts and OWNERSHIP & set(fields)
    )
    spoken = {
        a.name: {f[0]: past.seqs[f] for f in OWNERSHIP & set(past.values)}
        for a, past in pasts.items()
        if ledger.kinds.single(a)
    }
    for address, past in pasts.items():
        held = ledger.holds.get(address, {})
        values = {name: unseal(value) for name, value in past.values.items()}
        values |= as_left(address, values, (left or {}).get(address, {}), ledger.kinds, unseal)
        for name, value in values.items():
            if isinstance(value, dict) and "layers" in value:
                values[name] = merged(
                    p.values.get(name)
                    for a, p in pasts.items()
                    if a == address or (ledger.kinds.spans(a) and _related(a.name, address.name))
                )
        goals.targets[address] = Target(
            address,
            past.deployment,
            None,
            values,
            {name: unseal(held[name].current) for name in values if name in held},
            source=source_of(past.source),
            peers=files,
            options={
                **_options(ledger, address, tuple(t for t in trees if t != address.name)),
                "spoken": spoken,
            },
            left=unseal(past.left[MARK]) if ledger.kinds.replays(address) and MARK in past.left else None,
        )
    return goals
