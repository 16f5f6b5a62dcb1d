"""The hand-picked parameters of a study's `tries`, as far as a stage can take them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from optuna.distributions import json_to_distribution

from search.stage.distributions import holds
from search.store.pinned_stage import PinnedParameter, Values


def inside(space: Sequence[PinnedParameter], base: Values, chosen: Mapping[str, Any]) -> Values:
    """The hand-picked parameters that a space holds around a base; others are left to the sampler.

    A parameter with a condition comes with a value that fulfils it, if the space varies that one too: the sampler might
    draw another value.
    """
    by_name = {parameter.name: parameter for parameter in space}
    values: Values = {}
    for parameter in space:
        if parameter.name not in chosen or not _holds(parameter, chosen[parameter.name]):
            continue
        varied = by_name.get(parameter.when or "")
        if varied is not None and varied.name not in {**chosen, **values}:
            possible = [value for value in parameter.when_values if _holds(varied, value)]
            if not possible:
                continue
            values[varied.name] = base[varied.name] if base[varied.name] in possible else possible[0]
        if parameter.exists_for({**base, **values, **chosen}):
            values[parameter.name] = chosen[parameter.name]
    return values


def _holds(parameter: PinnedParameter, value: Any) -> bool:
    return holds(json_to_distribution(parameter.distribution), value)
