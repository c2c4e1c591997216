"""Snapshots: what a plan for a host needs to know of it, as one JSON document without secrets."""

from __future__ import annotations

import base64
import json
import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, fields, replace
from typing import Any

from .. import __version__
from ..core.events import FORMAT, OPEN
from ..core.holds import HOLD
from ..core.ledger import PARTS, Ledger
from ..errors import HostError, LogError
from ..formats.text import printable
from ..host.port import Entity, File, Observer, Process, Result, Stat, Traits
from ..host.recorded import RecordedObserver
from ..host.recording import Failure, Leaf, Record, Tree
from ..log.projection import Projection
from ..log.store import LogReader
from ..log.vault import Vault
from ..model import Address, Field, Json
from .redaction import Redactor

LARGEST = 1 << 30
"""The largest snapshot that is read, in bytes."""


def _coded(data: bytes) -> Json:
    with suppress(UnicodeDecodeError):
        return {"text": data.decode()}
    return {"base64": base64.b64encode(data).decode()}


def _raw(told: Json) -> bytes:
    return told["text"].encode() if "text" in told else base64.b64decode(told["base64"])


def _xattrs(found: Mapping[str, bytes]) -> dict[str, str]:
    return {name: base64.b64encode(value).decode() for name, value in sorted(found.items())}


def _xattrs_of(told: Mapping[str, str]) -> dict[str, bytes]:
    return {name: base64.b64decode(value) for name, value in told.items()}


def _table(found: Mapping[Any, Any], form: Callable[[Any], Json]) -> dict[str, Json]:
    """Answers by what was asked; failures as such, and nothing for what is not there."""
    return {
        key: {"failed": value.text, "unsafe": value.unsafe}
        if isinstance(value, Failure)
        else None
        if value is None
        else form(value)
        for key, value in sorted(found.items())
    }


def _answers(told: Mapping[str, Json], form: Callable[[Any], Any]) -> dict[str, Any]:
    return {
        key: None
        if value is None
        else Failure(str(value["failed"]), bool(value["unsafe"]))
        if isinstance(value, dict) and "failed" in value
        else form(value)
        for key, value in told.items()
    }


def _tree(tree: Tree) -> Json:
    directories = {}
    for path, leaf in sorted(tree.directories.items()):
        shape: dict[str, Json] = {"facts": leaf.facts, "groups": leaf.groups}
        shape |= (
            {"xattrs": {name: _xattrs(found) for name, found in sorted(leaf.xattrs.items())}} if leaf.xattrs else {}
        )
        shape |= {"inodes": leaf.inodes} if leaf.inodes else {}
        directories[path] = shape | ({"digests": leaf.digests} if leaf.digests else {})
    return {"facts": tree.facts, "directories": directories, "mounts": tree.mounts, "gaps": tree.gaps}


def _tree_of(told: Json) -> Tree:
    directories = {
        path: Leaf(
            int(leaf["facts"]),
            [(int(number), [str(name) for name in names]) for number, names in leaf["groups"]],
            {name: _xattrs_of(found) for name, found in leaf.get("xattrs", {}).items()},
            {name: (int(pair[0]), int(pair[1])) for name, pair in leaf.get("inodes", {}).items()},
            {name: str(digest) for name, digest in leaf.get("digests", {}).items()},
        )
        for path, leaf in told["directories"].items()
    }
    facts = [(str(f[0]), int(f[1]), int(f[2]), int(f[3]), int(f[4]), bool(f[5])) for f in told["facts"]]
    gaps = [(str(path), str(reason)) for path, reason in told["gaps"]]
    return Tree(facts, directories, [str(path) for path in told["mounts"]], gaps)


def _file(found: File) -> Json:
    about = {"mode": found.mode, "uid": found.uid, "gid": found.gid, "mtime_ns": found.mtime_ns}
    return _coded(found.data) | about | {"xattrs": _xattrs(found.xattrs)}


