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
from sqlalchemy import Connection, Select, bindparam, select

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
_Row = Sequence[Any]


def _queries(chosen: Any) -> list[Select[Any]]:
    """The queries for the trials whose ids are in `chosen`, and for their parts, in the order of `_trial`.

    Each selects the trial's id and then what `_trial` unpacks.
    """
    selected = (
        (TrialModel, "trial_id", ("number", "state", "datetime_start", "datetime_complete")),
        (TrialParamModel, "param_id", ("param_name", "param_value", "distribution_json")),
        (TrialValueModel, "objective", ("value", "value_type")),
        (TrialUserAttributeModel, "trial_user_attribute_id", ("key", "value_json")),
        (TrialSystemAttributeModel, "trial_system_attribute_id", ("key", "value_json")),
        (
            TrialIntermediateValueModel,
            "trial_intermediate_value_id",
            ("step", "intermediate_value", "intermediate_value_type"),
        ),
    )
    return [
        select(*(model.__table__.c[name] for name in ("trial_id", *names)))
        .where(model.__table__.c.trial_id.in_(chosen))
        .order_by(model.__table__.c[order])
        for model, order, names in selected
    ]


# Built once, because SQLAlchemy takes longer to build a statement than SQLite to run it.
_ALL = _queries(select(TrialModel.__table__.c.trial_id).where(TrialModel.__table__.c.study_id == bindparam("study_id")))
_CHOSEN = _queries(bindparam("ids", expanding=True))


def read_trials(connection: Connection, study_id: int, ids: Set[int] | None = None) -> list[FrozenTrial]:
    """A study's trials, by database id: those with these ids, or all."""
    queries: list[Select[Any]] = _ALL
    wanted: dict[str, Any] = {"study_id": study_id}
    if ids is not None and len(ids) <= MOST_IDS:
        queries, wanted = _CHOSEN, {"ids": sorted(ids)}
    rows, *parts = (connection.execute(query, wanted).all() for query in queries)
    grouped = [_by_trial(part) for part in parts]
    return [_trial(row, *(part.get(row[0], ()) for part in grouped)) for row in rows]


def _by_trial(rows: Iterable[_Row]) -> dict[int, list[_Row]]:
    by_trial: defaultdict[int, list[_Row]] = defaultdict(list)
    for row in rows:
        by_trial[row[0]].append(row)
    return by_trial


def _trial(
    row: _Row,
    params: Iterable[_Row],
    values: Iterable[_Row],
    user_attributes: Iterable[_Row],
    system_attributes: Iterable[_Row],
    reports: Iterable[_Row],
) -> FrozenTrial:
    trial_id, number, state, started_at, completed_at = row  # By position: a name takes longer to look up.
    distributions: dict[str, BaseDistribution] = {}
    external: dict[str, Any] = {}
    for _, name, stored, distribution in params:
        distributions[name] = _distribution(distribution)
        external[name] = distributions[name].to_external_repr(stored)
    value, report = TrialValueModel.stored_repr_to_value, TrialIntermediateValueModel.stored_repr_to_intermediate_value
    return FrozenTrial(
        number=number,
        state=state,
        value=None,
        values=[value(stored, kind) for _, stored, kind in values] or None,
        datetime_start=local_time(started_at),
        datetime_complete=local_time(completed_at),
        params=external,
        distributions=distributions,
        user_attrs={key: json.loads(stored) for _, key, stored in user_attributes},
        system_attrs={key: json.loads(stored) for _, key, stored in system_attributes},
        intermediate_values={step: report(stored, kind) for _, step, stored, kind in reports},
        trial_id=trial_id,
    )


def local_time(stored: datetime | None) -> datetime | None:
    """A time of Optuna's tables, which hold UTC, as Optuna shows it: local time, without a time zone."""
    return stored and stored.replace(tzinfo=UTC).astimezone().replace(tzinfo=None)
