"""Whether the log is still the one that was written."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from ..core.events import START
from ..errors import LogError
from ..formats.text import printable
from ..model import Json
from . import merkle
from .note import Checkpoint, Proof, VerifierKey
from .store import Archived, LogReader, Row, entry_of

NOTHING = Archived()


@dataclass
class Verdict:
    """What a look at the whole chain found."""

    events: int = 0
    head: str = START
    anchored_to: Json = None
    problems: list[Json] = field(default_factory=list)
    accepted: list[Json] = field(default_factory=list)
    """What somebody decided to go on with; the decision is an event itself."""

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    def json(self) -> Json:
        """The form that ``log verify`` prints."""
        shape = {"ok": self.ok, "events": self.events, "head": self.head, "anchored_to": self.anchored_to}
        return shape | ({"accepted": self.accepted} if self.accepted else {}) | {"problems": self.problems}


def follow(rows: Iterable[Row], seen: Callable[[Row], None] = lambda row: None, start: Archived = NOTHING) -> Verdict:
    """Check numbers, links and hashes from the first event (behind the archived ones) to the last."""
    verdict, expected = Verdict(start.seq, start.hash), start.seq + 1
    told = not start.seq
    for row in rows:
        seq, prev, digest = row[0], row[8], row[9]
        seen(row)
        if seq != expected:
            verdict.problems.append({"seq": expected, "what": f"event {expected} is missing; the next one is {seq}"})
        if prev != verdict.head:
            verdict.problems.append({"seq": seq, "what": f"event {seq} does not follow the one before it"})
        if hashlib.sha256(entry_of(row)).hexdigest() != digest:
            verdict.problems.append({"seq": seq, "what": f"event {seq} was changed after it was written"})
        elif row[4] == "checkpoint":
            data = json.loads(row[7])
            verdict.accepted += data.get("accepted", ())
            told = told or data.get("archived") == start.digest()
        verdict.head, verdict.events, expected = digest, verdict.events + 1, seq + 1
    if not told:
        what = f"what the log goes on from behind the archived event {start.seq} is not what was archived"
        verdict.problems.append({"seq": start.seq, "what": what})
    verdict.problems = [item for item in verdict.problems if item not in verdict.accepted]
    return verdict


@dataclass(frozen=True)
class Anchor:
    """What was kept elsewhere: the hash of an event, or the root over the first so many events."""

    seq: int
    hash: str | None = None
    root: bytes | None = None

    def json(self) -> Json:
        """The form that ``log verify`` prints."""
        return {"seq": self.seq} | ({"hash": self.hash} if self.root is None else {"root": self.root.hex()})


def verify(log: LogReader, against: Anchor | None = None) -> Verdict:
    """Check the chain, and that it still holds the head kept beside it (or what was kept elsewhere)."""
    kept = against or head_anchor(log.head_file())
    hashes: dict[int, str] = {}
    start = log.archived()
    tree, roots = merkle.Tree(peaks=peaks_of(start)), {start.seq: merkle.Tree(peaks=peaks_of(start)).root()}
    if kept is not None and kept.seq == start.seq:
        hashes[start.seq] = start.hash

    def note(row: Row) -> None:
        if kept is None:
            return
        if row[0] == kept.seq:
            hashes[row[0]] = row[9]
        if kept.root is not None and tree.size < kept.seq:
            tree.grow(merkle.leaf(entry_of(row)))
            if tree.size == kept.seq:
                roots[tree.size] = tree.root()

    verdict = follow(log.rows(), note, start)
    verdict.anchored_to = kept.json() if kept else None
    if kept is None and verdict.events:
        missing = "the head that is kept beside the log is missing or damaged"
        verdict.problems.append({"seq": verdict.events, "what": missing})
    elif kept is not None and kept.seq < start.seq:
        archived = f"event {kept.seq} was archived; check the archive that holds it against this"
        verdict.problems += [{"seq": kept.seq, "what": archived}] if kept.seq else []
    elif kept is not None and kept.seq:
        known = hashes.get(kept.seq) if kept.root is None else roots.get(kept.seq)
        verdict.problems += _off(kept, known, verdict.events + 1)
    return verdict


def _off(kept: Anchor, known: str | bytes | None, end: int) -> list[Json]:
    """How the log differs from what was kept of it, where ``known`` is what it has at that event."""
    if known is None:
        what = f"the head kept is event {kept.seq}" if kept.root is None else f"the checkpoint counts {kept.seq} events"
        return [{"seq": end, "what": f"the end was cut off: {what}"}]
    if kept.root is None and known != kept.hash:
        what = f"event {kept.seq} is not the one whose hash was kept; the chain was rewritten"
    elif kept.root is not None and known != kept.root:
        what = f"the events up to {kept.seq} are not those of the checkpoint; the chain was rewritten"
    else:
        return []
    return [{"seq": kept.seq, "what": what}]


def head_anchor(path: str) -> Anchor | None:
    """A head that was kept: ``{"seq", "hash"}``; None where there is none that can be read."""
    try:
        with open(path, encoding="ascii") as file:
            told = json.load(file)
        return Anchor(int(told["seq"]), str(told["hash"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def note_anchor(note: str, key: VerifierKey) -> Anchor:
    """A checkpoint that was kept, once its signature is checked; a `ValueError` where that fails."""
    checkpoint = Checkpoint.parse(key.signed(note))
    return Anchor(checkpoint.size, root=checkpoint.root)


def checkpoint(log: LogReader, origin: str) -> Checkpoint:
    """The log's size and root, with the chain's head as one more line."""
    seq, head = log.tail()
    tree = merkle.Tree(peaks=peaks_of(log.archived()))
    for row in log.rows():
        if row[0] <= seq:
            tree.grow(merkle.leaf(entry_of(row)))
    return Checkpoint(origin, seq, tree.root(), (f"head {seq} {head}",))


def peaks_of(start: Archived) -> list[tuple[int, bytes]]:
    """The subtrees over the archived events."""
    return [(level, bytes.fromhex(digest)) for level, digest in start.peaks]


def prove(log: LogReader, seq: int, note: str) -> Proof:
    """That event ``seq`` is among those that a signed checkpoint counts."""
    size = Checkpoint.parse(note.rpartition("\n\n")[0] + "\n").size
    if not 1 <= seq <= size:
        raise LogError(f"{printable(log.path)}: the checkpoint counts {size} events; there is no event {seq} in it")
    start = log.archived()
    if seq <= start.seq:
        raise LogError(f"{printable(log.path)}: event {seq} was archived; its proof is in the archive that holds it")
    tree, entry = merkle.Tree(seq - 1, peaks_of(start)), b""
    for row in log.rows():
        if tree.size == size:
            break
        text = entry_of(row)
        entry = text if tree.size == seq - 1 else entry
        tree.grow(merkle.leaf(text))
    return Proof(seq - 1, entry, tuple(tree.proof()), note)


def proven(proof: Proof, key: VerifierKey) -> Json:
    """The event that a proof is of, checked against the signature; a `ValueError` where it proves nothing."""
    told = Checkpoint.parse(key.signed(proof.note))
    if not merkle.included(merkle.leaf(proof.entry), proof.index, told.size, list(proof.hashes), told.root):
        raise ValueError("the event is not in the log that the checkpoint vouches for")
    return json.loads(proof.entry)
