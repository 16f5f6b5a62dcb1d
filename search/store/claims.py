"""Claims, leases and results: two workers never hold one trial, and each trial gets one result.

A claim is a row whose primary key is the trial, so the database itself refuses a second owner. The owner renews its
lease (`search.trials.lease_keeper`). A process that finds the lease expired, or its owner dead, takes the row over
(`search.store.reaping`) and puts the trial back into the queue, with its number, parameters and checkpoint. A result is
acknowledged by one statement that writes it into the owner's row. Optuna's trial is finished after that, by any
process, so a crash in between loses nothing.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import TrialState
from sqlalchemy import Connection, Select, delete, exists, insert, null, select, update
from sqlalchemy.exc import IntegrityError

from data.errors import LeaseLost
from search.store.optuna_private import StudyModel, TrialModel
from search.store.retries import retried
from search.store.states import Outcome
from search.store.storage import Storage
from search.store.tables import leases
from search.timing import Timing

_STATES = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}


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
    """How a trial ended; kept as JSON in its lease until Optuna's trial is finished with it."""

    outcome: Outcome
    value: float | None = None
    attributes: dict[str, Any] = field(default_factory=dict)


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
        expires_at = storage.now(connection) + lease_s
        changed = connection.execute(
            update(leases)
            .where(leases.c.trial_id == claim.trial_id, leases.c.token == claim.token)
            .values(expires_at=expires_at)
        )
    if changed.rowcount != 1:
        raise LeaseLost(f"trial {claim.number} of {claim.optuna_study} belongs to another worker now")


def finish(storage: Storage, claim: Claim, result: Result) -> None:
    """Record a result, once, and finish Optuna's trial with it; raises LeaseLost if another worker has the trial.

    Each step is repeated in an outage by itself: repeated as a whole, the second acknowledgement would fail.
    """
    _acknowledge(storage, claim, result)
    finish_in_optuna(storage, claim.trial_id, result)
    delete_lease(storage, claim.trial_id, claim.token)


def release(storage: Storage, claim: Claim) -> None:
    """Put a trial back into the queue, with its finished epochs; raises LeaseLost if another worker has it."""
    renew(storage, claim)
    set_state(storage, claim.trial_id, TrialState.WAITING)
    delete_lease(storage, claim.trial_id, claim.token)


@retried
def _acknowledge(storage: Storage, claim: Claim, result: Result) -> None:
    with storage.engine.begin() as connection:
        changed = connection.execute(
            update(leases)
            .where(leases.c.trial_id == claim.trial_id, leases.c.token == claim.token, leases.c.result.is_(null()))
            .values(result=asdict(result))
        )
    if changed.rowcount != 1:
        raise LeaseLost(f"trial {claim.number} of {claim.optuna_study} belongs to another worker now")


def _claim_first(
    storage: Storage, optuna_study: str, owner: str, token: str, lease_s: float, numbers: Sequence[int] | None
) -> Claim | None:
    waiting = (
        select(TrialModel.trial_id, TrialModel.number)
        .join(StudyModel, StudyModel.study_id == TrialModel.study_id)
        .where(StudyModel.study_name == optuna_study, TrialModel.state == TrialState.WAITING)
        .where(~exists().where(leases.c.trial_id == TrialModel.trial_id))
        .order_by(TrialModel.number)
        .limit(1)
        .with_for_update(skip_locked=True, of=TrialModel)
    )
    if numbers is not None:
        waiting = waiting.where(TrialModel.number.in_(numbers))
    return lease_first(storage, waiting, storage.trials.start, optuna_study, owner, token, lease_s)


@retried
def lease_first(
    storage: Storage,
    candidate: Select[Any],
    start: Callable[[Connection, int], None],
    optuna_study: str,
    owner: str,
    token: str,
    lease_s: float,
) -> Claim | None:
    """Lease and start the trial that `candidate` selects (id and number) in one transaction; None if it selects none.

    `start` gets the connection and the trial's id. Repeated with the same token, the call returns the trial of that
    lease. Raises IntegrityError if another worker has a lease on the trial.
    """
    trial = select(TrialModel.trial_id, TrialModel.number)
    own = trial.join(leases, leases.c.trial_id == TrialModel.trial_id).where(leases.c.token == token)
    with storage.engine.begin() as connection:
        row = connection.execute(own).one_or_none()
        if row is None:
            row = connection.execute(candidate).one_or_none()
            if row is None:
                return None
            lease = {"trial_id": row.trial_id, "optuna_study": optuna_study, "owner": owner, "token": token}
            connection.execute(insert(leases), {**lease, "expires_at": storage.now(connection) + lease_s})
            start(connection, row.trial_id)
    return Claim(trial_id=row.trial_id, number=row.number, optuna_study=optuna_study, owner=owner, token=token)


@retried
def finish_in_optuna(storage: Storage, trial_id: int, result: Result) -> None:
    """Finish Optuna's trial with an acknowledged result; a repeated call, by any process, changes nothing."""
    storage.trials.end(trial_id, _STATES[result.outcome], result.value, result.attributes)


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
        connection.execute(delete(leases).where(leases.c.trial_id == trial_id, leases.c.token == token))
