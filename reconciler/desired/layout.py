"""The canonical layout of desired-state files: two blanks a level, lists indented, comments where they were."""

from __future__ import annotations

import io
from typing import Any

from ..errors import Mistake, Mistakes
from ..formats.text import printable
from ..formats.yaml import read


def laid_out(path: str, data: bytes) -> bytes:
    """The file in its canonical layout; what it means is proven to be the same.

    Scalars, quotes, the order of keys and comments stay as they were written.
    """
    from ruamel.yaml import YAML  # noqa: PLC0415 - start-up counts
    from ruamel.yaml.error import YAMLError  # noqa: PLC0415
    from ruamel.yaml.resolver import VersionedResolver  # noqa: PLC0415

    class Plain(VersionedResolver):
        """Every scalar is a text, so that each is written as it was."""

        @property
        def versioned_resolver(self) -> dict[str, Any]:
            return {}

    name = printable(path)
    before, wrong = read(name, data)
    if wrong:
        raise Mistakes(wrong)
    yaml = YAML(typ="rt")
    yaml.Resolver = Plain
    yaml.preserve_quotes = True
    yaml.width = 1 << 16
    yaml.indent(mapping=2, sequence=4, offset=2)
    out = io.StringIO()
    try:
        yaml.dump_all(list(yaml.load_all(data.decode())), out)
    except (YAMLError, UnicodeDecodeError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else "cannot be laid out"
        raise Mistakes([Mistake(name, 1, 1, f"cannot be laid out: {printable(reason)}", "write it plainer")]) from None
    text = "\n".join(line.rstrip() if line.lstrip().startswith("#") else line for line in out.getvalue().split("\n"))
    made = text.encode()
    after, wrong = read(name, made)
    if wrong or [each.value for each in after] != [each.value for each in before] or _comments(made) != _comments(data):
        raise Mistakes([Mistake(name, 1, 1, "cannot be laid out without changing it", "write it plainer")])
    return made


def _comments(data: bytes) -> int:
    """How many lines have a sign that could begin a comment."""
    return data.count(b"#")
