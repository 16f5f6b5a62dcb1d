"""Which configurations the trials of a stage have, so that none is tried twice.

Where a space has few combinations, Optuna's TPE draws the best ones again and again (docs/decisions/drawn-again.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from optuna import Study

from search import names
from search.store.pinned_stage import PinnedStage

Key = tuple[str, int]
"""A trial: its Optuna study and its number there."""


class Tried:
    """The configurations of a stage's trials, and of the trials of the stages that it extends."""

    def __init__(self, stage: PinnedStage, earlier: Sequence[Study] = ()) -> None:
        """`earlier` are the Optuna studies of the stages that `stage` extends."""
        self._bases = stage.bases
        self._earlier = earlier
        self._read: set[Key] = set()
        self._first: dict[frozenset[tuple[str, Any]], Key] = {}
        """The first trial that is known to have a configuration."""

    def read(self, study: Study, number: int) -> None:
        """Add the trials that were drawn since, but not the one with this number in `study`, the stage's own."""
        for source in (*self._earlier, study):
            for trial in source.get_trials(deepcopy=False):
                key = source.study_name, trial.number
                if trial.params and key not in self._read and not (source is study and trial.number == number):
                    self.add(key, trial.params)

    def add(self, key: Key, params: Mapping[str, Any]) -> None:
        """Note the configuration of a trial that was just drawn: its study may show the parameters only later."""
        self._read.add(key)
        self._first.setdefault(self._configuration(params), key)

    def holds(self, key: Key, params: Mapping[str, Any]) -> bool:
        """Whether another known trial than this one has the configuration that the parameters describe."""
        return self._first.get(self._configuration(params), key) != key

    def _configuration(self, params: Mapping[str, Any]) -> frozenset[tuple[str, Any]]:
        """All fields: bases may differ in some that no trial varies, and trials of two bases may be the same."""
        values = {**self._bases[params.get(names.BASE, 0)], **params}
        values.pop(names.BASE, None)
        return frozenset(values.items())
