"""The entries of a search space: ranges, choices, guesses, and parameters that exist under a condition."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

from data.errors import UserError

Value = str | int | float | bool


@dataclass(frozen=True, kw_only=True)
class When:
    """A parameter that exists only for some values of another parameter, in the same space or in the base."""

    distribution: BaseDistribution
    parameter: str
    """Name of the other parameter."""
    values: tuple[Value, ...]
    """Values of the other parameter for which this parameter exists."""


Space = Mapping[str, BaseDistribution | When]


class Around(FloatDistribution):
    """A range on a log scale with a guess in its middle: searches begin there and draw near it more often."""

    def __init__(self, guess: float, factor: float) -> None:
        super().__init__(guess / factor, guess * factor, log=True)
        self.guess = guess


def around(guess: float, factor: float = 10.0) -> Around:
    """A positive number near a guess, at most `factor` times smaller or larger: `around(1e-3)` for a learning rate.

    A stage begins with the guess. While its sampler has too few trials for a model, it draws from a log-normal
    distribution around the guess, cut to the range, whose standard deviation is half the way to either end.
    """
    if guess <= 0 or factor <= 1:
        raise UserError(f"around({guess}, {factor}): the guess must be above 0, and the factor above 1")
    return Around(guess, factor)


def choice(*values: Value | tuple[Value, ...] | list[Value]) -> CategoricalDistribution:
    """One of these values. A tuple or list holds one value per layer: `choice((3, 3), (5, 3))`."""
    # Stored as text, which fields accept, because a database returns lists, which Optuna cannot compare with tuples.
    return CategoricalDistribution(
        [",".join(map(str, value)) if isinstance(value, tuple | list) else value for value in values]
    )


def when(distribution: BaseDistribution, **condition: Value | tuple[Value, ...]) -> When:
    """A parameter with a condition: `when(choice(0.1, 0.5), scheduler="step")` exists only if `scheduler` is `step`."""
    (parameter, values), *others = condition.items()
    if others:
        raise UserError(f"when(...) takes one condition, got {', '.join(condition)}")
    return When(
        distribution=distribution, parameter=parameter, values=values if isinstance(values, tuple) else (values,)
    )
