"""What the early end of a stage saves, and what it costs.

    python -m benchmarks.early_end --table small [--seeds 40] [--processes 1] [--save] [--json]

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
from benchmarks.time_to_accuracy import RESAMPLED, WORKERS, open_landscape, quietly
from search.cli import CommandParser, main_guard
from search.stage.possible_gain import LEAST_TRIALS, possible_gain
from search.stage.seed_noise import seed_noise
from search.store.study_data import StudyData
from search.supervisor.early_end import STEP
from search.terminal import print_json, say

SEARCHES = ("staged, asha, extended", "flat TPE, asha", "flat TPE, median pruning")
BUDGETS = (360, 720)
"""Epochs of a search: those of the comparison, and twice as many, since a long search has more to save."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """One search with and without an early end."""

    ended: bool
    epochs: int
    """Epochs that it trained with an early end."""
    trials: int
    """Trials that it began with an early end."""
    all_trials: int
    """Trials that it began without."""
    regret: float
    """The best validation accuracy without an early end, minus that with one."""


class EndsEarly:
    """A search that ends where the service would end it."""

    def __init__(self, stage: StageSearch, images: int) -> None:
        self._stage = stage
        self._data = StudyData(label_distribution={"val": {"all": images}})
        self._judged = 0
        self.spent, self.best = 0, 0.0

    def begin(self, spent: int) -> Training | None:
        """Begin what the search begins."""
        return self._stage.begin(spent)

    def stops(self, training: Training, epoch: int, accuracy: float) -> bool:
        """Report an epoch; after a trial, judge the search."""
        self.spent, self.best = self.spent + 1, max(self.best, accuracy)
        stops = self._stage.stops(training, epoch, accuracy)
        if stops and not self._stage.is_over:
            self._stage.is_over = self._has_nothing_to_gain()
        return stops

    def _has_nothing_to_gain(self) -> bool:
        complete = [trial for trial in self._stage.trials() if trial.state == TrialState.COMPLETE]
        count = len(complete) // STEP * STEP
        if count < LEAST_TRIALS or count <= self._judged:
            return False
        self._judged = count
        noise = seed_noise(self._stage.pinned, complete, self._data)
        assert noise is not None
        return possible_gain(self._stage.pinned, complete) < noise


def run_twice(landscape: Landscape, name: str, seed: int, workers: int, epochs: int) -> Run:
    """Run a search with and without an early end."""
    with quietly():
        whole = STRATEGIES[name](landscape, epochs, seed)
        best = replay(whole, landscape, epochs=epochs, workers=workers).best_after[-1]
        stage = STRATEGIES[name](landscape, epochs, seed)
        early = EndsEarly(stage, landscape.table.val_images)
        with suppress(NothingLeft):
            replay(early, landscape, epochs=epochs, workers=workers)
    return Run(
        ended=stage.is_over,
        epochs=early.spent,
        trials=len(stage.trials()),
        all_trials=len(whole.trials()),
        regret=best - early.best,
    )


def measure(landscape: Landscape, seeds: int, processes: int) -> list[dict[str, Any]]:
    """The figures of every search, number of workers and number of epochs."""
    figures = []
    for name in SEARCHES:
        for epochs in BUDGETS:
            for workers in WORKERS:
                run = delayed(run_twice)
                runs = Parallel(processes)(run(landscape, name, seed, workers, epochs) for seed in range(seeds))
                figures.append({"search": name, "epochs": epochs, "workers": workers, **_summary(runs, epochs)})
                say(describe(figures[-1]))
    return figures


def _summary(runs: Sequence[Run], epochs: int) -> dict[str, Any]:
    regrets = np.array([run.regret for run in runs])
    saved = np.array([1 - run.epochs / epochs for run in runs])
    return {
        "ended": fmean(run.ended for run in runs),
        "saved": fmean(saved),
        "saved_interval": _interval(saved),
        "trials": fmean(run.trials for run in runs),
        "all_trials": fmean(run.all_trials for run in runs),
        "regret": fmean(regrets),
        "regret_interval": _interval(regrets),
        "without_loss": float((regrets <= 0).mean()),
    }


def _interval(values: Any) -> list[float]:
    """The 95 % bootstrap interval of the mean."""
    samples = np.random.default_rng(0).choice(values, size=(RESAMPLED, len(values)))
    low, high = np.percentile(samples.mean(axis=1), [2.5, 97.5])
    return [float(low), float(high)]


def describe(figures: dict[str, Any]) -> str:
    """The figures of one search in a line."""
    (low, high), (least, most) = figures["saved_interval"], figures["regret_interval"]
    return (
        f"{figures['search']}, {figures['epochs']} epochs, {figures['workers']} at once: ended early in "
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
    parser.add_argument("--processes", type=int, default=1, help="number of replays at the same time")
    parser.add_argument("--save", action="store_true", help="keep the result in benchmarks/results")
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout and nothing else there")
    options = parser.parse_args()
    landscape = open_landscape(TABLES[options.table])
    result = {
        "table": options.table,
        "seeds": options.seeds,
        "best": max(max(landscape[key]) for key in landscape.known),
        "searches": measure(landscape, options.seeds, options.processes),
    }
    if options.save:
        say(f"kept: {write_result(f'early-end-{options.table}', result)}")
    if options.json:
        print_json(result)


if __name__ == "__main__":
    sys.exit(main_guard(main))