def record_json(record: Record, redactor: Redactor) -> Json:
    """A record of a host without its secrets."""
    files: dict[str, Json] = {}
    for path, found in record.files.items():
        if not isinstance(found, File):
            files[path] = found
            continue
        data = redactor.file(path, found.data, private=not found.mode & 0o004)
        if data is not None:
            files[path] = replace(found, data=data)
    return {
        "live": record.live,
        "boot": record.boot,
        "stats": _table(record.stats, lambda s: [getattr(s, f.name) for f in fields(Stat)]),
        "files": _table(files, _file),
        "traits": _table(record.traits, lambda t: {"xattrs": _xattrs(t.xattrs), "flags": sorted(t.flags)}),
        "names": _table(record.names, list),
        "links": _table(record.links, str),
        "canonical": {path: found for path, found in _table(record.canonical, str).items() if path != found},
        "trees": _table(record.trees, _tree),
        "mounts": record.mounts,
        "owned": record.owned,
        "processes": [_process(each, redactor) for each in record.processes],
        "remote": _table(record.remote, lambda e: {"unknown": e} if isinstance(e, str) else asdict(e)),
        "named": record.named,
        "groups": record.groups,
        "queries": [
            [list(argv), {"failed": told.text, "unsafe": told.unsafe} if isinstance(told, Failure)
             else [told.code, redactor.assigned(told.out), redactor.assigned(told.err)]]
            for argv, told in sorted(record.queries.items())
        ],
    }  # fmt: skip


def _process(process: Process, redactor: Redactor) -> Json:
    told = {key: sorted(value) if isinstance(value, frozenset) else value for key, value in asdict(process).items()}
    return told | {"args": redactor.words(process.args)}


def _process_of(told: Json) -> Process:
    sets = {"uids", "gids", "groups"}
    shape: Json = {key: frozenset(value) if key in sets else value for key, value in told.items()}
    return Process(**{**shape, "args": tuple(told["args"])})


def record_of(told: Json) -> Record:
    """A record as `record_json` told it."""
    return Record(
        stats=_answers(told["stats"], lambda s: Stat(*s)),
        files=_answers(
            told["files"],
            lambda f: File(_raw(f), f["mode"], f["uid"], f["gid"], _xattrs_of(f["xattrs"]), f["mtime_ns"]),
        ),
        traits=_answers(told["traits"], lambda t: Traits(_xattrs_of(t["xattrs"]), frozenset(t["flags"]))),
        names=_answers(told["names"], list),
        links=_answers(told["links"], str),
        canonical=_answers(told["canonical"], str),
        trees=_answers(told["trees"], _tree_of),
        mounts=[(str(point), str(kind)) for point, kind in told["mounts"]],
        owned={key: [str(path) for path in paths] for key, paths in told["owned"].items()},
        processes=[_process_of(each) for each in told["processes"]],
        remote=_answers(told["remote"], lambda e: e["unknown"] if "unknown" in e else Entity(e["name"], e["number"])),
        named=dict(told["named"]),
        groups=dict(told["groups"]),
        queries={
            tuple(argv): Failure(found["failed"], found["unsafe"]) if isinstance(found, dict) else Result(*found)
            for argv, found in told["queries"]
        },
        live=bool(told["live"]),
        boot=str(told["boot"]),
    )


def log_json(ledger: Ledger, vault: Vault, redactor: Redactor) -> Json:
    """What the log amounts to, with what is sealed beside it, and without secrets."""
    told = ledger.books.now(*PARTS)
    for key in [key for key in told if key.startswith(OPEN)]:
        del told[key]
    images: dict[str, str] = {}

    def plain(value: Json, address: Address, field: Field) -> Json:
        return redactor.value(address, field, vault.value(value))

    def walked(value: Json, at: tuple[Address, Field] | None) -> Json:
        if isinstance(value, dict):
            for layer in value.get("layers", ()):
                with suppress(LogError):
                    lines = b"\n".join(vault.stream(layer["image"]))
                    images[layer["image"]] = base64.b64encode(zlib.compress(lines)).decode()
            if at is not None and "$sealed" in value:
                return plain(value, *at)
            found = {}
            for key, part in value.items():
                found[key] = walked(part, _hold(key) or at)
            return found
        if isinstance(value, list):
            return [walked(part, at) for part in value]
        return redactor.assigned(value) if isinstance(value, str) else value

    facts: dict[str, Json] = {}
    for key, value in told.items():
        held = _hold(key)
        if held is None:
            facts[key] = walked(value, None)
            continue
        origin, current, *rest = value
        # Images are looked for first: they are named in the values.
        walked([origin, current], held)
        facts[key] = [plain(origin, *held), plain(current, *held), *rest]
    return {"facts": facts, "images": images, "seq": ledger.seq}


