"""Draws a trial's parameters, and draws them again if their network cannot be built.

`search.trials.workload` builds the network of the drawn configuration.
"""

from __future__ import annotations

import optuna

from models.config import TrainConfig
from search.stage.feasibility import DRAWS, Feasible
from search.stage.suggest import suggest_config
from search.store.optuna_private import FIXED_PARAMS, frozen_copy
from search.store.pinned_stage import PinnedStage
from search.store.storage import Storage


def draw(storage: Storage, stage: PinnedStage, trial: optuna.Trial, is_feasible: Feasible) -> TrainConfig:
    """Draw a trial's parameters, store them, and return the configuration that they describe.

    Parameters that were fixed in advance or drawn before are kept. If an error is raised, no drawn parameters are
    stored.
    """
    was_drawn = bool(trial.params)
    with storage.drawing():
        try:
            config = suggest_config(stage, trial)
            draws = 1
            while draws < DRAWS and not was_drawn and not _is_fixed(trial) and not is_feasible(config):
                storage.undraw(trial)
                config = suggest_config(stage, trial)
                draws += 1
        except BaseException:
            if not was_drawn:
                storage.undraw(trial)
            raise
    return config


def _is_fixed(trial: optuna.Trial) -> bool:
    """Whether all parameters of the trial were fixed in advance."""
    return set(trial.params) <= set(frozen_copy(trial).system_attrs.get(FIXED_PARAMS, ()))
