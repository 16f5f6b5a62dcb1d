"""Hand-picked parameters: the user's text as values of a pinned space, and the trials that may take them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    IntDistribution,
    json_to_distribution,
)

from data.errors import UserError
from models.spelling import did_you_mean
from search import names
from search.stage.distributions import describe_distribution, holds
from search.stage.pinning import all_combinations
from search.store.pinned_stage import PinnedParameter, PinnedStage, Values
from search.store.study_definition import StudyDefinition


def given_trials(definition: StudyDefinition, position: int) -> int:
    """The number of a stage's first trials, after those of its bases, whose parameters its study gives: its `tries`,
    a warm start, and the guesses of a stage that extends another one.
    """
    warm = definition.warm_start if position == 0 else None
    taken = len(warm.taken) if warm else 0
    if position >= len(definition.stages):
        return taken
    own = definition.stages[position]
    is_guessed = own.extends and any(parameter.get("guess") is not None for parameter in own.space.values())
    return int(is_guessed) + len(own.tries) + taken


def for_waiting_slots(stage: PinnedStage, chosen: Mapping[str, str], *, given: int = 0) -> dict[int, Values]:
    """The parameters that each trial of a stage would get, for the trials whose parameters are not fixed.

    `chosen` holds parameters as text; the sampler draws the others. `given` is the number of `given_trials`. Raises
    UserError if the stage has fixed all its trials, or if its space does not hold a parameter or a value.
    """
    free = _free_slots(stage, given)
    if not free:
        if _lists_all_combinations(stage):
            raise UserError(f"{stage.name} trains every combination of its space; no trial can take other parameters")
        raise UserError(f"{stage.name}: all trials have fixed parameters; none can take others")
    fitting: dict[int, Values] = {}
    problem: UserError | None = None
    for index, space in enumerate(stage.spaces):
        try:
            parameters = _parsed(stage, space, stage.bases[index], chosen)
        except UserError as error:
            problem = problem or error
            continue
        based = {names.BASE: index} if len(stage.bases) > 1 else {}
        fitting |= {slot: {**based, **parameters} for slot in free if stage.queue[slot].get(names.BASE, index) == index}
    if not fitting:
        raise problem or UserError(f"{stage.name} has no waiting trial whose parameters you can choose")
    return fitting


def _free_slots(stage: PinnedStage, given: int) -> list[int]:
    """Trials whose parameters the sampler draws; of a random search, all but those of the bases and the given ones.

    A stage that extends another one does not begin with the bases, which that one has trained.
    """
    if stage.is_final or stage.sampler == "grid":
        return []
    if stage.sampler == "random":
        first = (0 if stage.earlier else len(stage.bases)) + given
        return [] if _lists_all_combinations(stage) else list(range(first, stage.trials))
    free = [slot for slot, fixed in enumerate(stage.queue) if not fixed.keys() - {names.BASE}]
    return free if stage.earlier else [slot for slot in free if slot]


def _lists_all_combinations(stage: PinnedStage) -> bool:
    """Whether the stage has a trial for each configuration of its space."""
    if stage.sampler == "grid":
        return True
    different = {tuple(sorted(fixed.items())) for fixed in stage.queue}
    if len(different) < len(stage.queue):
        return False
    cells = all_combinations(stage.spaces, stage.bases)
    return cells is not None and len(cells) == len(different)


def _parsed(stage: PinnedStage, space: Sequence[PinnedParameter], base: Values, chosen: Mapping[str, str]) -> Values:
    by_name = {parameter.name: parameter for parameter in space}
    values: Values = {}
    for name, text in chosen.items():
        if name not in by_name:
            known = ", ".join(by_name)
            raise UserError(
                f"{stage.name} does not search {name!r}; it searches {known}.{did_you_mean(name, list(by_name))}"
            )
        values[name] = _value(stage.name, name, json_to_distribution(by_name[name].distribution), text)
    for name in values:
        condition = by_name[name]
        is_open = condition.when in by_name and condition.when not in values  # The sampler may draw another value.
        if is_open or not condition.exists_for({**base, **values}):
            allowed = " or ".join(map(str, condition.when_values))
            raise UserError(f"{name} exists only with {condition.when}={allowed}; give that value too")
    return values


def _value(stage: str, name: str, distribution: BaseDistribution, text: str) -> Any:
    value = _read(distribution, text)
    if value is None or not holds(distribution, value):
        raise UserError(f"{name}={text}: {stage} searches {describe_distribution(distribution)}")
    return value


def _read(distribution: BaseDistribution, text: str) -> Any:
    """The text as a value of the distribution's type; None if it is not one."""
    if isinstance(distribution, CategoricalDistribution):
        same = [value for value in distribution.choices if str(value).lower() == text.lower()]
        if same:
            return same[0]
        number = _number(float, text)
        return next((value for value in distribution.choices if value == number and value is not True), None)
    return _number(int if isinstance(distribution, IntDistribution) else float, text)


def _number(kind: type[int] | type[float], text: str) -> int | float | None:
    try:
        return kind(text)
    except ValueError:
        return None
