"""Draws a trial's parameters, and draws them again if their network cannot be built or another trial has them.

`search.trials.workload` builds the network of the drawn configuration.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol

import optuna

from models.config import TrainConfig
from search.stage.feasibility import DRAWS, NEW_DRAWS, Feasible
from search.stage.samplers import TrialSeeded
from search.stage.suggest import suggest_config
from search.stage.tried import Tried
from search.store.optuna_private import FIXED_PARAMS, frozen_copy
from search.store.pinned_stage import PinnedStage


class Draws(Protocol):
    """Where drawn parameters go: the database, or the memory of a replay."""

    def drawing(self) -> AbstractContextManager[None]:
        """Within it, parameters are held back, so that they can still be discarded."""

    def undraw(self, trial: optuna.Trial) -> None:
        """Discard the parameters of a trial, and prepare its next draw."""


def draw(storage: Draws, stage: PinnedStage, trial: optuna.Trial, is_feasible: Feasible) -> TrainConfig:
    """Draw a trial's parameters, store them, and return the configuration that they describe.

    Parameters that were fixed in advance or drawn before are kept. If an error is raised, no drawn parameters are
    stored.
    """
    was_drawn = bool(trial.params)
    with storage.drawing():
        try:
            config = suggest_config(stage, trial)
            draws = 1
            while draws < DRAWS and not was_drawn and not _is_fixed(trial):
                if is_feasible(config) and (draws >= NEW_DRAWS or not _is_tried(trial)):
                    break
                storage.undraw(trial)
                config = suggest_config(stage, trial)
                draws += 1
        except BaseException:
            if not was_drawn:
                storage.undraw(trial)
            raise
    if tried := _tried(trial):
        tried.add((trial.study.study_name, trial.number), trial.params)
    return config


def _is_tried(trial: optuna.Trial) -> bool:
    """Whether another trial of the stage, or of those that it extends, has the same configuration."""
    tried = _tried(trial)
    if tried is None:
        return False
    tried.read(trial.study, trial.number)
    return tried.holds((trial.study.study_name, trial.number), trial.params)


def _tried(trial: optuna.Trial) -> Tried | None:
    sampler = trial.study.sampler
    return sampler.tried if isinstance(sampler, TrialSeeded) else None


def _is_fixed(trial: optuna.Trial) -> bool:
    """Whether all parameters of the trial were fixed in advance."""
    return set(trial.params) <= set(frozen_copy(trial).system_attrs.get(FIXED_PARAMS, ()))
