"""A stage that narrows searches old and new parameters in one space, in the ranges that the best trials hold."""

from __future__ import annotations

from dataclasses import replace

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from data.errors import UserError
from models.config import FlexCNNConfig
from models.values import with_values
from search.stage.narrowing import narrowed_space
from search.stage.pinning import pin_search
from studies.definition import Stage, Study, When, choice, when

FIRST = Stage(
    name="first",
    trials=8,
    epochs=2,
    space={
        "filters": choice(8, 16, 32),
        "activation": choice("relu", "gelu"),
        "learning_rate": FloatDistribution(1e-5, 1e-1, log=True),
        "conv_layers": IntDistribution(1, 9, step=2),
        "scheduler": choice("step", "cosine"),
        "step_gamma": when(choice(0.1, 0.3, 0.5), scheduler="step"),
    },
)
SECOND = Stage(name="second", trials=6, epochs=2, narrow=3, space={"dropout": choice(0.0, 0.2)})
STUDY = Study(name="mine", description="", config=FlexCNNConfig(image_size=64), stages=(FIRST, SECOND))


def config(**values: object) -> FlexCNNConfig:
    found = with_values(STUDY.config, {"scheduler": "step", "step_gamma": 0.1, **values})
    assert isinstance(found, FlexCNNConfig)
    return found


BEST = [
    config(filters=16, activation="gelu", learning_rate=1e-3, conv_layers=3),
    config(filters=32, activation="gelu", learning_rate=4e-3, conv_layers=3, step_gamma=0.5),
    config(filters=16, activation="gelu", learning_rate=2e-3, conv_layers=5, scheduler="cosine"),
]


def test_choices_are_those_that_the_best_hold_and_a_single_one_is_left_out() -> None:
    space = narrowed_space(STUDY, 1, BEST)
    assert space["filters"] == CategoricalDistribution((16, 32))
    assert "activation" not in space
    assert space["dropout"] == SECOND.space_around(BEST[0])["dropout"]


def test_a_range_reaches_a_little_beyond_the_values_of_the_best_and_stays_on_its_steps() -> None:
    space = narrowed_space(STUDY, 1, BEST)
    rates = space["learning_rate"]
    assert isinstance(rates, FloatDistribution) and rates.log
    assert (rates.low, rates.high) == pytest.approx((1e-3 / 1.5, 4e-3 * 1.5))
    layers = space["conv_layers"]
    assert isinstance(layers, IntDistribution) and (layers.low, layers.high, layers.step) == (1, 7, 2)


def test_a_range_never_grows_beyond_the_original_one() -> None:
    at_the_end = [config(learning_rate=1e-1), config(learning_rate=9e-2)]
    rates = narrowed_space(STUDY, 1, at_the_end)["learning_rate"]
    assert isinstance(rates, FloatDistribution) and rates.high == 1e-1


def test_a_value_outside_the_searched_range_does_not_count() -> None:
    off = [config(learning_rate=0.5), config(learning_rate=1e-3)]
    rates = narrowed_space(STUDY, 1, off)["learning_rate"]
    assert isinstance(rates, FloatDistribution) and (rates.low, rates.high) == pytest.approx((1e-3 / 1.5, 1e-3 * 1.5))
    assert narrowed_space(STUDY, 1, off[:1])["learning_rate"] == FIRST.space_around(off[0])["learning_rate"]


def test_a_condition_is_kept_and_only_configurations_that_meet_it_count() -> None:
    gamma = narrowed_space(STUDY, 1, BEST)["step_gamma"]
    assert isinstance(gamma, When) and gamma.parameter == "scheduler" and gamma.values == ("step",)
    assert gamma.distribution == CategoricalDistribution((0.1, 0.5))


def test_a_third_stage_narrows_what_the_second_narrowed_and_its_own_entries_win() -> None:
    own = FloatDistribution(1e-4, 1e-3, log=True)
    third = replace(SECOND, name="third", space={"learning_rate": own, "flip": choice(0.0, 0.5)})
    study = replace(STUDY, stages=(FIRST, SECOND, third))
    best = [replace(BEST[0], dropout=0.2), replace(BEST[1], dropout=0.0)]
    space = narrowed_space(study, 2, best)
    assert {"filters", "dropout", "flip"} <= space.keys()
    assert space["learning_rate"] == own


def test_the_stage_begins_with_the_best_configurations_of_the_stage_before() -> None:
    pinned = pin_search(STUDY, 1, SECOND, BEST)
    assert len(pinned.bases) == 1 and pinned.trials == 6
    begun = [pinned.config(fixed) for fixed in pinned.queue[:3]]
    assert [found.learning_rate for found in begun] == [1e-3, 4e-3, 2e-3]
    assert [found.scheduler for found in begun] == ["step", "step", "cosine"]
    assert pinned.queue[3] == {}


def test_narrow_needs_one_space() -> None:
    with pytest.raises(UserError, match="mine/second: narrow searches one space"):
        replace(STUDY, stages=(FIRST, replace(SECOND, bases=2)))
