"""Decides what each stage of a run consists of: what the study asks for, cut to what the time budget allows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from statistics import median_low

from optuna.trial import FrozenTrial

from models.config import TrainConfig
from search import names
from search.stage.budget import Budget
from search.stage.extending import pool_start
from search.stage.feasibility import feasible_on
from search.stage.fewer_epochs import with_fewer_epochs
from search.stage.pinning import pin_ablation, pin_confirmation, pin_search
from search.store.optuna_private import database_id
from search.store.pinned_stage import PinnedStage
from search.store.records import read_stages, read_study
from search.store.storage import Storage
from search.supervisor.budget_changes import ablation_changes, confirmation_changes, stage_changes
from search.supervisor.epoch_times import epoch_times_s
from search.text import plural
from studies.definition import Ablation, Stage, Study


class StagePinner:
    """Pins the stages of one study."""

    def __init__(self, storage: Storage, study: Study, budget: Budget, say: Callable[[str], None]) -> None:
        """`say` prints a line for each stage that the time budget cuts."""
        self._storage = storage
        self._study = study
        self._budget = budget
        self._say = say

    def pin_search(self, position: int, stage: Stage, bases: Sequence[TrainConfig]) -> PinnedStage:
        """Pin a search stage around these configurations."""
        fitted = self._budget.fit_stage(position, stage)
        if stage.extends:
            # All trials of the pool have the epochs that the budget gave to its first stage.
            fitted = with_fewer_epochs(replace(stage, trials=fitted.trials), self._share_of_epochs(position))
        self._say_changes(stage.name, stage_changes(stage, fitted))
        record = read_study(self._storage, self._study.name)
        assert record is not None
        warm = record.definition.warm_start if position == 0 else None
        taken = [trial.parameters for trial in warm.taken] if warm else []
        is_feasible = feasible_on(record.data)
        most = self._budget.most_trials(position)
        pinned = pin_search(self._study, position, fitted, bases, taken, most_trials=most, is_feasible=is_feasible)
        if pinned.trials < fitted.trials and stage.sampler != "grid":
            self._say(f"{stage.name}: {plural(pinned.trials, 'trial')}: there are no more different configurations")
        return pinned

    def _share_of_epochs(self, position: int) -> float:
        """The share of its epochs that the first stage of a pool has."""
        start = pool_start(self._study, position)
        return read_stages(self._storage, self._study.name)[start].pinned.epochs / self._study.stages[start].epochs

    def pin_confirmation(self, best: Sequence[tuple[FrozenTrial, TrainConfig]]) -> PinnedStage:
        """Pin the confirmation of the best trials of the last stage, with their configurations, best first."""
        sizes = [trial.user_attrs.get(names.GANG, 1) for trial, _ in best]
        epoch_s = [self._epoch_s(trial) * size for (trial, _), size in zip(best, sizes, strict=True)]
        epochs = max(config.epochs for _, config in best)
        trained = max(len(trial.intermediate_values) for trial, _ in best) // max(1, self._study.folds)
        confirm = self._budget.fit_confirmation(epochs, epoch_s, trained, max(sizes))
        wanted, fitted = (
            replace(size, finalists=min(size.finalists, len(best))) for size in (self._study.confirm, confirm)
        )
        self._say_changes(confirm.name, confirmation_changes(wanted, fitted, epochs))
        configs = [config for _, config in best[: confirm.finalists]]
        return pin_confirmation(self._study, confirm, configs, most_seeds=self._budget.most_seeds)

    def _epoch_s(self, trial: FrozenTrial) -> float:
        """Seconds of a typical epoch of the trial: the median, and the shorter of two in the middle.

        Some of a few epochs are much longer: the first, and those during which the machine did something else, such as
        comparing the study's images.
        """
        times_s = epoch_times_s(self._storage, database_id(trial))
        return median_low(times_s) if times_s else float(trial.user_attrs[names.EPOCH_S])

    def pin_ablation(self, ablation: Ablation, base: TrainConfig) -> PinnedStage:
        """Pin an ablation around this configuration."""
        fitted = self._budget.fit_ablation(ablation)
        self._say_changes(ablation.name, ablation_changes(ablation, fitted))
        return pin_ablation(self._study, fitted, base)

    def _say_changes(self, stage: str, changes: str) -> None:
        if changes:
            self._say(f"{stage}: the time budget {changes}")
