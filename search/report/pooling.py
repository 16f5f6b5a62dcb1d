"""The complete trials of all stages as trials of one space that has every searched field as a parameter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, json_to_distribution
from optuna.trial import FrozenTrial, create_trial

from search import names
from search.report.facts import StudyFacts
from search.report.spaces import widest

STAGE = "stage"
"""Name of the added parameter that holds a trial's stage: stages differ in epochs and starting points, and their gains
must not be credited to the searched fields."""


def pool_trials(facts: StudyFacts) -> list[FrozenTrial]:
    """Complete trials of the search stages, in order, with their searched fields and their stage as parameters."""
    complete = [(stage.name, stage.optuna_trials[number]) for stage in facts.stages for number in stage.complete.index]
    rows = [_values(stage, trial, facts.searched) for stage, trial in complete]
    shared = [name for name in (*facts.searched, STAGE) if all(name in row for row in rows)]
    distributions = {name: _distribution(facts, name, [row[name] for row in rows]) for name in shared if rows}
    return [
        create_trial(value=trial.value, params={name: row[name] for name in shared}, distributions=distributions)
        for row, (_, trial) in zip(rows, complete, strict=True)
    ]


def _values(stage: str, trial: FrozenTrial, searched: Sequence[str]) -> dict[str, Any]:
    config = trial.user_attrs[names.CONFIG]
    return {**{name: config[name] for name in searched if name in config}, STAGE: stage}


def _distribution(facts: StudyFacts, name: str, values: Sequence[Any]) -> BaseDistribution:
    """A distribution that covers every stage's range, and the values of stages that did not vary the field."""
    drawn = [
        json_to_distribution(parameter.distribution)
        for stage in facts.stages
        for space in stage.pinned.spaces
        for parameter in space
        if parameter.name == name
    ]
    return widest([*drawn, CategoricalDistribution(list(dict.fromkeys(values)))])
