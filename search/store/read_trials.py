"""Reads Optuna's trials with plain SQL, in about a third of the time that Optuna needs through its ORM.

A worker reads the few trials that have changed before each of its draws, so this is a large part of what the service
costs a trial. What a row means is taken from Optuna's models; `tests/search/store/test_read_trials.py` compares the
result with Optuna's.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence, Set
from datetime import UTC, datetime
from functools import cache
from typing import Any

from optuna.distributions import BaseDistribution, json_to_distribution
from optuna.trial import FrozenTrial
from sqlalchemy import Connection, Engine, Row, Select, or_, select

from search.store.optuna_private import (
    TrialIntermediateValueModel,
    TrialModel,
    TrialParamModel,
    TrialSystemAttributeModel,
    TrialUserAttributeModel,
    TrialValueModel,
)

MOST_IDS = 500
"""Ids in one condition; with more, all trials of the study are read."""

_distribution = cache(json_to_distribution)


def read_trials(
    reader: Engine, study_id: int, *, ids: Set[int] = frozenset(), newer_than: int = -1
) -> list[FrozenTrial]:
    """A study's trials with these database ids, and all whose id is greater than `newer_than`, by id."""
    trial = TrialModel.__table__.c
    wanted = select(trial.trial_id).where(trial.study_id == study_id)
    if newer_than > -1 and len(ids) <= MOST_IDS:
        wanted = wanted.where(or_(trial.trial_id.in_(sorted(ids)), trial.trial_id > newer_than))
    with reader.begin() as connection:
        rows = connection.execute(
            select(TrialModel.__table__).where(trial.trial_id.in_(wanted)).order_by(trial.trial_id)
        ).all()
        if not rows:
            return []
        parts = _parts(connection, [row.trial_id for row in rows], wanted)
    return [_trial(row, *(part[row.trial_id] for part in parts)) for row in rows]


def _parts(connection: Connection, ids: Sequence[int], wanted: Select[Any]) -> list[defaultdict[int, list[Row[Any]]]]:
    """The rows of each table that hold parts of these trials, by trial id."""
    chosen: Any = ids if len(ids) <= MOST_IDS else wanted
    found = []
    for model, order in (
        (TrialParamModel, "param_id"),
        (TrialValueModel, "objective"),
        (TrialUserAttributeModel, "trial_user_attribute_id"),
        (TrialSystemAttributeModel, "trial_system_attribute_id"),
        (TrialIntermediateValueModel, "trial_intermediate_value_id"),
    ):
        table = model.__table__
        by_trial: defaultdict[int, list[Row[Any]]] = defaultdict(list)
        for row in connection.execute(select(table).where(table.c.trial_id.in_(chosen)).order_by(table.c[order])):
            by_trial[row.trial_id].append(row)
        found.append(by_trial)
    return found


def _trial(
    row: Row[Any],
    params: Iterable[Row[Any]],
    values: Sequence[Row[Any]],
    user_attributes: Iterable[Row[Any]],
    system_attributes: Iterable[Row[Any]],
    reports: Iterable[Row[Any]],
) -> FrozenTrial:
    distributions: dict[str, BaseDistribution] = {
        part.param_name: _distribution(part.distribution_json) for part in params
    }
    value, report = TrialValueModel.stored_repr_to_value, TrialIntermediateValueModel.stored_repr_to_intermediate_value
    return FrozenTrial(
        number=row.number,
        state=row.state,
        value=None,
        values=[value(part.value, part.value_type) for part in values] or None,
        datetime_start=local_time(row.datetime_start),
        datetime_complete=local_time(row.datetime_complete),
        params={part.param_name: distributions[part.param_name].to_external_repr(part.param_value) for part in params},
        distributions=distributions,
        user_attrs={part.key: json.loads(part.value_json) for part in user_attributes},
        system_attrs={part.key: json.loads(part.value_json) for part in system_attributes},
        intermediate_values={
            part.step: report(part.intermediate_value, part.intermediate_value_type) for part in reports
        },
        trial_id=row.trial_id,
    )


def local_time(stored: datetime | None) -> datetime | None:
    """A time of Optuna's tables, which hold UTC, as Optuna shows it: local time, without a time zone."""
    return stored and stored.replace(tzinfo=UTC).astimezone().replace(tzinfo=None)
