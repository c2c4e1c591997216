"""JSON Schemas of what goes in and comes out; those of resources are derived from the kinds."""

from __future__ import annotations

from ..core.events import TYPES
from ..desired.documents import Header
from ..kinds import kinds
from ..model import Json

DRAFT = "https://json-schema.org/draft/2020-12/schema"
TEXT = {"type": "string"}
NULLABLE = {"type": ["string", "null"]}
SOURCE = {
    "type": ["object", "null"],
    "properties": {
        "file": TEXT,
        "line": {"type": "integer"},
        "column": {"type": "integer"},
        "commit": NULLABLE,
    },
}


def schema(name: str) -> Json:
    """The schema of ``desired``, ``plan``, ``event`` or ``snapshot``."""
    return {"desired": _desired, "plan": _plan, "event": _event, "snapshot": _snapshot}[name]()


def _desired() -> Json:
    document = Header.model_json_schema(by_alias=True)
    definitions = document.pop("$defs", {})
    choices = []
    for kind in kinds().values():
        shape = kind.resource.model_json_schema(by_alias=True)
        definitions |= shape.pop("$defs", {})
        properties = shape["properties"]
        properties.pop("implied_by", None)
        shape["properties"] = {kind.name: properties.pop("name"), **properties}
        shape["required"] = [kind.name]
        shape["title"] = kind.name
        definitions[kind.name] = shape
        choices.append({"$ref": f"#/$defs/{kind.name}"})
    document["properties"]["resources"] = {"type": "array", "items": {"oneOf": choices}}
    return {
        "$schema": DRAFT,
        "title": "reconciler desired state: one document",
        **document,
        "$defs": definitions,
    }


def _plan() -> Json:
    change = {
        "type": "object",
        "required": ["field", "before", "after"],
        "properties": {"field": {"type": "array", "items": TEXT}, "before": {}, "after": {}},
    }
    transition = {
        "type": "object",
        "required": ["address", "verb", "deployment", "changes", "source", "requires", "reversible"],
        "properties": {
            "address": TEXT,
            "verb": {
                "enum": [
                    "create",
                    "remove",
                    "change",
                    "own",
                    "write",
                    "restart",
                    "start",
                    "stop",
                    "enable",
                    "disable",
                    "set-mode",
                ]
            },
            "deployment": TEXT,
            "changes": {"type": "array", "items": change},
            "source": SOURCE,
            "requires": {"type": "array", "items": TEXT},
            "reversible": {"enum": ["exact", "semantic", "none"]},
            "reason": TEXT,
            "counts": {"type": "object"},
            "sample": {"type": "array"},
        },
    }
    blocked = {
        "type": "object",
        "properties": {"address": TEXT, "reason": TEXT, "unknown": {"type": "boolean"}, "source": SOURCE},
    }
    conflict = {
        "type": "object",
        "properties": {
            "address": TEXT,
            "field": {"type": "array", "items": TEXT},
            "recorded": {},
            "found": {},
        },
    }
    counts = {key: {"type": "integer"} for key in ("create", "change", "remove", "restart", "unchanged")}
    return {
        "$schema": DRAFT,
        "title": "reconciler plan",
        "type": "object",
        "required": [
            "format_version",
            "plan_id",
            "host",
            "desired",
            "summary",
            "transitions",
            "blocked",
            "conflicts",
            "orphaned",
        ],
        "properties": {
            "format_version": {"const": "1.0"},
            "plan_id": {"type": "string", "pattern": "^sha256:[0-9a-f]{64}$"},
            "host": {"type": ["object", "null"]},
            "desired": {"type": ["object", "null"]},
            "summary": {"type": "object", "required": list(counts), "properties": counts},
            "transitions": {"type": "array", "items": transition},
            "blocked": {"type": "array", "items": blocked},
            "conflicts": {"type": "array", "items": conflict},
            "orphaned": {"type": "array", "items": TEXT},
            "converged": {"type": "array", "items": TEXT},
            "access": {"type": "object"},
        },
    }


def _event() -> Json:
    properties = {
        "seq": {"type": "integer", "minimum": 1},
        "id": TEXT,
        "at": {"type": "string", "format": "date-time"},
        "run": TEXT,
        "type": {"enum": list(TYPES)},
        "deployment": NULLABLE,
        "address": NULLABLE,
        "data": {"type": "object"},
        "prev": TEXT,
        "hash": TEXT,
    }
    return {
        "$schema": DRAFT,
        "title": "reconciler event",
        "type": "object",
        "required": list(properties),
        "properties": properties,
    }


def _snapshot() -> Json:
    tables = ("stats", "files", "traits", "names", "links", "canonical", "trees", "owned", "remote", "named", "groups")
    lists = ("mounts", "processes", "queries")
    observed: dict[str, Json] = {name: {"type": "object"} for name in tables}
    observed |= {name: {"type": "array"} for name in lists}
    observed |= {"live": {"type": "boolean"}, "boot": TEXT}
    log = {"facts": {"type": "object"}, "images": {"type": "object"}, "seq": {"type": "integer", "minimum": 0}}
    properties = {
        "format_version": {"const": "1.0"},
        "snapshot": {"const": 1},
        "version": TEXT,
        "at": {"type": "string", "format": "date-time"},
        "host": {"type": "object", "required": ["name", "id"], "properties": {"name": TEXT, "id": TEXT}},
        "facts": {"type": "object", "additionalProperties": NULLABLE},
        "local_names": {"type": "boolean"},
        "log": {"type": "object", "required": list(log), "properties": log},
        "observed": {"type": "object", "required": list(observed), "properties": observed},
    }
    return {
        "$schema": DRAFT,
        "title": "reconciler snapshot",
        "type": "object",
        "required": list(properties),
        "properties": properties,
    }
