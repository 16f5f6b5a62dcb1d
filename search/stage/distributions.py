"""Optuna's distributions: membership of a value, all values of a finite one, a description, and a draw."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

STEP_TOLERANCE = 1e-8
"""Largest distance of a value from its step, as a share of the step, as in Optuna."""


def holds(distribution: BaseDistribution, value: Any) -> bool:
    """Whether a parameter with this distribution can have the value."""
    if isinstance(distribution, CategoricalDistribution):
        return value in distribution.choices
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    if not isinstance(value, int | float) or not distribution.low <= value <= distribution.high:
        return False
    if not distribution.step:
        return True
    # With a tolerance, as Optuna itself compares: the third step of 0.1 is 0.30000000000000004, and people write 0.3.
    position = (value - distribution.low) / distribution.step
    return abs(position - round(position)) < STEP_TOLERANCE


def steps(distribution: BaseDistribution) -> list[Any]:
    """All values of a distribution that has finitely many."""
    if isinstance(distribution, CategoricalDistribution):
        return list(distribution.choices)
    assert isinstance(distribution, FloatDistribution | IntDistribution) and distribution.step is not None
    kind = type(distribution.low)
    # In decimals, so that the third step of 0.1 is 0.3.
    low, step = Decimal(str(distribution.low)), Decimal(str(distribution.step))
    return [kind(low + index * step) for index in range(count(distribution) or 0)]


def count(distribution: BaseDistribution) -> int | None:
    """The number of values of a distribution; None if there are infinitely many."""
    if isinstance(distribution, CategoricalDistribution):
        return len(distribution.choices)
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    if distribution.step is None:
        return None
    return int((distribution.high - distribution.low) / distribution.step + STEP_TOLERANCE) + 1


def describe_distribution(distribution: BaseDistribution) -> str:
    """A distribution as text: `one of (16, 32)`, `numbers from 0.1 to 1 on a log scale`."""
    if isinstance(distribution, CategoricalDistribution):
        return f"one of {distribution.choices}"
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    kind = "whole numbers" if isinstance(distribution, IntDistribution) else "numbers"
    steps = f" in steps of {distribution.step:.12g}" if distribution.step not in (None, 1) else ""
    scale = " on a log scale" if distribution.log else ""
    return f"{kind} from {distribution.low:.12g} to {distribution.high:.12g}{steps}{scale}"


def suggest(trial: optuna.Trial, name: str, distribution: BaseDistribution) -> Any:
    """Let the Optuna study's sampler draw a parameter with this distribution."""
    if isinstance(distribution, FloatDistribution):
        return trial.suggest_float(
            name, distribution.low, distribution.high, step=distribution.step, log=distribution.log
        )
    if isinstance(distribution, IntDistribution):
        return trial.suggest_int(
            name, distribution.low, distribution.high, step=distribution.step, log=distribution.log
        )
    assert isinstance(distribution, CategoricalDistribution)
    return trial.suggest_categorical(name, distribution.choices)
