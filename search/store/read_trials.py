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
from sqlalchemy import Engine, Row, Select, bindparam, select

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


def _queries(chosen: Any) -> list[Select[Any]]:
    """The queries for the trials whose ids are in `chosen`, and for their parts, in the order of `_trial`."""
    ordered = (
        (TrialModel, "trial_id"),
        (TrialParamModel, "param_id"),
        (TrialValueModel, "objective"),
        (TrialUserAttributeModel, "trial_user_attribute_id"),
        (TrialSystemAttributeModel, "trial_system_attribute_id"),
        (TrialIntermediateValueModel, "trial_intermediate_value_id"),
    )
    tables = [(model.__table__, order) for model, order in ordered]
    return [select(table).where(table.c.trial_id.in_(chosen)).order_by(table.c[order]) for table, order in tables]


# Built once, because SQLAlchemy takes longer to build a statement than SQLite to run it.
_ALL = _queries(select(TrialModel.__table__.c.trial_id).where(TrialModel.__table__.c.study_id == bindparam("study_id")))
_CHOSEN = _queries(bindparam("ids", expanding=True))


def read_trials(reader: Engine, study_id: int, ids: Set[int] | None = None) -> list[FrozenTrial]:
    """A study's trials, by database id: those with these ids, or all."""
    queries: list[Select[Any]] = _ALL
    wanted: dict[str, Any] = {"study_id": study_id}
    if ids is not None and len(ids) <= MOST_IDS:
        queries, wanted = _CHOSEN, {"ids": sorted(ids)}
    with reader.begin() as connection:
        rows, *parts = (connection.execute(query, wanted).all() for query in queries)
    grouped = [_by_trial(part) for part in parts]
    return [_trial(row, *(part[row.trial_id] for part in grouped)) for row in rows]


def _by_trial(rows: Sequence[Row[Any]]) -> defaultdict[int, list[Row[Any]]]:
    by_trial: defaultdict[int, list[Row[Any]]] = defaultdict(list)
    for row in rows:
        by_trial[row.trial_id].append(row)
    return by_trial


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
