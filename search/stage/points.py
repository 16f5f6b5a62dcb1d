"""The configurations of a stage as points, for models of its results: each parameter becomes numbers from 0 to 1."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    json_to_distribution,
)
from optuna.trial import FrozenTrial

from search import names
from search.stage.distributions import steps
from search.store.pinned_stage import PinnedStage, Values

ABSENT = 0.5
"""The coordinate of a parameter that a configuration does not have."""
CHOICE = math.sqrt(0.5)
"""The coordinate of the choice that is taken, so that two different choices have the distance 1."""
MOST_CHANGED = 3
"""A neighbour differs from its configuration in at most this many parameters."""


class Points:
    """The points of one stage, and configurations drawn from its spaces."""

    def __init__(self, stage: PinnedStage) -> None:
        self._stage = stage
        self._spaces = [
            [(parameter, json_to_distribution(parameter.distribution)) for parameter in space] for space in stage.spaces
        ]
        ranges: dict[str, list[BaseDistribution]] = {}
        for name, distribution in ((entry.name, found) for space in self._spaces for entry, found in space):
            ranges.setdefault(name, []).append(distribution)
        self._axes = {name: _axis(found) for name, found in ranges.items()}
        if len(stage.bases) > 1:
            self._axes[names.BASE] = _choices(range(len(stage.bases)))

    def values(self, trial: FrozenTrial) -> Values:
        """The parameters of a trial; one that its stage did not search has the value of its configuration."""
        config = trial.user_attrs[names.CONFIG]
        values = {names.BASE: trial.params.get(names.BASE, 0)}
        for parameter, _ in self._spaces[values[names.BASE]]:
            if parameter.exists_for({**config, **values}):
                values[parameter.name] = trial.params.get(parameter.name, config[parameter.name])
        return values

    def draw(self, random: Random) -> Values:
        """Parameters drawn at random, around a base drawn at random."""
        return self._completed({names.BASE: random.randrange(len(self._spaces))}, random)

    def neighbour(self, values: Values, random: Random) -> Values:
        """The parameters with a few of them drawn again."""
        own = [name for name in values if name != names.BASE]
        changed = random.sample(own, k=min(len(own), random.randint(1, MOST_CHANGED)))
        return self._completed({name: value for name, value in values.items() if name not in changed}, random)

    def _completed(self, values: Values, random: Random) -> Values:
        """The values, and a random one for every other parameter that exists for them."""
        base = self._stage.bases[values[names.BASE]]
        complete = {names.BASE: values[names.BASE]}
        for parameter, distribution in self._spaces[values[names.BASE]]:
            if parameter.exists_for({**base, **complete}):
                name = parameter.name
                complete[name] = values[name] if name in values else _drawn(distribution, random)
        return complete

    def point(self, values: Mapping[str, Any]) -> list[float]:
        """The coordinates of a configuration with these parameters."""
        return [coordinate for name, axis in self._axes.items() for coordinate in axis(values.get(name))]


_Axis = Callable[[Any], list[float]]
"""Turns a value into coordinates; None stands for a parameter that does not exist."""


def _axis(distributions: Sequence[BaseDistribution]) -> _Axis:
    """The axis of a parameter that has one of these distributions around each base."""
    choices: dict[Any, None] = {}
    numbers: list[float] = []
    is_log = False
    for distribution in distributions:
        if isinstance(distribution, CategoricalDistribution):
            choices |= dict.fromkeys(distribution.choices)
        else:
            assert isinstance(distribution, FloatDistribution | IntDistribution)
            numbers += [distribution.low, distribution.high]
            is_log = is_log or distribution.log
    if choices:
        return _ranks(choices) if all(isinstance(choice, int | float) for choice in choices) else _choices(choices)
    return _range(min(numbers), max(numbers), math.log if is_log else float)


def _range(low: float, high: float, scale: Callable[[float], float]) -> _Axis:
    width = scale(high) - scale(low)

    def axis(value: float | None) -> list[float]:
        if value is None or not width:
            return [ABSENT]
        # An earlier stage may have trained a value outside the range, such as a weight decay of 0.
        return [(scale(min(max(value, low), high)) - scale(low)) / width]

    return axis


def _ranks(choices: Mapping[Any, None]) -> _Axis:
    """Numbers to choose from, at equal distances."""
    ordered = sorted(choices)
    place = {value: index / max(1, len(ordered) - 1) for index, value in enumerate(ordered)}
    return lambda value: [place.get(value, ABSENT)]


def _choices(choices: Any) -> _Axis:
    return lambda value: [CHOICE * (value == choice) for choice in choices]


def _drawn(distribution: BaseDistribution, random: Random) -> Any:
    if isinstance(distribution, FloatDistribution | IntDistribution):
        if distribution.log:
            value = math.exp(random.uniform(math.log(distribution.low), math.log(distribution.high)))
            return round(value) if isinstance(distribution, IntDistribution) else value
        if distribution.step is None:
            return random.uniform(distribution.low, distribution.high)
    return random.choice(steps(distribution))
