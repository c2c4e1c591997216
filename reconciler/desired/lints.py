"""Lints of the desired state: what is allowed and seldom meant.  Pure."""

from __future__ import annotations

from collections.abc import Iterable

from ..errors import Mistake
from .documents import Document


def lints(documents: Iterable[Document]) -> list[Mistake]:
    """Everything that somebody should look at twice, in the order of the files."""
    return sorted(
        {
            Mistake(at.file, at.line, at.column, f"{wished.resource.address}: {text}", hint)
            for document in documents
            for wished in document.resources
            for text, hint in (*wished.resource.lints(), *wished.resource.unread())
            for at in [wished.source]
        }
    )
