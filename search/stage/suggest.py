"""Draw a trial's parameters from the spaces of a pinned stage."""

from __future__ import annotations

from functools import cache

import optuna
from optuna.distributions import json_to_distribution

from models.config import TrainConfig
from search import names
from search.stage.distributions import suggest
from search.store.pinned_stage import PinnedStage

_distribution = cache(json_to_distribution)


def suggest_config(stage: PinnedStage, trial: optuna.Trial) -> TrainConfig:
    """Let the trial's sampler draw the parameters whose condition holds, and return the trial's configuration."""
    index = trial.suggest_categorical(names.BASE, range(len(stage.bases))) if len(stage.bases) > 1 else 0
    values = dict(stage.bases[index])
    for parameter in stage.spaces[index]:
        if parameter.exists_for(values):
            values[parameter.name] = suggest(trial, parameter.name, _distribution(parameter.distribution))
    return stage.config(trial.params)
