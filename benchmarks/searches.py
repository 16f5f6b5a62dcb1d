"""One stage of a search as `benchmarks.replay` runs it: with the service's own pinning, sampler, pruner and rungs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Literal, Protocol

import optuna
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from benchmarks.landscape import Landscape
from benchmarks.replay import Key, Strategy, Training
from models.config import TrainConfig
from models.values import to_flat
from search import names
from search.stage.draw_parameters import draw
from search.stage.rungs import continues, to_continue
from search.stage.samplers import make_pruner, make_sampler
from search.store.optuna_private import database_id, draw_again, frozen_copy
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


class _Memory:
    """Nothing is stored before a trial's last draw."""

    def drawing(self) -> AbstractContextManager[None]:
        return nullcontext()

    def undraw(self, trial: optuna.Trial) -> None:
        draw_again(trial)


class _Drawn:
    """Draws configurations as the service does, from the configurations that have a curve.

    A range stands for the few values of a grid, so a draw with the curve of an earlier one is drawn again, as the
    service does in a space that has only these values.
    """

    def __init__(self, landscape: Landscape) -> None:
        self._landscape = landscape
        self._keys: set[Key] = set()

    def draw(self, pinned: PinnedStage, study: optuna.Study) -> tuple[optuna.Trial, TrainConfig]:
        """Draw the next trial of a study."""
        study.enqueue_trial(pinned.queue[len(study.get_trials(deepcopy=False))])
        trial = study.ask()
        config = draw(_Memory(), pinned, trial, lambda config: self._landscape.key(config) not in self._keys)
        self._keys.add(self._landscape.key(config))
        return trial, config


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
        self._drawn = _Drawn(landscape)
        self.running = 0
        self.is_over = False

    def begin(self, spent: int) -> Training | None:
        """Draw the next trial."""
        if self.is_over:
            return None
        trial, config = self._drawn.draw(self.pinned, self._study)
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
    drawn: FrozenTrial
    """As it was drawn, in its stage's Optuna study."""
    stage: _StoredStage
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
        trial = create_trial(
            state=TrialState.COMPLETE if is_complete else unfinished,
            value=max(self.values.values()) if is_complete else None,
            params=self.drawn.params,
            distributions=self.drawn.distributions,
            intermediate_values=dict(self.values),
            user_attrs={names.CONFIG: to_flat(self.config), names.PAUSED: len(self.values)},
        )
        trial.number, trial._trial_id = self.drawn.number, database_id(self.drawn)
        return trial


class _StoredStage:
    """A pinned stage and its Optuna study, in which trials pause and continue."""

    def __init__(self, pinned: PinnedStage, sampler: BaseSampler) -> None:
        self.pinned = pinned
        self._storage = InMemoryStorage()
        self.study = optuna.create_study(storage=self._storage, direction="maximize", sampler=sampler)

    def store(self, point: _Point) -> None:
        """Put a trial in the place of its former state, which Optuna itself does not allow for one that has paused."""
        self._storage._set_trial(database_id(point.drawn), point.as_optuna_trial())


class RungStage:
    """A stage whose trials pause at rungs and continue."""

    def __init__(self, landscape: Landscape, pinned: PinnedStage, *, kind: Literal["tpe", "random"] = "tpe") -> None:
        sampler = make_sampler(pinned) if kind == "tpe" else optuna.samplers.RandomSampler(seed=pinned.seed)
        self._landscape = landscape
        self.pinned = pinned
        self._stage = _StoredStage(pinned, sampler)
        self._drawn = _Drawn(landscape)
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
            point = self._draw(self._next_stage())
        self.running += 1
        return self._training(point)

    def _training(self, point: _Point) -> Training:
        return Training(
            key=self._landscape.key(point.config), next=len(point.values) + 1, last=self.pinned.epochs, trial=point
        )

    def _next_stage(self) -> _StoredStage:
        """The stage whose trial is drawn next."""
        return self._stage

    def _draw(self, stage: _StoredStage) -> _Point:
        trial, config = self._drawn.draw(stage.pinned, stage.study)
        point = _Point(number=len(self._points), config=config, drawn=frozen_copy(trial), stage=stage)
        self._points.append(point)
        stage.store(point)
        return point

    def stops(self, training: Training, epoch: int, accuracy: float) -> bool:
        """Report an epoch; at a rung the trial pauses unless it is among the better half."""
        point: _Point = training.trial
        point.values[epoch] = accuracy
        point.state = self._state_at(point, epoch, training.last)
        point.stage.store(point)
        if point.state == "running":
            return False
        self.running -= 1
        return True

    def _state_at(self, point: _Point, epoch: int, last: int) -> RungState:
        if epoch == last:
            return "complete"
        if epoch not in self.pinned.rungs:
            return "running"
        trials = [other.as_rung_trial() for other in self._points]
        return "running" if continues(trials, point.number, epoch, maximize=True) else "paused"

    def trials(self) -> list[FrozenTrial]:
        """Return the trials as Optuna would store them."""
        return [point.as_optuna_trial() for point in self._points]


class ExtendedStage(RungStage):
    """Two stages that share their trials: the first begins some, then the second, which extends it, all others."""

    def __init__(self, landscape: Landscape, first: PinnedStage, second: PinnedStage, first_trials: int) -> None:
        super().__init__(landscape, second)
        self._first = _StoredStage(first, make_sampler(first))
        self._stage = _StoredStage(second, make_sampler(second, [self._first.study]))
        self._first_trials = first_trials

    def _next_stage(self) -> _StoredStage:
        return self._first if len(self._points) < self._first_trials else self._stage


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
