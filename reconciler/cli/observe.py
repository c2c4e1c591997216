"""observe: what plans for this host need to know, as a file that can be taken elsewhere."""

from __future__ import annotations

import os

import click

from ._common import located, place_of, print_json, talk, write_fresh

RANK = 120
NAMESPACE = "reconciler-snapshot"


@click.command()
@click.argument("paths", nargs=-1)
@located
@click.option("--out", metavar="FILE", help="Write it there; by default to stdout.")
@click.option("--sign", "key", metavar="KEY", help="Sign it with this SSH key; the signature is FILE.sig.")
@click.pass_context
def observe(
    ctx: click.Context, paths: tuple[str, ...], root: str | None, log_file: str | None, out: str | None, key: str | None
) -> int:
    """Write a snapshot of this host, without secrets, for 'plan --snapshot' elsewhere. Nothing is changed.

    It has what the documents in PATHS, the log and the profiles speak of, and all accounts, groups and units.

    Example: reconciler observe desired/ --out web-1.json
    """
    import json

    from ..app.signatures import sign
    from ..errors import Usage
    from ..snapshots.taken import taken

    if key is not None and out is None:
        raise Usage("--sign signs a file; say --out FILE too")
    told = taken(place_of(ctx, root, log_file), paths or (("desired",) if os.path.isdir("desired") else ()))
    if out is None:
        print_json(told)
        return 0
    write_fresh("--out", out, (json.dumps(told, ensure_ascii=True) + "\n").encode(), 0o600)
    if key is not None:
        talk(f"signed: {sign(out, key, NAMESPACE)}")
    talk(f"written: {out}")
    return 0
