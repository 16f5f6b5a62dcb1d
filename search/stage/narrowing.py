"""The space of a stage that narrows what earlier stages searched instead of freezing it around a few bases.

All parameters, old and new, then share one model: the sampler sees how they act together, which it cannot where a
parameter's range differs between bases.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from models.config import TrainConfig
from models.values import FlatValue, to_flat
from search.stage.distributions import holds
from studies.definition import Space, Study, When

MARGIN = 1.5
"""Factor by which a range on a log scale reaches beyond the values that the best configurations hold."""
LINEAR_MARGIN = 0.1
"""Share of its original range by which another range reaches beyond them."""


def narrowed_space(study: Study, position: int, best: Sequence[TrainConfig]) -> Space:
    """The space of a stage with `narrow`: its own parameters, and those of earlier stages in the ranges of `best`.

    `best` are the best configurations of the stage before, best first. A parameter for which they all hold one value
    is left out; the stage's own entry for a parameter replaces the earlier one.
    """
    own = study.stages[position].space_around(best[0])
    space = {name: _narrowed(name, entry, best) for name, entry in _searched(study, position - 1, best[0]).items()}
    return {**{name: entry for name, entry in space.items() if entry is not None}, **own}


def _searched(study: Study, position: int, base: TrainConfig) -> Space:
    """Everything that a stage searches, including what it narrows itself."""
    stage = study.stages[position]
    earlier = _searched(study, position - 1, base) if stage.narrow and position else {}
    return {**earlier, **stage.space_around(base)}


def _narrowed(name: str, entry: BaseDistribution | When, best: Sequence[TrainConfig]) -> BaseDistribution | When | None:
    configs = [to_flat(config) for config in best]
    if isinstance(entry, When):
        configs = [config for config in configs if config.get(entry.parameter) in entry.values]
        distribution = _ranging_over(entry.distribution, [config[name] for config in configs])
        return distribution and When(distribution=distribution, parameter=entry.parameter, values=entry.values)
    return _ranging_over(entry, [config[name] for config in configs])


def _ranging_over(distribution: BaseDistribution, held: Sequence[FlatValue]) -> BaseDistribution | None:
    """The distribution, cut to these values and a margin; None if a single value is left.

    Values that it does not contain do not count; without any that it contains, it stays as it is.
    """
    held = [value for value in held if holds(distribution, value)]
    if not held:
        return distribution
    if isinstance(distribution, CategoricalDistribution):
        choices = tuple(value for value in distribution.choices if value in held)
        return CategoricalDistribution(choices) if len(choices) > 1 else None
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    numbers = [float(value) for value in held if isinstance(value, int | float)]
    if distribution.single():
        return None
    low, high = _with_margin(distribution, min(numbers), max(numbers))
    if isinstance(distribution, IntDistribution):
        return IntDistribution(int(low), int(high), log=distribution.log, step=distribution.step)
    return FloatDistribution(low, high, log=distribution.log, step=distribution.step)


def _with_margin(distribution: FloatDistribution | IntDistribution, low: float, high: float) -> tuple[float, float]:
    """The range with a margin, within the distribution's own range and on its steps."""
    if distribution.log:
        low, high = low / MARGIN, high * MARGIN
    else:
        margin = LINEAR_MARGIN * (distribution.high - distribution.low)
        low, high = low - margin, high + margin
    if distribution.step:
        start, step = distribution.low, distribution.step
        low, high = start + step * math.floor((low - start) / step), start + step * math.ceil((high - start) / step)
    return max(distribution.low, low), min(distribution.high, high)
