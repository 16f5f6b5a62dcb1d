from __future__ import annotations

import itertools

import optuna
import pytest
from optuna.distributions import CategoricalDistribution

from benchmarks.learning_curves import ARCHITECTURE, EPOCHS, REGULARIZATION
from benchmarks.replay import Key, Training, replay, table_of
from benchmarks.searches import PARAMETERS
from benchmarks.strategies import STRATEGIES

BUDGET = 60


def made_up_curves() -> dict[Key, list[float]]:
    """Every cell of the grid; the later a value stands in its parameter's choices, the better."""
    choices = []
    for distribution in {**ARCHITECTURE, **REGULARIZATION}.values():
        assert isinstance(distribution, CategoricalDistribution)
        choices.append(distribution.choices)
    curves = {}
    for cell in itertools.product(*choices):
        quality = sum(options.index(value) for value, options in zip(cell, choices, strict=True)) / 20
        curves[cell] = [quality * epoch / EPOCHS for epoch in range(1, EPOCHS + 1)]
    return curves


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("name", STRATEGIES)
def test_every_strategy_spends_the_whole_budget_and_no_more(name: str, workers: int) -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    curves = made_up_curves()
    ledger = replay(STRATEGIES[name](curves, BUDGET, 0), curves, epochs=BUDGET, workers=workers)
    assert ledger.spent == len(ledger.best_after) == BUDGET
    assert ledger.best_after == sorted(ledger.best_after)


class InTurn:
    """Trains these keys in turn, each to its end."""

    def __init__(self, *keys: Key) -> None:
        self._keys = list(keys)

    def begin(self, spent: int) -> Training | None:
        return Training(key=self._keys.pop(0), next=1, last=2) if self._keys else None

    def stops(self, training: Training, epoch: int, accuracy: float) -> bool:
        return False


def test_an_epoch_costs_one_and_brings_what_the_table_says() -> None:
    curves = {("a",): [0.1, 0.3], ("b",): [0.2, 0.25]}
    assert replay(InTurn(("a",), ("b",)), curves, epochs=3, workers=1).best_after == [0.1, 0.3, 0.3]


def test_two_workers_train_side_by_side() -> None:
    curves = {("a",): [0.1, 0.3], ("b",): [0.2, 0.25]}
    assert replay(InTurn(("a",), ("b",)), curves, epochs=4, workers=2).best_after == [0.1, 0.2, 0.3, 0.3]


def test_a_table_is_read_from_stored_curves_by_its_parameters() -> None:
    params = {name: index for index, name in enumerate(reversed(PARAMETERS))}
    key = tuple(params[name] for name in PARAMETERS)
    assert table_of([{"params": params, "val_accuracy": [0.5]}], PARAMETERS) == {key: [0.5]}
