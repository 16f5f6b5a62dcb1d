"""A stage that extends the one before searches old and new parameters, and its sampler learns from earlier trials."""

from __future__ import annotations

from dataclasses import replace

import optuna
import pytest
from optuna.distributions import FloatDistribution, json_to_distribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from data.errors import UserError
from models.config import FlexCNNConfig
from models.values import to_flat
from search import names
from search.stage.bases import best_configs
from search.stage.earlier_trials import EarlierTrials
from search.stage.pinning import pin_search
from search.stage.samplers import make_sampler
from search.stage.suggest import suggest_config
from search.store.pinned_stage import PinnedStage
from studies.definition import Stage, Study, around, choice, when

RATES = FloatDistribution(1e-4, 1e-2, log=True)
FIRST = Stage(
    name="first", trials=20, epochs=4, pruner="asha", values={"image_size": 8},
    space={"learning_rate": RATES, "filters": choice(4, 8, 16)},
)  # fmt: skip
SECOND = Stage(
    name="second", trials=12, epochs=4, pruner="asha", extends=True, space={"dropout": choice(0.0, 0.2, 0.4)}
)
THIRD = Stage(
    name="third", trials=12, epochs=4, pruner="asha", extends=True,
    space={
        "scheduler": choice("constant", "step"),
        "step_gamma": when(choice(0.1, 0.5), scheduler="step"),
        "learning_rate": FloatDistribution(1e-3, 1e-2, log=True),
    },
)  # fmt: skip
CONFIG = FlexCNNConfig(filters=8, learning_rate=1e-3)
STUDY = Study(name="mine", description="", config=CONFIG, stages=(FIRST, SECOND, THIRD))


def pin(position: int, study: Study = STUDY) -> PinnedStage:
    return pin_search(study, position, study.stages[position], [study.config])


def searched(pinned: PinnedStage) -> list[str]:
    return [parameter.name for parameter in pinned.spaces[0]]


def train(pinned: PinnedStage, earlier: optuna.Study | None = None, trials: int | None = None) -> optuna.Study:
    """Search a stage whose accuracy grows with the learning rate, after one epoch and at the end."""
    sampler = make_sampler(pinned, [earlier] if earlier else [])
    study = optuna.create_study(direction="maximize", sampler=sampler)
    for fixed in pinned.queue[:trials]:
        study.enqueue_trial(fixed)
        trial = study.ask()
        accuracy = suggest_config(pinned, trial).learning_rate
        trial.report(accuracy, 1)
        study.tell(trial, accuracy)
    return study


def test_it_searches_what_earlier_stages_searched_in_their_ranges_and_its_own_entries_win() -> None:
    assert searched(pin(1)) == ["learning_rate", "filters", "dropout"]
    assert searched(pin(2)) == ["learning_rate", "filters", "dropout", "scheduler", "step_gamma"]
    ranges = {
        parameter.name: json_to_distribution(parameter.distribution)
        for stage in (1, 2)
        for parameter in pin(stage).spaces[0]
    }
    assert ranges["learning_rate"] == FloatDistribution(1e-3, 1e-2, log=True)
    first = {parameter.name: json_to_distribution(parameter.distribution) for parameter in pin(1).spaces[0]}
    assert first["learning_rate"] == RATES


def test_it_takes_over_base_and_values_and_names_the_stages_before() -> None:
    first, third = pin(0), pin(2)
    assert third.bases == first.bases
    assert third.bases[0]["image_size"] == 8
    assert [stage.earlier for stage in (first, pin(1), third)] == [
        (),
        ("mine/1-first",),
        ("mine/1-first", "mine/2-second"),
    ]
    assert [stage.is_extended for stage in (first, pin(1), third)] == [True, True, False]
    assert PinnedStage.from_json(third.to_json()) == third


def test_the_start_configuration_is_trained_by_the_first_stage_only() -> None:
    assert pin(0).queue[0] == {"learning_rate": 1e-3, "filters": 8}
    assert pin(1).queue == ({},) * 12


def test_a_guess_of_a_parameter_of_its_own_is_trained_first() -> None:
    study = replace(STUDY, stages=(FIRST, replace(SECOND, space={"dropout": around(0.1, 2.0)})))
    assert pin(1, study).queue[:2] == ({"learning_rate": 1e-3, "filters": 8, "dropout": 0.1}, {})


def _complete(value: float, config: FlexCNNConfig, **params: object) -> FrozenTrial:
    return create_trial(
        state=TrialState.COMPLETE, value=value, params=params,
        distributions={name: choice(8, 16, 2, 3) for name in params}, user_attrs={names.CONFIG: to_flat(config)},
    )  # fmt: skip


