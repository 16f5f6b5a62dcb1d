"""Requeue trials whose workers are gone, once for each loss, or finish them with a result that the worker left."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from typing import Any

from optuna.trial import TrialState
from sqlalchemy import Row, bindparam, select, update

from search import names
from search.store.claims import Result, delete_lease, finish_in_optuna, set_state
from search.store.optuna_private import StudyModel, TrialModel
from search.store.processes import is_dead, process_name
from search.store.retries import retried
from search.store.storage import Storage
from search.store.tables import insert_new, leases

MAX_LOSSES = 3
"""A trial whose worker is lost more often than this is recorded as failed."""
REAP_S = 10.0
"""Seconds of a reaper's own lease; its work takes milliseconds."""
_LOSS = "loss-"
"""Prefix of the token of a reaper's lease; the number of the loss that it counts follows."""

# Built once, because the supervisor runs them several times a second.
_trials, _optuna_studies = TrialModel.__table__, StudyModel.__table__
_leases = select(leases).where(leases.c.optuna_study.in_(bindparam("optuna_studies", expanding=True)))
_leased = select(leases.c.trial_id).where(leases.c.optuna_study == bindparam("optuna_study"))
_running = (
    select(_trials.c.trial_id)
    .join(_optuna_studies, _optuna_studies.c.study_id == _trials.c.study_id)
    .where(_optuna_studies.c.study_name == bindparam("optuna_study"), _trials.c.state == TrialState.RUNNING)
)


@retried
def reap(storage: Storage, optuna_studies: Sequence[str]) -> list[int]:
    """Take over every trial whose worker is gone: requeue it, or finish it with the result that the worker left.

    Many processes may run it at once, and each may be killed in it: exactly one takes over each lost lease, and a
    reaper that takes over from one that died half-way counts the same loss. Returns the ids of the requeued trials.
    """
    requeued = []
    for row in list(_lost_leases(storage, optuna_studies)):
        loss = _loss(storage, row)
        token = _take_over(storage, row, loss)
        if token is None:
            continue
        if row.result is not None:  # Written by a worker of Sieve 0.1.0.
            finish_in_optuna(storage, row.trial_id, Result(**row.result))
        elif _requeue(storage, row.trial_id, loss):
            requeued.append(row.trial_id)
        delete_lease(storage, row.trial_id, token)
    for optuna_study in optuna_studies:
        requeued += _reap_orphans(storage, optuna_study)
    return requeued


def _lost_leases(storage: Storage, optuna_studies: Sequence[str]) -> Iterator[Row[Any]]:
    with storage.reader.begin() as connection:
        now = storage.now(connection)
        rows = connection.execute(_leases, {"optuna_studies": optuna_studies}).all()
    for row in rows:
        if row.expires_at < now or is_dead(row.owner):
            yield row


def _loss(storage: Storage, row: Row[Any]) -> int:
    """The number of the loss that a lost lease stands for; a reaper's lease has it in its token."""
    if row.token.startswith(_LOSS):
        return int(row.token.removeprefix(_LOSS).partition(":")[0])
    return int(storage.optuna.get_trial(row.trial_id).user_attrs.get(names.LOSSES, 0)) + 1


def _take_over(storage: Storage, row: Row[Any], loss: int) -> str | None:
    """Take a lost lease over and return its new token; None if another process changed it in the meantime."""
    token = f"{_LOSS}{loss}:{uuid.uuid4().hex[:24]}"
    with storage.engine.begin() as connection:
        changed = connection.execute(
            update(leases)
            .where(
                leases.c.trial_id == row.trial_id, leases.c.token == row.token, leases.c.expires_at == row.expires_at
            )
            .values(token=token, owner=process_name(), expires_at=storage.now(connection) + REAP_S)
        )
    return token if changed.rowcount == 1 else None


def _reap_orphans(storage: Storage, optuna_study: str) -> list[int]:
    """Requeue trials that run without a lease, for example in a database that was restored or edited by hand.

    A trial has a lease as long as it runs, so inserting our own for a running trial proves that no worker has it.
    """
    with storage.reader.begin() as connection:
        leased = set(connection.execute(_leased, {"optuna_study": optuna_study}).scalars())
    requeued = []
    for trial_id in sorted(_running_ids(storage, optuna_study) - leased):
        token = uuid.uuid4().hex
        if _insert_lease(storage, optuna_study, trial_id, token):
            if _is_running(storage, trial_id) and set_state(storage, trial_id, TrialState.WAITING):
                requeued.append(trial_id)
            delete_lease(storage, trial_id, token)
    return requeued


def _running_ids(storage: Storage, optuna_study: str) -> set[int]:
    with storage.reader.begin() as connection:
        return set(connection.execute(_running, {"optuna_study": optuna_study}).scalars())


def _insert_lease(storage: Storage, optuna_study: str, trial_id: int, token: str) -> bool:
    """Lease a trial to this reaper; False if another process has a lease on it."""
    lease = {"trial_id": trial_id, "optuna_study": optuna_study, "owner": process_name(), "token": token}
    with storage.engine.begin() as connection:
        rows = {**lease, "expires_at": storage.now(connection) + REAP_S}
        return bool(connection.execute(insert_new(leases, connection.dialect.name), rows).rowcount)


def _is_running(storage: Storage, trial_id: int) -> bool:
    return bool(storage.optuna.get_trial(trial_id).state == TrialState.RUNNING)


def _requeue(storage: Storage, trial_id: int, loss: int) -> bool:
    if not _is_running(storage, trial_id):
        return False
    if loss > MAX_LOSSES:
        reason = f"its worker was lost {loss} times"
        finish_in_optuna(
            storage, trial_id, Result(outcome="failed", attributes={names.REASON: reason, names.LOSSES: loss})
        )
        return False
    storage.optuna.set_trial_user_attr(trial_id, names.LOSSES, loss)
    return set_state(storage, trial_id, TrialState.WAITING)
