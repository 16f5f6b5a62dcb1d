"""The parameters of pooled trials: their kind, one distribution that covers all trials, and their levels."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import pandas as pd
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial

from search.report.metric import different_texts, show_value

BANDS = 3
"""Number of bands, each with equally many trials, into which a continuous parameter is divided."""


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """A parameter that trials of one or several spaces drew."""

    name: str
    distribution: BaseDistribution
    """A distribution that covers every drawn value, also where spaces around different bases have different ranges."""

    @property
    def is_choice(self) -> bool:
        """Whether the parameter has a list of choices instead of a range."""
        return isinstance(self.distribution, CategoricalDistribution)

    @property
    def is_number(self) -> bool:
        """Whether its values have an order and a distance; a choice between numbers counts."""
        if not isinstance(self.distribution, CategoricalDistribution):
            return True
        choices = self.distribution.choices
        return all(isinstance(choice, int | float) and not isinstance(choice, bool) for choice in choices)

    @property
    def is_log(self) -> bool:
        """Whether the parameter is searched on a logarithmic scale."""
        return isinstance(self.distribution, FloatDistribution | IntDistribution) and self.distribution.log


def parameters_of(trials: Sequence[FrozenTrial]) -> list[Parameter]:
    """All parameters that these trials drew, in the order in which they first appear."""
    drawn: dict[str, list[BaseDistribution]] = {}
    for trial in trials:
        for name, distribution in trial.distributions.items():
            if distribution not in (seen := drawn.setdefault(name, [])):
                seen.append(distribution)
    return [Parameter(name=name, distribution=widest(distributions)) for name, distributions in drawn.items()]


def widest(distributions: Sequence[BaseDistribution]) -> BaseDistribution:
    """One distribution that covers all of these: all choices, or the range from the lowest to the highest bound."""
    first, *others = distributions
    if not others:
        return first
    if all(isinstance(distribution, CategoricalDistribution) for distribution in distributions):
        choices = (choice for distribution in distributions for choice in distribution.choices)  # type: ignore[attr-defined]
        return CategoricalDistribution(list(dict.fromkeys(choices)))
    bounds = [_bounds(distribution) for distribution in distributions]
    low, high = min(low for low, _ in bounds), max(high for _, high in bounds)
    is_log = low > 0 and any(getattr(distribution, "log", False) for distribution in distributions)
    return FloatDistribution(low, high, log=is_log)


def _bounds(distribution: BaseDistribution) -> tuple[float, float]:
    if isinstance(distribution, CategoricalDistribution):
        numbers = [float(choice) for choice in distribution.choices if isinstance(choice, int | float)]
        return min(numbers), max(numbers)
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    return distribution.low, distribution.high


def encode(parameter: Parameter, values: pd.Series) -> dict[str, pd.Series]:
    """The numeric columns that represent a parameter.

    A number has one column, its log10 if it is drawn on a log scale. A choice has a column of zeros and ones for each
    of its options, such as `activation=gelu`.
    """
    if parameter.is_log:
        return {f"log10({parameter.name})": values.astype(float).map(math.log10)}
    if parameter.is_number:
        return {parameter.name: values.astype(float)}
    assert isinstance(parameter.distribution, CategoricalDistribution)
    seen = [choice for choice in parameter.distribution.choices if (values == choice).any()]
    return {f"{parameter.name}={show_value(choice)}": (values == choice).astype(float) for choice in seen}


def levels(parameter: Parameter, values: pd.Series) -> pd.Series:
    """The level of each value as text: a choice is its own level, a continuous value lies in a band of tried values."""
    if parameter.is_choice or values.nunique() <= BANDS:
        texts = different_texts(values.unique())
        return values.map(lambda value: texts[value])
    bands = pd.qcut(values.astype(float), BANDS, duplicates="drop")
    grouped = values.astype(float).groupby(bands, observed=True).agg(["min", "max"])
    texts = different_texts(grouped.to_numpy().ravel().tolist())
    labels: dict[Hashable, str] = {
        band: f"{texts[float(row['min'])]} to {texts[float(row['max'])]}" for band, row in grouped.iterrows()
    }
    return bands.map(labels).astype(object)
