"""What Sieve assumes of Optuna's private parts, one assumption a test: a failure names what a new version changed."""

from __future__ import annotations

import ast
import inspect
import json
import math
import re
import tomllib
from pathlib import Path

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import select

from search.store.optuna_private import (
    CONSTRAINT,
    FIXED_PARAMS,
    TESTED,
    CachedStorage,
    CachedStudy,
    StudyModel,
    TrialIntermediateValueModel,
    TrialModel,
    TrialParamModel,
    TrialSystemAttributeModel,
    TrialUserAttributeModel,
    TrialValueModel,
    database_id,
    draw_again,
    frozen_copy,
    show_only,
    study_database_id,
)

ROOT = Path(__file__).parents[3]
COLUMNS = {
    StudyModel: {"study_id", "study_name"},
    TrialModel: {"trial_id", "number", "study_id", "state", "datetime_start", "datetime_complete"},
    TrialParamModel: {"param_id", "trial_id", "param_name", "param_value", "distribution_json"},
    TrialValueModel: {"trial_value_id", "trial_id", "objective", "value", "value_type"},
    TrialIntermediateValueModel: {
        "trial_intermediate_value_id", "trial_id", "step", "intermediate_value", "intermediate_value_type",
    },
    TrialUserAttributeModel: {"trial_user_attribute_id", "trial_id", "key", "value_json"},
    TrialSystemAttributeModel: {"trial_system_attribute_id", "trial_id", "key", "value_json"},
}  # fmt: skip
TABLES = {
    StudyModel: "studies",
    TrialModel: "trials",
    TrialValueModel: "trial_values",
    TrialUserAttributeModel: "trial_user_attributes",
}
"""Tables that `search.store.trial_counts` reads by name."""


@pytest.fixture
def backend(tmp_path: Path) -> RDBStorage:
    return RDBStorage(f"sqlite:///{tmp_path / 'optuna.db'}")


@pytest.fixture
def cached(backend: RDBStorage) -> CachedStorage:
    return CachedStorage(backend)


@pytest.fixture
def study(cached: CachedStorage) -> optuna.Study:
    return optuna.create_study(storage=cached, study_name="s")


def rows(backend: RDBStorage, model: type) -> list[dict[str, object]]:
    with backend.engine.connect() as connection:
        return [dict(row._mapping) for row in connection.execute(select(model.__table__))]  # type: ignore[attr-defined]


def test_the_installed_optuna_is_one_that_was_tested() -> None:
    assert ".".join(optuna.__version__.split(".")[:2]) in TESTED


def test_pyproject_allows_the_tested_versions_and_no_others() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (allowed,) = (line for line in project["dependencies"] if re.match(r"optuna\b(?!-)", line))
    major, minor = map(int, TESTED[-1].split("."))
    assert allowed == f"optuna>={TESTED[0]},<{major}.{minor + 1}"


def test_no_other_module_uses_private_parts_of_optuna() -> None:
    private = re.compile(r"_trial_id|_study_id|_cached_frozen_trial|_relative_params|_get_trials")
    found = []
    for path in (ROOT / "search").rglob("*.py"):
        if path.name == "optuna_private.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and private.fullmatch(node.attr):
                found.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.attr}")
            if isinstance(node, ast.ImportFrom) and re.match(r"optuna\.(.*\.)?_", node.module or ""):
                found.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.module}")
    assert not found


@pytest.mark.parametrize("model", COLUMNS, ids=lambda model: model.__name__)
def test_a_table_has_the_columns_that_sieve_writes(model: type) -> None:
    assert set(model.__table__.columns.keys()) == COLUMNS[model]  # type: ignore[attr-defined]


@pytest.mark.parametrize("model", TABLES, ids=lambda model: model.__name__)
def test_a_table_that_is_read_by_name_has_that_name(model: type) -> None:
    assert model.__table__.name == TABLES[model]  # type: ignore[attr-defined]


def test_states_are_stored_by_name(backend: RDBStorage, study: optuna.Study) -> None:
    study.enqueue_trial({})
    with backend.engine.connect() as connection:
        stored = connection.exec_driver_sql("SELECT state FROM trials").scalar_one()
    assert stored == "WAITING"


@pytest.mark.parametrize("value", [0.5, math.inf, -math.inf])
def test_values_are_stored_as_a_number_and_a_kind(backend: RDBStorage, study: optuna.Study, value: float) -> None:
    trial = study.ask()
    trial.report(value, 1)
    study.tell(trial, value)
    (result,) = rows(backend, TrialValueModel)
    assert (result["value"], result["value_type"]) == TrialValueModel.value_to_stored_repr(value)
    (epoch,) = rows(backend, TrialIntermediateValueModel)
    stored = epoch["intermediate_value"], epoch["intermediate_value_type"]
    assert stored == TrialIntermediateValueModel.intermediate_value_to_stored_repr(value)


