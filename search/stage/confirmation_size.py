"""The size of a confirmation in a time budget: how many finalists and seeds, and how many epochs each run gets."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from studies.definition import Confirm, Study

if TYPE_CHECKING:
    from models.training.branch_limit import BranchLimit

CONFIRMATION_MARGIN = 0.98
"""Share of the remaining time that the confirmation uses: its runs are never cut, so they must not end late."""
LONGER = 2
"""If there is time left, the runs of the confirmation get at most this many times their planned epochs."""
MOST_SEEDS = 10
"""If there is time left, each finalist gets at most this many seeds."""
RUN_S = 0.5
"""Seconds that a run takes beside its epochs and its prediction of the validation images: it opens the images, builds
the network and saves the classifier. Measured: 0.3 to 0.4 with `tf_efficientnet_lite0` on one core."""
FIRST_RUN_S = 2.0
"""Seconds that a worker's first run takes beyond that, because its first passes in float32 are slow. Measured likewise.
"""
ENOUGH = 0.5
"""A smaller confirmation is chosen if the runs of a larger one would have less than this share of their epochs."""
NOT_FEWER = 0.9
"""The largest confirmation is chosen whose runs have at least this share of the most epochs that any size allows:
idle workers train its other runs in the same time."""


@dataclass(frozen=True, kw_only=True)
class ConfirmationTime:
    """The time that a confirmation has, and what its runs take of it."""

    left_s: float
    workers: int
    epoch_s: Sequence[float]
    """Seconds of an epoch of each finalist, best finalist first, in which its worker trained up to `gang` trials."""
    gang: int
    together: BranchLimit | None
    """How many runs of a finalist are trained at once and what that brings, if it was measured."""
    prediction_s: float
    """Seconds in which a run predicts the validation images at its end. Measured with all cores, which workers share.
    """

    def epochs(self, study: Study, finalists: int, seeds: int) -> float:
        """The epochs for which each of the runs can be trained in this time."""
        together = min(self.gang, finalists) if study.folds else self.gang  # A gang trains on the images of one fold.
        slower = 1.0
        if self.gang == 1:  # Runs of one shape may be trained together even if the trials of the search were not.
            together, slower = self._runs_together(seeds)
        runs_s = [seconds * slower for seconds in self.epoch_s[:finalists]] * seeds
        saving_s = FIRST_RUN_S + len(runs_s) * (self.prediction_s + RUN_S / min(self.workers, len(runs_s)))
        # At least a second, so that the smallest size is the best where no time is left.
        return max(1.0, self.left_s - saving_s) / self._makespan_s(runs_s, together)

    def _runs_together(self, seeds: int) -> tuple[int, float]:
        """How many runs of a finalist are trained at once, and how many times as long an epoch of all of them takes."""
        if self.together is None or min(seeds, self.together.count) == 1:
            return 1, 1.0
        count = min(seeds, self.together.count)
        gain = 1 + (self.together.gain - 1) * (count - 1) / (self.together.count - 1)
        return count, count / gain

    def _makespan_s(self, runs_s: Sequence[float], gang: int) -> float:
        """Seconds that the workers need for these runs if each free worker takes the next `gang` runs at once."""
        loads_s = [0.0] * self.workers
        for first in range(0, len(runs_s), gang):
            loads_s[loads_s.index(min(loads_s))] += max(runs_s[first : first + gang])
        return max(loads_s)


def size_confirmation(study: Study, time: ConfirmationTime, *, wanted: int, trained: int) -> Confirm:
    """The study's confirmation with as many finalists, seeds and epochs as the time allows.

    `wanted` are the epochs of its runs if there is time for them. The finalists' trials were trained for up to
    `trained` epochs, and the runs are never trained for less.
    """
    confirm, known = study.confirm, len(time.epoch_s)
    sizes = _usual_sizes(confirm, known)
    finalists, seeds = next((size for size in sizes if time.epochs(study, *size) >= wanted), sizes[-1])
    affordable = time.epochs(study, finalists, seeds)
    if affordable < wanted:
        # Fewer runs of more epochs: a network that is trained too briefly loses more than a choice of two gains.
        smaller = [sizes[-1], *_smallest_sizes(study, known)]
        most = max(time.epochs(study, *size) for size in smaller)
        enough = min(max(trained, ENOUGH * wanted), NOT_FEWER * most)
        finalists, seeds = next(size for size in smaller if time.epochs(study, *size) >= enough)
    elif affordable >= LONGER * wanted:
        most_seeds = min(MOST_SEEDS, study.folds or MOST_SEEDS)  # As a study's definition is checked.
        seeds = max(seeds, min(most_seeds, math.floor(seeds * affordable / (LONGER * wanted))))
    fitting = min(LONGER * wanted, math.floor(time.epochs(study, finalists, seeds)))
    return replace(confirm, finalists=finalists, seeds=seeds, epochs=max(1, trained, fitting))


def _usual_sizes(confirm: Confirm, finalists: int) -> list[tuple[int, int]]:
    """Numbers of finalists and seeds, the study's own first."""
    two = min(2, confirm.seeds)
    return [(finalists, confirm.seeds), (finalists, two), (min(2, finalists), two)]


def _smallest_sizes(study: Study, finalists: int) -> list[tuple[int, int]]:
    """Numbers of finalists and seeds for a very short time.

    With folds, each finalist needs two of them. Runs are combined only if two seeds show the noise between them.
    """
    if study.folds:
        return [(1, min(2, study.confirm.seeds))]
    return [(1, 2) if study.combines else (min(2, finalists), 1), (1, 1)]
