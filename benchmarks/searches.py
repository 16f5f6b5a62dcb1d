"""One stage of a search as `benchmarks.replay` runs it: with the service's own pinning, sampler, pruner and rungs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import optuna
from optuna.distributions import BaseDistribution
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from benchmarks.landscape import Landscape
from benchmarks.replay import Strategy, Training
from models.config import TrainConfig
from models.values import to_flat
from search import names
from search.stage.rungs import continues, to_continue
from search.stage.samplers import make_pruner, make_sampler
from search.stage.suggest import suggest_config
from search.store.paused import RungState, RungTrial
from search.store.pinned_stage import PinnedStage


class StageSearch(Strategy, Protocol):
    """A stage that can hand its trials on."""

    pinned: PinnedStage
    """The stage's settings; of two stages that share their trials, the second's."""
    running: int
    """Trainings that workers have begun and not ended."""
    is_over: bool
    """Whether the stage begins no new trials; paused ones may still continue."""

    def trials(self) -> list[FrozenTrial]:
        """The stage's trials, as a following stage chooses its bases from them."""


class EndingStage:
    """A stage whose pruner ends trials for good."""

    def __init__(
        self,
        landscape: Landscape,
        pinned: PinnedStage,
        *,
        sampler: BaseSampler | None = None,
        pruner: BasePruner | None = None,
    ) -> None:
        """`sampler` and `pruner` replace those of the service."""
        self._landscape = landscape
        self.pinned = pinned
        self._study = optuna.create_study(
            direction="maximize", sampler=sampler or make_sampler(pinned), pruner=pruner or make_pruner(pinned)
        )
        self._best: dict[int, float] = {}
        self.running = 0
        self.is_over = False

    def begin(self, spent: int) -> Training | None:
        """Draw the next trial."""
        if self.is_over:
            return None
        self._study.enqueue_trial(self.pinned.queue[len(self._study.get_trials(deepcopy=False))])
        trial = self._study.ask()
        config = suggest_config(self.pinned, trial)
        trial.set_user_attr(names.CONFIG, to_flat(config))
        self.running += 1
        return Training(key=self._landscape.key(config), next=1, last=self.pinned.epochs, trial=trial)

    def stops(self, training: Training, epoch: int, accuracy: float) -> bool:
        """Report an epoch, and ask the pruner."""
        trial = training.trial
        trial.report(accuracy, epoch)
        self._best[trial.number] = max(accuracy, self._best.get(trial.number, 0.0))
        if epoch == training.last:
            self._study.tell(trial, self._best[trial.number])
        elif trial.should_prune():
            self._study.tell(trial, state=TrialState.PRUNED)
        else:
            return False
        self.running -= 1
        return True

    def trials(self) -> list[FrozenTrial]:
        """Return the trials of the stage's Optuna study."""
        return self._study.get_trials(deepcopy=False)


@dataclass(kw_only=True, eq=False)
class _Point:
    """A trial of a stage with rungs."""

    number: int
    config: TrainConfig
    params: dict[str, Any]
    distributions: dict[str, BaseDistribution]
    state: RungState = "running"
    values: dict[int, float] = field(default_factory=dict)

    def as_rung_trial(self) -> RungTrial:
        return RungTrial(
            trial_id=self.number, optuna_study="", number=self.number, state=self.state, values=self.values
        )

    def as_optuna_trial(self) -> FrozenTrial:
        """The trial as a worker's sampler sees it: one that continues still looks paused."""
        is_complete = self.state == "complete"
        unfinished = TrialState.PRUNED if self.values else TrialState.RUNNING
        return create_trial(
            state=TrialState.COMPLETE if is_complete else unfinished,
            value=max(self.values.values()) if is_complete else None,
            params=self.params,
            distributions=self.distributions,
            intermediate_values=self.values,
            user_attrs={names.CONFIG: to_flat(self.config), names.PAUSED: len(self.values)},
        )


