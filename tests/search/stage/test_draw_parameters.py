"""Parameters whose network cannot be built are drawn again, within the trial."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from optuna.distributions import FloatDistribution

from data.errors import StorageAway
from models.config import BackboneConfig, TrainConfig
from search import names
from search.stage.draw_parameters import draw
from search.stage.feasibility import DRAWS, Feasible, anything, feasible_on
from search.stage.samplers import make_sampler
from search.store.claims import Result, finish
from search.store.storage import Storage
from search.trials.artifacts import SharedFolder
from search.trials.trial_context import TrialContext
from search.trials.workload import WorkloadBuilder
from studies.definition import Sampler, choice
from tests.search.conftest import CPU, DATA, OpenStage, open_stage

SPACE = {
    "conv_layers": choice(1, 2, 3, 4),
    "filters": choice(4, 8),
    "kernel_size": choice(2, 3, 5),
    "padding": choice(0, 1),
}
"""On the 8 px of the digits, 21 of 48 combinations can be built."""
FEASIBLE = feasible_on(DATA)


def drawn(stage: OpenStage, is_feasible: Feasible = FEASIBLE) -> list[dict[str, Any]]:
    """The parameters of all trials, each told as if it had been trained."""
    study = stage.storage.load_study(stage.record.optuna_study, sampler=make_sampler(stage.pinned))
    for number in range(stage.pinned.trials):
        claim = stage.claim()
        trial = stage.storage.open_trial(study, claim.trial_id)
        config = draw(stage.storage, stage.pinned, trial, is_feasible)
        assert stage.pinned.config(trial.params) == config
        finish(stage.storage, claim, Result(outcome="complete", value=1 / (number + 1)))
    return [trial.params for trial in stage.storage.optuna.get_all_trials(study._study_id)]


def share_built(stage: OpenStage, parameters: Iterable[dict[str, Any]]) -> float:
    built = [FEASIBLE(stage.pinned.config(params)) for params in parameters]
    return sum(built) / len(built)


@pytest.mark.parametrize("sampler", ["tpe", "gp", "cmaes", "random"])
@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_no_trial_is_spent_on_a_network_that_cannot_be_built(sqlite: Storage, sampler: Sampler) -> None:
    stage = open_stage(sqlite, sampler=sampler, space=SPACE, trials=20)
    assert share_built(stage, drawn(stage)) == 1


def test_without_drawing_again_half_of_the_networks_cannot_be_built(sqlite: Storage) -> None:
    stage = open_stage(sqlite, space=SPACE, trials=20)
    assert share_built(stage, drawn(stage, anything)) < 0.7


def test_the_same_seed_repeats_the_same_draws(sqlite: Storage) -> None:
    stage = open_stage(sqlite, space=SPACE, trials=12)
    first = drawn(stage)
    assert first == drawn(open_stage(sqlite, position=1, space=SPACE, trials=12))


def test_parameters_fixed_in_advance_are_kept_even_if_infeasible(sqlite: Storage) -> None:
    stage = open_stage(sqlite, sampler="grid", space={"conv_layers": choice(6, 1)})
    assert drawn(stage) == [{"conv_layers": 6}, {"conv_layers": 1}]


def test_fixed_parameters_are_kept_while_the_others_are_drawn_again(sqlite: Storage) -> None:
    space = {"kernel_size": choice(3, 5), "conv_layers": choice(1, 5, 6, 7)}
    pinned = replace(open_stage(sqlite, space=space).pinned, queue=({"kernel_size": 5},) * 4, trials=4)
    assert drawn(open_stage(sqlite, pinned, position=1)) == [{"kernel_size": 5, "conv_layers": 1}] * 4


def test_a_trial_that_another_worker_drew_is_not_drawn_again(sqlite: Storage) -> None:
    stage = open_stage(sqlite, space={"conv_layers": choice(6, 1)}, trials=8)
    study = sqlite.load_study(stage.record.optuna_study, sampler=make_sampler(stage.pinned))
    claim = stage.claim()
    sqlite.open_trial(study, claim.trial_id).suggest_categorical("conv_layers", [6, 1])
    before = sqlite.optuna.get_trial(claim.trial_id).params
    for _ in range(2):
        draw(sqlite, stage.pinned, sqlite.open_trial(study, claim.trial_id), lambda config: False)
    assert sqlite.optuna.get_trial(claim.trial_id).params == before


def test_a_trial_is_drawn_a_limited_number_of_times_if_nothing_can_be_built(sqlite: Storage) -> None:
    stage = open_stage(sqlite, space={"filter_factor": choice(0.5, 1.0), "conv_layers": choice(6, 7, 8)}, trials=3)
    asked: list[object] = []
    drawn(stage, lambda config: bool(asked.append(config)))  # type: ignore[func-returns-value]
    assert DRAWS - 1 <= len(asked) / 3 <= DRAWS


def test_an_interrupted_draw_stores_nothing_and_can_be_repeated(sqlite: Storage) -> None:
    stage = open_stage(sqlite, space=SPACE, trials=4)
    stage.claim()  # The first one is the base.
    study = sqlite.load_study(stage.record.optuna_study, sampler=make_sampler(stage.pinned))
    claim = stage.claim()
    trial, asked = sqlite.open_trial(study, claim.trial_id), []

    def break_off(config: TrainConfig) -> bool:
        asked.append(config)
        if len(asked) == 3:
            raise StorageAway("gone")
        return False

    with pytest.raises(StorageAway):
        draw(sqlite, stage.pinned, trial, break_off)
    assert trial.params == sqlite.optuna.get_trial(claim.trial_id).params == {}
    config = draw(sqlite, stage.pinned, trial, FEASIBLE)
    stored = sqlite.optuna.get_trial(claim.trial_id).params
    assert trial.params == stored and stage.pinned.config(stored) == config


def test_other_errors_of_a_configuration_are_left_to_the_training() -> None:
    assert feasible_on(DATA)(BackboneConfig(backbone="vgg16", stem="small", weights="none"))


def test_a_worker_trains_the_last_draw(sqlite: Storage, digits: WorkloadBuilder, tmp_path: Path) -> None:
    space = {"conv_layers": choice(1, 6, 7, 8, 9), "dropout": FloatDistribution(0.0, 0.1)}
    stage = open_stage(sqlite, space=space, trials=6, epochs=1, sampler="tpe")
    context = TrialContext(
        storage=sqlite, workloads=digits, device=CPU, artifacts=SharedFolder(tmp_path),
        on_epoch=lambda claim, metrics, config: None, is_feasible=FEASIBLE,
    )  # fmt: skip
    for _ in range(6):
        claim = stage.claim()
        result = stage.run(claim, context)
        assert result.outcome == "complete"
        stored = sqlite.optuna.get_trial(claim.trial_id).params
        assert stored["conv_layers"] == 1 and result.attributes[names.CONFIG]["conv_layers"] == 1
        finish(sqlite, claim, result)
