"""adopt: the desired state that describes what is there now."""

from __future__ import annotations

import click

from ._common import located, place_of, talk, write_fresh

RANK = 130


@click.command()
@click.argument("things", nargs=-1, required=True, metavar="ADDRESS|PATH...")
@click.option(
    "--key", "keys", nargs=3, multiple=True, metavar="FILE SECTION KEY",
    help="Of an ini file only this key, and others given so; by default all of them.",
)  # fmt: skip
@click.option("--deployment", default="adopted", metavar="NAME", help="The deployment's name; adopted by default.")
@click.option("--out", metavar="FILE", help="Write it there; by default to stdout.")
@located
@click.pass_context
def adopt(
    ctx: click.Context,
    things: tuple[str, ...],
    keys: tuple[tuple[str, str, str], ...],
    deployment: str,
    out: str | None,
    root: str | None,
    log_file: str | None,
) -> int:
    """Write the YAML that describes what is there now; planning it here finds nothing to do. Nothing is changed.

    A directory is a tree (a mapping, where the RSCD agent's files are in it), a file that ends in .ini is an ini file.

    Example: reconciler adopt account:flxrasvc /opt/managesoft daemon:ndtask --out desired/managesoft.yaml
    """
    from ..app.adopt import Adopter
    from ..app.adopt import things as meant
    from ..errors import Usage
    from ..formats.text import printable
    from ..kinds import kinds

    place = place_of(ctx, root, log_file)
    surveyor = place.surveyor()
    asked: dict[str, list[tuple[str, str]]] = {}
    for file, section, key in keys:
        asked.setdefault(file, []).append((section, key))
    addresses = meant(surveyor.host, [*things, *(f"ini:{file}" for file in asked)])
    for address in addresses:
        if address.kind not in kinds():
            raise Usage(
                f"{printable(str(address))}: is no address; write kind:name, or a path. Kinds: {', '.join(kinds())}"
            )
    adopter = Adopter(surveyor, deployment)
    text = adopter.document(addresses, asked)
    for remark in adopter.remarks:
        talk(f"left out: {printable(remark)}")
    if out is None:
        click.echo(text, nl=False)
    else:
        write_fresh("--out", out, text.encode())
        talk(f"written: {out}")
    return 0
