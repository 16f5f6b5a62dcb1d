"""Trials that are read with plain SQL are those that Optuna reads."""

from __future__ import annotations

import math
import os
import time

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import RDBStorage
from optuna.trial import TrialState, create_trial

from search.store.optuna_private import database_id, study_database_id
from search.store.read_trials import MOST_IDS
from search.store.read_trials import read_trials as read_in_transaction
from search.store.storage import Storage


@pytest.fixture
def study(storage: Storage) -> optuna.Study:
    """Trials in every state, with values that databases store in ways of their own."""
    study = optuna.create_study(study_name="s", storage=storage.optuna, direction="maximize")
    study.enqueue_trial({"x": 1.5})
    study.enqueue_trial({}, user_attrs={"note": {"nested": [1, None, "ü"]}})
    running = study.ask()
    running.suggest_float("x", 0.0, 2.0)
    running.report(math.nan, 1)
    running.report(math.inf, 2)
    for state, value in ((TrialState.COMPLETE, math.inf), (TrialState.COMPLETE, 0.25), (TrialState.PRUNED, None)):
        study.add_trial(
            create_trial(
                state=state,
                value=value,
                params={"b": "two", "a": 3, "c": 0.1},
                distributions={
                    "b": CategoricalDistribution(("one", "two", None)),
                    "a": IntDistribution(1, 9, step=2),
                    "c": FloatDistribution(0.01, 1.0, log=True),
                },
                user_attrs={"config": {"filters": 8}, "late": True},
                system_attrs={"constraints": [0.5]},
                intermediate_values={3: 0.1, 1: -math.inf},
            )
        )
    study.tell(study.ask(), state=TrialState.FAIL)
    return study


def read_trials(storage: Storage, study_id: int, ids: set[int] | None = None) -> list[optuna.trial.FrozenTrial]:
    with storage.reader.begin() as connection:
        return read_in_transaction(connection, study_id, ids)


def as_text(trials: list[optuna.trial.FrozenTrial]) -> list[str]:
    """Everything that trials hold; NaN does not equal itself, but its text does."""
    return [repr(vars(trial) | {"intermediate_values": sorted(trial.intermediate_values.items())}) for trial in trials]


@pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo"])
def test_trials_equal_those_that_optuna_reads(storage: Storage, study: optuna.Study, zone: str) -> None:
    study_id, before = study_database_id(study), os.environ.get("TZ")
    optunas = RDBStorage(storage.url)
    try:
        _set_zone(zone)
        expected = optunas.get_all_trials(study_id)
        assert {trial.state for trial in expected} == set(TrialState) - {TrialState.WAITING}
        assert as_text(read_trials(storage, study_id)) == as_text(expected)
    finally:
        _set_zone(before)
        optunas.remove_session()
        optunas.engine.dispose()


def _set_zone(zone: str | None) -> None:
    os.environ.pop("TZ", None)
    if zone is not None:
        os.environ["TZ"] = zone
    time.tzset()


def test_chosen_trials_are_read_by_database_id(storage: Storage, study: optuna.Study) -> None:
    trials = study.get_trials()
    ids = [database_id(trial) for trial in trials]
    chosen = read_trials(storage, study_database_id(study), {ids[-1], ids[0]})
    assert as_text(chosen) == as_text([trials[0], trials[-1]])
    assert read_trials(storage, study_database_id(study), {max(ids) + 1}) == []


def test_many_trials_are_read_without_a_list_of_their_ids(storage: Storage) -> None:
    study = optuna.create_study(study_name="many", storage=storage.optuna)
    storage.trials.fill_queue(study_database_id(study), [{"x": number} for number in range(MOST_IDS + 10)])
    trials = read_trials(storage, study_database_id(study))
    assert [trial.system_attrs["fixed_params"]["x"] for trial in trials] == list(range(MOST_IDS + 10))
    assert read_trials(storage, study_database_id(study), {database_id(trial) for trial in trials}) == trials
