"""The early end of a stage, as its pinned settings keep it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from search.text import plural


@dataclass(frozen=True, kw_only=True)
class EarlyEnd:
    """Why a stage ended before all of its trials had begun."""

    begun: int
    """Number of the stage's trials that had begun."""
    planned: int
    """Number of the stage's trials in the budget."""
    gain: float
    """The estimated gain that the rest of the stage could have brought, in the study's metric."""
    noise: float
    """The standard deviation between seeds that the gain was compared with, in the study's metric."""

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> EarlyEnd:
        """Read a stored object."""
        return cls(**stored)

    def line(self) -> str:
        """The early end as a sentence without a subject, for people: `ended early after 34 of 60 trials: ...`."""
        return (
            f"ended early after {self.begun} of {plural(self.planned, 'trial')}: the possible gain of {self.gain:.4f} "
            f"lies below the noise between seeds of {self.noise:.4f}"
        )