def test_one_configuration_of_two_stages_is_handed_on_once() -> None:
    """The first stage's trial has the start value of a parameter that the second stage searches."""
    config = replace(CONFIG, conv_layers=3)
    first = _complete(0.9, config, filters=8)
    same = _complete(0.8, config, filters=8, conv_layers=3)
    other = _complete(0.1, replace(CONFIG, filters=16, conv_layers=3), filters=16)
    best = best_configs([first, same, other], 2, maximize=True)
    assert [trial.value for trial, _ in best] == [0.9, 0.1]


def test_around_several_bases_each_has_its_own_ranges() -> None:
    around = replace(FIRST, bases=2, space=lambda base: {"learning_rate": FloatDistribution(
        base.learning_rate / 2, base.learning_rate * 2, log=True)})  # fmt: skip
    study = replace(STUDY, stages=(replace(FIRST, name="before"), around, SECOND))
    bases = [replace(STUDY.config, learning_rate=rate) for rate in (1e-3, 4e-3)]
    pinned = pin_search(study, 2, SECOND, bases)
    assert [searched(replace(pinned, spaces=(space,))) for space in pinned.spaces] == [["learning_rate", "dropout"]] * 2
    ranges = [json_to_distribution(space[0].distribution) for space in pinned.spaces]
    assert ranges == [FloatDistribution(5e-4, 2e-3, log=True), FloatDistribution(2e-3, 8e-3, log=True)]


def test_earlier_trials_have_random_values_for_the_parameters_that_they_lack() -> None:
    first = train(pin(0))
    earlier = EarlierTrials(pin(1), [first])
    shown = earlier.read()
    assert [trial.params["learning_rate"] for trial in shown] == [
        trial.params["learning_rate"] for trial in first.trials
    ]
    assert [trial.value for trial in shown] == [trial.value for trial in first.trials]
    assert {trial.params["dropout"] for trial in shown} == {0.0, 0.2, 0.4}
    assert {trial.number for trial in shown} == {-1}
    assert [trial.params for trial in EarlierTrials(pin(1), [first]).read()] == [trial.params for trial in shown]


def test_earlier_trials_outside_the_new_range_and_those_without_an_epoch_are_left_out() -> None:
    first = train(pin(0))
    first.ask()
    inside = [trial for trial in first.trials if trial.values and trial.params["learning_rate"] >= 1e-3]
    assert 0 < len(inside) < 20
    assert len(EarlierTrials(pin(2), [first]).read()) == len(inside)


def test_a_conditional_parameter_exists_where_its_condition_holds() -> None:
    for trial in EarlierTrials(pin(2), [train(pin(0))]).read():
        assert ("step_gamma" in trial.params) == (trial.params["scheduler"] == "step")


def test_an_earlier_trial_that_continues_is_read_again() -> None:
    first = optuna.create_study(direction="maximize")
    trial = first.ask({"learning_rate": RATES, "filters": choice(4, 8, 16)})
    trial.report(0.1, 1)
    earlier = EarlierTrials(pin(1), [first])
    (before,) = earlier.read()
    first.tell(trial, 0.9)
    (after,) = earlier.read()
    assert (before.value, after.value, before.params) == (None, 0.9, after.params)


def test_its_first_draws_use_what_earlier_trials_showed() -> None:
    first = train(pin(0))

    def mean_rate(trials: list[FrozenTrial]) -> float:
        return sum(trial.params["learning_rate"] for trial in trials) / len(trials)

    knowing, ignorant = train(pin(1), first, trials=6), train(pin(1), trials=6)
    assert mean_rate(knowing.trials) > 1.5 * mean_rate(ignorant.trials)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"epochs": 8}, "give both pruner='asha' and the same number of epochs"),
        ({"pruner": "median"}, "give both pruner='asha' and the same number of epochs"),
        ({"values": {"image_size": 16}}, "leave out bases, values, against and the grid sampler"),
        ({"bases": 2}, "leave out bases, values, against and the grid sampler"),
    ],
)
def test_a_stage_that_cannot_share_trials_is_refused(changes: dict[str, object], reason: str) -> None:
    with pytest.raises(UserError, match=f"mine/second: extends: .*{reason}"):
        replace(STUDY, stages=(FIRST, replace(SECOND, **changes)))  # type: ignore[arg-type]


def test_only_the_last_of_the_stages_may_vary_the_epochs() -> None:
    varied = {"epochs": choice(2, 4)}
    assert replace(STUDY, stages=(FIRST, replace(SECOND, space=varied)))
    with pytest.raises(UserError, match="mine/second: extends: first varies epochs; let the last of the stages vary"):
        replace(STUDY, stages=(replace(FIRST, space=varied), SECOND))


def test_the_first_stage_has_nothing_to_extend() -> None:
    with pytest.raises(UserError, match="mine/second: extends: there is no stage before; leave it out"):
        replace(STUDY, stages=(SECOND,))
