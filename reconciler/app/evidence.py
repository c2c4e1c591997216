"""The log as evidence: checkpoints, proofs, archives, and what was kept elsewhere."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

from ..core.events import canonical
from ..core.ledger import PARTS
from ..engine.execute import Engine
from ..engine.survey import facts, ledger_of
from ..errors import ReconcilerError, Refused, Usage
from ..history.moments import moment
from ..log.archive import archive as archived
from ..log.archive import check
from ..log.backup import backup as backed_up
from ..log.chain import Anchor, Verdict, checkpoint, head_anchor, note_anchor, prove, proven, verify
from ..log.note import Proof, Signer, VerifierKey
from ..log.store import LogReader
from ..log.vault import Vault
from ..model import Json
from .guards import intact
from .place import Place


def signer(reader: LogReader) -> Any:
    """The host's signing key beside a log."""
    return Signer(reader.directory, reader.stem)


def verifier(reader: LogReader, text: str | None) -> VerifierKey:
    """The key to check with: the given one (itself, or a file that holds it), else the one beside the log."""
    if text is None:
        found = signer(reader).verifier()
        assert isinstance(found, VerifierKey)
        return found
    try:
        if os.path.exists(text):
            with open(text, encoding="utf-8") as file:
                text = file.read()
        return VerifierKey.parse(text)
    except (OSError, ValueError) as error:
        raise Usage(f"--key: {error}") from None


def text_of(option: str, path: str) -> str:
    """A file that the user named, as text."""
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except (OSError, ValueError) as error:
        raise Usage(f"{option} {path}: cannot be read: {getattr(error, 'strerror', error)}") from None


def signed(place: Place) -> tuple[LogReader, str]:
    """The log, once it is found intact, and a checkpoint of it."""
    reader: LogReader = place.reader()
    intact(reader)
    note: str = signer(reader).sign(checkpoint(reader, origin(place.facts())))
    return reader, note


def kept(reader: LogReader, path: str, key: str | None) -> Anchor:
    """What was kept elsewhere: a signed checkpoint, or a head as it lies beside the log."""
    text = text_of("--against", path)
    if text.lstrip().startswith("{"):
        found = head_anchor(path)
        if found is None:
            raise Usage(f"--against {path}: no head and no checkpoint")
        return found
    try:
        return note_anchor(text, verifier(reader, key))
    except ValueError as error:
        raise ReconcilerError(f"--against {path}: {error}") from None


def origin(facts: dict[str, str | None]) -> str:
    """The name of this host's log in checkpoints; printable, and without what notes use as separators."""
    text = "/".join(["reconciler", facts.get("hostname") or "unknown", (facts.get("machine_id") or "unknown")[:12]])
    return "".join(char if char.isascii() and char.isprintable() and char not in " +" else "-" for char in text)


def verdict_of(place: Place, against: str | None, key: str | None) -> Verdict:
    """Whether no event was changed, removed, reordered or cut off, and no before-image that undo needs is damaged.

    ``against``: a checkpoint or head that was kept elsewhere; ``key``: the verifier key, by default the one beside
    the log.
    """
    reader = place.reader()
    verdict = verify(reader, None if against is None else kept(reader, against, key))
    if verdict.ok:
        vault, ledger = Vault(reader.directory), ledger_of(reader)
        verdict.problems += [
            {"seq": seq, "what": what} for seq, name in sorted(ledger.images()) if (what := vault.check(name))
        ]
    return verdict


def checked_proof(place: Place, path: str, key: str | None) -> Json:
    """The event that a proof proves to be in the log; needs no log."""
    text = text_of("--proof", path)
    try:
        return proven(Proof.parse(text), verifier(place.reader(), key))
    except ValueError as error:
        raise ReconcilerError(f"--proof {path}: proves nothing: {error}") from None


def checked_archive(place: Place, path: str, key: str | None) -> tuple[int, int, str]:
    """The first and the last event of an archive, and who signed it; needs no log."""
    reader = place.reader()
    try:
        first, last = check(path, verifier(reader, key))
    except OSError as error:
        raise Usage(f"--archive {path}: cannot be read: {(error.strerror or '').lower()}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise ReconcilerError(f"--archive {path}: {error}") from None
    return first, last, verifier(reader, key).name


def signed_checkpoint(place: Place) -> tuple[str, str]:
    """A signed checkpoint of the log, and the key to check it with."""
    reader, note = signed(place)
    return note, str(signer(reader).verifier())


def proof_of(place: Place, seq: int) -> tuple[str, str]:
    """A proof that an event is in the log, and the key to check it with."""
    reader, note = signed(place)
    return prove(reader, seq, note).text(), str(signer(reader).verifier())


def exported(place: Place, style: str) -> Iterator[bytes]:
    """Every event as a line of JSON; ``cloudevents``: as CloudEvents 1.0."""
    source = "urn:" + origin(place.facts()).replace("/", ":")
    for event in place.reader().raw():
        shape = event.json()
        if style == "cloudevents":
            shape = {
                "specversion": "1.0", "id": event.id, "source": source, "type": f"reconciler.{event.type}",
                "time": event.at, "datacontenttype": "application/json",
                **({"subject": event.address} if event.address else {}),
                "data": {key: shape[key] for key in ("seq", "run", "deployment", "data", "prev", "hash")},
            }  # fmt: skip
        yield canonical(shape).encode() + b"\n"


def archive(place: Place, upto: str, out: str, ask: Callable[[str], None]) -> tuple[str, int]:
    """Move old runs into a signed file: the run that says so, and the last event in it; ``ask`` agrees or raises."""
    with place.writer("log archive", 0.0) as writer:
        intact(writer)
        engine = Engine(place.host(), writer)
        last = moment(writer, engine.ledger, upto, "--upto")
        ended = [run for run in engine.ledger.runs() if run.last <= last and run.outcome is not None]
        if not ended or engine.ledger.open or engine.ledger.awaiting:
            raise Refused("nothing to archive: no run had ended by then, or one is still under way")
        known = facts(engine.host)
        ask(f"Archive {len(ended)} runs, up to {ended[0].id} (event {ended[0].last})?")
        told = engine.ledger.books.at(ended[0].last, *PARTS)
        start = archived(writer, ended[0].last, told, out, signer(writer), origin(known))
        # Said first: the chain vouches for what the log goes on from before the events go.
        decided = {"v": 1, "archived": start.digest(), "upto": start.seq}
        run = engine.record_decision(place.started("archive", known, deployments=[]), "checkpoint", decided)
        writer.archive(start)
        return run, start.seq


def backup(place: Place, directory: str) -> dict[str, Any]:
    """Copy the log with its before-images and keys into a new directory; tells what is in it."""
    told: dict[str, Any] = backed_up(place.reader(), directory)
    return told
