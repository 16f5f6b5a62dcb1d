"""A warm start: the first trials of the first stage use the best configurations of an earlier study.

Only the parameters that the new stage searches are taken over; the new study sets all others. These trials are part of
the stage's budget. The earlier study may have other images.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution, json_to_distribution

from data.errors import UserError
from models.values import to_flat, with_values
from search import names
from search.stage.bases import best_configs
from search.stage.distributions import holds
from search.stage.extending import pools
from search.stage.pinning import pin_space
from search.stage.snapshot import stage_trials
from search.store.find import find_study
from search.store.optuna_private import database_id
from search.store.pinned_stage import PinnedParameter, Values
from search.store.records import read_stages
from search.store.storage import Storage
from search.store.warm_start_record import Taken, WarmStart
from studies.definition import Study

SHARE = 4
"""At most one in this many trials of the first stage is taken over; the others explore."""


class _DoesNotFit(Exception):
    """A configuration lies outside the new space; the message is the reason."""


def find_warm_start(storage: Storage, study: Study) -> WarmStart:
    """Find the best trials of the study `study.warm_start` that lie in the space of the new study's first stage.

    Trials of the last stage come first, because it searched around the best of the earlier ones. Raises UserError if
    the earlier study does not exist, or if none of its trials fits.
    """
    name, stage = study.warm_start, study.stages[0]
    assert name is not None
    if name == study.name:
        raise UserError(f"--warm-start {name}: a study cannot start from itself; give this study another --name")
    if stage.sampler == "grid":
        raise UserError(
            f"--warm-start {name}: {study.name}/{stage.name} is a grid, which trains every combination; "
            "leave out --warm-start"
        )
    find_study(storage, name)
    base = to_flat(with_values(study.config, {**stage.values, "epochs": stage.epochs}))
    space = pin_space(stage.space_around(study.config))
    taken: list[Taken] = []
    skipped: list[str] = []
    for where, value, values in _best(storage, name):
        if len(taken) == max(1, stage.trials // SHARE):
            break
        try:
            parameters, moved = _placed(space, base, values)
        except _DoesNotFit as error:
            skipped.append(f"{where}: {error}")
            continue
        known = [{name: base[name] for name in parameters}, *(earlier.parameters for earlier in taken)]
        if parameters not in known:  # The start configuration is a trial of its own.
            taken.append(Taken(trial=where, value=value, parameters=parameters, moved=moved))
    if not taken:
        reason = skipped[0] if skipped else "none of its trials completed"
        raise UserError(
            f"--warm-start {name}: none of its trials fits the space of {study.name}/{stage.name} ({reason})"
        )
    return WarmStart(study=name, taken=tuple(taken), skipped=tuple(skipped))


def _best(storage: Storage, study: str) -> Iterator[tuple[str, float, Values]]:
    """Complete trials with value and configuration: the last stage first, and in each stage the order of
    `best_configs`.

    Its order puts different architectures first: six learning rates of one network would take all places. Stages that
    share their trials count as one.
    """
    for pool in reversed(pools(read_stages(storage, study))):
        if pool[-1].name == names.CONFIRM_STAGE:
            continue  # It repeats configurations of the last stage.
        stage_of = {database_id(trial): record for record in pool for trial in stage_trials(storage, record)}
        trials = [trial for record in pool for trial in stage_trials(storage, record)]
        for trial, config in best_configs(trials, len(trials), maximize=pool[-1].pinned.maximize):
            assert trial.value is not None
            yield f"{stage_of[database_id(trial)].optuna_study} #{trial.number}", trial.value, to_flat(config)


def _placed(space: Sequence[PinnedParameter], base: Values, values: Values) -> tuple[Values, tuple[str, ...]]:
    """A configuration's parameters in a space, and the names of those that were moved to the end of their range."""
    parameters: Values = {}
    moved = []
    for parameter in space:
        if parameter.exists_for({**base, **parameters}):
            if parameter.name not in values:
                raise _DoesNotFit(f"it has no {parameter.name}")
            value = values[parameter.name]
            parameters[parameter.name] = _nearest(parameter, value)
            if parameters[parameter.name] != value:
                moved.append(parameter.name)
    return parameters, tuple(moved)


def _nearest(parameter: PinnedParameter, value: Any) -> Any:
    """The value, or the nearest value in the parameter's range."""
    distribution = json_to_distribution(parameter.distribution)
    if holds(distribution, value):
        return value
    if isinstance(distribution, CategoricalDistribution):
        raise _DoesNotFit(f"{parameter.name} {value} is not one of {', '.join(map(str, distribution.choices))}")
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    if not isinstance(value, int | float):
        raise _DoesNotFit(f"{parameter.name} {value} is not a number")
    inside = min(max(value, distribution.low), distribution.high)
    if distribution.step:
        inside = distribution.low + round((inside - distribution.low) / distribution.step) * distribution.step
    return inside
