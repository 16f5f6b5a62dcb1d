"""Ways to spend a number of epochs on a table of learning curves: each trains until its ledger has none left."""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import optuna
from optuna.distributions import FloatDistribution
from optuna.pruners import BasePruner, MedianPruner
from optuna.trial import TrialState

from benchmarks.learning_curves import ARCHITECTURE, EPOCHS, LEARNING_RATES, REGULARIZATION, STUDY
from models.config import TrainConfig
from models.values import to_flat
from search import names
from search.stage.bases import best_configs
from search.stage.pinning import pin_search
from search.stage.samplers import PRUNER_STARTUP_TRIALS, make_pruner, make_sampler
from search.stage.suggest import suggest_config
from search.store.pinned_stage import PinnedStage
from studies.definition import Space, Stage, Study

PARAMETERS = (*ARCHITECTURE, *REGULARIZATION)
MOST_TRIALS = 400
"""More than any budget pays for."""
FIRST_STAGE_EPOCHS = 3
FIRST_STAGE_SHARE = 1 / 3
"""Of the epochs, for the staged search's first stage."""
SCREENING_SHARE = 1 / 3
"""Of the epochs, for the first epoch of many configurations."""

RATES: Space = {"learning_rate": REGULARIZATION["learning_rate"]}

Key = tuple[Any, ...]
StageSpace = Space | Callable[[TrainConfig], Space]
MakePruner = Callable[[PinnedStage], BasePruner]


class Spent(Exception):
    """All epochs are used up."""


@dataclass(kw_only=True)
class Ledger:
    """The table, what was trained of it, and what that brought."""

    curves: Mapping[Key, Sequence[float]]
    epochs: int
    """May be trained in all."""
    spent: int = 0
    best_after: list[float] = field(default_factory=list)
    """The best validation accuracy seen after each epoch that was spent."""

    def train(self, key: Key, first: int = 1, last: int = EPOCHS) -> Iterator[tuple[int, float]]:
        """Train a configuration from epoch `first` to `last`. Raises Spent where that is too much."""
        for epoch in range(first, last + 1):
            if self.spent == self.epochs:
                raise Spent
            self.spent += 1
            accuracy = self.curves[key][epoch - 1]
            self.best_after.append(max(accuracy, self.best_after[-1] if self.best_after else 0.0))
            yield epoch, accuracy


def table_of(curves: Sequence[Mapping[str, Any]]) -> dict[Key, Sequence[float]]:
    """Stored curves by the values of their parameters."""
    return {tuple(curve["params"][name] for name in PARAMETERS): curve["val_accuracy"] for curve in curves}


def staged(ledger: Ledger, seed: int) -> None:
    """As the studies of Sieve are: architecture and learning rate at few epochs, the rest around the best three."""
    _staged(ledger, seed, {**ARCHITECTURE, **RATES}, _around, make_pruner)


def staged_cut_early(ledger: Ledger, seed: int) -> None:
    """The same, but the median pruner cuts from a quarter of the epochs on."""
    _staged(ledger, seed, {**ARCHITECTURE, **RATES}, _around, _cutting_early)


def staged_rate_last(ledger: Ledger, seed: int) -> None:
    """Architectures at the default learning rate, which is searched in the second stage alone."""
    _staged(ledger, seed, ARCHITECTURE, REGULARIZATION, make_pruner)


def flat_tpe(ledger: Ledger, seed: int) -> None:
    """All parameters at once, TPE, every training to its end."""
    _flat(ledger, seed, sampler="tpe", pruner="none")


def flat_tpe_median(ledger: Ledger, seed: int) -> None:
    """All parameters at once, TPE, median pruning: what stages are worth, apart from pruning."""
    _flat(ledger, seed, sampler="tpe", pruner="median")


def random_search(ledger: Ledger, seed: int) -> None:
    """Random draws, every training to its end."""
    _flat(ledger, seed, sampler="random", pruner="none")


def successive_halving(ledger: Ledger, seed: int) -> None:
    """Random draws, cut after epochs 1 and 3 unless among the best third (asynchronous; Li et al. 2018)."""
    _flat(ledger, seed, sampler="random", pruner="successive_halving")


