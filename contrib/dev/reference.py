"""Make contrib/docs/desired.md from the models, so that it cannot differ from them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from reconciler.desired.documents import Header  # noqa: E402
from reconciler.kinds import kinds  # noqa: E402

HEAD = """\
# Desired state

YAML 1.2: any number of files below `desired/`, any number of documents in a file; each document is one deployment. This
page is made from the models by `contrib/dev/reference.py`; a test holds it to them.

A scalar means what its field asks for: an unquoted `0750` is a mode, `yes` is a yes where one is asked, and nothing is
silently read as something else. An unknown key, a doubled key, a merge key or a tag is a mistake with its line.
"""


def rows(model: Any, hidden: tuple[str, ...] = ()) -> list[str]:
    """One line a key."""
    lines = ["| key | meaning |", "|---|---|"]
    for name, info in model.model_fields.items():
        if name not in hidden:
            text = (info.description or "further keys: owner, group, mode").replace("|", "\\|")
            lines.append(f"| `{info.alias or name}` | {text} |")
    return lines


def page() -> str:
    """The whole page."""
    parts = [HEAD, "## A document", "\n".join(rows(Header))]
    for kind in kinds().values():
        told = (kind.resource.__doc__ or "").strip()
        parts += [f"## {kind.name}", told, "\n".join(rows(kind.resource, ("name", "implied_by", "after")))]
    parts.append("`after: [kind:name]` may stand in every resource and adds an edge to the order.")
    return "\n\n".join(part.rstrip() for part in parts) + "\n"


if __name__ == "__main__":
    (ROOT / "contrib/docs/desired.md").write_text(page())
