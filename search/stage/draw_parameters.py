"""A trial's parameters, drawn again while they stand for a network that cannot be built."""

from __future__ import annotations

import optuna

from models.config import TrainConfig
from search.stage.feasibility import DRAWS, Feasible
from search.stage.pinned import PinnedStage
from search.store.optuna_private import FIXED_PARAMS, frozen_copy
from search.store.storage import Storage


def draw(storage: Storage, stage: PinnedStage, trial: optuna.Trial, is_feasible: Feasible) -> TrainConfig:
    """Draw a trial's parameters and write them; the configuration that they stand for.

    What was fixed in advance, or drawn before, stays as it is. Where it raises, the trial has drawn nothing.
    """
    was_drawn = bool(trial.params)
    with storage.drawing():
        try:
            config = stage.suggest(trial)
            draws = 1
            while draws < DRAWS and not was_drawn and not _is_fixed(trial) and not is_feasible(config):
                storage.undraw(trial)
                config = stage.suggest(trial)
                draws += 1
        except BaseException:
            if not was_drawn:
                storage.undraw(trial)
            raise
    return config


def _is_fixed(trial: optuna.Trial) -> bool:
    """Whether nothing was left to the sampler."""
    return set(trial.params) <= set(frozen_copy(trial).system_attrs.get(FIXED_PARAMS, ()))
