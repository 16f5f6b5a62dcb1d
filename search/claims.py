"""Who works on which trial: claims that two workers can never both hold, leases that expire, results that count once.

A claim is a row whose primary key is the trial, so the database itself refuses a second owner. The owner renews its
lease; whoever finds it expired, or its process dead, takes the row over and puts the trial back into the queue, with
its number, parameters and checkpoint. A result is acknowledged by one statement that writes it into the owner's row;
telling Optuna comes after and can be repeated by anybody, so a crash in between loses nothing.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages._rdb.models import StudyModel, TrialModel
from optuna.trial import TrialState
from sqlalchemy import Row, delete, exists, insert, null, select, update
from sqlalchemy.exc import IntegrityError

from data.errors import LeaseLost
from search import names
from search.processes import is_dead, process_name
from search.storage import Storage, with_retries
from search.tables import leases

LEASE_S = 60.0
"""Seconds after which a worker that says nothing has lost its trial."""
MAX_LOSSES = 3
"""A trial whose worker is lost more often than this is told as failed."""

Outcome = Literal["complete", "pruned", "failed"]
_STATES = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One worker's right to one trial."""

    trial_id: int
    number: int
    optuna_study: str
    owner: str
    token: str


@dataclass(frozen=True, kw_only=True)
class Result:
    """What became of a trial; stored as JSON until Optuna knows it."""

    outcome: Outcome
    value: float | None = None
    attributes: dict[str, Any] = field(default_factory=dict)


def claim_next(storage: Storage, optuna_study: str, owner: str, *, lease_s: float = LEASE_S) -> Claim | None:
    """Claim the waiting trial with the lowest number; None if none waits."""
    while (waiting := _first_waiting(storage, optuna_study)) is not None:
        trial_id, number = waiting
        claim = Claim(
            trial_id=trial_id,
            number=number,
            optuna_study=optuna_study,
            owner=owner,
            token=uuid.uuid4().hex,
        )
        if _insert_lease(storage, claim, lease_s):
            if _set_state(storage, claim.trial_id, TrialState.RUNNING):
                return claim
            _delete_lease(storage, claim.trial_id, claim.token)  # It was finished between our two looks.
    return None


def renew(storage: Storage, claim: Claim, *, lease_s: float = LEASE_S) -> None:
    """Push the lease's end into the future; raises LeaseLost if somebody else has the trial."""
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
    """Acknowledge a result, once, and tell Optuna; raises LeaseLost if the trial is not this worker's any more.

    Each step outlasts an outage of the database by itself: repeated as a whole, the second acknowledgement would fail.
    """
    with_retries(_acknowledge, storage, claim, result)
    with_retries(_tell, storage, claim.trial_id, result)
    with_retries(_delete_lease, storage, claim.trial_id, claim.token)


def release(storage: Storage, claim: Claim) -> None:
    """Put a trial back into the queue with what it has done so far; raises LeaseLost if it is not this worker's."""
    renew(storage, claim)
    _set_state(storage, claim.trial_id, TrialState.WAITING)
    _delete_lease(storage, claim.trial_id, claim.token)


def reap(storage: Storage, optuna_studies: Sequence[str], *, lease_s: float = LEASE_S) -> list[int]:
    """Take over every trial whose worker is gone; put it back into the queue, or tell the result it left.

    Safe to run in many processes at once: each lost lease is taken over by exactly one. Returns the trials put back.
    """
    requeued = []
    for row in list(_lost_leases(storage, optuna_studies)):
        token = _take_over(storage, row, lease_s)
        if token is None:
            continue
        if row.result is not None:
            _tell(storage, row.trial_id, Result(**row.result))
        elif _requeue(storage, row.trial_id):
            requeued.append(row.trial_id)
        _delete_lease(storage, row.trial_id, token)
    return requeued


