from __future__ import annotations

import itertools

import optuna
import pytest
from optuna.distributions import CategoricalDistribution

from benchmarks.learning_curves import ARCHITECTURE, EPOCHS, REGULARIZATION
from benchmarks.strategies import PARAMETERS, STRATEGIES, Key, Ledger, Spent, table_of

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


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_strategy_spends_the_whole_budget_and_no_more(name: str) -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    ledger = Ledger(curves=made_up_curves(), epochs=BUDGET)
    with pytest.raises(Spent):
        STRATEGIES[name](ledger, seed=0)  # type: ignore[call-arg]
    assert ledger.spent == len(ledger.best_after) == BUDGET
    assert ledger.best_after == sorted(ledger.best_after)


def test_an_epoch_costs_one_and_brings_what_the_table_says() -> None:
    key = next(iter(made_up_curves()))
    ledger = Ledger(curves={key: [0.1, 0.3, 0.2] + [0.0] * (EPOCHS - 3)}, epochs=3)
    with pytest.raises(Spent):
        list(ledger.train(key))
    assert ledger.best_after == [0.1, 0.3, 0.3]


def test_a_table_is_read_from_stored_curves_by_its_parameters() -> None:
    params = {name: index for index, name in enumerate(reversed(PARAMETERS))}
    key = tuple(params[name] for name in PARAMETERS)
    assert table_of([{"params": params, "val_accuracy": [0.5]}]) == {key: [0.5]}
