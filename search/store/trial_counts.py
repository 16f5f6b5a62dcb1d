"""Counts of a study's trials, made by the database itself in a few statements, however many trials there are.

Loading a study through Optuna reads every parameter and every epoch of every trial, which is too slow for a display
that is updated every second. Optuna's tables are read by name; `tests/search/store/test_trial_counts.py`
compares the counts with Optuna's own, on SQLite and on Postgres.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection, String, and_, cast, column, func, select, table
from sqlalchemy.sql import ColumnElement
from sqlalchemy.sql.expression import TableClause

from search.store.retries import retried
from search.store.states import MARKS, STATUS_OF_STATE, TrialStatus
from search.store.storage import Storage
from search.store.tables import epochs

PACE_WINDOW_S = 600.0
"""Seconds: epochs that ended longer ago are not used to measure the current pace."""
PACE_EPOCHS = 200
"""Number of epochs that are used to measure the pace at most."""

_studies = table("studies", column("study_id"), column("study_name"))
_trials = table("trials", column("trial_id"), column("study_id"), column("number"), column("state"))
_values = table("trial_values", column("trial_id"), column("objective"), column("value"))
_reports = table("trial_intermediate_values", column("trial_id"), column("intermediate_value"))
_attributes = table("trial_user_attributes", column("trial_id"), column("key"))
_state = cast(_trials.c.state, String)  # Postgres has a type of its own for it.


@dataclass(kw_only=True)
class Tally:
    """One stage's trials, counted by the statuses of `search.store.states`."""

    kinds: dict[TrialStatus, int] = field(default_factory=dict)
    best: float | None = None
    best_trial: int | None = None
    reported: float | None = None
    """Best value that a trial has reported after an epoch; None if a trial is complete."""
    reported_trial: int | None = None
    epochs: int = 0
    """Finished epochs of all trials."""


@retried
def tally(storage: Storage, optuna_studies: Sequence[str], *, maximize: bool) -> dict[str, Tally]:
    """Count the trials of each of these Optuna studies; zero for a study that does not exist yet."""
    tallies = {name: Tally() for name in optuna_studies}
    with storage.reader.begin() as connection:
        for name, state, key, count in _counts(connection, optuna_studies):
            kinds, kind = tallies[name].kinds, STATUS_OF_STATE[state]
            if key is not None:
                kind = MARKS.get((state, key), kind)  # A mark does not count before the trial has ended.
            kinds[kind] = kinds.get(kind, 0) + count
        complete, reported = _values.c.value, _reports.c.intermediate_value
        is_complete, is_reported = _state == "COMPLETE", _state != "FAIL"
        for name, number, value in _best(connection, optuna_studies, _values, complete, is_complete, maximize=maximize):
            tallies[name].best_trial, tallies[name].best = number, value
        incomplete = [name for name, found in tallies.items() if found.best is None]
        for name, number, value in _best(connection, incomplete, _reports, reported, is_reported, maximize=maximize):
            tallies[name].reported_trial, tallies[name].reported = number, value
        for name, count in _epochs(connection, optuna_studies):
            tallies[name].epochs = count
    return tallies


@retried
def epochs_per_s(storage: Storage, optuna_studies: Sequence[str]) -> float | None:
    """Epochs per second that all workers together finished recently; None if there were fewer than two."""
    query = (
        select(epochs.c.finished_at)
        .join(_trials, _trials.c.trial_id == epochs.c.trial_id)
        .join(_studies, _studies.c.study_id == _trials.c.study_id)
        .where(_studies.c.study_name.in_(optuna_studies))
        .order_by(epochs.c.id.desc())
        .limit(PACE_EPOCHS)
    )
    with storage.reader.begin() as connection:
        now = storage.now(connection)
        recent: list[float] = [at for at in connection.execute(query).scalars() if at > now - PACE_WINDOW_S]
    if len(recent) < 2 or now <= min(recent):
        return None
    return (len(recent) - 1) / (now - min(recent))


def _counts(connection: Connection, optuna_studies: Sequence[str]) -> list[tuple[str, str, str | None, int]]:
    marks = and_(_attributes.c.trial_id == _trials.c.trial_id, _attributes.c.key.in_([mark for _, mark in MARKS]))
    query = (
        select(_studies.c.study_name, _state, _attributes.c.key, func.count())
        .join(_trials, _trials.c.study_id == _studies.c.study_id)
        .outerjoin(_attributes, marks)
        .where(_studies.c.study_name.in_(optuna_studies))
        .group_by(_studies.c.study_name, _state, _attributes.c.key)
    )
    return [(name, state, key, count) for name, state, key, count in connection.execute(query)]


def _best(
    connection: Connection,
    optuna_studies: Sequence[str],
    source: TableClause,
    values: ColumnElement[float],
    state: ColumnElement[bool],
    *,
    maximize: bool,
) -> list[tuple[str, int, float]]:
    """The best of `values`, a column of `source`, in each study, and the number of its trial; `state` restricts the
    trials. NaN and infinite values, which Optuna stores as NULL, are left out.
    """
    order: ColumnElement[float] = values.desc() if maximize else values.asc()
    place = func.row_number().over(partition_by=_trials.c.study_id, order_by=[order, _trials.c.number])
    ranked = (
        select(_studies.c.study_name, _trials.c.number, values.label("value"), place.label("place"))
        .join(_trials, _trials.c.study_id == _studies.c.study_id)
        .join(source, source.c.trial_id == _trials.c.trial_id)
        .where(_studies.c.study_name.in_(optuna_studies), state, values.is_not(None))
        .subquery()
    )
    query = select(ranked.c.study_name, ranked.c.number, ranked.c.value).where(ranked.c.place == 1)
    return [(name, number, value) for name, number, value in connection.execute(query)]


def _epochs(connection: Connection, optuna_studies: Sequence[str]) -> list[tuple[str, int]]:
    query = (
        select(_studies.c.study_name, func.count())
        .join(_trials, _trials.c.study_id == _studies.c.study_id)
        .join(epochs, epochs.c.trial_id == _trials.c.trial_id)
        .where(_studies.c.study_name.in_(optuna_studies))
        .group_by(_studies.c.study_name)
    )
    return [(name, count) for name, count in connection.execute(query)]
