"""Whether the log is still the one that was written."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from json import dumps

from ..model import Json
from .events import START
from .store import LogReader, Row


@dataclass
class Verdict:
    """What a look at the whole chain found."""

    events: int = 0
    head: str = START
    anchored_to: Json = None
    problems: list[Json] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    def json(self) -> Json:
        """The form that ``log verify`` prints."""
        shape = {"ok": self.ok, "events": self.events, "head": self.head, "anchored_to": self.anchored_to}
        return shape | {"problems": self.problems}


def follow(rows: Iterable[Row], seen: Callable[[int, str], None] = lambda seq, digest: None) -> Verdict:
    """Check numbers, links and hashes from the first event to the last."""
    verdict = Verdict()
    expected = 1
    for row in rows:
        seq, prev, digest = row[0], row[8], row[9]
        seen(seq, digest)
        if seq != expected:
            verdict.problems.append({"seq": expected, "what": f"event {expected} is missing; the next one is {seq}"})
        if prev != verdict.head:
            verdict.problems.append({"seq": seq, "what": f"event {seq} does not follow the one before it"})
        if digest_of(row) != digest:
            verdict.problems.append({"seq": seq, "what": f"event {seq} was changed after it was written"})
        verdict.head, verdict.events, expected = digest, verdict.events + 1, seq + 1
    return verdict


def digest_of(row: Row) -> str:
    """The hash that a row has to carry: of the canonical text of all its other columns, put together as it stands."""
    seq, ident, at, run, type_, deployment, address, data, prev, _ = row
    text = (
        f'{{"address":{dumps(address)},"at":{dumps(at)},"data":{data},"deployment":{dumps(deployment)},'
        f'"id":{dumps(ident)},"prev":{dumps(prev)},"run":{dumps(run)},"seq":{dumps(seq)},"type":{dumps(type_)}}}'
    )
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def verify(log: LogReader, against: str | None = None) -> Verdict:
    """Check the chain, and that it still contains the head kept beside it (or in ``against``)."""
    kept = anchor(against or log.head_file())
    found: dict[int, str] = {}

    def note(seq: int, digest: str) -> None:
        if kept is not None and seq == kept["seq"]:
            found[seq] = digest

    verdict = follow(log.rows(), note)
    verdict.anchored_to = kept
    if kept is None:
        if verdict.events:
            verdict.problems.append(
                {"seq": verdict.events, "what": "the head that is kept beside the log is missing or damaged"}
            )
    elif kept["seq"] == 0 and kept["hash"] == START:
        pass
    elif kept["seq"] not in found:
        verdict.problems.append(
            {"seq": verdict.events + 1, "what": f"the end was cut off: the head kept is event {kept['seq']}"}
        )
    elif found[kept["seq"]] != kept["hash"]:
        verdict.problems.append(
            {
                "seq": kept["seq"],
                "what": f"event {kept['seq']} is not the one whose hash was kept; the chain was rewritten",
            }
        )
    return verdict


def anchor(path: str) -> Json:
    """A head that was kept: ``{"seq", "hash"}``; None where there is none that can be read."""
    try:
        with open(path, encoding="ascii") as file:
            told = json.load(file)
        return {"seq": int(told["seq"]), "hash": str(told["hash"])}
    except (OSError, ValueError, KeyError, TypeError):
        return None
