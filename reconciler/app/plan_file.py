"""Saved plans: what was seen and promised, with its input, so that exactly this is carried out later, or nothing."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass

from ..core.events import canonical
from ..core.kind import SECRET
from ..core.plan import Plan
from ..errors import Refused, Usage
from ..formats.text import printable
from ..kinds import kinds
from ..log.store import now
from ..model import Address, Json

NAMESPACE = "plan@reconciler"
"""The namespace of approvers' signatures, as `ssh-keygen -Y sign -n` takes it."""


@dataclass(frozen=True)
class Saved:
    """A saved plan as it was read."""

    plan: Json
    inputs: Mapping[str, bytes]
    only: tuple[Address, ...]
    skip_blocked: bool
    prune: bool
    digest: str
    """The identity by which the log knows that it was applied."""

    def moved(self, plan: Plan) -> list[str]:
        """Every fact that is not as it was when the plan was made, in words."""
        salt = self.plan["saved"]["salt"]
        return _moved(self.plan, plan.json() | {"secrets": secrets(plan, salt)}, self.plan["saved"]["secrets"])


def save(plan: Plan, inputs: Mapping[str, bytes], *, only: tuple[Address, ...], skip_blocked: bool, prune: bool) -> str:
    """The text of a saved plan: the plan itself, and beside it what a later apply needs."""
    salt = os.urandom(16).hex()
    more = {
        "at": now(),
        "nonce": os.urandom(16).hex(),
        "inputs": {path: base64.b64encode(data).decode() for path, data in sorted(inputs.items())},
        "only": [str(address) for address in only],
        "skip_blocked": skip_blocked,
        "prune": prune,
        "salt": salt,
        "secrets": secrets(plan, salt),
    }
    return json.dumps(plan.json() | {"saved": more}, indent=2) + "\n"


def read(path: str) -> Saved:
    """A saved plan; a `Usage` error where the file is none."""
    try:
        with open(path, "rb") as file:
            data = file.read()
        plan = json.loads(data)
        more = plan["saved"]
        inputs = {str(name): base64.b64decode(text) for name, text in more["inputs"].items()}
        only = tuple(Address.parse(str(text)) for text in more["only"])
        body = {key: value for key, value in plan.items() if key not in ("plan_id", "saved", "access")}
    except OSError as error:
        raise Usage(f"--plan {printable(path)}: cannot be read: {(error.strerror or '').lower()}") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise Usage(f"--plan {printable(path)}: is no saved plan; 'reconciler plan --out FILE' makes one") from None
    if plan["plan_id"] != "sha256:" + hashlib.sha256(canonical(body).encode()).hexdigest():
        raise Refused(f"--plan {printable(path)}: was edited after it was saved; make a new one")
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    return Saved(plan, inputs, only, bool(more["skip_blocked"]), bool(more["prune"]), digest)


def secrets(plan: Plan, salt: str) -> dict[str, list[str]]:
    """Digests of the values that a plan does not show, slow to guess, so that they are bound too."""
    found: dict[str, list[str]] = {}
    for transition in plan.transitions:
        kind = kinds()[transition.address.kind]
        for change in transition.step.changes:
            if SECRET in change.shown:
                told = canonical([kind.show(change.field, change.before), kind.show(change.field, change.after)])
                digest = hashlib.scrypt(told.encode(), salt=bytes.fromhex(salt), n=2**12, r=8, p=1, dklen=16).hex()
                found.setdefault(str(transition.address), []).append(digest)
    return found


def _moved(old: Json, new: Json, hidden: Mapping[str, list[str]]) -> list[str]:
    told: list[str] = []
    if old["host"] != new["host"]:
        told.append(f"the plan is for the host {old['host']['name']}, and this is {new['host']['name']}")
    before, after = (_by_line(plan["transitions"]) for plan in (old, new))
    for line in set(before) - set(after):
        told.append(f"{line} is not needed any more, or not possible")
    for line in set(after) - set(before):
        told.append(f"{line} is needed now, and was not then")
    for line in set(before) & set(after):
        then, now = before[line], after[line]
        for name in dict.fromkeys([*then, *now]):
            if then.get(name) != now.get(name):
                told.append(f"{line}: {name} was {_words(then.get(name))}, and is {_words(now.get(name))}")
    for address in hidden.keys() | new["secrets"].keys():
        if hidden.get(address) != new["secrets"].get(address):
            told.append(f"{address}: a secret value is not the one it was")
    for name in ("blocked", "conflicts"):
        listed, present = ({canonical(item) for item in plan[name]} for plan in (old, new))
        told += [f"{name}: {json.loads(item)['address']} is new" for item in present - listed]
        told += [f"{name}: {json.loads(item)['address']} is gone" for item in listed - present]
    return sorted(told)


def _by_line(transitions: list[Json]) -> dict[str, dict[str, Json]]:
    """The facts of each plan line: values before and after; of a tree its classes, whatever their counts."""
    found: dict[str, dict[str, Json]] = {}
    for item in transitions:
        pause = " for the hand-over" if item.get("pause") else ""
        facts: dict[str, Json] = {}
        if "counts" in item:
            facts["classes"] = sorted(f"{c['type']} {c['before']} → {c['after']}" for c in item.get("classes", ()))
        else:
            facts |= {".".join(c["field"]): [c["before"], c["after"]] for c in item["changes"]}
        found[f"{item['verb']} {item['address']}{pause}"] = facts
    return found


def _words(value: Json) -> str:
    if isinstance(value, list) and len(value) == 2:
        return f"{value[0]!r} → {value[1]!r}"
    return "not there" if value is None else printable(str(value))
