"""The median pruner decides as Optuna's does."""

from __future__ import annotations

import math
import random

import numpy as np
import optuna
import pytest
from optuna.pruners import BasePruner, MedianPruner

from search.stage.median import MedianOfComplete, _median

VALUES = (0.1, 0.2, 0.2, 0.3, 0.5, 0.9, float("nan"), float("inf"), float("-inf"))


class Both(BasePruner):
    """Asks both pruners and remembers their answers."""

    def __init__(self, startup: int, warmup: int) -> None:
        self._pruners = [
            kind(n_startup_trials=startup, n_warmup_steps=warmup) for kind in (MedianOfComplete, MedianPruner)
        ]
        self.answers: list[tuple[bool, bool]] = []

    def prune(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> bool:
        ours, optunas = (pruner.prune(study, trial) for pruner in self._pruners)
        self.answers.append((bool(ours), bool(optunas)))
        return bool(optunas)


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
@pytest.mark.parametrize(("startup", "warmup"), [(0, 0), (4, 2)])
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning", "ignore:All-NaN:RuntimeWarning")
def test_the_decisions_are_those_of_optuna(direction: str, startup: int, warmup: int) -> None:
    draw, pruner = random.Random(startup), Both(startup, warmup)
    study = optuna.create_study(direction=direction, pruner=pruner)
    open_trials = [study.ask() for _ in range(3)]
    for _ in range(400):  # Trials overlap and end in any order, as those of several workers do.
        trial = open_trials[draw.randrange(3)]
        epoch = len(trial.study.trials[trial.number].intermediate_values) + 1
        trial.report(draw.choice(VALUES), epoch)
        pruned = trial.should_prune()
        if pruned or epoch == 6:
            state = optuna.trial.TrialState.PRUNED if pruned else optuna.trial.TrialState.COMPLETE
            study.tell(trial, None if pruned else 0.5, state=state)
            open_trials[open_trials.index(trial)] = study.ask()
    assert all(ours == optunas for ours, optunas in pruner.answers)
    assert np.unique(pruner.answers).size == 2


@pytest.mark.parametrize("count", [1, 2, 3, 4, 999, 1000])
def test_the_median_is_numpy_s_to_the_last_bit(count: int) -> None:
    draw = random.Random(count)
    for _ in range(100):
        values = sorted(draw.uniform(0, 1) for _ in range(count))
        assert _median(values) == np.percentile(values, 50)


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize("values", [[0.1, math.inf], [-math.inf, 0.1, math.inf], [-math.inf, -math.inf]])
def test_the_median_of_infinite_values_is_numpy_s(values: list[float]) -> None:
    assert repr(_median(values)) == repr(float(np.percentile(values, 50)))
