"""The time budget of a study: number of trials in each stage, size of the confirmation, and deadlines."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from studies.definition import Ablation, Confirm, Stage, Study

REGISTRATION_S = 3.0
"""Seconds reserved for registering the champion."""
EVALUATION_S = 12.0
"""Seconds reserved in addition for the evaluation on the test set."""
MIN_TRIALS = 4
"""Fewest trials of a stage: if there is no time for them, they get fewer epochs."""
CONFIRMATION_MARGIN = 0.95
"""Share of the remaining time that the confirmation uses: its runs are never cut, so they must not end late."""


class Budget(Protocol):
    """The size and deadline of each stage of a run."""

    end: float | None
    """Time at which the run must end, in seconds since the epoch; None without a limit."""

    def fit_stage(self, position: int, stage: Stage) -> Stage:
        """The stage with as many trials and epochs as the time allows."""

    def fit_confirmation(self, epochs: int, epoch_s: Sequence[float]) -> Confirm:
        """The confirmation with as many finalists, seeds and epochs as the time allows.

        `epoch_s` holds the seconds of an epoch of each finalist, best finalist first.
        """

    def fit_ablation(self, ablation: Ablation) -> Ablation:
        """The ablation with all its cells, on as many seeds and with as many epochs as the time allows."""

    def stage_deadline(self, position: int) -> float | None:
        """Time at which the stage that starts now must end, in seconds since the epoch; None without a limit."""


class UnlimitedBudget:
    """No time limit: every stage keeps its size."""

    end: float | None = None

    def __init__(self, study: Study) -> None:
        self._study = study

    def fit_stage(self, position: int, stage: Stage) -> Stage:
        return stage

    def fit_confirmation(self, epochs: int, epoch_s: Sequence[float]) -> Confirm:
        return self._study.confirm

    def fit_ablation(self, ablation: Ablation) -> Ablation:
        return ablation

    def stage_deadline(self, position: int) -> float | None:
        return None


class TimeBudget:
    """A time limit: each stage gets a share of the remaining time in proportion to its expected cost."""

    def __init__(
        self, study: Study, total_s: float, stage_costs_s: Sequence[float], workers: int, *, test: bool = False
    ) -> None:
        """`stage_costs_s` holds the expected wall time of each stage and, last, of the confirmation, in seconds."""
        self._study = study
        self.end: float | None = time.time() + total_s
        self._last_stage_end = self.end - REGISTRATION_S - (EVALUATION_S if test else 0.0)
        self._costs_s = list(stage_costs_s)
        self._workers = workers

    def foresee(self, stage: Stage) -> Stage:
        """The result that `fit_stage` would have if all earlier stages took exactly their share of the time."""
        return self._scaled(stage, min(1.0, self._left_s() / sum(self._costs_s)))

    def fit_stage(self, position: int, stage: Stage) -> Stage:
        return self._scaled(stage, min(1.0, self._share_s(position) / self._costs_s[position]))

    def _scaled(self, stage: Stage, scale: float) -> Stage:
        if stage.sampler == "grid":
            return stage  # A grid keeps all its cells; its deadline ends it.
        least = min(stage.trials, max(MIN_TRIALS, 2 * stage.bases))
        trials = max(least, math.floor(stage.trials * scale))
        if trials > least:
            return replace(stage, trials=trials)
        # There is no time even for the fewest trials, so they get fewer epochs.
        epochs = max(1, math.floor(stage.epochs * min(1.0, scale * stage.trials / least)))
        return replace(stage, trials=trials, epochs=epochs)

    def fit_confirmation(self, epochs: int, epoch_s: Sequence[float]) -> Confirm:
        confirm = self._study.confirm
        wanted = confirm.epochs or epochs
        all_of_them, two = len(epoch_s), min(2, confirm.seeds)
        sizes = [(all_of_them, confirm.seeds), (all_of_them, two), (min(2, all_of_them), two)]
        left_s = CONFIRMATION_MARGIN * max(0.0, self._last_stage_end - time.time())
        affordable = 0.0
        for finalists, seeds in sizes:
            affordable = left_s / self._makespan_s(list(epoch_s[:finalists]) * seeds)
            if affordable >= wanted:
                break
        return replace(confirm, finalists=finalists, seeds=seeds, epochs=max(1, min(wanted, math.floor(affordable))))

    def fit_ablation(self, ablation: Ablation) -> Ablation:
        left_s = CONFIRMATION_MARGIN * max(0.0, self._last_stage_end - time.time())
        scale = min(1.0, left_s / self._costs_s[-1])
        seeds = max(min(2, ablation.seeds), math.floor(ablation.seeds * scale))
        epochs = math.floor(ablation.epochs * min(1.0, scale * ablation.seeds / seeds))
        return replace(ablation, seeds=seeds, epochs=max(1, epochs))

    def _makespan_s(self, runs_s: Sequence[float]) -> float:
        """Seconds that the workers need for these runs if each free worker takes the next run."""
        loads_s = [0.0] * self._workers
        for run_s in runs_s:
            loads_s[loads_s.index(min(loads_s))] += run_s
        return max(loads_s)

    def stage_deadline(self, position: int) -> float | None:
        return time.time() + self._share_s(position)

    def _share_s(self, position: int) -> float:
        return self._left_s() * self._costs_s[position] / sum(self._costs_s[position:])

    def _left_s(self) -> float:
        return max(1.0, self._last_stage_end - time.time())
