"""What becomes of trials whose workers are gone: back into the queue, once for each loss, or told what they left."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from typing import Any

from optuna.storages._rdb.models import StudyModel, TrialModel
from optuna.trial import TrialState
from sqlalchemy import Row, select, update

from search import names
from search.store.claims import Result, delete_lease, set_state, tell
from search.store.processes import is_dead, process_name
from search.store.storage import Storage
from search.store.tables import insert_new, leases

MAX_LOSSES = 3
"""A trial whose worker is lost more often than this is told as failed."""
REAP_S = 10.0
"""A reaper's own lease; its work takes milliseconds."""
_LOSS = "loss-"
"""Begins the token of a reaper's lease; the number of the loss that it counts follows."""


def reap(storage: Storage, optuna_studies: Sequence[str]) -> list[int]:
    """Take over every trial whose worker is gone; put it back into the queue, or tell the result it left.

    Safe to run in many processes at once, and to be killed in: each lost lease is taken over by exactly one, and who
    takes over from a reaper that died half-way counts the same loss. Returns the trials put back.
    """
    requeued = []
    for row in list(_lost_leases(storage, optuna_studies)):
        loss = _loss(storage, row)
        token = _take_over(storage, row, loss)
        if token is None:
            continue
        if row.result is not None:
            tell(storage, row.trial_id, Result(**row.result))
        elif _requeue(storage, row.trial_id, loss):
            requeued.append(row.trial_id)
        delete_lease(storage, row.trial_id, token)
    for optuna_study in optuna_studies:
        requeued += _reap_orphans(storage, optuna_study)
    return requeued


def _lost_leases(storage: Storage, optuna_studies: Sequence[str]) -> Iterator[Row[Any]]:
    with storage.reader.begin() as connection:
        now = storage.now(connection)
        rows = connection.execute(select(leases).where(leases.c.optuna_study.in_(optuna_studies))).all()
    for row in rows:
        if row.expires_at < now or is_dead(row.owner):
            yield row


def _loss(storage: Storage, row: Row[Any]) -> int:
    """Which loss of its trial a lost lease stands for: that of a reaper, the one that it was about to count."""
    if row.token.startswith(_LOSS):
        return int(row.token.removeprefix(_LOSS).partition(":")[0])
    return int(storage.optuna.get_trial(row.trial_id).user_attrs.get(names.LOSSES, 0)) + 1


def _take_over(storage: Storage, row: Row[Any], loss: int) -> str | None:
    """Make a lost lease ours, if it is still the one that was seen; its new token, or None."""
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
    """Put back what runs without a lease, as in a database that was restored or mended by hand.

    A trial has a lease as long as it runs, so that one of our own on a running trial proves that nobody else has it.
    """
    with storage.reader.begin() as connection:
        query = select(leases.c.trial_id).where(leases.c.optuna_study == optuna_study)
        leased = set(connection.execute(query).scalars())
    requeued = []
    for trial_id in sorted(_running_ids(storage, optuna_study) - leased):
        token = uuid.uuid4().hex
        if _insert_lease(storage, optuna_study, trial_id, token):
            if _is_running(storage, trial_id) and set_state(storage, trial_id, TrialState.WAITING):
                requeued.append(trial_id)
            delete_lease(storage, trial_id, token)
    return requeued


def _running_ids(storage: Storage, optuna_study: str) -> set[int]:
    query = (
        select(TrialModel.trial_id)
        .join(StudyModel, StudyModel.study_id == TrialModel.study_id)
        .where(StudyModel.study_name == optuna_study, TrialModel.state == TrialState.RUNNING)
    )
    with storage.reader.begin() as connection:
        return set(connection.execute(query).scalars())


def _insert_lease(storage: Storage, optuna_study: str, trial_id: int, token: str) -> bool:
    """Make the trial this reaper's; False if it is another's."""
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
        tell(storage, trial_id, Result(outcome="failed", attributes={names.REASON: reason, names.LOSSES: loss}))
        return False
    storage.optuna.set_trial_user_attr(trial_id, names.LOSSES, loss)
    return set_state(storage, trial_id, TrialState.WAITING)
