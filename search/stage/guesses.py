"""Draws near a user's guess, for `around(...)`: the prior of samplers that have no model yet."""

from __future__ import annotations

import math
from collections.abc import Mapping
from random import Random
from statistics import NormalDist
from typing import Any

from optuna import Study
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.samplers import RandomSampler
from optuna.trial import FrozenTrial

from search.stage.seeds import derive_seed
from search.store.pinned_stage import PinnedStage

REACH = 2.0
"""Standard deviations from the guess to either end of the range."""


def guesses(stage: PinnedStage) -> dict[str, float]:
    """The user's guesses by parameter. A guess that differs between bases is left out."""
    found: dict[str, set[float | None]] = {}
    for parameter in (parameter for space in stage.spaces for parameter in space):
        found.setdefault(parameter.name, set()).add(parameter.guess)
    agreed = {name: values.pop() for name, values in found.items() if len(values) == 1}
    return {name: guess for name, guess in agreed.items() if guess is not None}


def draw_near(guess: float, distribution: FloatDistribution, seed: int) -> float:
    """Draw from a log-normal distribution around a guess, cut to the range of `distribution`."""
    low, middle, high = (math.log(value) for value in (distribution.low, guess, distribution.high))
    normal = NormalDist(middle, (high - low) / (2 * REACH))
    share = Random(seed).uniform(normal.cdf(low), normal.cdf(high))
    return min(max(math.exp(normal.inv_cdf(share)), distribution.low), distribution.high)


class GuidedRandomSampler(RandomSampler):
    """Random draws, which lie near the guess for parameters that have one."""

    def __init__(self, seed: int, guesses: Mapping[str, float]) -> None:
        super().__init__(seed=seed)
        self._seed = seed
        self._guesses = guesses

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Draw a parameter that the study's trials do not share, near its guess if it has one."""
        guess = self._guesses.get(param_name)
        if guess is None or not isinstance(param_distribution, FloatDistribution):
            return super().sample_independent(study, trial, param_name, param_distribution)
        return draw_near(guess, param_distribution, derive_seed(self._seed, param_name, trial.number))
