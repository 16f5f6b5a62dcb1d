"""Distinguishes workers that fail at their start from workers that a trial killed."""

from __future__ import annotations

from data.errors import SieveError, UserError
from search.terminal import BAD_INPUT

MAX_EARLY_DEATHS = 5
"""A device is given up after this many early deaths in a row, for each of its workers. A trial that kills its workers
is given up earlier."""


class EarlyDeaths:
    """Counts the early deaths of the workers of one device, or of a cluster."""

    def __init__(self, workers: int, *, early_death_s: float) -> None:
        """`early_death_s`: the death of a worker that lived longer is attributed to its trial."""
        self._allowed = MAX_EARLY_DEATHS * max(1, workers)
        self._early_death_s = early_death_s
        self._in_a_row = 0

    def is_early(self, lived_s: float) -> bool:
        """Whether a worker died so soon after its start that it may be at fault itself."""
        return lived_s < self._early_death_s

    def count(self, lived_s: float, log_tail: str, code: int | None = None) -> None:
        """Count a worker's death, with the end of its log and its exit code.

        Raises SieveError if workers die as soon as they start, UserError if the last one named what to do about it.
        """
        self._in_a_row = self._in_a_row + 1 if self.is_early(lived_s) else 0
        if self._in_a_row < self._allowed:
            return
        if code == BAD_INPUT:
            reason = log_tail.rpartition(" | ")[2].removeprefix("error: ")
            raise UserError(f"workers exit as soon as they start: {reason}")
        raise SieveError(f"workers exit as soon as they start; the log of the last one ends with: {log_tail}")
