"""profiles: what ships with the product."""

from __future__ import annotations

import click

from ._common import anywhere, print_json

RANK = 260


@click.command()
@click.argument("name", required=False)
@click.option("--format", "style", type=click.Choice(["text", "json"]), default="text", help="How to print data.")
@anywhere
def profiles(name: str | None, style: str) -> int:
    """Show the profile library, or one profile with its parameters.

    Example: reconciler profiles managesoft
    """
    from ..desired.words import nearest
    from ..errors import ReconcilerError
    from ..profiles import profiles as library

    known = library()
    if name is None:
        if style == "json":
            print_json(
                {
                    "format_version": "1.0",
                    "profiles": [{"name": n, "title": p.title, "modes": list(p.modes)} for n, p in known.items()],
                }
            )
        else:
            for key, profile in known.items():
                click.echo(f"{key:<14} {profile.title} ({', '.join(profile.modes)})")
        return 0
    found = known.get(name)
    if found is None:
        raise ReconcilerError(f"no profile {name!r}; {nearest(name, known)}")
    if style == "json":
        print_json({"format_version": "1.0", **found.model_dump()})
        return 0
    click.echo(f"{found.profile}: {found.title}\n\n{found.doc}\n\nmodes")
    for mode, described in found.modes.items():
        click.echo(f"  {mode}\n      {described.doc}")
    click.echo("\nparameters (with:)")
    for key, parameter in found.parameters.items():
        default = ", ".join(map(str, parameter.default)) if isinstance(parameter.default, list) else parameter.default
        mark = "" if parameter.confirmed else "   confirmed: false"
        click.echo(f"  {key} = {default}{mark}\n      {parameter.doc}")
    return 0