def _hold(key: str) -> tuple[Address, Field] | None:
    if not key.startswith(HOLD):
        return None
    name, _, path = key.removeprefix(HOLD).rpartition("\t")
    return Address.parse(name), tuple(json.loads(path))


class RecordedVault(Vault):
    """The images that a snapshot brings along."""

    def __init__(self, images: Mapping[str, str]) -> None:
        super().__init__("/nonexistent")
        self._images = images

    def unseal(self, name: str, part: int | None = None) -> Json:
        """Values stand in the snapshot itself."""
        raise LogError(f"{printable(name)}: is not in the snapshot")

    def stream(self, name: str) -> Iterator[bytes]:
        """The lines of an image."""
        if name not in self._images:
            raise LogError(f"{printable(name)}: this image is not in the snapshot")
        yield from zlib.decompress(base64.b64decode(self._images[name])).split(b"\n")


class RecordedLog(LogReader):
    """The log of a host that is not here, as far as a plan needs it."""

    def __init__(self, told: Json) -> None:
        super().__init__("/nonexistent/events.db")
        self._vault = RecordedVault(told["images"])
        self._books = Projection()
        self._books.begin(int(told["seq"]), told["facts"])

    def vault(self) -> Vault:
        """The images in the snapshot."""
        return self._vault

    def books(self) -> Projection:
        """The books in the snapshot."""
        return self._books

    def untouched(self) -> bool:
        """A snapshot has no chain; whoever took it saw the log."""
        return True


def snapshot_json(
    record: Record, ledger: Ledger, vault: Vault, redactor: Redactor, about: Mapping[str, Json], *, local_names: bool
) -> Json:
    """The whole document; ``about``: the host and when."""
    return {
        "format_version": FORMAT,
        "snapshot": 1,
        "version": __version__,
        **about,
        "local_names": local_names,
        "log": log_json(ledger, vault, redactor),
        "observed": record_json(record, redactor),
    }


class Snapshot:
    """One host, read from a snapshot."""

    def __init__(self, path: str) -> None:
        try:
            if os.path.getsize(path) > LARGEST:
                raise HostError(f"{printable(path)}: larger than {LARGEST >> 20} MiB; this is no snapshot")
            with open(path, encoding="utf-8") as file:
                told = json.load(file)
            if told["snapshot"] != 1:
                raise HostError(f"{printable(path)}: a snapshot of another version ({printable(str(told['version']))})")
            self.host: Json = {"name": str(told["host"]["name"]), "id": str(told["host"]["id"])}
            self.at = str(told["at"])
            record = record_of(told["observed"])
            self.observer: Observer = RecordedObserver(record, self.host["name"], local_names=bool(told["local_names"]))
            self.log = RecordedLog(told["log"])
        except OSError as error:
            raise HostError(f"{printable(path)}: cannot be read: {(error.strerror or '').lower()}") from None
        except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError, zlib.error):
            raise HostError(f"{printable(path)}: is no snapshot; 'reconciler observe --out FILE' writes one") from None


def readable(paths: Iterable[str]) -> list[Snapshot]:
    """Snapshots, each host once."""
    found: dict[str, tuple[str, Snapshot]] = {}
    for path in paths:
        one = Snapshot(path)
        key = f"{one.host['id']} {one.host['name']}"
        if key in found:
            other = printable(found[key][0])
            raise HostError(
                f"{printable(path)}: host {printable(one.host['name'])} is in {other} too; give one of them"
            )
        found[key] = (path, one)
    return [one for _, one in found.values()]