def one_epoch_then_best(ledger: Ledger, seed: int) -> None:
    """One epoch of as many configurations as a third of the time allows, then the best to their end, best first."""
    screened = random.Random(seed).sample(sorted(ledger.curves, key=str), k=len(ledger.curves))
    screened = screened[: round(ledger.epochs * SCREENING_SHARE)]
    ranked = [(-accuracy, order, key) for order, key in enumerate(screened) for _, accuracy in ledger.train(key, 1, 1)]
    for _, _, key in heapq.nsmallest(len(ranked), ranked):
        for _ in ledger.train(key, 2):
            pass


STRATEGIES: dict[str, Callable[[Ledger, int], None]] = {
    "staged, median pruning": staged,
    "staged, pruned from a quarter of the epochs on": staged_cut_early,
    "staged, learning rate in the second stage alone": staged_rate_last,
    "flat TPE": flat_tpe,
    "flat TPE, median pruning": flat_tpe_median,
    "random": random_search,
    "successive halving": successive_halving,
    "one epoch, then the best": one_epoch_then_best,
}


def _staged(ledger: Ledger, seed: int, first_space: Space, second_space: StageSpace, pruner: MakePruner) -> None:
    first = Stage(name="first", trials=MOST_TRIALS, epochs=FIRST_STAGE_EPOCHS, space=first_space)
    second = Stage(name="second", trials=MOST_TRIALS, epochs=EPOCHS, bases=3, space=second_space)
    study = replace(STUDY, stages=(first, second), seed=seed)
    until = round(ledger.epochs * FIRST_STAGE_SHARE)
    trials = _run_stage(ledger, study, 0, [study.config], until=until, pruner=pruner)
    bases = [config for _, config in best_configs(trials, second.bases, maximize=True)]
    _run_stage(ledger, study, 1, bases, pruner=pruner)


def _around(base: TrainConfig) -> Space:
    """Dropout and augmentation, and a learning rate within one step of the base's."""
    rate, step = base.learning_rate, LEARNING_RATES[1] / LEARNING_RATES[0]
    low, high = max(LEARNING_RATES[0], rate / step), min(LEARNING_RATES[-1], rate * step)
    return {**REGULARIZATION, "learning_rate": FloatDistribution(low, high, log=True)}


def _cutting_early(stage: PinnedStage) -> BasePruner:
    return MedianPruner(n_startup_trials=PRUNER_STARTUP_TRIALS, n_warmup_steps=max(1, stage.epochs // 4))


def _flat(ledger: Ledger, seed: int, *, sampler: Any, pruner: Any) -> None:
    space = {**ARCHITECTURE, **REGULARIZATION}
    stage = Stage(name="flat", trials=MOST_TRIALS, epochs=EPOCHS, sampler=sampler, pruner=pruner, space=space)
    study = replace(STUDY, stages=(stage,), seed=seed)
    _run_stage(ledger, study, 0, [study.config])


def _run_stage(
    ledger: Ledger, study: Study, position: int, bases: Sequence[TrainConfig], *, until: int | None = None,
    pruner: MakePruner = make_pruner,
) -> list[optuna.trial.FrozenTrial]:  # fmt: skip
    """Run a stage with the service's own pinning, sampler and pruner, until so many epochs are spent."""
    pinned = pin_search(study, position, study.stages[position], bases)
    search = optuna.create_study(direction="maximize", sampler=make_sampler(pinned), pruner=pruner(pinned))
    for fixed in pinned.queue:
        if until is not None and ledger.spent >= until:
            break
        search.enqueue_trial(fixed)
        _run_trial(ledger, search, pinned)
    return search.get_trials(deepcopy=False)


def _cell(flat: Mapping[str, Any]) -> Key:
    """The table's cell for a configuration: that of the nearest learning rate."""
    rate = min(LEARNING_RATES, key=lambda known: abs(math.log(known / flat["learning_rate"])))
    return tuple(rate if name == "learning_rate" else flat[name] for name in PARAMETERS)


def _run_trial(ledger: Ledger, search: optuna.Study, pinned: PinnedStage) -> None:
    trial = search.ask()
    config = suggest_config(pinned, trial)
    flat = to_flat(config)
    trial.set_user_attr(names.CONFIG, flat)
    best = 0.0
    for epoch, accuracy in ledger.train(_cell(flat), last=pinned.epochs):
        best = max(best, accuracy)
        trial.report(accuracy, epoch)
        if epoch < pinned.epochs and trial.should_prune():
            search.tell(trial, state=TrialState.PRUNED)
            return
    search.tell(trial, best)
