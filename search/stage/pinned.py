"""A pinned stage: everything that its trials depend on, as the workers read it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import optuna
from optuna.distributions import json_to_distribution

from models.config import TrainConfig
from models.values import from_flat, with_values
from search import names
from search.stage.distributions import suggest

Values = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class PinnedParameter:
    """One parameter of a space, as JSON keeps it."""

    name: str
    distribution: str
    """As Optuna writes it."""
    when: str | None = None
    """The parameter this one depends on, and the values for which it exists."""
    when_values: tuple[Any, ...] = ()

    def exists_for(self, values: Mapping[str, Any]) -> bool:
        return self.when is None or values[self.when] in self.when_values


@dataclass(frozen=True, kw_only=True)
class PinnedStage:
    """What a worker needs to run a stage's trials; the same for all of them."""

    name: str
    trials: int
    epochs: int
    """Epochs of a trial whose space does not vary them."""
    sampler: str
    pruner: str
    metric: str
    direction: Literal["maximize", "minimize"]
    seed: int
    """Of the stage: samplers and trials derive theirs from it."""
    bases: tuple[Values, ...]
    """Flat configurations that the stage searches around."""
    spaces: tuple[tuple[PinnedParameter, ...], ...]
    """One per base."""
    queue: tuple[Values, ...]
    """Parameters fixed in advance for each slot; an empty one is left to the sampler."""
    seeds: tuple[int, ...]
    """Of each slot's training."""
    folds: int = 0
    """0: one validation set; otherwise the folds that the study divides its training images into."""
    cells: tuple[dict[str, str], ...] = ()
    """Of an ablation: the level of each factor, for each base."""
    against: str | None = None
    """The trial attribute to be kept small beside the metric."""

    @property
    def is_final(self) -> bool:
        """Whether the study ends with it: fixed configurations on shared seeds, of which the best mean is champion."""
        return self.name in names.LAST_STAGES

    def folds_of(self, slot: int) -> range:
        """The folds that a trial trains on: all of them, but each run of a finalist on one, in turn."""
        if not self.is_final or not self.folds:
            return range(max(1, self.folds))
        fold = slot // len(self.bases) % self.folds
        return range(fold, fold + 1)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> PinnedStage:
        spaces = tuple(
            tuple(PinnedParameter(**{**entry, "when_values": tuple(entry["when_values"])}) for entry in space)
            for space in stored["spaces"]
        )
        tuples = {key: tuple(stored.get(key, ())) for key in ("bases", "queue", "seeds", "cells")}
        return cls(**{**stored, **tuples, "spaces": spaces})

    def config(self, params: Mapping[str, Any]) -> TrainConfig:
        """The configuration that a trial's parameters stand for."""
        base = from_flat(self.bases[params.get(names.BASE, 0)])
        return with_values(base, {name: value for name, value in params.items() if name != names.BASE})

    def suggest(self, trial: optuna.Trial) -> TrainConfig:
        """Draw a trial's parameters, conditions respected, and make its configuration."""
        index = trial.suggest_categorical(names.BASE, range(len(self.bases))) if len(self.bases) > 1 else 0
        values = dict(self.bases[index])
        for parameter in self.spaces[index]:
            if parameter.exists_for(values):
                values[parameter.name] = suggest(trial, parameter.name, json_to_distribution(parameter.distribution))
        return self.config(trial.params)
