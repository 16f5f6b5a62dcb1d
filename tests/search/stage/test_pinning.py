from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import optuna
import pytest
from optuna.distributions import FloatDistribution, IntDistribution

from data.errors import UserError
from models.config import FlexCNNConfig, TrainConfig
from models.values import to_flat
from search import names
from search.stage.pinning import pin_confirmation, pin_search
from search.stage.suggest import suggest_config
from search.store.pinned_stage import PinnedStage
from studies.definition import Confirm, Space, Stage, Study, choice, when

CONFIG = FlexCNNConfig(image_size=8, learning_rate=1e-3)


def around(base: TrainConfig) -> Space:
    return {"learning_rate": FloatDistribution(base.learning_rate / 2, base.learning_rate * 2, log=True)}


def pin(bases: tuple[TrainConfig, ...] = (CONFIG,), **changes: Any) -> PinnedStage:
    stage = Stage(**{"name": "s", "trials": 6, "epochs": 3, "space": {"dropout": choice(0.0, 0.1)}} | changes)
    return pin_search(Study(name="mine", description="", config=CONFIG, stages=(stage,)), 0, stage, bases)


def test_a_pinned_stage_survives_json() -> None:
    space = {"scheduler": choice("cosine", "step"), "step_gamma": when(choice(0.1, 0.5), scheduler="step")}
    pinned = pin(space=space)
    assert PinnedStage.from_json(json.loads(json.dumps(pinned.to_json()))) == pinned


def test_the_first_trials_are_the_bases_themselves() -> None:
    bases = (CONFIG, replace(CONFIG, learning_rate=4e-3))
    pinned = pin(bases=bases, space=around)
    assert pinned.queue[:2] == (
        {names.BASE: 0, "learning_rate": 1e-3},
        {names.BASE: 1, "learning_rate": 4e-3},
    )
    assert pinned.queue[2:] == ({},) * 4
    assert [pinned.config(params).learning_rate for params in pinned.queue[:2]] == [1e-3, 4e-3]


def test_a_base_s_value_outside_the_space_is_left_to_the_sampler() -> None:
    space = {"dropout": choice(0.2, 0.3), "batch_size": choice(32, 64)}
    assert pin(space=space, trials=3).queue == ({"batch_size": 64}, {}, {})


@pytest.mark.parametrize("sampler", ["tpe", "gp", "cmaes", "random"])
def test_a_stage_with_more_trials_than_combinations_trains_each_once_from_the_base_on(sampler: str) -> None:
    space = {
        "scheduler": choice("cosine", "step"),
        "step_gamma": when(choice(0.1, 0.5), scheduler="step"),
        "dropout": FloatDistribution(0.0, 0.5, step=0.25),
    }
    config = replace(CONFIG, scheduler="step", step_gamma=0.5, dropout=0.25)
    pinned = pin(bases=(config,), space=space, trials=50, sampler=sampler)
    assert pinned.trials == len(pinned.queue) == len(pinned.seeds) == 3 * (1 + 2)
    assert pinned.queue[0] == {"scheduler": "step", "step_gamma": 0.5, "dropout": 0.25}
    assert len({pinned.config(params) for params in pinned.queue}) == 9
    assert pin(bases=(config,), space=space, trials=8, sampler=sampler).trials == 8


def test_two_bases_that_differ_in_what_is_searched_share_their_combinations() -> None:
    bases = (CONFIG, replace(CONFIG, dropout=0.1))
    pinned = pin(bases=bases, trials=50)
    assert [to_flat(pinned.config(params))["dropout"] for params in pinned.queue] == [0.0, 0.1]


def test_combinations_that_cannot_be_built_are_not_listed() -> None:
    stage = Stage(name="s", trials=50, epochs=3, space={"conv_layers": choice(1, 2, 9)})
    study = Study(name="mine", description="", config=CONFIG, stages=(stage,))
    pinned = pin_search(study, 0, stage, (CONFIG,), is_feasible=lambda config: to_flat(config)["conv_layers"] != 9)
    assert sorted(params["conv_layers"] for params in pinned.queue) == [1, 2]


def test_a_base_without_a_space_gets_one_trial() -> None:
    def not_for_sgd(base: TrainConfig) -> Space:
        return {} if base.optimizer == "sgd" else around(base)

    bases = (CONFIG, replace(CONFIG, optimizer="sgd"))
    pinned = pin(bases=bases, space=not_for_sgd, trials=5)
    assert [params[names.BASE] for params in pinned.queue] == [0, 1, 0, 0, 0]


def test_the_start_value_on_a_step_is_the_first_trial() -> None:
    space = {"dropout": FloatDistribution(0.0, 0.5, step=0.1), "learning_rate": FloatDistribution(1e-4, 1e-2)}
    for start in (0.0, 0.1, 0.2, 0.3, 0.4, 0.5):
        assert pin(bases=(replace(CONFIG, dropout=start),), space=space).queue[0]["dropout"] == start
    assert "dropout" not in pin(bases=(replace(CONFIG, dropout=0.35),), space=space).queue[0]


def test_the_steps_of_a_grid_are_the_numbers_that_people_write() -> None:
    space = {"dropout": FloatDistribution(0.0, 0.5, step=0.1)}
    assert [params["dropout"] for params in pin(sampler="grid", space=space).queue] == [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]


