"""Who works on which trial: claims that two workers can never both hold, leases that expire, results that count once.

A claim is a row whose primary key is the trial, so the database itself refuses a second owner. The owner renews its
lease; whoever finds it expired, or its process dead, takes the row over (`search.reaping`) and puts the trial back into
the queue, with its number, parameters and checkpoint. A result is acknowledged by one statement that writes it into the
owner's row; telling Optuna comes after and can be repeated by anybody, so a crash in between loses nothing.
"""

from __future__ import annotations

import uuid
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages._rdb.models import StudyModel, TrialModel
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import delete, exists, insert, null, select, update
from sqlalchemy.exc import IntegrityError

from data.errors import LeaseLost
from search.storage import OUTAGE_S, Storage, with_retries
from search.tables import leases

LEASE_S = OUTAGE_S + 30.0
"""Seconds after which a worker that says nothing has lost its trial; an outage alone must not cost it."""

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
    """Claim the waiting trial with the lowest number; None if none waits.

    Each step outlasts an outage by itself: repeated as a whole, it would leave a trial that it had claimed already.
    """
    while (waiting := with_retries(_first_waiting, storage, optuna_study)) is not None:
        trial_id, number = waiting
        claim = new_claim(trial_id, number, optuna_study, owner)
        if with_retries(insert_lease, storage, claim, lease_s):
            if with_retries(_start, storage, claim.trial_id):
                return claim
            with_retries(delete_lease, storage, claim.trial_id, claim.token)  # Finished between our two looks.
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
    with_retries(tell, storage, claim.trial_id, result)
    with_retries(delete_lease, storage, claim.trial_id, claim.token)


def release(storage: Storage, claim: Claim) -> None:
    """Put a trial back into the queue with what it has done so far; raises LeaseLost if it is not this worker's."""
    renew(storage, claim)
    set_state(storage, claim.trial_id, TrialState.WAITING)
    delete_lease(storage, claim.trial_id, claim.token)


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


def new_claim(trial_id: int, number: int, optuna_study: str, owner: str) -> Claim:
    """What `owner` has once its lease is inserted."""
    return Claim(trial_id=trial_id, number=number, optuna_study=optuna_study, owner=owner, token=uuid.uuid4().hex)


def insert_lease(storage: Storage, claim: Claim, lease_s: float) -> bool:
    """Make the trial the claim's; False if it is another's."""
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
        return _holds(storage, claim)  # An outage may have hidden that it was written.
    return True


def _holds(storage: Storage, claim: Claim) -> bool:
    with storage.engine.begin() as connection:
        query = select(leases.c.token).where(leases.c.trial_id == claim.trial_id)
        return bool(connection.execute(query).scalar_one_or_none() == claim.token)


def _start(storage: Storage, trial_id: int) -> bool:
    """Set the trial of a lease that is ours to RUNNING, which an outage may hide that it is already."""
    return set_state(storage, trial_id, TrialState.RUNNING) or is_running(storage, trial_id)


def is_running(storage: Storage, trial_id: int) -> bool:
    """What Optuna says of a trial now."""
    return bool(storage.optuna.get_trial(trial_id).state == TrialState.RUNNING)


def trials_in(storage: Storage, optuna_study: str, state: TrialState) -> list[FrozenTrial]:
    """A stage's trials in one state, by number; read-only."""
    study_id = storage.optuna.get_study_id_from_name(optuna_study)
    return storage.optuna.get_all_trials(study_id, deepcopy=False, states=(state,))


def tell(storage: Storage, trial_id: int, result: Result) -> None:
    """Tell Optuna an acknowledged result, however often."""
    try:
        storage.trials.set_trial_user_attrs(trial_id, result.attributes)
        values = None if result.value is None else [result.value]
        storage.optuna.set_trial_state_values(trial_id, _STATES[result.outcome], values)
    except UpdateFinishedTrialError:
        return  # Whoever took the lease over told the same acknowledged result.


def set_state(storage: Storage, trial_id: int, state: TrialState) -> bool:
    """False if the trial is finished, or was to run and did not wait."""
    try:
        return storage.optuna.set_trial_state_values(trial_id, state)
    except UpdateFinishedTrialError:
        return False


def delete_lease(storage: Storage, trial_id: int, token: str) -> None:
    """Give the trial free, if the lease is still the one with this token."""
    with storage.engine.begin() as connection:
        connection.execute(delete(leases).where(leases.c.trial_id == trial_id, leases.c.token == token))
