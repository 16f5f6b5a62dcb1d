from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution

from benchmarks.landscape import Grid, Surrogate
from benchmarks.replay import Key, Strategy, Training, replay
from benchmarks.strategies import STRATEGIES
from benchmarks.tables import EPOCHS, TABLES, Table
from models.values import to_flat, with_values

BUDGET = 60
SMALL = TABLES["small"]


def made_up_grid() -> Grid:
    """Every cell of the small table; the later a value stands in its parameter's choices, the better."""
    assert SMALL.trained is not None
    choices = []
    for name in SMALL.parameters:
        distribution = SMALL.trained[name]
        assert isinstance(distribution, CategoricalDistribution)
        choices.append(distribution.choices)
    curves = []
    for cell in itertools.product(*choices):
        quality = sum(options.index(value) for value, options in zip(cell, choices, strict=True)) / 20
        accuracies = [quality * epoch / EPOCHS for epoch in range(1, EPOCHS + 1)]
        curves.append({"params": dict(zip(SMALL.parameters, cell, strict=True)), "val_accuracy": accuracies})
    return Grid(SMALL, curves)


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("name", STRATEGIES)
def test_every_strategy_spends_the_whole_budget_and_no_more(name: str, workers: int) -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    grid = made_up_grid()
    ledger = replay(STRATEGIES[name](grid, BUDGET, 0), grid, epochs=BUDGET, workers=workers)
    assert ledger.spent == len(ledger.best_after) == BUDGET
    assert ledger.best_after == sorted(ledger.best_after)


class Watched:
    """Notes the curves that a strategy begins."""

    def __init__(self, strategy: Strategy) -> None:
        self._strategy = strategy
        self.begun: list[Key] = []

    def begin(self, spent: int) -> Training | None:
        training = self._strategy.begin(spent)
        if training is not None and training.next == 1:
            self.begun.append(training.key)
        return training

    def stops(self, training: Training, epoch: int, accuracy: float) -> bool:
        return self._strategy.stops(training, epoch, accuracy)


@pytest.mark.parametrize(
    "name", ["staged, asha, extended", "flat TPE, asha", "flat random, asha", "flat TPE", "random", "BOHB"]
)
def test_no_curve_is_begun_twice(name: str) -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    grid = made_up_grid()
    watched = Watched(STRATEGIES[name](grid, 4 * BUDGET, 0))
    replay(watched, grid, epochs=4 * BUDGET, workers=2)
    assert len(watched.begun) == len(set(watched.begun)) > 20


class InTurn:
    """Trains these keys in turn, each to its end."""

    def __init__(self, *keys: Key) -> None:
        self._keys = list(keys)

    def begin(self, spent: int) -> Training | None:
        return Training(key=self._keys.pop(0), next=1, last=2) if self._keys else None

    def stops(self, training: Training, epoch: int, accuracy: float) -> bool:
        return False


def test_an_epoch_costs_one_and_brings_what_the_table_holds() -> None:
    curves = {("a",): [0.1, 0.3], ("b",): [0.2, 0.25]}
    assert replay(InTurn(("a",), ("b",)), curves, epochs=3, workers=1).best_after == [0.1, 0.3, 0.3]


def test_two_workers_train_side_by_side() -> None:
    curves = {("a",): [0.1, 0.3], ("b",): [0.2, 0.25]}
    assert replay(InTurn(("a",), ("b",)), curves, epochs=4, workers=2).best_after == [0.1, 0.2, 0.3, 0.3]


def test_a_continuous_parameter_stands_for_the_nearest_value_of_the_grid_by_ratio() -> None:
    grid = made_up_grid()
    cells = [grid.key(with_values(SMALL.start, {"learning_rate": rate, "conv_layers": 2})) for rate in (1.7e-3, 1.8e-3)]
    assert [dict(zip(SMALL.parameters, cell, strict=True))["learning_rate"] for cell in cells] == [1e-3, 3e-3]
    assert all(len(grid[cell]) == EPOCHS for cell in cells)


def test_a_surrogate_predicts_curves_near_those_it_was_fitted_to_and_states_its_error() -> None:
    drawn = np.random.default_rng(0).uniform(np.log(1e-5), np.log(1e-2), size=60)
    table = replace(TABLES["part-a"], first={"learning_rate": TABLES["part-a"].first["learning_rate"]}, second={})
    curves = [
        {"params": {"learning_rate": float(np.exp(rate))}, "val_accuracy": [0.5 - abs(rate + 7) / 20] * EPOCHS}
        for rate in drawn
    ]
    surrogate = Surrogate(table, curves)
    predicted = surrogate[surrogate.key(replace(table.start, learning_rate=float(np.exp(-7.0))))]
    assert predicted == pytest.approx([0.5] * EPOCHS, abs=0.02)
    assert surrogate.error()["mean_absolute_error"] < 0.02 and surrogate.error()["rank_correlation"] > 0.95


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_a_table_s_study_trains_the_parameters_that_its_stages_search(table: Table) -> None:
    (stage,) = table.study.stages
    assert set(stage.space_around(table.start)) == set(table.parameters)
    assert not table.first.keys() & table.second.keys()


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_what_a_first_stage_leaves_at_its_start_is_a_value_of_the_table(table: Table) -> None:
    start = to_flat(table.start)
    for name, distribution in table.second.items():
        assert isinstance(distribution, FloatDistribution) or start[name] in distribution.choices, name
