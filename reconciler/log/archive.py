"""Old events in a file of their own, with what proves them; the log goes on from what they amounted to.

Shape of the file: a header line, then one line for each event as `log export` writes it.  The header holds what came
before, and a signed checkpoint over all events up to the last one in the file, so that the file is checked alone.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping

from ..core.events import canonical
from ..errors import LogError, Usage
from ..formats.text import printable
from ..model import Json
from . import merkle
from .chain import note_anchor, peaks_of
from .durable import sync
from .note import Checkpoint, Signer, VerifierKey
from .store import Archived, entry_of
from .writer import LogWriter

FORMAT = "reconciler-archive/1"


def archive(log: LogWriter, upto: int, facts: Mapping[str, Json], path: str, signer: Signer, origin: str) -> Archived:
    """Write the events up to ``upto`` to a new file, durably; answers what the log is to go on from."""
    before = log.archived()
    tree, head = merkle.Tree(peaks=peaks_of(before)), before.hash
    for row in log.rows():
        if row[0] <= upto:
            tree.grow(merkle.leaf(entry_of(row)))
            head = row[9]
    note = signer.sign(Checkpoint(origin, upto, tree.root(), (f"head {upto} {head}",)))
    header = {"format": FORMAT, "from": before.seq + 1, "to": upto, "prev": before.hash,
              "peaks": [list(peak) for peak in before.peaks], "checkpoint": note}  # fmt: skip
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.write(canonical(header).encode() + b"\n")
            for event in log.raw():
                if event.seq <= upto:
                    file.write(canonical(event.json()).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        sync(os.path.dirname(os.path.abspath(path)))
    except FileExistsError:
        raise Usage(f"--out {printable(path)}: exists already; name a new file") from None
    except OSError as error:
        raise LogError(
            f"{printable(path)}: cannot be written: {(error.strerror or '').lower()}; nothing was archived"
        ) from None
    peaks = tuple((level, digest.hex()) for level, digest in tree.peaks)
    return Archived(upto, head, peaks, dict(facts))


def check(path: str, key: VerifierKey) -> tuple[int, int]:
    """The first and the last event of an archive that is whole and signed; a `ValueError` where it is not."""
    with open(path, encoding="ascii") as file:
        header = json.loads(file.readline())
        if not isinstance(header, dict) or header.get("format") != FORMAT:
            raise ValueError("it is no archive")
        anchor = note_anchor(header["checkpoint"], key)
        tree = merkle.Tree(peaks=[(int(level), bytes.fromhex(digest)) for level, digest in header["peaks"]])
        prev, seq = header["prev"], int(header["from"]) - 1
        for line in file:
            event = json.loads(line)
            digest, seq = event.pop("hash"), seq + 1
            body = canonical(event).encode()
            if event["seq"] != seq or event["prev"] != prev or hashlib.sha256(body).hexdigest() != digest:
                raise ValueError(f"event {seq} was changed, or is not the one that follows")
            tree.grow(merkle.leaf(body))
            prev = digest
    if (seq, tree.root()) != (anchor.seq, anchor.root):
        raise ValueError(f"the checkpoint counts {anchor.seq} events, and these {seq} are not those")
    return int(header["from"]), seq
