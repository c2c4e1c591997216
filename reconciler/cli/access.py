"""access: who could read, write and execute a path, or become its owner."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ._common import place_of, print_json, shared, talk

if TYPE_CHECKING:
    from ..access.becoming import Becoming
    from ..access.scene import Scene
    from ..model import Json

RANK = 240


@click.command()
@click.argument("paths", nargs=-1, required=True)
@shared
@click.pass_context
def access(ctx: click.Context, paths: tuple[str, ...], root: str | None, log_file: str | None, style: str) -> int:
    """Show who could read, write or execute PATHS, or become their owner, and because of what.

    Every directory on the way counts, and so do ACLs, groups, capabilities, sudoers, units, crontabs and live
    processes.  'become' lists accounts besides root and the owner.

    Example: reconciler access /etc/managesoft.ini
    """
    from ..access.becoming import Becoming
    from ..access.scene import Scene
    from ..formats.text import printable

    place = place_of(ctx, root, log_file)
    scene = Scene(place.observer())
    becoming = Becoming(scene, place.facts()["hostname"] or "localhost")
    found = [examined(scene, becoming, path) for path in paths]
    for file, number, text in becoming.sudoers.problems:
        talk(printable(f"{file}:{number}: not understood, and left out: {text}"))
    if style == "json":
        print_json({"format_version": "1.0", "paths": found})
        return 0
    everyone = {person.name for person in scene.persons}
    for item in found:
        link = f" → {item['leads_to']}" if item["leads_to"] != item["path"] else ""
        click.echo(printable(f"{item['path']}{link}  (owner {item['owner']})"))
        for name in ("read", "write", "execute", "become"):
            for line in told(item[name], item["because"][name], everyone):
                click.echo(printable(f"  {name:<8} {line}"))
                name = ""  # noqa: PLW2901 - said once
    return 0


def examined(scene: Scene, becoming: Becoming, path: str) -> Json:
    """One path as JSON tells it."""
    from ..access.scene import absolute
    from ..errors import Usage
    from ..formats.text import printable

    full = absolute(path)
    way = scene.way(full)
    if way is None:
        raise Usage(f"{printable(full)}: no such file or directory")
    rights = scene.rights_on(way)
    owner = scene.owner(full)
    become = becoming.into(owner or "")
    return {
        "path": full,
        "leads_to": way.path,
        "owner": owner,
        **{name: list(people) for name, people in rights.items()},
        "become": sorted(become),
        "because": {**rights, "become": become},
    }


def told(names: list[str], because: dict[str, str], everyone: set[str]) -> list[str]:
    """The names of a right, those with one reason together; everybody as one word."""
    if not names:
        return ["nobody"]
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(because[name], []).append(name)
    lines = []
    for why, people in groups.items():
        rest = everyone - {name for other, named in groups.items() if other != why for name in named}
        many = len(people) > 6 and set(people) >= rest
        lines.append(f"{'everybody else' if many else ', '.join(people)}: {why}")
    return lines
