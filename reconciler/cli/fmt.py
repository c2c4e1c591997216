"""fmt: the YAML in its plain form."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ._common import anywhere, talk

if TYPE_CHECKING:
    from ..errors import Mistake

RANK = 30


@click.command()
@click.argument("paths", nargs=-1)
@click.option("--check", is_flag=True, help="Write nothing; exit 1 where a file would be laid out anew.")
@anywhere
def fmt(paths: tuple[str, ...], check: bool) -> int:
    """Lay desired-state files out in the canonical way; what they mean, and their comments, stay.

    Example: reconciler fmt desired/
    """
    from ..desired.documents import find_files
    from ..desired.layout import laid_out
    from ..errors import Mistakes, Usage
    from ..formats.text import printable

    mistakes: list[Mistake] = []
    others = 0
    for path in find_files(paths or ("desired",), mistakes):
        try:
            with open(path, "rb") as file:
                data = file.read()
            made = laid_out(path, data)
            if made == data:
                continue
            others += 1
            talk(f"{printable(path)}: {'would be laid out anew' if check else 'laid out anew'}")
            if not check:
                # In place, so that owner and mode stay; what it means was proven to be the same.
                with open(path, "r+b") as file:
                    file.write(made)
                    file.truncate()
        except Mistakes as error:
            mistakes += error.mistakes
        except OSError as error:
            raise Usage(f"{printable(path)}: {(error.strerror or '').lower()}") from None
    if mistakes:
        raise Mistakes(mistakes)
    return 1 if check and others else 0
