"""A claimed trial while a worker trains it: its parameters, the epochs that it reports, and its result.

A trial's parameters are drawn in `search.stage.draw_parameters`; `search.trials.epoch_log` writes its epochs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import optuna

from models.config import TrainConfig
from models.registry import resolved
from models.training.captured import EAGER
from models.training.metrics import EpochMetrics, best_epoch
from models.values import to_flat
from search import names
from search.stage.draw_parameters import draw
from search.stage.rungs import continues
from search.store.claims import Claim, Result
from search.store.optuna_private import frozen_copy
from search.store.paused import read_rung_trials
from search.store.pinned_stage import PinnedStage
from search.store.states import Outcome
from search.text import plural
from search.trials.stage_end import StageEnd, pool_of, study_of
from search.trials.trial_clock import TrialClock
from search.trials.trial_context import TrialContext

OUT_OF_TIME = "the stage's share of the time budget was used up"
PRUNED = "below the pruner's threshold"


@dataclass(kw_only=True, eq=False)
class TrialRun:
    """One run of a claimed trial. A gang has one for each of its trials."""

    trial: optuna.Trial
    claim: Claim
    stage: PinnedStage
    context: TrialContext
    end: StageEnd | None = None
    """The end of the stage by the time budget; None if nothing may cut the trial."""
    clock: TrialClock = field(default_factory=TrialClock)
    reported: frozenset[int] = field(init=False)
    """Steps that were reported before this run; they are trained again at most, and not reported again."""
    faults: int = field(init=False)
    """How often the trial broke the process that trained it."""
    best_epochs: list[EpochMetrics] = field(default_factory=list)
    """The best epoch of each fold that is trained to its end."""
    attributes: dict[str, Any] = field(default_factory=dict)
    """The trial's attributes so far, which its result will hold beside its value; the keys are in `search.names`."""

    def __post_init__(self) -> None:
        stored = frozen_copy(self.trial)  # As it was claimed, with the epochs that this process has reported since.
        self.reported = frozenset(stored.intermediate_values)
        self.faults = stored.user_attrs.get(names.FAULTS, 0)

    def restarted(self) -> TrialRun:
        """The same trial before its first epoch; epochs that it has reported stay reported."""
        return replace(self, clock=TrialClock(), best_epochs=[], attributes={})

    @property
    def seed(self) -> int:
        """The seed of the trial's training."""
        return self.stage.seeds[self.claim.number]

    @property
    def folder(self) -> Path:
        """The folder with the trial's files."""
        study = study_of(self.claim.optuna_study)
        return names.trial_folder(self.context.artifacts.root, study, self.stage.name, self.claim.number)

    def draw(self) -> TrainConfig:
        """The trial's configuration, its image size filled in. The parameters are drawn at the first call only."""
        config = draw(self.context.storage, self.stage, self.trial, self.context.is_feasible)
        self.attributes |= {
            names.CONFIG: to_flat(config),
            names.SEED: self.seed,
            names.WORKER: self.claim.owner,
            names.DEVICE: str(self.context.device),
        }
        return resolved(config)

    def record(self, metrics: EpochMetrics, config: TrainConfig) -> Result | None:
        """Report an epoch of the fold that is being trained; returns a result if the trial ends or pauses here."""
        self.clock.count_epoch(metrics.duration_s)
        if metrics.micro_batches > 1:
            self.attributes[names.MICRO_BATCHES] = metrics.micro_batches
        if metrics.steps.startswith(f"{EAGER}: "):
            self.attributes[names.STEPS] = metrics.steps.removeprefix(f"{EAGER}: ")
        step = len(self.best_epochs) * config.epochs + metrics.epoch
        if step not in self.reported:
            with self.clock.reporting(metrics):
                return self._report(step, metrics, config)
        # A worker that died after it reported a rung's epoch has not decided there.
        return self._result_at(step, config) if step == self._undecided else None

    def _report(self, step: int, metrics: EpochMetrics, config: TrainConfig) -> Result | None:
        self.context.on_epoch(self.claim, metrics, config)
        value = fmean(self._value(entry) for entry in (*self.best_epochs, metrics))
        self.context.epoch_log.report(self.trial, step, metrics.measured(), value)
        if self.stage.is_final or metrics.epoch == config.epochs:  # Finalists are compared by whole runs.
            return None
        if self.stage.rungs and (result := self._result_at(step, config)):
            return result
        if not self.stage.rungs and self.trial.should_prune():
            return self.pruned(PRUNED)
        # An epoch that the time budget would cut need not begin.
        is_last = self.end is not None and self.end.is_over(within_s=metrics.duration_s * self.clock.gang)
        return self.out_of_time() if is_last else None

    @property
    def _undecided(self) -> int | None:
        """The last epoch that an earlier owner reported, unless the trial continues from its pause there."""
        return None if self.claim.was_paused else max(self.reported, default=None)

    def _result_at(self, epoch: int, config: TrainConfig) -> Result | None:
        """Pause the trial if it is at a rung and not among the better half of those that have reached the rung."""
        if epoch not in self.stage.rungs or epoch >= config.epochs:
            return None
        self.context.epoch_log.write()
        # A stage that extends this one may have opened since the trial was claimed.
        pool = pool_of(self.context.storage, self.claim.optuna_study)
        trials = read_rung_trials(self.context.storage, pool)
        if continues(trials, self.claim.trial_id, epoch, maximize=self.stage.maximize):
            return None
        reason = f"not among the better half after {plural(epoch, 'epoch')}"
        return self.result("pruned", attributes={names.PAUSED: epoch, names.REASON: reason})

    def end_fold(self, history: list[EpochMetrics]) -> None:
        """Note the best epoch of a fold that was trained to its end."""
        self.best_epochs.append(history[best_epoch(history, self.stage.metric) - 1])

    def complete(self) -> Result:
        """The result of a trial that was trained to its end: the mean of its folds' best epochs."""
        best = {
            names.BEST_EPOCH: round(fmean(best.epoch for best in self.best_epochs)),
            names.VAL_ACCURACY: fmean(best.val_accuracy for best in self.best_epochs),
        }
        return self.result("complete", fmean(self._value(best) for best in self.best_epochs), attributes=best)

    def pruned(self, reason: str) -> Result:
        """The result of a trial that was ended early."""
        return self.result("pruned", attributes={names.REASON: reason})

    def out_of_time(self) -> Result:
        """The result of a trial that the time budget cut in mid-training."""
        return self.result("pruned", attributes={names.OUT_OF_TIME: True, names.REASON: OUT_OF_TIME})

    def failed(self, reason: str) -> Result:
        """The result of a trial that an error ended."""
        return self.result("failed", attributes={names.REASON: reason})

    def result(self, outcome: Outcome, value: float | None = None, *, attributes: Mapping[str, Any]) -> Result:
        """A result with all that is known about the trial, and its epochs that are not in the database yet."""
        known = {**self.attributes, **self.clock.attributes(), **attributes}
        epochs = self.context.epoch_log.take(self.claim.trial_id)
        return Result(outcome=outcome, value=value, attributes=known, epochs=epochs)

    def _value(self, metrics: EpochMetrics) -> float:
        return metrics.value_of(self.stage.metric)
