"""Parameters whose network cannot be built are drawn again, within the trial."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest

from search.claims import Result, finish
from search.drawing import draw
from search.feasibility import DRAWS, Feasible, anything, feasible_on
from search.samplers import make_sampler
from search.storage import Storage
from studies.definition import Sampler, choice
from tests.search.conftest import DATA, OpenStage, open_stage

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
        trial, config = draw(stage.storage, stage.pinned, stage.storage.open_trial(study, claim.trial_id), is_feasible)
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


def test_left_alone_half_of_the_draws_could_not_be_built(sqlite: Storage) -> None:
    stage = open_stage(sqlite, space=SPACE, trials=20)
    assert share_built(stage, drawn(stage, anything)) < 0.7


def test_the_same_seed_draws_again_alike(sqlite: Storage) -> None:
    stage = open_stage(sqlite, space=SPACE, trials=12)
    first = drawn(stage)
    assert first == drawn(open_stage(sqlite, position=1, space=SPACE, trials=12))


def test_what_was_fixed_in_advance_is_kept_though_it_cannot_be_built(sqlite: Storage) -> None:
    stage = open_stage(sqlite, sampler="grid", space={"conv_layers": choice(6, 1)})
    assert drawn(stage) == [{"conv_layers": 6}, {"conv_layers": 1}]


def test_what_is_fixed_in_part_is_kept_and_the_rest_drawn_again(sqlite: Storage) -> None:
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


def test_where_nothing_can_be_built_it_is_drawn_so_often_and_then_left_to_fail(sqlite: Storage) -> None:
    stage = open_stage(sqlite, space={"filter_factor": choice(0.5, 1.0), "conv_layers": choice(6, 7, 8)}, trials=3)
    asked: list[object] = []
    drawn(stage, lambda config: bool(asked.append(config)))
    assert DRAWS - 1 <= len(asked) / 3 <= DRAWS