def test_fixed_parameters_of_a_waiting_trial_are_a_system_attribute(backend: RDBStorage, study: optuna.Study) -> None:
    study.enqueue_trial({"x": 1})
    stored = {str(row["key"]): json.loads(str(row["value_json"])) for row in rows(backend, TrialSystemAttributeModel)}
    assert stored == {FIXED_PARAMS: {"x": 1}}


def test_a_constraint_is_a_system_attribute_with_a_prefix(backend: RDBStorage, study: optuna.Study) -> None:
    study.ask().set_constraint("feasible", 1.0)
    stored = {str(row["key"]): json.loads(str(row["value_json"])) for row in rows(backend, TrialSystemAttributeModel)}
    assert stored == {f"{CONSTRAINT}feasible": 1.0}


def test_the_cached_storage_has_a_backend_a_lock_and_trials_by_study(cached: CachedStorage) -> None:
    assert vars(cached).keys() >= {"_backend", "_lock", "_studies", "_trial_id_to_study_id_and_number"}
    assert vars(CachedStudy()).keys() >= {"trials", "unfinished_trial_ids", "param_distribution"}


def test_the_lock_of_the_cached_storage_is_not_taken_to_add_trials(cached: CachedStorage, study: optuna.Study) -> None:
    trial = study.ask()
    study_id = study_database_id(study)
    with cached._lock:
        cached._add_trials_to_cache(study_id, [frozen_copy(trial)])
    assert cached._studies[study_id].trials[0].number == 0
    assert cached._trial_id_to_study_id_and_number[database_id(trial)] == (study_id, 0)


def test_the_cached_storage_checks_parameters_against_the_first_distribution(
    cached: CachedStorage, study: optuna.Study
) -> None:
    study.ask().suggest_float("x", 0, 1)
    assert cached._studies[study_database_id(study)].param_distribution == {"x": FloatDistribution(0, 1)}


def test_trials_and_studies_know_their_database_ids(backend: RDBStorage, study: optuna.Study) -> None:
    trial = study.ask()
    (row,) = rows(backend, TrialModel)
    assert database_id(trial) == database_id(study.get_trials()[0]) == row["trial_id"]
    assert study_database_id(study) == row["study_id"]


def test_an_open_trial_takes_known_parameters_from_its_frozen_copy(study: optuna.Study) -> None:
    trial = study.ask()
    trial.suggest_float("x", 0, 1)
    frozen = frozen_copy(trial)
    assert isinstance(frozen, FrozenTrial) and frozen.params == trial.params
    frozen.params["x"] = 0.125
    assert trial.suggest_float("x", 0, 1) == 0.125


def test_reported_values_are_kept_in_the_frozen_copy_that_pruners_read(study: optuna.Study) -> None:
    trial = study.ask()
    trial.report(0.5, 3)
    assert frozen_copy(trial).intermediate_values == {3: 0.5}


def test_a_trial_that_forgets_its_parameters_is_drawn_again(backend: RDBStorage) -> None:
    sampler = optuna.samplers.RandomSampler(seed=0)
    study = optuna.create_study(storage=backend, sampler=sampler)
    trial = study.ask()
    first = trial.suggest_float("x", 0, 1)
    draw_again(trial)
    assert trial.params == {}
    assert trial._relative_params is None and trial.relative_search_space is None
    assert trial._suggest("x", FloatDistribution(0, 2)) != first


def test_a_view_of_a_study_shows_a_sampler_the_chosen_trials_and_everything_else(study: optuna.Study) -> None:
    for value in (0.1, 0.2, 0.3):
        study.tell(study.ask(), value)
    trials = study.get_trials()
    view = show_only(study, trials[1:])
    assert view.get_trials() == trials[1:]
    assert view._get_trials(deepcopy=False, states=(TrialState.COMPLETE,), use_cache=True) == trials[1:]
    assert view.get_trials(states=(TrialState.RUNNING,)) == [] and view.directions == study.directions


def test_tpe_reads_a_study_s_trials_by_the_method_that_a_view_replaces() -> None:
    source = inspect.getsource(optuna.samplers.TPESampler)
    assert "study._get_trials(deepcopy=False, states=states, use_cache=" in source
    assert "get_all_trials" not in source and "study.trials" not in source


@pytest.mark.parametrize(
    ("method", "parameters"),
    [
        ("get_all_trials", ["study_id", "deepcopy", "states"]),
        ("get_trial", ["trial_id"]),
        ("set_trial_param", ["trial_id", "param_name", "param_value_internal", "distribution"]),
        ("set_trial_system_attr", ["trial_id", "key", "value"]),
    ],
)
def test_a_method_that_sieve_overrides_has_the_same_parameters(method: str, parameters: list[str]) -> None:
    assert list(inspect.signature(getattr(CachedStorage, method)).parameters) == ["self", *parameters]


def test_a_waiting_trial_is_started_with_its_state_and_time_alone(backend: RDBStorage, study: optuna.Study) -> None:
    study.enqueue_trial({})
    (before,) = rows(backend, TrialModel)
    study.ask()
    (after,) = rows(backend, TrialModel)
    assert {key for key in before if before[key] != after[key]} == {"state", "datetime_start"}
    assert after["state"] == TrialState.RUNNING
