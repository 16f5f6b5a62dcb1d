"""Claims, leases and results: two workers never hold one trial, and each trial gets one result.

A claim is a row whose primary key is the trial, so the database itself refuses a second owner. The owner renews its
lease (`search.trials.lease_keeper`). A process that finds the lease expired, or its owner dead, takes the row over
(`search.store.reaping`) and puts the trial back into the queue, with its number, parameters and checkpoint. A result is
recorded in one transaction: it deletes the owner's row, which only one process can do, writes the trial's last epochs,
and finishes Optuna's trial.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import TrialState
from sqlalchemy import Connection, Row, Select, bindparam, delete, exists, insert, select, update
from sqlalchemy.exc import IntegrityError

from data.errors import LeaseLost
from search.store.optuna_private import StudyModel, TrialModel, TrialUserAttributeModel
from search.store.records import EpochRecord, write_epochs
from search.store.retries import retried
from search.store.states import Outcome
from search.store.storage import Storage
from search.store.tables import leases
from search.store.write_trials import end_trial, start_trial, write_constraints
from search.timing import Timing

_STATES = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}

# Built once, because SQLAlchemy takes longer to build a statement than SQLite to run it.
_trials, _optuna_studies, _user_attributes = (
    model.__table__ for model in (TrialModel, StudyModel, TrialUserAttributeModel)
)
_waiting = (
    select(_trials.c.trial_id, _trials.c.number)
    .join(_optuna_studies, _optuna_studies.c.study_id == _trials.c.study_id)
    .where(_optuna_studies.c.study_name == bindparam("optuna_study"), _trials.c.state == TrialState.WAITING)
    .where(_trials.c.trial_id >= bindparam("first_id"))
    .where(~exists().where(leases.c.trial_id == _trials.c.trial_id))
    .order_by(_trials.c.trial_id)  # The order of their numbers.
    .limit(1)
    .with_for_update(skip_locked=True, of=_trials)
)
_waiting_of_numbers = _waiting.where(_trials.c.number.in_(bindparam("numbers", expanding=True)))
_leased = (
    select(_trials.c.trial_id, _trials.c.number)
    .join(leases, leases.c.trial_id == _trials.c.trial_id)
    .where(leases.c.token == bindparam("token"))
)
_lease = insert(leases)
_own = (leases.c.trial_id == bindparam("own_id"), leases.c.token == bindparam("own_token"))
_renewal = update(leases).where(*_own).values(expires_at=bindparam("until"))
_deletion = delete(leases).where(*_own)
_state = select(_trials.c.state).where(_trials.c.trial_id == bindparam("trial_id"))
_attributes = select(_user_attributes.c.key, _user_attributes.c.value_json).where(
    _user_attributes.c.trial_id == bindparam("trial_id")
)


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One worker's right to one trial."""

    trial_id: int
    number: int
    optuna_study: str
    owner: str
    token: str
    was_paused: bool = False
    """Whether the trial was paused at a rung and continues now."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """How a trial ended."""

    outcome: Outcome
    value: float | None = None
    attributes: dict[str, Any] = field(default_factory=dict)
    epochs: Sequence[EpochRecord] = ()
    """The trial's last epochs, which are not in the database yet."""
    constraints: Mapping[str, float] = field(default_factory=dict)
    """Optuna's constraint values by name: above 0, samplers avoid parameters like those of the trial."""


def claim_next(
    storage: Storage,
    optuna_study: str,
    owner: str,
    *,
    lease_s: float = Timing.lease_s,
    numbers: Sequence[int] | None = None,
) -> Claim | None:
    """Claim the waiting trial with the lowest number, if given one of `numbers`; None if none waits."""
    token = uuid.uuid4().hex
    while True:
        try:
            return _claim_first(storage, optuna_study, owner, token, lease_s, numbers)
        except IntegrityError:
            continue  # The last owner was deleting its lease; the next attempt finds it gone.


@retried
def renew(storage: Storage, claim: Claim, *, lease_s: float = Timing.lease_s) -> None:
    """Extend the lease to `lease_s` seconds from now; raises LeaseLost if another worker has the trial."""
    with storage.engine.begin() as connection:
        own = {"own_id": claim.trial_id, "own_token": claim.token}
        changed = connection.execute(_renewal, {**own, "until": storage.now(connection) + lease_s})
    if changed.rowcount != 1:
        raise LeaseLost(f"trial {claim.number} of {claim.optuna_study} belongs to another worker now")


def finish(storage: Storage, claim: Claim, result: Result) -> None:
    """Record a result, once, and its last epochs; raises LeaseLost if another worker has the trial."""
    _record(storage, claim, result, count())


