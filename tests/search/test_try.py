"""`sieve try`: a waiting trial of the running stage trains what the user picked, and the budget stays as it is."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path

import pytest
from optuna.distributions import FloatDistribution

from data.errors import UserError
from data.spec import DataSpec
from search import names
from search.store.hand_picked import pick_next
from search.store.records import create_study, update_stage
from search.store.storage import Storage
from search.store.study_data import StudyData
from search.store.study_definition import StageDefinition, StudyDefinition
from search.trials.workload import WorkloadBuilder
from studies.definition import Space, choice
from tests.search.conftest import OpenStage, open_stage
from tests.search.trials.test_pausing import context_at, train_all

SPACE: Space = {"learning_rate": FloatDistribution(1e-4, 1e-2, log=True), "dropout": choice(0.0, 0.1, 0.2)}


def run(home: Path, *parameters: str) -> None:
    """The command, whose module is not a valid name in an import statement."""
    import_module("search.try.__main__").main(["--home", str(home), "--study", "tiny", "--json", *parameters])


@pytest.fixture
def stage(sqlite: Storage) -> OpenStage:
    create_study(sqlite, "tiny", definition=StudyDefinition(), data=StudyData(spec=DataSpec(source="digits")))
    return open_stage(sqlite, trials=4, epochs=1, space=SPACE)


def test_the_next_trial_trains_the_picked_parameters_and_the_sampler_draws_the_others(
    stage: OpenStage, digits: WorkloadBuilder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stage.claim()

    run(tmp_path, "learning_rate=0.005")
    run(tmp_path, "dropout=0.2")

    picked = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert picked == [
        {"study": "tiny", "stage": "one", "trial": 1, "parameters": {"learning_rate": 0.005}},
        {"study": "tiny", "stage": "one", "trial": 2, "parameters": {"dropout": 0.2}},
    ]
    assert train_all(stage, context_at(tmp_path, stage.storage, digits)) == [1, 2, 3]
    _, first, second, free = stage.storage.load_study(stage.record.optuna_study).get_trials()
    assert first.params["learning_rate"] == 0.005 and "dropout" in first.params
    assert second.params["dropout"] == 0.2 and "learning_rate" in second.params
    marked = [trial.user_attrs.get(names.HAND_PICKED) for trial in (first, second, free)]
    assert marked == [True, True, None]


def test_only_a_running_search_stage_takes_picked_parameters(stage: OpenStage, tmp_path: Path) -> None:
    for _ in range(4):
        stage.claim()
    with pytest.raises(UserError, match="no trial of one is left whose parameters you can choose"):
        run(tmp_path, "dropout=0.2")
    update_stage(stage.storage, stage.record, state="closed")
    with pytest.raises(UserError, match="tiny has no running search stage"):
        run(tmp_path, "dropout=0.2")


def test_the_trials_that_a_study_picked_itself_are_kept(
    sqlite: Storage, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = StageDefinition(name="one", trials=3, epochs=1, tries=({"dropout": 0.2},))
    data = StudyData(spec=DataSpec(source="digits"))
    create_study(sqlite, "tiny", definition=StudyDefinition(stages=(own,)), data=data)
    open_stage(sqlite, trials=3, epochs=1, sampler="random", space=SPACE, tries=own.tries)
    run(tmp_path, "dropout=0.1")
    assert json.loads(capsys.readouterr().out)["trial"] == 2


def test_a_trial_is_picked_once_and_never_taken_from_a_worker(storage: Storage) -> None:
    stage = open_stage(storage, trials=3, epochs=1, space=SPACE)
    stage.claim()
    parameters = {slot: {"dropout": 0.1} for slot in range(3)}
    picked = [pick_next(storage, stage.record.optuna_study, parameters) for _ in range(3)]
    assert picked == [1, 2, None]
