"""The strategies that `benchmarks.time_to_accuracy` compares."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from math import prod
from typing import Any

from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.pruners import HyperbandPruner
from optuna.samplers import TPESampler
from optuna.trial import FrozenTrial

from benchmarks.landscape import Landscape
from benchmarks.replay import Key, Strategy, Training
from benchmarks.searches import EndingStage, ExtendedStage, RungStage, Stages, StageSearch
from benchmarks.tables import EPOCHS, Table
from models.config import TrainConfig
from search.stage.bases import handed_on
from search.stage.pinning import pin_search
from search.stage.samplers import TrialSeeded
from search.store.pinned_stage import PinnedStage
from studies.definition import Space, Stage

MOST_TRIALS = 400
"""More than any budget pays for."""
FIRST_STAGE_EPOCHS = 3
MEDIAN_SHARE = 1 / 3
"""Share of the epochs of the first of two stages with median pruning."""
RUNG_SHARE = 0.15
"""The same for stages with rungs."""
FIRST_SHARE = 1 / 2
"""Trials of the first of two stages that share their trials, for each combination of its choices."""
SCREENING_SHARE = 1 / 3
"""Share of the epochs for the first epoch of many configurations."""
AROUND_RATE = 3.3
"""Factor by which learning rates of a second stage around bases differ from the base's."""

Make = Callable[[Landscape, int, int], Strategy]
"""Makes a strategy for a landscape, a number of epochs and a seed."""


def _pin(
    table: Table,
    seed: int,
    space: Space | Callable[[TrainConfig], Space],
    around: Sequence[TrainConfig] = (),
    **settings: Any,
) -> PinnedStage:
    """Pin a stage that never runs out of trials: the first one, or a second one around configurations."""
    stage = _stage(space, **settings)
    study = replace(table.study, stages=(replace(stage, name="first"), stage), seed=seed)
    pinned = pin_search(study, 1 if around else 0, stage, around or [table.start])
    if stage.sampler != "random":
        return pinned
    # The service draws the trials of a random search in advance. Drawn one by one, no two have the same curve.
    return replace(pinned, queue=(pinned.queue[0], *[{}] * (len(pinned.queue) - 1)))


def _stage(space: Space | Callable[[TrainConfig], Space], **settings: Any) -> Stage:
    return Stage(**{"name": "stage", "trials": MOST_TRIALS, "epochs": EPOCHS, "space": space} | settings)


def flat(**settings: Any) -> Make:
    """All parameters at once."""
    return lambda landscape, epochs, seed: EndingStage(
        landscape, _pin(landscape.table, seed, landscape.table.space, **settings)
    )


def flat_blind(landscape: Landscape, epochs: int, seed: int) -> Strategy:
    """Flat TPE with median pruning, whose workers do not see what the others train."""
    pinned = _pin(landscape.table, seed, landscape.table.space)

    def make(draw_seed: int) -> TPESampler:
        return TPESampler(seed=draw_seed, n_startup_trials=10, constant_liar=False)

    return EndingStage(landscape, pinned, sampler=TrialSeeded(make, pinned.seed))


def hyperband(sampler: str) -> Make:
    """Hyperband (Li et al. 2018) with random draws, or with TPE as in BOHB (Falkner et al. 2018)."""

    def make(landscape: Landscape, epochs: int, seed: int) -> Strategy:
        pruner = HyperbandPruner(min_resource=1, max_resource=EPOCHS, reduction_factor=3)
        pinned = _pin(landscape.table, seed, landscape.table.space, sampler=sampler, pruner="hyperband")
        return EndingStage(landscape, pinned, pruner=pruner)

    return make


def flat_rungs(kind: Any) -> Make:
    """All parameters at once, with rungs."""
    return lambda landscape, epochs, seed: RungStage(
        landscape, _pin(landscape.table, seed, landscape.table.space, pruner="asha"), kind=kind
    )


def staged_median(landscape: Landscape, epochs: int, seed: int) -> Strategy:
    """Architecture and learning rate for a few epochs, then the rest around the best three."""
    first = EndingStage(landscape, _pin(landscape.table, seed, landscape.table.first, epochs=FIRST_STAGE_EPOCHS))

    def second(trials: Sequence[FrozenTrial]) -> StageSearch:
        bases = _best(first.pinned, trials, 3)
        return EndingStage(landscape, _pin(landscape.table, seed, _around(landscape.table), bases, bases=3))

    return Stages(first, round(epochs * MEDIAN_SHARE), second)


