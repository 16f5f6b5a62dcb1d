"""How much training each way of searching takes to a good classifier.

    python -m benchmarks.time_to_accuracy [--seeds 40] [--json] [--save]

A replay: every configuration of the grid was trained once (`benchmarks/learning_curves.py`), and each strategy is run
many times on those curves, with the service's own samplers and pruners. Cost is counted in epochs, which all see the
same number of images. A strategy that asks for a configuration a second time pays for it again.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Sequence
from contextlib import suppress
from statistics import fmean, quantiles
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning

from benchmarks.machine import describe_machine
from benchmarks.results import read_result, write_result
from benchmarks.strategies import STRATEGIES, Ledger, Spent, table_of
from data.errors import UserError
from search.cli import CommandParser, main_guard
from search.terminal import print_json, say

BUDGET_EPOCHS = 360
"""Forty whole trainings, of 192 that there are."""
BELOW_BEST = 0.01
"""The target lies a point below the best accuracy of the table."""


def replay(curves: Sequence[dict[str, Any]], seeds: int) -> dict[str, Any]:
    """Every strategy with every seed; what each cost and what it found."""
    table = table_of(curves)
    target = max(max(curve) for curve in table.values()) - BELOW_BEST
    good = sum(max(curve) >= target for curve in table.values())
    results = {}
    for name, strategy in STRATEGIES.items():
        runs = []
        for seed in range(seeds):
            ledger = Ledger(curves=table, epochs=BUDGET_EPOCHS)
            with suppress(Spent):
                strategy(ledger, seed)
            runs.append(ledger.best_after)
        results[name] = _figures(runs, target)
        figure = results[name]
        say(f"{name}: {figure['epochs_median']:.0f} epochs to {target:.4f}, {figure['best_at_end']:.4f} at the end")
    return {
        "target": target,
        "configurations": len(table),
        "configurations_at_target": good,
        "budget_epochs": BUDGET_EPOCHS,
        "seeds": seeds,
        "strategies": results,
    }


def _figures(runs: Sequence[Sequence[float]], target: float) -> dict[str, Any]:
    """Epochs to the target (a run that does not reach it counts as the whole budget), and the best by share of it."""
    costs = [next((spent for spent, best in enumerate(run, start=1) if best >= target), None) for run in runs]
    low, median, high = quantiles([BUDGET_EPOCHS if cost is None else cost for cost in costs], n=4)
    return {
        "reached": sum(cost is not None for cost in costs) / len(costs),
        "epochs_median": median,
        "epochs_quartiles": [low, high],
        "best_at_quarter": fmean(run[BUDGET_EPOCHS // 4 - 1] for run in runs),
        "best_at_half": fmean(run[BUDGET_EPOCHS // 2 - 1] for run in runs),
        "best_at_end": fmean(run[-1] for run in runs),
    }


def main() -> None:
    parser = CommandParser(
        prog="python -m benchmarks.time_to_accuracy",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seeds", type=int, default=40)
    parser.add_argument("--save", action="store_true", help="keep the result in benchmarks/results")
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout and nothing else there")
    options = parser.parse_args()
    stored = read_result("learning-curves")
    if stored is None:
        raise UserError("no benchmarks/results/learning-curves.json; run `python -m benchmarks.learning_curves` first")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with warnings.catch_warnings(action="ignore", category=ExperimentalWarning):
        result = {**replay(stored["curves"], options.seeds), "machine": describe_machine()}
    if options.save:
        say(f"kept: {write_result('time-to-accuracy', result)}")
    if options.json:
        print_json(result)


if __name__ == "__main__":
    sys.exit(main_guard(main))
