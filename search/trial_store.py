"""Optuna's storage with few and short transactions: it reads what can have changed, and writes in single statements.

Optuna's own cache keeps finished trials and reads all others again whenever it is asked, waiting ones too: with a
budget of thousands of waiting trials that is seconds, for every epoch's question to the pruner. Here the database is
first asked which of the unfinished trials have left the queue, or came back to it, and only those are read.

A parameter, a report or the attributes of a result are each one statement that holds as long as the trial is not
finished; Optuna's own way, three or four, is taken where that statement fails.
"""

from __future__ import annotations

import json
import time
from collections.abc import Container, Mapping, Sequence
from copy import deepcopy as deep_copy
from functools import cache
from typing import Any

from optuna.distributions import BaseDistribution, check_distribution_compatibility, distribution_to_json
from optuna.storages import RDBStorage
from optuna.storages._cached_storage import _CachedStorage, _StudyInfo
from optuna.storages._rdb.models import (
    TrialIntermediateValueModel,
    TrialModel,
    TrialParamModel,
    TrialSystemAttributeModel,
    TrialUserAttributeModel,
)
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Insert, bindparam, func, insert, or_, select
from sqlalchemy.exc import IntegrityError

FIXED_PARAMS = "fixed_params"
"""System attribute in which Optuna keeps the parameters that a waiting trial is to have."""
_UNFINISHED = (TrialState.WAITING, TrialState.RUNNING)


