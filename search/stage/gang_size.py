"""How many trials were trained together with a given one: times of a trial in a gang are shares of the gang's time."""

from __future__ import annotations

from datetime import UTC

from optuna.trial import FrozenTrial

from search import names
from search.store.pinned_stage import PinnedStage


def gang_size(trial: FrozenTrial, stage: PinnedStage) -> float:
    """The mean number of trials in the gang of a trial that has ended; 1 for a trial that was trained alone.

    A trial has its worker from its claim to its end. In a gang, only its share of that time is its duration. With
    rungs there are no gangs of branches, and a trial that continued was claimed long before.
    """
    own_s: float = trial.user_attrs.get(names.DURATION_S, 0.0)
    begun, ended = trial.datetime_start, trial.datetime_complete
    if stage.rungs or not own_s or begun is None or ended is None:
        return 1.0
    had_s = (ended.astimezone(UTC) - begun.astimezone(UTC)).total_seconds()  # In UTC no hour is skipped or repeated.
    return max(1.0, had_s / own_s)
