"""Paused trials: they stopped at a rung, keep their checkpoint and may continue.

In the database, a paused trial is a pruned trial with the attribute `names.PAUSED`. So samplers learn from it, the
dashboard shows it, and a stage can end without another step for trials that never continue.
`search.stage.rungs` chooses the trials that continue.
"""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from optuna.trial import TrialState
from sqlalchemy import Connection, delete, exists, null, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.sql import ColumnElement

from search import names
from search.store.claims import Claim, lease_first
from search.store.optuna_private import (
    StudyModel,
    TrialIntermediateValueModel,
    TrialModel,
    TrialUserAttributeModel,
)
from search.store.retries import retried
from search.store.storage import Storage
from search.timing import Timing

RungState = Literal["waiting", "running", "paused", "complete", "ended"]

_STATES: dict[TrialState, RungState] = {
    TrialState.WAITING: "waiting",
    TrialState.RUNNING: "running",
    TrialState.COMPLETE: "complete",
}


@dataclass(frozen=True, kw_only=True)
class RungTrial:
    """A trial of a stage with rungs, or of several stages that share their trials."""

    trial_id: int
    optuna_study: str
    number: int
    state: RungState
    """State of the trial; `ended` means by an error, a divergence or the time budget."""
    values: Mapping[int, float]
    """The reported value of each epoch."""

    @property
    def epochs(self) -> int:
        """Epochs that the trial has reported."""
        return max(self.values, default=0)

    def best_until(self, rung: int, *, maximize: bool) -> float:
        """The best value up to a rung that the trial has reached."""
        best = max if maximize else min
        return best(value for epoch, value in self.values.items() if epoch <= rung)


@retried
def read_rung_trials(storage: Storage, optuna_studies: Sequence[str]) -> list[RungTrial]:
    """All trials of these Optuna studies in the order of their ids, as they are in the database at this moment."""
    of_study = (StudyModel.study_name.in_(optuna_studies), StudyModel.study_id == TrialModel.study_id)
    value = TrialIntermediateValueModel
    with storage.reader.begin() as connection:
        trials = connection.execute(
            select(
                TrialModel.trial_id,
                StudyModel.study_name,
                TrialModel.number,
                TrialModel.state,
                _is_paused().label("is_paused"),
            )
            .where(*of_study)
            .order_by(TrialModel.trial_id)
        ).all()
        reports = connection.execute(
            select(value.trial_id, value.step, value.intermediate_value)
            .join(TrialModel, TrialModel.trial_id == value.trial_id)
            .where(*of_study)
        ).all()
    values: dict[int, dict[int, float]] = defaultdict(dict)
    for row in reports:
        if row.intermediate_value is not None:  # Optuna stores NaN as NULL.
            values[row.trial_id][row.step] = row.intermediate_value
    return [
        RungTrial(
            trial_id=row.trial_id,
            optuna_study=row.study_name,
            number=row.number,
            state=_state(row.state, is_paused=row.is_paused),
            values=values[row.trial_id],
        )
        for row in trials
    ]


def claim_paused(storage: Storage, trial: RungTrial, owner: str, *, lease_s: float = Timing.lease_s) -> Claim | None:
    """Claim a paused trial so that it continues; None if another worker has claimed it."""
    paused = (
        select(TrialModel.trial_id, TrialModel.number)
        .where(TrialModel.trial_id == trial.trial_id, TrialModel.state == TrialState.PRUNED, _is_paused())
        .with_for_update(of=TrialModel)
    )
    try:
        claim = lease_first(storage, paused, {}, _reopen, trial.optuna_study, owner, uuid.uuid4().hex, lease_s)
    except IntegrityError:
        return None  # Another worker has its lease.
    return claim and replace(claim, was_paused=True)


def _reopen(connection: Connection, trial_id: int) -> None:
    """Set a paused trial to RUNNING, and remove what its pause has left, as a part of the caller's transaction."""
    attribute = TrialUserAttributeModel
    connection.execute(
        update(TrialModel)
        .where(TrialModel.trial_id == trial_id)
        .values(state=TrialState.RUNNING, datetime_complete=null())
    )
    left = (names.PAUSED, names.REASON)
    connection.execute(delete(attribute).where(attribute.trial_id == trial_id, attribute.key.in_(left)))


def _is_paused() -> ColumnElement[bool]:
    """Whether the trial of the surrounding query carries the mark of a paused one."""
    attribute = TrialUserAttributeModel
    return exists().where(attribute.trial_id == TrialModel.trial_id, attribute.key == names.PAUSED)


def _state(state: TrialState, *, is_paused: bool) -> RungState:
    if state == TrialState.PRUNED and is_paused:
        return "paused"
    return _STATES.get(state, "ended")
