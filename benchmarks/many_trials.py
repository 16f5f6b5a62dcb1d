"""Writes many ended trials at once; Optuna's own way takes 40 ms for each."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import optuna
from optuna.distributions import distribution_to_json
from optuna.trial import FrozenTrial
from sqlalchemy import insert, select

from search.store.optuna_private import (
    TrialIntermediateValueModel,
    TrialModel,
    TrialParamModel,
    TrialUserAttributeModel,
    TrialValueModel,
    study_database_id,
)
from search.store.storage import Storage


def write_trials(storage: Storage, study: optuna.Study, trials: Sequence[FrozenTrial]) -> None:
    """Add ended trials to a study that has none, in one transaction."""
    study_id, now = study_database_id(study), datetime.now(UTC).replace(tzinfo=None)
    rows: dict[Any, list[dict[str, Any]]] = defaultdict(list)
    with storage.engine.begin() as connection:
        connection.execute(
            insert(TrialModel.__table__),
            [
                {"study_id": study_id, "number": number, "state": trial.state,
                 "datetime_start": now, "datetime_complete": now}
                for number, trial in enumerate(trials)
            ],
        )  # fmt: skip
        ids = connection.execute(select(TrialModel.trial_id).where(TrialModel.study_id == study_id))
        for trial_id, trial in zip(ids.scalars(), trials, strict=True):
            for name, value in trial.params.items():
                kind = trial.distributions[name]
                rows[TrialParamModel].append(
                    {"trial_id": trial_id, "param_name": name, "param_value": kind.to_internal_repr(value),
                     "distribution_json": distribution_to_json(kind)}
                )  # fmt: skip
            for key, value in trial.user_attrs.items():
                rows[TrialUserAttributeModel].append(
                    {"trial_id": trial_id, "key": key, "value_json": json.dumps(value)}
                )
            for step, value in trial.intermediate_values.items():
                report, kind_of_report = TrialIntermediateValueModel.intermediate_value_to_stored_repr(value)
                rows[TrialIntermediateValueModel].append(
                    {"trial_id": trial_id, "step": step, "intermediate_value": report,
                     "intermediate_value_type": kind_of_report}
                )  # fmt: skip
            if trial.value is not None:
                stored, kind_of_value = TrialValueModel.value_to_stored_repr(trial.value)
                rows[TrialValueModel].append(
                    {"trial_id": trial_id, "objective": 0, "value": stored, "value_type": kind_of_value}
                )
        for model, added in rows.items():
            connection.execute(insert(model.__table__), added)