def release(storage: Storage, claim: Claim) -> None:
    """Put a trial back into the queue, with its finished epochs; raises LeaseLost if another worker has it."""
    renew(storage, claim)
    set_state(storage, claim.trial_id, TrialState.WAITING)
    delete_lease(storage, claim.trial_id, claim.token)


@retried
def _record(storage: Storage, claim: Claim, result: Result, earlier_attempts: Iterator[int]) -> None:
    """Record the result in one transaction. An outage may hide that an earlier attempt has done so."""
    is_repeated = next(earlier_attempts) > 0
    with storage.engine.begin() as connection:
        own = {"own_id": claim.trial_id, "own_token": claim.token}
        if connection.execute(_deletion, own).rowcount == 1:
            write_epochs(connection, result.epochs)
            write_constraints(connection, claim.trial_id, result.constraints)
            end_trial(connection, claim.trial_id, _STATES[result.outcome], result.value, result.attributes)
            return
        if is_repeated and _holds(connection, claim.trial_id, result):
            return
    raise LeaseLost(f"trial {claim.number} of {claim.optuna_study} belongs to another worker now")


def _holds(connection: Connection, trial_id: int, result: Result) -> bool:
    """Whether the trial has ended with this result, whose attributes name the worker."""
    state = connection.execute(_state, {"trial_id": trial_id}).scalar_one_or_none()
    stored = {key: value for key, value in connection.execute(_attributes, {"trial_id": trial_id})}
    written = {key: json.dumps(value) for key, value in result.attributes.items()}
    return state == _STATES[result.outcome] and written.items() <= stored.items()


def _claim_first(
    storage: Storage, optuna_study: str, owner: str, token: str, lease_s: float, numbers: Sequence[int] | None
) -> Claim | None:
    candidate, numbered = (_waiting, {}) if numbers is None else (_waiting_of_numbers, {"numbers": numbers})
    # First without a search through thousands of finished trials, then, if none waits there, among all.
    for first_id in (storage.trials.first_unfinished(optuna_study), -1):
        wanted = {"optuna_study": optuna_study, "first_id": first_id, **numbered}
        claim = lease_first(storage, candidate, wanted, start_trial, optuna_study, owner, token, lease_s)
        if claim is not None or first_id == -1:
            return claim
    return None


def lease_first(
    storage: Storage,
    candidate: Select[Any],
    wanted: Mapping[str, Any],
    start: Callable[[Connection, int], None],
    optuna_study: str,
    owner: str,
    token: str,
    lease_s: float,
) -> Claim | None:
    """Lease and start the trial that `candidate` selects (id and number) in one transaction; None if it selects none.

    `wanted` are the parameters of that query. `start` gets the connection and the trial's id. Raises IntegrityError if
    another worker has a lease on the trial.
    """
    lease = {"optuna_study": optuna_study, "owner": owner, "token": token}
    row = _lease_first(storage, candidate, wanted, start, lease, lease_s, count())
    return row and Claim(trial_id=row.trial_id, number=row.number, optuna_study=optuna_study, owner=owner, token=token)


@retried
def _lease_first(
    storage: Storage,
    candidate: Select[Any],
    wanted: Mapping[str, Any],
    start: Callable[[Connection, int], None],
    lease: Mapping[str, str],
    lease_s: float,
    earlier_attempts: Iterator[int],
) -> Row[Any] | None:
    """Lease and start a trial. After an outage that is the trial that an earlier attempt has leased, if one did."""
    is_repeated = next(earlier_attempts) > 0
    with storage.engine.begin() as connection:
        row = connection.execute(_leased, {"token": lease["token"]}).one_or_none() if is_repeated else None
        if row is None:
            row = connection.execute(candidate, wanted).one_or_none()
            if row is None:
                return None
            expires_at = storage.now(connection) + lease_s
            connection.execute(_lease, {**lease, "trial_id": row.trial_id, "expires_at": expires_at})
            start(connection, row.trial_id)
    return row


@retried
def finish_in_optuna(storage: Storage, trial_id: int, result: Result) -> None:
    """Finish Optuna's trial without regard to its lease; a repeated call, by any process, changes nothing."""
    with storage.engine.begin() as connection:
        end_trial(connection, trial_id, _STATES[result.outcome], result.value, result.attributes)


@retried
def set_state(storage: Storage, trial_id: int, state: TrialState) -> bool:
    """Set a trial's state; False if it is finished, or if it should start and was not waiting."""
    try:
        return storage.optuna.set_trial_state_values(trial_id, state)
    except UpdateFinishedTrialError:
        return False


@retried
def delete_lease(storage: Storage, trial_id: int, token: str) -> None:
    """Delete a trial's lease, if it still has this token."""
    with storage.engine.begin() as connection:
        connection.execute(_deletion, {"own_id": trial_id, "own_token": token})
