"""Optuna's median pruner, without its cost in a long stage: it keeps the values of complete trials in order.

Optuna's reads the value of every complete trial after each epoch, which takes 1 ms at 5,000 trials.
"""

from __future__ import annotations

import math
from array import array
from bisect import insort
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from optuna import Study
from optuna.pruners import BasePruner
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState


class MedianOfComplete(BasePruner):
    """Prunes a trial whose best value so far is worse than the median of complete trials at the same epoch.

    Decides as `optuna.pruners.MedianPruner` does. Made for one study.
    """

    def __init__(self, *, n_startup_trials: int, n_warmup_steps: int) -> None:
        """It prunes nothing before `n_startup_trials` are complete, and no trial before the epoch `n_warmup_steps`."""
        self._startup = n_startup_trials
        self._warmup = n_warmup_steps
        self._known: set[int] = set()
        """Numbers of the complete trials whose values are in `_values`."""
        self._values: defaultdict[int, array[float]] = defaultdict(lambda: array("d"))
        """The values of complete trials in ascending order, by epoch."""

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        """Whether to end the trial after its last reported epoch."""
        epoch = trial.last_step
        if epoch is None or epoch < self._warmup:
            return False
        complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        if len(complete) < max(1, self._startup):
            return False
        if len(complete) != len(self._known):
            self._remember(complete)
        own = [value for value in trial.intermediate_values.values() if not math.isnan(value)]
        if not own:
            return True
        if epoch not in self._values:
            return False
        median = _median(self._values[epoch])
        return max(own) < median if study.direction == StudyDirection.MAXIMIZE else min(own) > median

    def _remember(self, complete: list[FrozenTrial]) -> None:
        """Add the values of trials that have completed; a complete trial never changes."""
        for trial in complete:
            if trial.number not in self._known:
                self._known.add(trial.number)
                for epoch, value in trial.intermediate_values.items():
                    if not math.isnan(value):
                        insort(self._values[epoch], value)


def _median(ascending: Sequence[float]) -> float:
    """What `numpy.percentile(ascending, 50)` returns, to the last bit; NumPy takes 0.1 ms even for few values."""
    middle, is_even = (len(ascending) - 1) // 2, len(ascending) % 2 == 0
    low, high = ascending[middle], ascending[min(middle + 1, len(ascending) - 1)]
    if math.isfinite(low) and math.isfinite(high):
        return high - (high - low) * 0.5 if is_even else low
    return float(np.percentile(ascending, 50))
