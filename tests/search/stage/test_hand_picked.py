"""Hand-picked parameters: the text that a user types, against the space of a pinned stage."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from optuna.distributions import FloatDistribution, IntDistribution

from data.errors import UserError
from models.config import FlexCNNConfig, TrainConfig
from search import names
from search.stage.describe import describe_study
from search.stage.hand_picked import for_waiting_slots, given_trials
from search.stage.pinning import pin_search
from search.store.pinned_stage import PinnedStage
from search.store.warm_start_record import Taken, WarmStart
from studies.definition import Space, Stage, Study, around, choice, when

CONFIG = FlexCNNConfig(image_size=8, learning_rate=1e-3)
SPACE: Space = {
    "learning_rate": FloatDistribution(1e-4, 1e-2, log=True),
    "dense_width": IntDistribution(16, 64),
    "batch_norm": choice(True, False),
    "filters": choice(8, 16),
    "scheduler": choice("cosine", "step"),
    "step_gamma": when(choice(0.1, 0.5), scheduler="step"),
}


def pin(around: tuple[TrainConfig, ...] = (CONFIG,), **changes: Any) -> PinnedStage:
    stage = Stage(**{"name": "s", "trials": 4, "epochs": 3, "space": SPACE} | changes)
    return pin_search(Study(name="mine", description="", config=CONFIG, stages=(stage,)), 0, stage, around)


def test_text_becomes_values_of_the_space_for_every_trial_that_is_drawn() -> None:
    chosen = {"learning_rate": "0.003", "dense_width": "32", "batch_norm": "false", "filters": "16"}
    values = {"learning_rate": 0.003, "dense_width": 32, "batch_norm": False, "filters": 16}
    assert for_waiting_slots(pin(), chosen) == {1: values, 2: values, 3: values}


def test_a_random_search_gives_up_parameters_that_it_drew_in_advance() -> None:
    assert sorted(for_waiting_slots(pin(sampler="random"), {"filters": "8"})) == [1, 2, 3]


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"filter": "8"}, "s does not search 'filter'; it searches learning_rate, .* Did you mean"),
        ({"filters": "12"}, r"filters=12: s searches one of \(8, 16\)"),
        ({"learning_rate": "fast"}, "learning_rate=fast: s searches numbers from 0.0001 to 0.01 on a log scale"),
        ({"dense_width": "32.5"}, "dense_width=32.5: s searches whole numbers from 16 to 64"),
        ({"step_gamma": "0.1"}, "step_gamma exists only with scheduler=step; give that value too"),
    ],
)
def test_a_value_outside_the_space_is_refused(chosen: dict[str, str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        for_waiting_slots(pin(), chosen)


def test_a_parameter_with_a_condition_is_accepted_with_its_condition() -> None:
    assert for_waiting_slots(pin(), {"scheduler": "step", "step_gamma": "0.5"})[1]["step_gamma"] == 0.5


def test_a_condition_that_holds_for_the_base_has_to_be_given_only_if_the_stage_searches_it() -> None:
    base = replace(CONFIG, scheduler="step")
    with pytest.raises(UserError, match="step_gamma exists only with scheduler=step; give that value too"):
        for_waiting_slots(pin((base,)), {"step_gamma": "0.1"})
    settled = pin((base,), space={name: entry for name, entry in SPACE.items() if name != "scheduler"})
    assert for_waiting_slots(settled, {"step_gamma": "0.1"})[1] == {"step_gamma": 0.1}


@pytest.mark.parametrize("changes", [{"sampler": "grid"}, {"trials": 100}, {"trials": 100, "sampler": "random"}])
def test_a_stage_that_trains_every_combination_has_no_trial_to_give_up(changes: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="s trains every combination of its space"):
        for_waiting_slots(pin(space={"filters": choice(8, 16)}, **changes), {"filters": "8"})


def test_the_base_comes_with_the_parameters_whose_range_holds_them() -> None:
    def near(base: TrainConfig) -> Space:
        return {"learning_rate": FloatDistribution(base.learning_rate / 2, base.learning_rate * 2, log=True)}

    fast = FlexCNNConfig(image_size=8, learning_rate=1e-2)
    stage = pin((CONFIG, fast), bases=2, space=near)
    assert for_waiting_slots(stage, {"learning_rate": "0.008"}) == {
        slot: {names.BASE: 1, "learning_rate": 0.008} for slot in (2, 3)
    }


def test_a_study_s_tries_follow_its_base_and_are_part_of_the_budget() -> None:
    pinned = pin(tries=({"filters": 16, "dense_width": 20}, {"batch_norm": False}))
    assert pinned.trials == 4
    assert pinned.queue[1:] == ({"filters": 16, "dense_width": 20}, {"batch_norm": False}, {})


def test_a_try_outside_the_space_is_an_error_when_the_study_is_defined() -> None:
    with pytest.raises(UserError, match="tries: the stage does not search 'optimizer'"):
        Study(
            name="mine",
            description="",
            config=CONFIG,
            stages=(Stage(name="s", trials=4, epochs=3, space=SPACE, tries=({"optimizer": "sgd"},)),),
        )


@pytest.mark.parametrize("scheduler", ["cosine", "step"])
def test_a_try_with_a_condition_fixes_what_fulfils_it(scheduler: str) -> None:
    pinned = pin(
        (replace(CONFIG, scheduler=scheduler),), tries=({"step_gamma": 0.5}, {"step_gamma": 0.5, "filters": 8})
    )
    assert pinned.queue[1] == {"step_gamma": 0.5, "scheduler": "step"}
    assert pinned.queue[2] == {"step_gamma": 0.5, "scheduler": "step", "filters": 8}


def test_a_stage_whose_trials_all_have_fixed_parameters_says_so() -> None:
    with pytest.raises(UserError, match="s: all trials have fixed parameters; none can take others"):
        for_waiting_slots(pin(trials=2, tries=({"filters": 16},)), {"filters": "8"})


def test_a_random_search_keeps_what_its_study_gives_it() -> None:
    stage = Stage(name="s", trials=5, epochs=3, sampler="random", space=SPACE, tries=({"filters": 16},))
    study = Study(name="mine", description="", config=CONFIG, stages=(stage,))
    warm = WarmStart(study="old", taken=(Taken(trial="old/1-s #0", value=0.5, parameters={"filters": 8}),))
    definition = replace(describe_study(study), warm_start=warm)
    pinned = pin_search(study, 0, stage, (CONFIG,), [one.parameters for one in warm.taken])
    given = given_trials(definition, 0)
    assert sorted(for_waiting_slots(pinned, {"filters": "8"}, given=given)) == [3, 4]


def test_the_start_of_a_random_search_that_extends_another_is_given_if_the_user_guessed_it() -> None:
    one = Stage(name="one", trials=4, epochs=3, sampler="random", pruner="asha", space={"filters": choice(8, 16)})
    guessed = replace(one, name="two", extends=True, space={"learning_rate": around(1e-3)})
    plain = replace(guessed, space={"dropout": choice(0.0, 0.1)})
    for second, given in ((guessed, 1), (plain, 0)):
        study = Study(name="mine", description="", config=CONFIG, stages=(one, second))
        assert given_trials(describe_study(study), 1) == given
