"""What the core has to know of a document of the desired state."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from ..model import Source


class Declared(Protocol):
    """One resource, with its place in the document."""

    @property
    def resource(self) -> Any:
        """The wish: a `Resource` of some kind."""

    @property
    def source(self) -> Source:
        """Where it stands."""


class Deployment(Protocol):
    """One document: a name, and what is wished under it."""

    @property
    def name(self) -> str:
        """By which the log knows who holds what."""

    @property
    def policy(self) -> str:
        """``enforce``, or ``audit``: report and never write."""

    @property
    def resources(self) -> Sequence[Declared]:
        """Every resource."""

    def enforces(self, wished: Any) -> bool:
        """Whether a resource is brought about, and not only reported."""

    def enforced(self) -> Sequence[Declared]:
        """The resources that are brought about."""
