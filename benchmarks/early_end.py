"""What the early end of a stage saves, and what it costs.

    python -m benchmarks.early_end --table small [--seeds 40] [--only TEXT] [--processes 1] [--save] [--json]

A replay on the curves of `benchmarks.time_to_accuracy`: each search runs twice with every seed, once to the end of its
epochs and once with the service's own rule for an early end. A curve has a single seed, so the noise between seeds is
the standard error on the table's validation images, as the service takes it without repeated configurations.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from optuna.trial import TrialState

from benchmarks.landscape import Landscape
from benchmarks.replay import NothingLeft, Training, replay
from benchmarks.results import write_result
from benchmarks.searches import StageSearch
from benchmarks.strategies import STRATEGIES
from benchmarks.tables import TABLES
from benchmarks.time_to_accuracy import bootstrap_interval, open_landscape, quietly
from search.cli import CommandParser, main_guard
from search.stage.possible_gain import LEAST_TRIALS, possible_gain
from search.stage.seed_noise import seed_noise
from search.store.study_data import StudyData
from search.supervisor.early_end import STEP
from search.terminal import print_json, say

SEARCHES = ("staged, asha, extended", "flat TPE, median pruning")
EPOCHS = (360, 540)
"""Epochs of a search: those of the comparison, and half as many more, since a long search has more to save."""
WORKERS = 4


@dataclass(frozen=True, kw_only=True)
class Run:
    """A search of some number of epochs, with and without an early end."""

    ended: bool
    saved: float
    """Share of the epochs that the early end saved."""
    trials: int
    """Trials that it began with an early end."""
    all_trials: int
    """Trials that it began without."""
    regret: float
    """The best validation accuracy without an early end, minus that with one."""


class Watched:
    """A search that notes when its trials begin, and ends where the service would end it."""

    def __init__(self, stage: StageSearch, images: int) -> None:
        """`images`: number of validation images; 0 for a search that does not end early."""
        self._stage = stage
        self._images = images
        self._judged = 0
        self.begun: list[int] = []
        """Epochs that were spent when each trial began."""
        self.best_after: list[float] = []

    def begin(self, spent: int) -> Training | None:
        """Begin what the search begins."""
        training = self._stage.begin(spent)
        if training is not None and training.next == 1:
            self.begun.append(spent)
        return training

    def stops(self, training: Training, epoch: int, accuracy: float) -> bool:
        """Report an epoch; after a trial, judge the search."""
        self.best_after.append(max([accuracy, *self.best_after[-1:]]))
        stops = self._stage.stops(training, epoch, accuracy)
        if stops and self._images and not self._stage.is_over:
            self._stage.is_over = self._has_nothing_to_gain()
        return stops

    def _has_nothing_to_gain(self) -> bool:
        complete = [trial for trial in self._stage.trials() if trial.state == TrialState.COMPLETE]
        count = len(complete) // STEP * STEP
        if count < LEAST_TRIALS or count <= self._judged:
            return False
        self._judged = count
        data = StudyData(label_distribution={"val": {"all": self._images}})
        noise = seed_noise(self._stage.pinned, complete, data)
        assert noise is not None
        return possible_gain(self._stage.pinned, complete) < noise


def run_twice(landscape: Landscape, name: str, seed: int) -> list[Run]:
    """Run a search with and without an early end; a result for each number of `EPOCHS`."""
    most = max(EPOCHS)
    images = landscape.table.val_images
    with quietly():
        whole, early = (Watched(STRATEGIES[name](landscape, most, seed), count) for count in (0, images))
        replay(whole, landscape, epochs=most, workers=WORKERS)
        with suppress(NothingLeft):
            replay(early, landscape, epochs=most, workers=WORKERS)
    return [_run(whole, early, epochs) for epochs in EPOCHS]


def _run(whole: Watched, early: Watched, epochs: int) -> Run:
    """The first epochs of both searches, which are the same until the early end."""
    spent = min(epochs, len(early.best_after))
    return Run(
        ended=spent < epochs,
        saved=1 - spent / epochs,
        trials=sum(at < epochs for at in early.begun),
        all_trials=sum(at < epochs for at in whole.begun),
        regret=whole.best_after[epochs - 1] - early.best_after[spent - 1],
    )


def measure(landscape: Landscape, searches: Sequence[str], seeds: int, processes: int) -> list[dict[str, Any]]:
    """The figures of every search and number of epochs."""
    figures = []
    for name in searches:
        both = Parallel(processes)(delayed(run_twice)(landscape, name, seed) for seed in range(seeds))
        for epochs, runs in zip(EPOCHS, zip(*both, strict=True), strict=True):
            figures.append({"search": name, "epochs": epochs, **_summary(runs)})
            say(describe(figures[-1]))
    return figures


def _summary(runs: Sequence[Run]) -> dict[str, Any]:
    regrets = np.array([run.regret for run in runs])
    saved = np.array([run.saved for run in runs])
    return {
        "ended": fmean(run.ended for run in runs),
        "saved": fmean(saved),
        "saved_interval": bootstrap_interval(saved, np.mean),
        "trials": fmean(run.trials for run in runs),
        "all_trials": fmean(run.all_trials for run in runs),
        "regret": fmean(regrets),
        "regret_interval": bootstrap_interval(regrets, np.mean),
        "without_loss": float((regrets <= 0).mean()),
    }


def describe(figures: dict[str, Any]) -> str:
    """The figures of one search in a line."""
    (low, high), (least, most) = figures["saved_interval"], figures["regret_interval"]
    return (
        f"{figures['search']}, {figures['epochs']} epochs: ended early in "
        f"{figures['ended']:.0%} of the runs, saved {figures['saved']:.0%} ({low:.0%} to {high:.0%}) of the epochs and "
        f"{figures['all_trials'] - figures['trials']:.0f} of {figures['all_trials']:.0f} trials, regret "
        f"{figures['regret']:.4f} ({least:.4f} to {most:.4f}), none in {figures['without_loss']:.0%}"
    )


def main() -> None:
    """Replay the searches and print what an early end saves and costs."""
    parser = CommandParser(
        prog="python -m benchmarks.early_end", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--table", required=True, choices=sorted(TABLES))
    parser.add_argument("--seeds", type=int, default=40)
    parser.add_argument("--only", default="", help="run only the searches whose name contains this text")
    parser.add_argument("--processes", type=int, default=1, help="number of replays at the same time")
    parser.add_argument("--save", action="store_true", help="keep the result in benchmarks/results")
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout and nothing else there")
    options = parser.parse_args()
    landscape = open_landscape(TABLES[options.table])
    searches = [name for name in SEARCHES if options.only in name]
    result = {
        "table": options.table,
        "seeds": options.seeds,
        "best": max(max(landscape[key]) for key in landscape.known),
        "searches": measure(landscape, searches, options.seeds, options.processes),
    }
    if options.save:
        say(f"kept: {write_result(f'early-end-{options.table}', result)}")
    if options.json:
        print_json(result)


if __name__ == "__main__":
    sys.exit(main_guard(main))
