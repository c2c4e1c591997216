"""What is held: fields that we changed, with what they were; and the images of trees, layer upon layer.  Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from ..model import Address, Field, Json

HOLD = "hold|"
"""How the keys of holds begin in the books."""


@dataclass(frozen=True)
class Hold:
    """One field that we changed: how it was, how we left it, and for which deployments."""

    origin: Json
    current: Json
    holders: tuple[str, ...]
    seq: int
    source: Json = None
    came: tuple[int, int] = (0, 0)
    """When it was first held: the event, and the place among that event's changes."""

    def json(self) -> Json:
        """The form that the books carry."""
        return [self.origin, self.current, list(self.holders), self.seq, self.source, list(self.came)]

    @classmethod
    def parse(cls, raw: Json) -> Hold:
        """Read what `json` wrote."""
        origin, current, holders, seq, source, *came = raw
        return cls(origin, current, tuple(holders), seq, source, tuple(came[0]) if came else (seq, 0))


Holds = dict[Address, dict[Field, Hold]]


def holds_of(facts: Mapping[str, Json]) -> Holds:
    """The holds among facts."""
    found: Holds = {}
    for key, value in facts.items():
        if key.startswith(HOLD):
            name, _, path = key.removeprefix(HOLD).rpartition("\t")
            found.setdefault(Address.parse(name), {})[tuple(json.loads(path))] = Hold.parse(value)
    return arranged(found)


def arranged(holds: Holds) -> Holds:
    """The addresses in their order, and within each the fields in the order in which they were taken."""
    return {a: dict(sorted(fields.items(), key=lambda item: item[1].seq)) for a, fields in in_order(holds)}


def in_order(holds: Holds) -> list[tuple[Address, dict[Field, Hold]]]:
    """The addresses in the order in which they were last changed."""
    return sorted(holds.items(), key=lambda item: (min(h.seq for h in item[1].values()), str(item[0])))


def facts_of(holds: Holds) -> dict[str, Json]:
    """Holds as facts."""
    return {_key(address, name): hold.json() for address, fields in holds.items() for name, hold in fields.items()}


@lru_cache(maxsize=1 << 16)
def _key(address: Address, name: Field) -> str:
    return f"{HOLD}{address}\t{json.dumps(list(name))}"


def placed(value: Json, address: Address, seq: int) -> Json:
    """Images of a tree with the tree's top and their moment, since a path may pass from one tree to another."""
    if isinstance(value, dict) and "layers" in value:
        return {"layers": [{"seq": seq, "top": address.name, **layer} for layer in value["layers"]]}
    return value


def merged(values: Iterable[Json]) -> Json:
    """The images of several trees in the order of time."""
    layers = [layer for value in values if isinstance(value, dict) for layer in value.get("layers", ())]
    return {"layers": sorted(layers, key=lambda layer: int(layer["seq"]))}


def layered(origin: Json, before: Json) -> Json:
    """The older origin counts; images of a tree pile up, the oldest on top."""
    if isinstance(origin, dict) and isinstance(before, dict) and "layers" in origin and "layers" in before:
        return merged([origin, before])
    return before if origin is None and isinstance(before, dict) and "layers" in before else origin