class TrialStore(_CachedStorage):
    """One serves all threads and studies of a process."""

    def __init__(self, backend: RDBStorage) -> None:
        super().__init__(backend)
        self.fresh_s = 0.0
        """Trials that were read less long ago are not read again, unless `read_now` is called."""
        self._read_at: dict[int, float] = {}
        self._remembered: dict[int, dict[frozenset[TrialState], list[FrozenTrial]]] = {}
        self._newest: dict[int, int] = {}
        """By study, the last trial id that was read."""
        self._running: dict[int, set[int]] = {}
        """By study, the ids of the trials that were running when they were last read."""

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        if time.monotonic() - self._read_at.get(study_id, -1e9) >= self.fresh_s:
            self.read_now(study_id)
        with self._lock:
            trials = self._studies[study_id].trials
            chosen = [trials[number] for number in sorted(trials) if states is None or trials[number].state in states]
        return deep_copy(chosen) if deepcopy else chosen

    def read_now(self, study_id: int) -> None:
        """Bring a study's trials up to date."""
        with self._lock:
            study, started_at = self._studies.setdefault(study_id, _StudyInfo()), time.monotonic()
            if study_id not in self._newest:
                self._keep(study_id, self._backend._get_trials(study_id, None, set(), -1))
            elif changed := self._changed_ids(study_id, study):
                newest = max(changed | {self._newest[study_id]})
                self._keep(study_id, self._backend._get_trials(study_id, None, changed, newest))
            self._read_at[study_id] = started_at  # Only now: a read that failed left nothing fresh.

    def enqueue(self, study_id: int, queue: Sequence[Mapping[str, Any]]) -> None:
        """Add a waiting trial for each of these fixed parameters, all or none, as `Study.enqueue_trial` adds one."""
        table, of_study = TrialModel.__table__, TrialModel.study_id == study_id
        with self._backend.engine.begin() as connection:
            first = connection.execute(select(func.count()).select_from(table).where(of_study)).scalar_one()
            numbered = dict(enumerate(queue, start=first))
            rows = [{"study_id": study_id, "number": number, "state": TrialState.WAITING} for number in numbered]
            if not rows:
                return
            connection.execute(insert(table), rows)
            new = connection.execute(
                select(TrialModel.trial_id, TrialModel.number).where(of_study, TrialModel.number >= first)
            )
            fixed = [
                {"trial_id": row.trial_id, "key": FIXED_PARAMS, "value_json": json.dumps(numbered[row.number])}
                for row in new
            ]
            connection.execute(insert(TrialSystemAttributeModel.__table__), fixed)

    def set_trial_param(
        self, trial_id: int, param_name: str, param_value_internal: float, distribution: BaseDistribution
    ) -> None:
        with self._lock:
            study_id, _ = self._trial_id_to_study_id_and_number[trial_id]
            known = self._studies[study_id].param_distribution.get(param_name)
        if known is not None:
            check_distribution_compatibility(known, distribution)
            values = {
                "trial_id": trial_id,
                "param_name": param_name,
                "param_value": param_value_internal,
                "distribution_json": distribution_to_json(distribution),
            }
            if self._insert_unless_finished(TrialParamModel, [values]):
                return
        super().set_trial_param(trial_id, param_name, param_value_internal, distribution)

    def set_trial_intermediate_value(self, trial_id: int, step: int, intermediate_value: float) -> None:
        stored, kind = TrialIntermediateValueModel.intermediate_value_to_stored_repr(intermediate_value)
        values = {"trial_id": trial_id, "step": step, "intermediate_value": stored, "intermediate_value_type": kind}
        if not self._insert_unless_finished(TrialIntermediateValueModel, [values]):
            super().set_trial_intermediate_value(trial_id, step, intermediate_value)

    def set_trial_user_attrs(self, trial_id: int, attributes: Mapping[str, Any]) -> None:
        """Set several attributes at once; raises UpdateFinishedTrialError, as Optuna does for one."""
        rows = [
            {"trial_id": trial_id, "key": key, "value_json": json.dumps(value)} for key, value in attributes.items()
        ]
        if not self._insert_unless_finished(TrialUserAttributeModel, rows):
            for key, value in attributes.items():
                self._backend.set_trial_user_attr(trial_id, key, value)

    def _insert_unless_finished(self, model: type[Any], rows: Sequence[Mapping[str, Any]]) -> bool:
        """Insert rows that belong to one trial, all or none; False where it is finished or has such a row already."""
        try:
            with self._backend.engine.connect() as connection, connection.begin() as transaction:
                for row in rows:
                    if connection.execute(_insertion(model, tuple(row)), row).rowcount != 1:  # type: ignore[arg-type]
                        transaction.rollback()
                        return False
        except IntegrityError:
            return False
        return True

    def _changed_ids(self, study_id: int, study: _StudyInfo) -> set[int]:
        """Trials that are new, that run or have ended since they were last read, and those that were put back."""
        unfinished, newest = study.unfinished_trial_ids, self._newest[study_id]
        query = select(TrialModel.trial_id).where(
            TrialModel.study_id == study_id,
            TrialModel.trial_id >= min(unfinished, default=newest + 1),
            or_(TrialModel.state != TrialState.WAITING, TrialModel.trial_id > newest),
        )
        with self._backend.engine.begin() as connection:
            moved = set(connection.execute(query).scalars())
        known_finished = {trial_id for trial_id in moved if trial_id <= newest} - unfinished
        return (moved - known_finished) | (self._running[study_id] - moved)

    def _keep(self, study_id: int, trials: list[FrozenTrial]) -> None:
        self._add_trials_to_cache(study_id, trials)
        self._remembered.pop(study_id, None)
        unfinished = self._studies[study_id].unfinished_trial_ids
        running = self._running.setdefault(study_id, set())
        for trial in trials:
            trial_id = trial._trial_id
            self._newest[study_id] = max(trial_id, self._newest.get(study_id, -1))
            (unfinished.discard if trial.state.is_finished() else unfinished.add)(trial_id)
            (running.add if trial.state == TrialState.RUNNING else running.discard)(trial_id)


@cache
def _insertion(model: type[Any], names: tuple[str, ...]) -> Insert:
    """A statement that inserts a row with these columns, `trial_id` among them, while that trial is not finished."""
    columns = model.__table__.c
    values = select(*(bindparam(name, type_=columns[name].type) for name in names))
    trial = bindparam("trial_id", type_=columns["trial_id"].type)
    unfinished = values.where(TrialModel.trial_id == trial, TrialModel.state.in_(_UNFINISHED))
    return insert(model).from_select(list(names), unfinished)