class RungStage:
    """A stage whose trials pause at rungs and continue."""

    def __init__(self, landscape: Landscape, pinned: PinnedStage, *, kind: Literal["tpe", "random"] = "tpe") -> None:
        self._landscape = landscape
        self.pinned = pinned
        self._sampler = make_sampler(pinned) if kind == "tpe" else optuna.samplers.RandomSampler(seed=pinned.seed)
        self._points: list[_Point] = []
        """The trials, each at the place that is its number."""
        self.running = 0
        self.is_over = False

    def begin(self, spent: int) -> Training | None:
        """Continue a paused trial that now belongs to the better half, or draw a new one."""
        trials = [point.as_rung_trial() for point in self._points]
        if not self.is_over:  # The queue never ends, so the rule for a stage's last trials does not apply.
            number = len(trials)
            trials.append(RungTrial(trial_id=number, optuna_study="", number=number, state="waiting", values={}))
        continuing = to_continue(trials, self.pinned.rungs, maximize=True)
        if continuing:
            point = self._points[continuing[0]]
            point.state = "running"
        elif self.is_over:
            return None
        else:
            point = self._draw(self.pinned, self._sampler, self._points)
            self._points.append(point)
        self.running += 1
        return self._training(point)

    def _training(self, point: _Point) -> Training:
        return Training(
            key=self._landscape.key(point.config), next=len(point.values) + 1, last=self.pinned.epochs, trial=point
        )

    def _draw(self, pinned: PinnedStage, sampler: BaseSampler, points: Sequence[_Point]) -> _Point:
        """Draw a trial of a stage that has the trials `points`."""
        study = _study_of(points, sampler)
        study.enqueue_trial(pinned.queue[len(points)])
        trial = study.ask()
        config = suggest_config(pinned, trial)
        return _Point(
            number=len(self._points), config=config, params=trial.params, distributions=dict(trial.distributions)
        )

    def stops(self, training: Training, epoch: int, accuracy: float) -> bool:
        """Report an epoch; at a rung the trial pauses unless it is among the better half."""
        point: _Point = training.trial
        point.values[epoch] = accuracy
        if epoch == training.last:
            point.state = "complete"
        elif epoch in self.pinned.rungs:
            trials = [other.as_rung_trial() for other in self._points]
            if continues(trials, point.number, epoch, maximize=True):
                return False
            point.state = "paused"
        else:
            return False
        self.running -= 1
        return True

    def trials(self) -> list[FrozenTrial]:
        """Return the trials as Optuna would store them."""
        return [point.as_optuna_trial() for point in self._points]


class ExtendedStage(RungStage):
    """Two stages that share their trials: the first begins some, then the second, which extends it, all others."""

    def __init__(self, landscape: Landscape, first: PinnedStage, second: PinnedStage, first_trials: int) -> None:
        super().__init__(landscape, second)
        self._first = first
        self._first_trials = first_trials
        self._first_sampler = make_sampler(first)

    def _draw(self, pinned: PinnedStage, sampler: BaseSampler, points: Sequence[_Point]) -> _Point:
        if len(points) < self._first_trials:
            return super()._draw(self._first, self._first_sampler, points)
        earlier, own = points[: self._first_trials], points[self._first_trials :]
        knowing = make_sampler(pinned, [_study_of(earlier)])
        return super()._draw(pinned, knowing, own)


def _study_of(points: Sequence[_Point], sampler: BaseSampler | None = None) -> optuna.Study:
    """An Optuna study in memory with these trials."""
    study = optuna.create_study(direction="maximize", sampler=sampler)
    study.add_trials([point.as_optuna_trial() for point in points])
    return study


class Stages:
    """Two stages: the second is made from the trials of the first once that has used up its epochs."""

    def __init__(self, first: StageSearch, until: int, second: Callable[[Sequence[FrozenTrial]], StageSearch]) -> None:
        """`until`: epochs that are spent when the first stage begins no further training."""
        self._stage, self._until, self._second = first, until, second
        self._is_first = True

    def begin(self, spent: int) -> Training | None:
        """Begin a trial of the running stage; None while a closed stage waits for its last trials."""
        if self._is_first and spent + self._stage.running >= self._until:
            if self._stage.running:
                return None
            self._stage, self._is_first = self._second(self._stage.trials()), False
        return self._stage.begin(spent)

    def stops(self, training: Training, epoch: int, accuracy: float) -> bool:
        """Report an epoch to the running stage."""
        return self._stage.stops(training, epoch, accuracy)
