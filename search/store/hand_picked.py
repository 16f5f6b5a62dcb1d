"""Hand-picked trials: a waiting trial of a running stage gets parameters that the user chose."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from optuna.trial import TrialState
from sqlalchemy import Connection, exists, insert, select, update

from search import names
from search.store.optuna_private import FIXED_PARAMS, StudyModel, TrialModel, TrialParamModel
from search.store.optuna_private import TrialSystemAttributeModel as SystemAttribute
from search.store.optuna_private import TrialUserAttributeModel as UserAttribute
from search.store.retries import retried
from search.store.storage import Storage
from search.store.tables import leases


@retried
def pick_next(storage: Storage, optuna_study: str, parameters: Mapping[int, Mapping[str, Any]]) -> int | None:
    """Give the first waiting trial the parameters that stand for its number; return its number.

    `parameters` has an entry for each trial that may be taken. A trial that a worker holds, that has begun, or
    that was picked before is passed over. Returns None if no other trial waits.
    """
    with storage.engine.begin() as connection:
        waiting = connection.execute(
            select(TrialModel.trial_id, TrialModel.number)
            .join(StudyModel, StudyModel.study_id == TrialModel.study_id)
            .where(StudyModel.study_name == optuna_study, TrialModel.state == TrialState.WAITING)
            .where(TrialModel.number.in_(parameters))
            .where(~exists().where(TrialParamModel.trial_id == TrialModel.trial_id))
            .where(~exists().where(leases.c.trial_id == TrialModel.trial_id))
            .where(
                ~exists().where(UserAttribute.trial_id == TrialModel.trial_id, UserAttribute.key == names.HAND_PICKED)
            )
            .order_by(TrialModel.number)
            .limit(1)
            .with_for_update(skip_locked=True, of=TrialModel)
        ).one_or_none()
        if waiting is None:
            return None
        _fix(connection, waiting.trial_id, parameters[waiting.number])
        number: int = waiting.number
        return number


@retried
def is_hand_picked(storage: Storage, trial_id: int) -> bool:
    """Whether the user chose the trial's parameters with `sieve try`."""
    mark = exists().where(UserAttribute.trial_id == trial_id, UserAttribute.key == names.HAND_PICKED)
    with storage.reader.begin() as connection:
        return bool(connection.execute(select(mark)).scalar_one())


def _fix(connection: Connection, trial_id: int, parameters: Mapping[str, Any]) -> None:
    connection.execute(
        update(SystemAttribute)
        .where(SystemAttribute.trial_id == trial_id, SystemAttribute.key == FIXED_PARAMS)
        .values(value_json=json.dumps(dict(parameters)))
    )
    connection.execute(
        insert(UserAttribute).values(trial_id=trial_id, key=names.HAND_PICKED, value_json=json.dumps(True))
    )
