"""What was found after a seed's search."""

from __future__ import annotations

from dataclasses import dataclass, field, fields


@dataclass(kw_only=True)
class Findings:
    """Counts over one search or several, and problems in words."""

    trials: int = 0
    lost: int = 0
    """Planned trials without a result."""
    twice: int = 0
    """Trials more than planned, and second results."""
    changed: int = 0
    """Results that differ from what was seen before a fault."""
    inexact_epochs: int = 0
    """Trials of which an epoch is missing or on record twice."""
    left_running: int = 0
    """Trials that run or wait, leases, and processes, after the search."""
    losses: int = 0
    """How often a trial was lost with its worker and then done again."""
    champions: int = 0
    """Champions that load, answer, and hold what their hash says."""
    problems: list[str] = field(default_factory=list)

    @property
    def is_well(self) -> bool:
        """Whether every invariant holds."""
        faults = (self.lost, self.twice, self.changed, self.inexact_epochs, self.left_running)
        return not any(faults) and not self.problems

    def add(self, other: Findings) -> None:
        """Count another's, too."""
        for counted in fields(self):
            setattr(self, counted.name, getattr(self, counted.name) + getattr(other, counted.name))
