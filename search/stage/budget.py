"""The time budget of a study: number of trials in each stage, size of the confirmation, and deadlines."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from models.config import TrainConfig
from models.values import with_values
from search.stage.combining_time import COMBINING_S, PassTimes, combining_s
from search.stage.confirmation_size import (
    CONFIRMATION_MARGIN,
    LONGER,
    MOST_SEEDS,
    ConfirmationTime,
    size_confirmation,
)
from search.stage.extending import is_extended, pool_end, pool_start
from search.stage.fewer_epochs import with_fewer_epochs
from studies.definition import Ablation, Confirm, Stage, Study

if TYPE_CHECKING:
    from models.training.branch_limit import BranchLimit

REGISTRATION_S = 3.0
"""Seconds reserved for registering the champion."""
EVALUATION_S = 12.0
"""Seconds reserved in addition for the evaluation on the test set."""
LEAST_OF_POOL = 8
"""Fewest trials of stages that share their trials, together."""
MIN_TRIALS = 4
"""Fewest trials of a stage: if there is no time for them, they get fewer epochs."""
MOST_SLOTS = 2_000
"""If there is time left, trials are added to a stage, or to stages that share their trials, up to this number: its
record, which every worker reads, has a slot for each."""


class Budget(Protocol):
    """The size and deadline of each stage of a run."""

    end: float | None
    """Time at which the run must end, in seconds since the epoch; None without a limit."""

    def fit_stage(self, position: int, stage: Stage) -> Stage:
        """The stage with as many trials and epochs as the time allows."""

    def most_trials(self, position: int) -> int:
        """The most trials that a search stage may get, if there is time for more than `fit_stage` gave it."""

    @property
    def most_seeds(self) -> int:
        """The most seeds that the confirmation may get, if there is time for more than `fit_confirmation` gave it."""

    def fit_confirmation(self, epochs: int, epoch_s: Sequence[float], trained: int = 1, gang: int = 1) -> Confirm:
        """The confirmation with as many finalists, seeds and epochs as the time allows.

        `epochs` are those of its runs if the study sets none. `epoch_s` holds the seconds of an epoch of each finalist,
        best finalist first, in which its worker trained up to `gang` trials at once. The finalists' trials were trained
        for up to `trained` epochs, and its runs are never trained for less.
        """

    def expect_finalists(self, configs: Sequence[TrainConfig]) -> None:
        """Reserve the time for the predictions of finalists with these configurations, and for combining their runs."""

    def fit_ablation(self, ablation: Ablation) -> Ablation:
        """The ablation with all its cells, on as many seeds and with as many epochs as the time allows."""

    def stage_deadline(self, position: int, last: int | None = None) -> float | None:
        """Time at which the stage that starts now must end, in seconds since the epoch; None without a limit.

        With `last`, the time at which the stages after it up to that position must end too.
        """


class UnlimitedBudget:
    """No time limit: every stage keeps its size."""

    end: float | None = None

    def __init__(self, study: Study) -> None:
        self._study = study

    def fit_stage(self, position: int, stage: Stage) -> Stage:
        """Return the stage as the study defines it."""
        return stage

    def most_trials(self, position: int) -> int:
        """Return 0: a stage has the trials that the study defines."""
        return 0

    @property
    def most_seeds(self) -> int:
        """Return 0: the confirmation has the seeds that the study defines."""
        return 0

    def fit_confirmation(self, epochs: int, epoch_s: Sequence[float], trained: int = 1, gang: int = 1) -> Confirm:
        """Return the confirmation as the study defines it."""
        return self._study.confirm

    def expect_finalists(self, configs: Sequence[TrainConfig]) -> None:
        """Reserve nothing."""

    def fit_ablation(self, ablation: Ablation) -> Ablation:
        """Return the ablation as the study defines it."""
        return ablation

    def stage_deadline(self, position: int, last: int | None = None) -> float | None:
        """Return None: no stage has to end at a given time."""
        return None


class TimeBudget:
    """A time limit: each stage gets a share of the remaining time in proportion to its expected cost."""

    def __init__(
        self,
        study: Study,
        total_s: float,
        stage_costs_s: Sequence[float],
        workers: int,
        *,
        saving_s: float = 0.0,
        test: bool = False,
        measure_passes: Callable[[Sequence[TrainConfig]], PassTimes] | None = None,
        measure_gang: Callable[[TrainConfig], BranchLimit] | None = None,
    ) -> None:
        """`stage_costs_s` holds the expected wall time of each stage and, last, of the confirmation's epochs, in
        seconds; `saving_s` is that of what its runs do beside their epochs.

        `measure_passes` measures the networks of finalists; it is called once.
        `measure_gang` measures how many runs of a finalist are trained at once, and what that brings.
        """
        self._study = study
        self.end: float | None = time.time() + total_s
        reserved_s = REGISTRATION_S + (EVALUATION_S if test else 0.0)
        self._combining_end = self.end - reserved_s
        self._last_stage_end = self._combining_end - (COMBINING_S if study.combines else 0.0)
        self._measure_passes, self._measure_gang = measure_passes, measure_gang
        self._together: BranchLimit | None = None
        self._prediction_s = 0.0
        """Seconds in which a run of the confirmation predicts the validation images at its end, if measured."""
        self._costs_s = list(stage_costs_s)
        self._saving_s = saving_s
        self._workers = workers
        runs = study.ending.candidates * study.ending.seeds
        self._last_run_s = self._costs_s[-1] * min(workers, runs) / runs
        """Seconds of one run of the last stage."""
        more_seeds = 1.0 if study.ablation else max(1.0, self.most_seeds / study.confirm.seeds)
        self._most_growth_of_last = LONGER * more_seeds
        """How many times its cost the last stage gets at most: it has no use for more."""

    def foresee(self, position: int, stage: Stage) -> Stage:
        """The result that `fit_stage` would have if all earlier stages took exactly their share of the time."""
        return self._scaled(position, stage, self._share_s(0, len(self._costs_s) - 2) / sum(self._costs_s[:-1]))

    def fit_stage(self, position: int, stage: Stage) -> Stage:
        """Scale the stage to its share of the time that is left."""
        return self._scaled(position, stage, self._share_s(position) / self._costs_s[position])

    def most_trials(self, position: int) -> int:
        """Return the most trials that the stage may get: they often cost less than estimated."""
        if is_extended(self._study, position):
            return 0
        members = self._study.stages[pool_start(self._study, position) : position + 1]
        return max(MOST_SLOTS, sum(member.trials for member in members))

    @property
    def most_seeds(self) -> int:
        """Return the most seeds; with folds, 0: a finalist has one run for each fold, and none can be added."""
        return 0 if self._study.folds else MOST_SEEDS

    def _scaled(self, position: int, stage: Stage, scale: float) -> Stage:
        if stage.sampler == "grid":
            return stage  # A grid keeps all its cells; its deadline ends it.
        if stage.extends or is_extended(self._study, position):
            return self._scaled_in_pool(position, stage, scale)
        least = min(stage.trials, max(MIN_TRIALS, 2 * stage.bases))
        trials = max(least, min(max(MOST_SLOTS, stage.trials), math.floor(stage.trials * scale)))
        share = scale * stage.trials / least
        if trials > least or share >= 1:
            return replace(stage, trials=trials)
        # There is no time even for the fewest trials, so they get fewer epochs.
        return with_fewer_epochs(replace(stage, trials=trials), share)

    def _scaled_in_pool(self, position: int, stage: Stage, scale: float) -> Stage:
        """Scale a stage that shares its trials with others.

        Only the last stage of the pool, which searches everything, gets more trials than planned. An earlier one that
        would have too few to learn from has a single trial, and the last one gets the others.
        """
        members = self._study.stages[pool_start(self._study, position) : pool_end(self._study, position) + 1]
        planned = sum(member.trials for member in members)
        least = min(planned, LEAST_OF_POOL)
        total = max(least, min(max(MOST_SLOTS, planned), math.floor(planned * scale)))
        shares = [min(member.trials, math.floor(total * member.trials / planned)) for member in members[:-1]]
        counts = [share if share >= MIN_TRIALS else 1 for share in shares]
        counts.append(max(1, total - sum(counts)))
        fitted = replace(stage, trials=counts[position - pool_start(self._study, position)])
        return with_fewer_epochs(fitted, planned * scale / least) if planned * scale < least else fitted

    def expect_finalists(self, configs: Sequence[TrainConfig]) -> None:
        """Reserve time as `Budget` describes, as far as there are measurements."""
        if self._measure_gang is not None and not self._study.folds:
            self._together = self._measure_gang(with_values(configs[0], self._study.confirm.values))
        if self._measure_passes is None:
            return
        passes = self._measure_passes([with_values(config, self._study.confirm.values) for config in configs])
        self._prediction_s = passes.val_s
        if self._study.combines:
            left_s = max(0.0, self._combining_end - time.time())
            self._last_stage_end = self._combining_end - combining_s(self._study.confirm, passes, left_s)

    def fit_confirmation(self, epochs: int, epoch_s: Sequence[float], trained: int = 1, gang: int = 1) -> Confirm:
        """Choose finalists, seeds and epochs for the time that is left, as `Budget` describes."""
        return size_confirmation(
            self._study,
            ConfirmationTime(
                left_s=CONFIRMATION_MARGIN * max(0.0, self._last_stage_end - time.time()),
                workers=self._workers,
                epoch_s=epoch_s,
                gang=gang,
                together=self._together,
                prediction_s=self._prediction_s,
            ),
            wanted=max(trained, self._study.confirm.epochs or epochs),
            trained=trained,
        )

    def fit_ablation(self, ablation: Ablation) -> Ablation:
        """Scale seeds, then epochs, to the time that is left."""
        left_s = CONFIRMATION_MARGIN * max(0.0, self._last_stage_end - time.time() - self._saving_s)
        scale = min(1.0, left_s / self._costs_s[-1])
        seeds = max(min(2, ablation.seeds), math.floor(ablation.seeds * scale))
        epochs = math.floor(ablation.epochs * min(1.0, scale * ablation.seeds / seeds))
        return replace(ablation, seeds=seeds, epochs=max(1, epochs))

    def stage_deadline(self, position: int, last: int | None = None) -> float | None:
        """Return the end of the share of the time that the stage has, or the stages up to `last`."""
        return time.time() + self._share_s(position, last)

    def _share_s(self, position: int, last: int | None = None) -> float:
        """The share of stages of the time that is left."""
        if position == len(self._costs_s) - 1:
            return self._left_s()
        costs_s = self._costs_s[position:-1]
        wanted_s = sum(costs_s[: (position if last is None else last) + 1 - position])
        epochs_s = self._epochs_s()
        return (epochs_s - self._last_stage_s(epochs_s, sum(costs_s))) * wanted_s / sum(costs_s)

    def _last_stage_s(self, epochs_s: float, earlier_s: float) -> float:
        """The share of the last stage's epochs: by its cost, but at least one run, and no more than it can use."""
        cost_s = self._costs_s[-1]
        share_s = min(epochs_s * cost_s / (earlier_s + cost_s), self._most_growth_of_last * cost_s)
        return max(share_s, min(epochs_s / 2, self._last_run_s))

    def _epochs_s(self) -> float:
        """Seconds that are left for epochs."""
        left_s = self._left_s()
        return left_s - min(left_s / 2, self._saving_s)

    def _left_s(self) -> float:
        return max(1.0, self._last_stage_end - time.time())