def _acknowledge(storage: Storage, claim: Claim, result: Result) -> None:
    with storage.engine.begin() as connection:
        changed = connection.execute(
            update(leases)
            .where(leases.c.trial_id == claim.trial_id, leases.c.token == claim.token, leases.c.result.is_(null()))
            .values(result=asdict(result))
        )
    if changed.rowcount != 1:
        raise LeaseLost(f"trial {claim.number} of {claim.optuna_study} belongs to another worker now")


def _first_waiting(storage: Storage, optuna_study: str) -> tuple[int, int] | None:
    """The id and number of the waiting trial with the lowest number that nobody has a lease of."""
    query = (
        select(TrialModel.trial_id, TrialModel.number)
        .join(StudyModel, StudyModel.study_id == TrialModel.study_id)
        .where(StudyModel.study_name == optuna_study, TrialModel.state == TrialState.WAITING)
        .where(~exists().where(leases.c.trial_id == TrialModel.trial_id))
        .order_by(TrialModel.number)
        .limit(1)
    )
    with storage.engine.begin() as connection:
        row = connection.execute(query).one_or_none()
    return (row.trial_id, row.number) if row else None


def _insert_lease(storage: Storage, claim: Claim, lease_s: float) -> bool:
    try:
        with storage.engine.begin() as connection:
            connection.execute(
                insert(leases).values(
                    trial_id=claim.trial_id,
                    optuna_study=claim.optuna_study,
                    owner=claim.owner,
                    token=claim.token,
                    expires_at=storage.now(connection) + lease_s,
                )
            )
    except IntegrityError:
        return False
    return True


def _lost_leases(storage: Storage, optuna_studies: Sequence[str]) -> Iterator[Row[Any]]:
    with storage.engine.begin() as connection:
        now = storage.now(connection)
        rows = connection.execute(select(leases).where(leases.c.optuna_study.in_(optuna_studies))).all()
    for row in rows:
        if row.expires_at < now or is_dead(row.owner):
            yield row


def _take_over(storage: Storage, row: Row[Any], lease_s: float) -> str | None:
    """Make a lost lease ours, if it is still the one that was seen; its new token, or None."""
    token = uuid.uuid4().hex
    with storage.engine.begin() as connection:
        changed = connection.execute(
            update(leases)
            .where(
                leases.c.trial_id == row.trial_id, leases.c.token == row.token, leases.c.expires_at == row.expires_at
            )
            .values(token=token, owner=process_name(), expires_at=storage.now(connection) + lease_s)
        )
    return token if changed.rowcount == 1 else None


def _requeue(storage: Storage, trial_id: int) -> bool:
    trial = storage.optuna.get_trial(trial_id)
    if trial.state != TrialState.RUNNING:
        return False
    losses = trial.user_attrs.get(names.LOSSES, 0) + 1
    if losses > MAX_LOSSES:
        reason = f"its worker was lost {losses} times"
        _tell(storage, trial_id, Result(outcome="failed", attributes={names.REASON: reason, names.LOSSES: losses}))
        return False
    storage.optuna.set_trial_user_attr(trial_id, names.LOSSES, losses)
    return _set_state(storage, trial_id, TrialState.WAITING)


def _tell(storage: Storage, trial_id: int, result: Result) -> None:
    try:
        storage.trials.set_trial_user_attrs(trial_id, result.attributes)
        values = None if result.value is None else [result.value]
        storage.optuna.set_trial_state_values(trial_id, _STATES[result.outcome], values)
    except UpdateFinishedTrialError:
        return  # Whoever took the lease over told the same acknowledged result.


def _set_state(storage: Storage, trial_id: int, state: TrialState) -> bool:
    try:
        return storage.optuna.set_trial_state_values(trial_id, state)
    except UpdateFinishedTrialError:
        return False


def _delete_lease(storage: Storage, trial_id: int, token: str) -> None:
    with storage.engine.begin() as connection:
        connection.execute(delete(leases).where(leases.c.trial_id == trial_id, leases.c.token == token))