def test_choices_that_are_pairs_become_text_that_every_database_gives_back() -> None:
    pinned = pin(space={"kernel_size": choice((3, 3), [5, 3], 3)}, trials=50)
    assert [params["kernel_size"] for params in pinned.queue] == [3, "3,3", "5,3"]
    assert to_flat(pinned.config(pinned.queue[1]))["kernel_size"] == "3,3"
    assert PinnedStage.from_json(json.loads(json.dumps(pinned.to_json()))) == pinned


def test_each_base_has_the_space_around_itself() -> None:
    bases = (CONFIG, replace(CONFIG, learning_rate=1e-2))
    low = [json.loads(space[0].distribution)["attributes"]["low"] for space in pin(bases=bases, space=around).spaces]
    assert low == [5e-4, 5e-3]


def test_a_conditional_parameter_is_drawn_only_where_it_exists() -> None:
    space = {"step_gamma": when(choice(0.1, 0.5), scheduler="step"), "scheduler": choice("cosine", "step")}
    pinned = pin(sampler="random", trials=20, space=space)
    assert {params["scheduler"] for params in pinned.queue} == {"cosine", "step"}
    assert all(("step_gamma" in params) == (params["scheduler"] == "step") for params in pinned.queue)


def test_a_condition_may_depend_on_the_base() -> None:
    space = {"step_gamma": when(choice(0.1, 0.5), scheduler="step")}
    assert not any("step_gamma" in params for params in pin(sampler="random", space=space).queue)


def test_a_grid_has_every_combination_that_the_conditions_allow_once() -> None:
    space = {
        "scheduler": choice("cosine", "step"),
        "step_gamma": when(choice(0.1, 0.5), scheduler="step"),
        "conv_layers": IntDistribution(2, 6, step=2),
    }
    pinned = pin(sampler="grid", space=space, trials=1)
    assert pinned.trials == len(pinned.queue) == 3 * (1 + 2)
    assert len({tuple(sorted(params.items())) for params in pinned.queue}) == 9


def test_random_search_is_drawn_when_it_is_pinned_and_depends_on_the_seed_alone() -> None:
    space = {"learning_rate": FloatDistribution(1e-4, 1e-2, log=True)}
    one, two = pin(sampler="random", space=space), pin(sampler="random", space=space)
    assert one.queue == two.queue
    assert len({params["learning_rate"] for params in one.queue}) == one.trials


def test_a_stage_without_anything_to_vary_trains_each_base_once() -> None:
    assert pin(space={}).trials == 1


def test_the_stage_s_epochs_and_values_are_those_of_its_bases() -> None:
    pinned = pin(values={"image_size": 16})
    assert (pinned.bases[0]["epochs"], pinned.bases[0]["image_size"]) == (3, 16)


def test_parameters_already_drawn_are_kept_when_a_trial_is_resumed() -> None:
    pinned = pin(space={"learning_rate": FloatDistribution(1e-4, 1e-2, log=True)})
    study = optuna.create_study()
    trial = study.ask()
    first = suggest_config(pinned, trial)
    assert suggest_config(pinned, optuna.Trial(study, trial._trial_id)) == first


def test_finalists_are_confirmed_on_the_same_fresh_seeds() -> None:
    stage = Stage(name="s", trials=2, epochs=1, space={})
    study = Study(name="mine", description="", config=CONFIG, stages=(stage,))
    pinned = pin_confirmation(study, Confirm(finalists=2, seeds=3, epochs=7), [CONFIG, replace(CONFIG, dropout=0.1)])
    by_finalist = {
        index: [seed for params, seed in zip(pinned.queue, pinned.seeds, strict=True) if params[names.BASE] == index]
        for index in (0, 1)
    }
    assert by_finalist[0] == by_finalist[1] and len(set(by_finalist[0])) == 3
    assert not set(pinned.seeds) & set(pin().seeds)
    assert {base["epochs"] for base in pinned.bases} == {7}


def test_choices_that_differ_between_bases_are_refused_and_ranges_may_differ() -> None:
    bases = (CONFIG, replace(CONFIG, batch_size=2 * CONFIG.batch_size, learning_rate=0.5))

    def ranges(base: TrainConfig) -> Space:
        return {"learning_rate": FloatDistribution(base.learning_rate / 2, base.learning_rate, log=True)}

    def choices(base: TrainConfig) -> Space:
        return {"batch_size": choice(base.batch_size, 4 * base.batch_size)}

    def kinds(base: TrainConfig) -> Space:
        rates = choice(0.1, 0.2) if base.learning_rate < 0.1 else FloatDistribution(0.1, 0.2)
        return {"learning_rate": rates}

    assert len(pin(bases=bases, space=ranges).spaces) == 2
    with pytest.raises(UserError, match=r"one of \(0.1, 0.2\) around one base and numbers from 0.1 to 0.2 around"):
        pin(bases=bases, space=kinds)
    with pytest.raises(UserError, match=r"batch_size is one of \(64, 256\) around one base and one of \(128, 512\)"):
        pin(bases=bases, space=choices)


def test_a_condition_of_a_grid_may_depend_on_the_base() -> None:
    space = {"step_gamma": when(choice(0.1, 0.5), scheduler="step")}
    assert pin(sampler="grid", space=space).queue == ({},)
    stepwise = (replace(CONFIG, scheduler="step"),)
    assert pin(bases=stepwise, sampler="grid", space=space).queue == ({"step_gamma": 0.1}, {"step_gamma": 0.5})