def staged_rungs(landscape: Landscape, epochs: int, seed: int) -> Strategy:
    """The same stages with rungs: most of the epochs go to the second."""
    first = RungStage(landscape, _pin(landscape.table, seed, landscape.table.first, pruner="asha"))

    def second(trials: Sequence[FrozenTrial]) -> StageSearch:
        bases = _best(first.pinned, trials, 3)
        return RungStage(
            landscape, _pin(landscape.table, seed, _around(landscape.table), bases, bases=3, pruner="asha")
        )

    return Stages(first, round(epochs * RUNG_SHARE), second)


def extending(first_trials: int | None = None) -> Make:
    """Stages with rungs, as the default studies have them: the second extends the first, whose trials go on."""

    def make(landscape: Landscape, epochs: int, seed: int) -> Strategy:
        table = landscape.table
        choices = [entry for entry in table.first.values() if isinstance(entry, CategoricalDistribution)]
        combinations = prod(len(entry.choices) for entry in choices)
        stages = (_stage(table.first, name="first", pruner="asha"), _stage(table.second, extends=True, pruner="asha"))
        study = replace(table.study, stages=stages, seed=seed)
        first, second = (pin_search(study, at, stage, [table.start]) for at, stage in enumerate(study.stages))
        return ExtendedStage(landscape, first, second, first_trials or round(combinations * FIRST_SHARE))

    return make


def _best(stage: PinnedStage, trials: Sequence[FrozenTrial], count: int) -> list[TrainConfig]:
    return [config for _, config in handed_on(stage, trials, count)]


def _around(table: Table) -> Callable[[TrainConfig], Space]:
    """The second stage's parameters, and a learning rate near that of the base."""
    rates = table.space["learning_rate"]
    assert isinstance(rates, FloatDistribution)

    def space(base: TrainConfig) -> Space:
        low, high = max(rates.low, base.learning_rate / AROUND_RATE), min(rates.high, base.learning_rate * AROUND_RATE)
        return {**table.second, "learning_rate": FloatDistribution(low, high, log=True)}

    return space


class OneEpochThenBest:
    """One epoch of as many configurations as a third of the time allows, then the best to their end, best first."""

    def __init__(self, landscape: Landscape, epochs: int, seed: int) -> None:
        keys = random.Random(seed).sample(sorted(landscape.known, key=str), k=len(landscape.known))
        self._screened: list[Key] = keys[: round(epochs * SCREENING_SHARE)]
        self._begun = self._ended = 0
        self._ranked: list[tuple[float, int, Key]] = []

    def begin(self, spent: int) -> Training | None:
        """Screen the next configuration, or train the best of those screened to the end."""
        if self._begun < len(self._screened):
            self._begun += 1
            return Training(key=self._screened[self._begun - 1], next=1, last=1)
        if not self._ranked or self._ended < len(self._screened):
            return None
        return Training(key=heapq.heappop(self._ranked)[2], next=2, last=EPOCHS)

    def stops(self, training: Training, epoch: int, accuracy: float) -> bool:
        """Rank the configuration by its first epoch."""
        if epoch == 1:
            self._ended += 1
            heapq.heappush(self._ranked, (-accuracy, self._ended, training.key))
        return False


STRATEGIES: dict[str, Make] = {
    "staged, asha, extended": extending(),
    "staged, asha, extended, 12 trials first": extending(12),
    "staged, asha, around three": staged_rungs,
    "flat TPE, asha": flat_rungs("tpe"),
    "flat random, asha": flat_rungs("random"),
    "staged, median pruning": staged_median,
    "flat TPE, median pruning": flat(),
    "flat TPE, median pruning, blind to running trials": flat_blind,
    "flat TPE": flat(pruner="none"),
    "flat GP": flat(sampler="gp", pruner="none"),
    "random": flat(sampler="random", pruner="none"),
    "successive halving": flat(sampler="random", pruner="successive_halving"),
    "Hyperband": hyperband("random"),
    "BOHB": hyperband("tpe"),
    "one epoch, then the best": OneEpochThenBest,
}
DEFAULT = "staged, asha, extended"
