"""How much training each way of searching takes to a good classifier.

    python -m benchmarks.time_to_accuracy --table small [--seeds 40] [--only TEXT] [--processes 1] [--json] [--save]

A replay: the configurations of a table were trained once (`benchmarks/learning_curves.py`), and each strategy is run
many times on those curves, with the service's own samplers, pruners and rungs, by 1, 4 and 8 simulated workers. Cost is
counted in epochs, which all see the same number of images. A strategy that asks for a configuration a second time pays
for it again.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from statistics import fmean, median
from typing import Any

import numpy as np
import optuna
from joblib import Parallel, delayed
from optuna.exceptions import ExperimentalWarning

from benchmarks.landscape import Grid, Landscape, Surrogate
from benchmarks.machine import describe_machine
from benchmarks.replay import replay
from benchmarks.results import read_result, write_result
from benchmarks.strategies import DEFAULT, STRATEGIES
from benchmarks.tables import TABLES, Table, curves_file
from data.errors import UserError
from search.cli import CommandParser, main_guard
from search.terminal import print_json, say

WORKERS = (1, 4, 8)
BUDGET_EPOCHS = 360
"""Forty whole trainings."""
TARGET_SHARE = 0.02
"""The target is the accuracy that this share of a table's configurations reach."""
RESAMPLED = 2000
"""Bootstrap samples of the seeds."""


def open_landscape(table: Table) -> Landscape:
    """The stored curves of a grid, or a model of those of random configurations. Raises UserError without curves."""
    stored = read_result(curves_file(table.name))
    if stored is None:
        raise UserError(
            f"no benchmarks/results/{curves_file(table.name)}.json; run `python -m benchmarks.learning_curves --table "
            f"{table.name}` first"
        )
    return Grid(table, stored["curves"]) if table.sampler == "grid" else Surrogate(table, stored["curves"])


def compare(landscape: Landscape, seeds: int, strategies: Sequence[str], processes: int = 1) -> dict[str, Any]:
    """Run these strategies with every seed and every number of workers; their cost and what they found."""
    bests = [max(landscape[key]) for key in landscape.known]
    target = sorted(bests, reverse=True)[max(1, round(TARGET_SHARE * len(bests))) - 1]
    results: dict[str, Any] = {}
    for name in strategies:
        by_workers = {}
        for workers in WORKERS:
            run = delayed(_best_after)
            runs = Parallel(processes)(run(landscape, name, seed, workers) for seed in range(seeds))
            figures = by_workers[str(workers)] = _figures(runs, target)
            reached = f"{figures['reached']:.0%} of {seeds} runs reached the target"
            say(f"{name}, {workers} at once: {figures['median_epochs']:.0f} epochs (median), {reached}")
        results[name] = {"workers": by_workers}
    return {
        "table": landscape.table.name,
        "target": target,
        "configurations": len(bests),
        "configurations_at_target": sum(best >= target for best in bests),
        "surrogate": landscape.error() if isinstance(landscape, Surrogate) else None,
        "budget_epochs": BUDGET_EPOCHS,
        "seeds": seeds,
        "default": DEFAULT,
        "strategies": results,
    }


@contextmanager
def quietly() -> Iterator[None]:
    """Optuna's lines about trials, and its warnings about experimental parts, are not printed."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with warnings.catch_warnings(action="ignore", category=ExperimentalWarning):
        yield


def _best_after(landscape: Landscape, name: str, seed: int, workers: int) -> list[float]:
    """The best accuracy after each epoch of one run."""
    with quietly():
        strategy = STRATEGIES[name](landscape, BUDGET_EPOCHS, seed)
        return replay(strategy, landscape, epochs=BUDGET_EPOCHS, workers=workers).best_after


def bootstrap_interval(values: Any, statistic: Callable[..., Any]) -> list[float]:
    """The 95 % bootstrap interval of a statistic, such as `np.median`."""
    samples = np.random.default_rng(0).choice(values, size=(RESAMPLED, len(values)))
    low, high = np.percentile(statistic(samples, axis=1), [2.5, 97.5])
    return [float(low), float(high)]


def _figures(runs: Sequence[Sequence[float]], target: float) -> dict[str, Any]:
    """Epochs to the target (a run that does not reach it counts as the whole budget), and the best by share of it."""
    costs = [next((spent for spent, best in enumerate(run, start=1) if best >= target), None) for run in runs]
    counted = np.array([BUDGET_EPOCHS if cost is None else cost for cost in costs])
    return {
        "median_epochs": median(counted.tolist()),
        "interval": bootstrap_interval(counted, np.median),
        "reached": sum(cost is not None for cost in costs) / len(costs),
        "best_at_quarter": fmean(run[BUDGET_EPOCHS // 4 - 1] for run in runs),
        "best_at_half": fmean(run[BUDGET_EPOCHS // 2 - 1] for run in runs),
        "best_at_end": fmean(run[BUDGET_EPOCHS - 1] for run in runs),
    }


def with_stored(result: dict[str, Any], stored: Mapping[str, Any] | None) -> dict[str, Any]:
    """The result with the stored figures of the strategies that were not run.

    Raises UserError if those are of another table, target, budget or number of seeds.
    """
    kept = {} if stored is None else {k: v for k, v in stored["strategies"].items() if k not in result["strategies"]}
    if stored is None or not kept:
        return result
    for setting in ("table", "target", "budget_epochs", "seeds"):
        if stored[setting] != result[setting]:
            raise UserError(
                f"the stored strategies have {setting} {stored[setting]}, these {result[setting]}; run all of them"
            )
    both = {**kept, **result["strategies"]}
    return {**result, "strategies": {name: both[name] for name in STRATEGIES if name in both}}


def main() -> None:
    """Replay the strategies and print what they cost."""
    parser = CommandParser(
        prog="python -m benchmarks.time_to_accuracy",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--table", required=True, choices=sorted(TABLES))
    parser.add_argument("--seeds", type=int, default=40)
    parser.add_argument("--only", default="", help="run only the strategies whose name contains this text")
    parser.add_argument("--processes", type=int, default=1, help="number of replays at the same time")
    parser.add_argument("--save", action="store_true", help="keep the result in benchmarks/results")
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout and nothing else there")
    options = parser.parse_args()
    landscape = open_landscape(TABLES[options.table])
    strategies = [name for name in STRATEGIES if options.only in name]
    result = compare(landscape, options.seeds, strategies, options.processes)
    result["machine"] = describe_machine()
    if options.save:
        name = f"time-to-accuracy-{options.table}"
        say(f"kept: {write_result(name, with_stored(result, read_result(name)))}")
    if options.json:
        print_json(result)


if __name__ == "__main__":
    sys.exit(main_guard(main))
