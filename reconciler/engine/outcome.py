"""What comes of a run."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..core.plan import Blocked, Transition


@dataclass
class Report:
    """What came of a run."""

    run: str | None = None
    outcome: str = "unchanged"
    transitions: list[tuple[Transition, str, str | None]] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    blocked: list[Blocked] = field(default_factory=list)
    left: bool = False
    """Whether conflicts or blocked items were left alone on purpose."""

    @property
    def exit_code(self) -> int:
        """The exit code that this outcome has."""
        if self.outcome in ("converged", "unchanged"):
            return 5 if self.skipped or self.left else 0
        return {"refused": 3, "partial": 5}.get(self.outcome, 1)
