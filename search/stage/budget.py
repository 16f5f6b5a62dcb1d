"""Wall time spread over a study: how many trials a stage may have, how large the confirmation, and when each ends."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from studies.definition import Ablation, Confirm, Stage, Study

REGISTRATION_S = 3.0
"""Kept back for registering the champion."""
EVALUATION_S = 12.0
"""Kept back besides, where the seal is to be opened."""
MIN_TRIALS = 4
CONFIRMATION_MARGIN = 0.95
"""Of the time left that the confirmation plans with: its runs are never cut, so they must not come out late."""


class Budget(Protocol):
    """What a run may spend."""

    end: float | None
    """When the run has to be over, in seconds since the epoch."""

    def fit_stage(self, position: int, stage: Stage) -> Stage:
        """The stage with as many trials and epochs as time allows."""

    def fit_confirmation(self, epochs: int, epoch_s: Sequence[float]) -> Confirm:
        """The confirmation that time allows, given what an epoch of each finalist took, best finalist first."""

    def fit_ablation(self, ablation: Ablation) -> Ablation:
        """The ablation that time allows: with all its cells, on fewer seeds or of fewer epochs."""

    def stage_deadline(self, position: int) -> float | None:
        """When the stage that starts now has to end, in seconds since the epoch."""


class UnlimitedBudget:
    """No time limit: the study as it was written."""

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
    """Each stage gets a share of the time that is left, in proportion to its expected cost."""

    def __init__(
        self, study: Study, total_s: float, stage_costs_s: Sequence[float], workers: int, *, test: bool = False
    ) -> None:
        """`stage_costs_s` holds the expected wall time of each stage and, last, of the confirmation."""
        self._study = study
        self.end: float | None = time.time() + total_s
        self._last_stage_end = self.end - REGISTRATION_S - (EVALUATION_S if test else 0.0)
        self._costs_s = list(stage_costs_s)
        self._workers = workers

    def foresee(self, stage: Stage) -> Stage:
        """What `fit_stage` would come to if the stages before it took exactly their share."""
        return self._scaled(stage, min(1.0, self._left_s() / sum(self._costs_s)))

    def fit_stage(self, position: int, stage: Stage) -> Stage:
        return self._scaled(stage, min(1.0, self._share_s(position) / self._costs_s[position]))

    def _scaled(self, stage: Stage, scale: float) -> Stage:
        if stage.sampler == "grid":
            return stage  # Its cells are all run, as far as its share of the time goes.
        least = min(stage.trials, max(MIN_TRIALS, 2 * stage.bases))
        trials = max(least, math.floor(stage.trials * scale))
        if trials > least:
            return replace(stage, trials=trials)
        # Too little time even for the fewest trials: shorter ones then.
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
        """How long the workers take for these runs, each taking the next as it gets free."""
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
