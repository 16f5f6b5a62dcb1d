"""Writes Optuna's trials with few plain SQL statements, most of them as part of a transaction of the caller.

The statements do nothing once a trial is finished, as Optuna's own calls refuse to change one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any

from optuna.trial import TrialState
from sqlalchemy import Connection, bindparam, delete, exists, func, insert, or_, select, update

from search.store.optuna_private import (
    CONSTRAINT,
    FIXED_PARAMS,
    TrialIntermediateValueModel,
    TrialModel,
    TrialParamModel,
    TrialSystemAttributeModel,
    TrialUserAttributeModel,
    TrialValueModel,
)
from search.store.tables import insert_new

# Statements are built once, because SQLAlchemy takes longer to build a statement than SQLite to run it.
_trials, _values = TrialModel.__table__, TrialValueModel.__table__
_user_attributes, _system_attributes = TrialUserAttributeModel.__table__, TrialSystemAttributeModel.__table__
_IS_UNFINISHED = or_(
    _trials.c.state == TrialState.WAITING, _trials.c.state == TrialState.RUNNING
)  # Two comparisons, because IN cannot be used in statements for many rows.
_own = _trials.c.trial_id == bindparam("own_id")
_start = update(_trials).where(_own).values(state=TrialState.RUNNING, datetime_start=bindparam("now"))
_end = update(_trials).where(_own, _IS_UNFINISHED).values(state=bindparam("ending"), datetime_complete=bindparam("now"))
_forget_attributes = delete(_user_attributes).where(
    _user_attributes.c.trial_id == bindparam("own_id"), _user_attributes.c.key.in_(bindparam("keys", expanding=True))
)
_insert_attributes = insert(_user_attributes)
_forget_of_unfinished = {
    table: delete(table).where(
        table.c.trial_id == bindparam("own_id"),
        table.c.key == bindparam("own_key"),
        exists().where(_trials.c.trial_id == table.c.trial_id, _IS_UNFINISHED),
    )
    for table in (_user_attributes, _system_attributes)
}


def fill_queue(connection: Connection, study_id: int, queue: Sequence[Mapping[str, Any]]) -> None:
    """Add a waiting trial for each of these fixed parameters that has none yet, as `Study.enqueue_trial` adds one.

    The trial with number n gets `queue[n]`, so a repeated call adds nothing.
    """
    of_study = TrialModel.study_id == study_id
    first = connection.execute(select(func.count()).select_from(_trials).where(of_study)).scalar_one()
    rows = [
        {"study_id": study_id, "number": number, "state": TrialState.WAITING} for number in range(first, len(queue))
    ]
    if not rows:
        return
    connection.execute(insert(_trials), rows)
    new = connection.execute(select(TrialModel.trial_id, TrialModel.number).where(of_study, TrialModel.number >= first))
    fixed = [
        {"trial_id": row.trial_id, "key": FIXED_PARAMS, "value_json": json.dumps(queue[row.number])} for row in new
    ]
    connection.execute(insert(_system_attributes), fixed)


def start_trial(connection: Connection, trial_id: int) -> None:
    """Set a waiting trial to RUNNING."""
    connection.execute(_start, {"own_id": trial_id, "now": _utc_now()})


def write_draw(
    connection: Connection, params: Sequence[Mapping[str, Any]], attributes: Mapping[tuple[int, str], str]
) -> None:
    """Write what a sampler drew: rows of parameters, and system attributes as JSON by trial id and key."""
    if params:
        connection.execute(_insertion(TrialParamModel, tuple(params[0]), connection.dialect.name), params)
    _write_system_attributes(connection, attributes)


def write_constraints(connection: Connection, trial_id: int, constraints: Mapping[str, float]) -> None:
    """Set constraint values of a trial, as `Trial.set_constraint` does."""
    stored = {(trial_id, CONSTRAINT + key): json.dumps(value) for key, value in constraints.items()}
    _write_system_attributes(connection, stored)


def _write_system_attributes(connection: Connection, attributes: Mapping[tuple[int, str], str]) -> None:
    """Write system attributes, as JSON by trial id and key."""
    dialect = connection.dialect.name
    for (trial_id, key), value in attributes.items():
        connection.execute(_forget_of_unfinished[_system_attributes], {"own_id": trial_id, "own_key": key})
        row = {"trial_id": trial_id, "key": key, "value_json": value}
        connection.execute(_insertion(TrialSystemAttributeModel, tuple(row), dialect), row)


def write_values(connection: Connection, reports: Sequence[tuple[int, int, float]]) -> None:
    """Write intermediate values (trial id, step, value). A step that was reported before keeps its value."""
    rows = []
    for trial_id, step, value in reports:
        stored, kind = TrialIntermediateValueModel.intermediate_value_to_stored_repr(value)
        rows.append({"trial_id": trial_id, "step": step, "intermediate_value": stored, "intermediate_value_type": kind})
    connection.execute(_insertion(TrialIntermediateValueModel, tuple(rows[0]), connection.dialect.name), rows)


def write_user_attribute(connection: Connection, key: str, values: Mapping[int, str]) -> None:
    """Give trials a user attribute, by trial id."""
    rows = [{"trial_id": trial_id, "key": key, "value_json": json.dumps(value)} for trial_id, value in values.items()]
    own = [{"own_id": trial_id, "own_key": key} for trial_id in values]
    connection.execute(_forget_of_unfinished[_user_attributes], own)
    connection.execute(_insertion(TrialUserAttributeModel, tuple(rows[0]), connection.dialect.name), rows)


def end_trial(
    connection: Connection,
    trial_id: int,
    state: TrialState,
    value: float | None,
    attributes: Mapping[str, Any],
) -> None:
    """Finish a trial: set its state, value and user attributes. A finished trial stays as it is."""
    if connection.execute(_end, {"own_id": trial_id, "ending": state, "now": _utc_now()}).rowcount == 0:
        return
    if value is not None:
        stored, kind = TrialValueModel.value_to_stored_repr(value)
        row = {"trial_id": trial_id, "objective": 0, "value": stored, "value_type": kind}
        connection.execute(insert_new(_values, connection.dialect.name), row)
    rows = [
        {"trial_id": trial_id, "key": key, "value_json": json.dumps(attribute)} for key, attribute in attributes.items()
    ]
    if rows:
        connection.execute(_forget_attributes, {"own_id": trial_id, "keys": list(attributes)})
        connection.execute(_insert_attributes, rows)


def _utc_now() -> datetime:
    """The time as Optuna's tables hold it."""
    return datetime.now(UTC).replace(tzinfo=None)


@cache
def _insertion(model: type[Any], names: tuple[str, ...], dialect: str) -> Any:
    """A statement that inserts new rows with these columns, including `trial_id`, for trials that are not finished."""
    columns = model.__table__.c
    values = select(*(bindparam(name, type_=columns[name].type) for name in names))
    trial = bindparam("trial_id", type_=columns["trial_id"].type)
    unfinished = values.where(TrialModel.trial_id == trial, _IS_UNFINISHED)
    return insert_new(model.__table__, dialect).from_select(list(names), unfinished)
